"""What a curious server learns from what it is sent."""
