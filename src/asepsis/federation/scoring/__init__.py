"""Evidence beside the truth: one kind of claim a file."""
