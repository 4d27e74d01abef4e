"""Networks exported for use elsewhere: looked at, never run."""
