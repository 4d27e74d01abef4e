"""Data sets, one file and one card each (families share a file)."""
