"""A federation between machines: a Flower app folder, its keys, and a rehearsal on one machine."""
