"""The wire between machines: a proxy that records and disturbs, and what a listener makes of it."""
