"""What a hostile hospital does to its own data."""
