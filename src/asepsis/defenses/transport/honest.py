"""How many honest hospitals must be in a sum, so that it hides each of them."""

from __future__ import annotations

from asepsis.core.errors import ConfigError

FEWEST = 3
"""Honest hospitals in a sum: of two, each would know the other's row."""


def check_honest(hospitals: int, colluders: int, fewest: int = FEWEST) -> None:
    """Refuse a sum that has too few honest hospitals left to hide in.

    Raises:
        ConfigError: fewer than ``fewest``.
    """
    colluders = min(colluders, hospitals)
    if hospitals - colluders < fewest:
        raise ConfigError(
            f"fewer than {fewest} honest hospitals: a sum of their rows hides nobody's",
            place="defenses",
            got=f"{hospitals} hospitals, {colluders} of them colluders",
            fix="let more hospitals take part, state fewer colluders, or use "
            '{ name = "secure-sum", fewest = 1 } to demonstrate what is lost',
        )
