"""The round, the checks before it, and the truth that only metrics may see."""
