"""What hostile hospitals and curious servers do: to data, updates, and what they are sent."""
