"""Data sets, and how their patients are divided among hospitals."""
