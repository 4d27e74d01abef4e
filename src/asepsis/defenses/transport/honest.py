"""What a sum asks of its hospitals: honest ones enough to hide in, and counts that it holds."""

from __future__ import annotations

from collections.abc import Mapping

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


def check_counts(weights: Mapping[int, float], largest: int, *, otherwise: str) -> None:
    """Refuse a hospital whose count a sum was not laid out for.

    Args:
        weights: hospital to the samples it claims.
        largest: the option ``max_count``.
        otherwise: what would happen to the sum.

    Raises:
        ConfigError: naming the hospital.
    """
    for client, weight in weights.items():
        if weight > largest:
            raise ConfigError(
                f"hospital {client} has more samples than max_count: {otherwise}",
                got=weight,
                fix=f"ask for max_count = {int(weight)} or more, or weighted = false",
            )
