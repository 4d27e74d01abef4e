"""A component whose package cannot be imported."""

raise ImportError("the example's own missing library")
