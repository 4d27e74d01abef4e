"""How well verdicts and scores about hospitals tell hostile from honest ones."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np

from asepsis.core.samples import Array
from asepsis.metrics.utility import binary_auroc

FLAGGED_BELOW = 0.5
NAN = float("nan")


def detection_metrics(
    verdicts: Mapping[int, float],
    hostile: Collection[int],
    scores: Mapping[int, float] | None = None,
    unusual: Collection[int] = (),
    flagged_below: float = FLAGGED_BELOW,
) -> dict[str, float]:
    """Score verdicts (share of a row let through: 0 dropped, 1 kept whole) against the truth.

    A hospital is flagged when less than ``flagged_below`` of its row got through. ``precision``
    and ``recall`` are of the hostile among the flagged, ``auc`` is the probability that a hostile
    hospital looks more suspicious than an honest one, ``false_exclusion`` the share of honest
    hospitals flagged, ``unusual_exclusion`` that of honest hospitals which are unusual on
    purpose. Each is NaN where there is nobody to say it of; without hostile hospitals so are the
    first three.

    Args:
        verdicts: of every hospital that took part.
        hostile: hospitals that attack.
        scores: how suspicious each looks, where a defense says (higher is more); one minus the
            verdict where it doesn't.
        unusual: honest hospitals that are unusual on purpose.
        flagged_below: the share below which a hospital counts as excluded.

    Example:
        >>> detection_metrics({0: 1.0, 1: 0.0, 2: 0.0}, hostile={1})
        {'precision': 0.5, 'recall': 1.0, 'auc': 0.75, 'false_exclusion': 0.5}
    """
    shares = np.array(list(verdicts.values()), dtype=np.float64)
    bad = np.array([client in hostile for client in verdicts], dtype=bool)
    flagged = shares < flagged_below
    found = {
        "precision": _share(bad[flagged]) if bad.any() else float("nan"),
        "recall": _share(flagged[bad]),
        "auc": binary_auroc(_suspicion(verdicts, scores or {}), bad),
        "false_exclusion": _share(flagged[~bad]),
    }
    odd = np.array([client in unusual for client in verdicts], dtype=bool) & ~bad
    return {**found, "unusual_exclusion": _share(flagged[odd])} if unusual else found


def threshold_at_recall(scores: Array, hostile: Array, recall: float) -> float:
    """Return the highest threshold that finds at least this share of the hostile.

    Whoever scores at or above it is flagged. NaN without hostile ones, or with a score that is
    no number.

    Args:
        scores: how suspicious each looks ``[n]``, higher is more.
        hostile: who is hostile ``[n]`` (bool).
        recall: the share to find, in (0, 1].

    Example:
        >>> bad = np.array([True, True, True, True, False])
        >>> threshold_at_recall(np.array([1.0, 2.0, 3.0, 4.0, 9.0]), bad, 0.75)
        2.0
    """
    mask = np.asarray(hostile, dtype=bool)
    theirs = np.sort(np.asarray(scores, dtype=np.float64)[mask])[::-1]
    if not theirs.size or np.isnan(theirs).any():
        return NAN
    # Rounded, since 0.95 x 20 is more than 19 in binary.
    wanted = max(1, math.ceil(round(recall * theirs.size, 9)))
    return float(theirs[wanted - 1])


def flagged_shares(scores: Array, hostile: Array, threshold: float) -> tuple[float, float]:
    """Return which share of the honest, and of the hostile, scores at or above a threshold.

    These are false alarms and recall. NaN of nobody, for a threshold that is no number, or where
    a score is none.

    Example:
        >>> bad = np.array([True, True, False, False])
        >>> flagged_shares(np.array([3.0, 1.0, 2.0, 0.0]), bad, 2.0)
        (0.5, 0.5)
    """
    known = np.asarray(scores, dtype=np.float64)
    mask = np.asarray(hostile, dtype=bool)
    if math.isnan(threshold) or np.isnan(known).any():
        return NAN, NAN
    flagged = known >= threshold
    return _share(flagged[~mask]), _share(flagged[mask])


def false_alarms_at_recall(scores: Array, hostile: Array, recall: float) -> float:
    """Return the share of honest ones flagged where so large a share of hostile ones is found.

    Example:
        >>> bad = np.array([True, True, False, False])
        >>> false_alarms_at_recall(np.array([3.0, 1.0, 2.0, 0.0]), bad, 0.95)
        0.5
    """
    threshold = threshold_at_recall(scores, hostile, recall)
    return flagged_shares(scores, hostile, threshold)[0]


def _suspicion(verdicts: Mapping[int, float], scores: Mapping[int, float]) -> Array:
    """Scores where a defense gave them; whoever never got that far is the most suspicious."""
    if not scores:
        return -np.array(list(verdicts.values()), dtype=np.float64)
    most = max(scores.values()) + 1.0
    return np.array([scores.get(client, most) for client in verdicts], dtype=np.float64)


def _share(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    return float(mask.mean()) if mask.size else float("nan")
