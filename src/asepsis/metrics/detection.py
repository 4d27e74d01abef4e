"""How well verdicts about hospitals tell hostile from honest ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from asepsis.metrics.utility import binary_auroc

FLAGGED_BELOW = 0.5


def detection_metrics(
    verdicts: Mapping[int, float], hostile: Collection[int], flagged_below: float = FLAGGED_BELOW
) -> dict[str, float]:
    """Score verdicts (share of a row let through: 0 dropped, 1 kept whole) against the truth.

    A hospital is flagged when less than ``flagged_below`` of its row got through. ``precision``
    and ``recall`` are of the hostile among the flagged, ``auc`` is the probability that a hostile
    hospital has the lower verdict, ``false_exclusion`` the share of honest hospitals flagged.
    Each is NaN where its denominator is empty.

    Example:
        >>> detection_metrics({0: 1.0, 1: 0.0, 2: 0.0}, hostile={1})
        {'precision': 0.5, 'recall': 1.0, 'auc': 0.75, 'false_exclusion': 0.5}
    """
    scores = np.array(list(verdicts.values()), dtype=np.float64)
    bad = np.array([client in hostile for client in verdicts], dtype=bool)
    flagged = scores < flagged_below
    return {
        "precision": _share(bad[flagged]),
        "recall": _share(flagged[bad]),
        "auc": binary_auroc(-scores, bad),
        "false_exclusion": _share(flagged[~bad]),
    }


def _share(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    return float(mask.mean()) if mask.size else float("nan")
