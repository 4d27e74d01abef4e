"""asepsis."""
