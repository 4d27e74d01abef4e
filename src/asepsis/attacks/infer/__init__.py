"""What anyone who holds the released model learns."""
