"""From runs to a decision: what breaks one federation, and which defenses it should run."""
