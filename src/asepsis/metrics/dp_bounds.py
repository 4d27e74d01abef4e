"""What guesses about canaries prove: lower bounds on epsilon, with a stated confidence.

A guesser that is right too often is evidence against a claimed epsilon. A bound of 0 is no
evidence for it: ``largest`` says what the same number of canaries could have found at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from asepsis.core.errors import ConfigError

Scores = NDArray[np.float64]

SHARES = (0.05, 0.1, 0.25, 0.5)
"""In one run, so large a share of canaries is guessed to be in, and as large a share out."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A lower bound on epsilon at ``delta``, right with ``confidence``; 0 proves nothing.

    ``largest`` is the bound that a guesser who is never wrong would have got from as many
    ``canaries`` (or trials). ``method`` says how it was found.
    """

    epsilon: float
    largest: float
    canaries: int
    confidence: float
    delta: float
    method: str


def from_trials(present: Scores, absent: Scores, delta: float, confidence: float = 0.95) -> Bound:
    """Bound epsilon from scores of independent trials with and without a canary.

    The first half of either kind chooses a threshold and a direction; the other half is counted.
    With rates bounded by Clopper and Pearson at ``(1 + confidence) / 2`` each,
    ``epsilon >= log((TPR - delta) / FPR)``, or the same of the true and false negatives.

    Raises:
        ConfigError: fewer than 4 trials of a kind.

    Example:
        >>> apart = from_trials(np.ones(200), np.zeros(200), delta=1e-5)
        >>> apart.epsilon == apart.largest > 3
        True
    """
    if min(len(present), len(absent)) < 4:
        raise ConfigError(
            "too few trials to bound anything",
            place="trials",
            got=min(len(present), len(absent)),
            fix="use at least 4 with the canary and 4 without",
        )
    tuned, counted = (present[::2], absent[::2]), (present[1::2], absent[1::2])
    options = [
        (
            _certified(sign * tuned[0], sign * tuned[1], sign * cut, delta, confidence, sign),
            cut,
            sign,
        )
        for sign in (1, -1)
        for cut in _cuts(np.concatenate(tuned))
    ]
    _, cut, sign = max(options, key=lambda option: option[0])
    found = _certified(sign * counted[0], sign * counted[1], sign * cut, delta, confidence, sign)
    best = max(
        _ratio(len(counted[0]), len(counted[0]), 0, len(counted[1]), delta, confidence),
        _ratio(len(counted[1]), len(counted[1]), 0, len(counted[0]), delta, confidence),
    )
    size = len(present) + len(absent)
    return Bound(found, best, size, confidence, delta, "repeated trials, Clopper-Pearson")


def _certified(
    present: Scores, absent: Scores, cut: float, delta: float, confidence: float, sign: int
) -> float:
    """Return the bound of the test ``score > cut``; with sign -1 the test is for absence."""
    hits, alarms = int((present > cut).sum()), int((absent > cut).sum())
    if sign < 0:
        return _ratio(alarms, len(absent), hits, len(present), delta, confidence)
    return _ratio(hits, len(present), alarms, len(absent), delta, confidence)


def _cuts(scores: Scores) -> Scores:
    found = np.unique(np.quantile(scores, np.linspace(0.005, 0.995, 100)))
    return np.concatenate([found, (found[1:] + found[:-1]) / 2])


def _ratio(hits: int, n: int, alarms: int, of: int, delta: float, confidence: float) -> float:
    """Return ``log((rate of hits - delta) / rate of alarms)`` at its lower confidence limit."""
    doubt = (1 - confidence) / 2
    low = float(beta.ppf(doubt, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - doubt, alarms + 1, of - alarms)) if alarms < of else 1.0
    return max(0.0, math.log((low - delta) / high)) if low > delta else 0.0


def one_run(
    scores: Scores, included: NDArray[np.bool_], delta: float, confidence: float = 0.95
) -> Bound:
    """Bound epsilon from one run in which every canary was included by a fair coin of its own.

    For each of several shares fixed beforehand, the canaries with the highest scores are guessed
    to be in and as many with the lowest to be out; the best bound counts, at a confidence that
    allows for the choice.

    Raises:
        ConfigError: fewer than 10 canaries.

    Example:
        >>> coins = np.arange(200) % 2 == 0
        >>> found = one_run(coins.astype(float), coins, delta=1e-5)
        >>> found.epsilon == found.largest > 3
        True
    """
    m = len(scores)
    if m < 10:
        raise ConfigError(
            "too few canaries to bound anything", place="canaries", got=m, fix="use 10"
        )
    order = np.argsort(scores, kind="stable")
    doubt, bounds, largest = (1 - confidence) / len(SHARES), [], []
    for share in SHARES:
        each = max(1, int(share * m))
        right = int(included[order[-each:]].sum() + (~included[order[:each]]).sum())
        bounds.append(one_run_epsilon(m, 2 * each, right, delta, doubt))
        largest.append(one_run_epsilon(m, 2 * each, 2 * each, delta, doubt))
    return Bound(max(bounds), max(largest), m, confidence, delta, "one run, fair coins")


@lru_cache(maxsize=1024)
def one_run_epsilon(m: int, guesses: int, right: int, delta: float, doubt: float) -> float:
    """Return the largest epsilon that so many right guesses refute at level ``doubt``.

    Steinke, Nasr and Jagielski, Privacy Auditing with One (1) Training Run (NeurIPS 2023), Theorem
    5.2, for ``m`` canaries of which ``guesses`` are guessed.
    """
    low, high = 0.0, 1.0
    if one_run_chance(m, guesses, right, low, delta) >= doubt:
        return 0.0
    while one_run_chance(m, guesses, right, high, delta) < doubt and high < 64:
        high *= 2
    for _ in range(24):
        middle = (low + high) / 2
        if one_run_chance(m, guesses, right, middle, delta) < doubt:
            low = middle
        else:
            high = middle
    return low


def one_run_chance(m: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Bound the chance of so many right guesses against any mechanism with this epsilon.

    With ``B`` binomial over the guesses with chance ``1 / (1 + exp(-epsilon))``:
    ``P[B >= right] + 2 m delta max_i P[right > B >= right - i] / i``.
    """
    chance = 1 / (1 + math.exp(-epsilon))
    below = np.arange(right - 1, -1, -1)
    sums = np.cumsum(binom.pmf(below, guesses, chance))
    steepest = float((sums / np.arange(1, right + 1)).max()) if right else 0.0
    return min(1.0, float(binom.sf(right - 1, guesses, chance)) + 2 * m * delta * steepest)
