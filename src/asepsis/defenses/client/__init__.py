"""What a hospital does to its update before it leaves: clip, noise, prune."""
