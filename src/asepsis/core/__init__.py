"""The foundation: contracts, randomness, updates, threat model, mathematics. Knows no sibling."""
