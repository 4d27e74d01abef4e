"""Counts of labels beside those that local training really used."""

from __future__ import annotations

import numpy as np

from asepsis.core.rng import Draw
from asepsis.core.samples import Array, Kind
from asepsis.core.threat import Evidence
from asepsis.federation.scoring.hospitals import (
    labels_trained_on,
    rows_for,
    subjects,
    unknown,
    with_bounds,
)
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.metrics.inference import apportioned, count_scores, drawn_counts, indicator

GUESSES = 200


def score(evidence: Evidence, truth: Truth) -> Leak:
    """Compare guessed counts ``[m, classes]`` with the labels that local steps used.

    See :func:`asepsis.metrics.inference.count_scores`. ``chance_*`` are the same for guesses drawn
    from the public distribution, with the true number of labels; ``prior_count_error`` for the
    most likely of them; ``gain`` is what the attack is better by than that, with its interval over
    hospitals: leakage. Behind a secure sum the mean hospital's counts are scored for every
    present hospital, behind grouped sums each group's for all in it. Left out (``unknown_truth``,
    a share) are hospitals of which nobody knows what they used: an attack replaced their training,
    or the trainer does not say.
    """
    asked = subjects(evidence, truth)
    rows = rows_for(np.asarray(evidence.guesses["counts"].cpu().numpy()), asked)
    pairs = [(labels_trained_on(truth, who), row) for who, row in zip(asked, rows, strict=True)]
    known = [(*used, row) for used, row in pairs if used is not None]
    left_out = unknown(len(asked), len(known))
    if not known:
        return Leak(left_out)
    real, totals, guess = (np.stack(part) for part in zip(*known, strict=True))
    scores = count_scores(guess, real) | {"hospitals": float(len(known))} | left_out
    return Leak(scores | _beyond_the_public(guess, real, totals, truth))


def _beyond_the_public(guess: Array, real: Array, totals: Array, truth: Truth) -> dict[str, float]:
    if truth.public is None or not len(truth.public):
        return {}
    learner = truth.federation.learner
    shares = indicator(truth.public.targets.cpu().numpy(), learner.classes).mean(axis=0)
    one_each = learner.kind is not Kind.MULTILABEL_IMAGE
    rng = truth.federation.streams.at(Draw.BOOTSTRAP, truth.round, 1)
    drawn = [
        count_scores(one, real) for one in drawn_counts(shares, totals, one_each, GUESSES, rng)
    ]
    likely = np.stack([_likely(shares, int(n), one_each) for n in totals])
    better = np.abs(likely - real).mean(axis=1) - np.abs(guess - real).mean(axis=1)
    return {
        **{f"chance_{name}": float(np.mean([one[name] for one in drawn])) for name in drawn[0]},
        "prior_count_error": float(np.abs(likely - real).mean()),
        **with_bounds("gain", lambda i: float(better[i].mean()), np.arange(len(real)), truth),
    }


def _likely(shares: Array, total: int, one_each: bool) -> Array:
    return apportioned(shares, total) if one_each else np.rint(shares * total)
