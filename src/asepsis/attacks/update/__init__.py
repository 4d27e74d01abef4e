"""What a hostile hospital sends instead of its honest update."""
