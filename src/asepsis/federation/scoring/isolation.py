"""Updates that an attack claims to have singled out, beside those that were really sent."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from asepsis.core.threat import Evidence
from asepsis.federation.scoring.truth import Leak, Truth

CLOSE = 0.1
"""A hospital is isolated when its update is known to within this relative error."""
ENOUGH = 0.05
"""... on no less than this share of its columns."""


def score(evidence: Evidence, truth: Truth) -> Leak:
    """Set a claimed row beside the hospital's true one, on the columns that are claimed.

    ``relative_error`` is ``|guess - row| / |row|``, ``scaled_error`` the same after the best single
    factor (0 when the direction is right), ``cosine`` with the true row stands beside
    ``other_cosine``, the largest with any other hospital's, and ``rest_cosine``, with the mean of
    the others. ``isolated`` is 1 when the error is below 0.1, the claim is about one hospital, and
    ``known``, the share of columns that are claimed, is at least 0.05: a few columns alone may be
    right by chance. ``isolated_direction`` is the same for the scaled error. A claim about several
    hospitals is set beside their weighted mean, and isolates nobody. Without any column nothing was
    learned: no figure but ``known`` = 0.
    """
    sent, guess = truth.sent, evidence.guesses["row"].detach().cpu().double()
    known = guess.isfinite()
    share = float(known.double().mean())
    about = evidence.clients if evidence.about is None else (evidence.about,)
    here = set(about) & set(sent.clients) if sent is not None else set()
    if sent is None or not share or not here or len(here) < len(about):
        return Leak({"known": share, "isolated": 0.0, "isolated_direction": 0.0})
    rows, weights = sent.rows.dense().detach().cpu().double()[:, known], sent.weights
    mine = torch.tensor([client in here for client in sent.clients])
    real, guess = _mean(rows[mine], weights[mine]), guess[known]
    others = rows[~mine]
    alone = float(len(about) == 1 and share >= ENOUGH)
    error, scaled = _errors(guess, real)
    return Leak(
        {
            "known": share,
            "hospitals": float(len(about)),
            "relative_error": error,
            "scaled_error": scaled,
            "cosine": _cosine(guess, real),
            "other_cosine": max((_cosine(guess, row) for row in others), default=0.0),
            "rest_cosine": _cosine(guess, _mean(others, weights[~mine])) if len(others) else 0.0,
            "isolated": alone * float(error < CLOSE),
            "isolated_direction": alone * float(scaled < CLOSE),
        }
    )


def _mean(rows: Tensor, weights: Tensor) -> Tensor:
    shares = weights.double().clamp(min=0.0).nan_to_num(nan=0.0, posinf=0.0)
    shares = shares if float(shares.sum()) > 0 else torch.ones_like(shares)
    return shares @ rows / shares.sum()


def _errors(guess: Tensor, real: Tensor) -> tuple[float, float]:
    """Return the relative error of a guess, and that of its best multiple."""
    length, own = float(real.norm()), float(guess.norm())
    if not length > 0 or not math.isfinite(length):
        return math.nan, math.nan
    best = guess * (float(guess @ real) / own**2) if own > 0 else guess
    return float((guess - real).norm()) / length, float((best - real).norm()) / length


def _cosine(one: Tensor, two: Tensor) -> float:
    lengths = float(one.norm()) * float(two.norm())
    return float(one @ two) / lengths if 0 < lengths < math.inf else 0.0
