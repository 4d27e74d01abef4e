"""Clinical tasks: preparation, loss and metrics, one a file."""
