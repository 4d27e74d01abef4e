"""Shares of a diagnosis beside those that hospitals really have."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from asepsis.core.samples import Array
from asepsis.core.threat import Evidence
from asepsis.federation.scoring.hospitals import (
    findings_at,
    rows_for,
    subjects,
    unknown,
    with_bounds,
)
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.metrics.inference import rank_agreement, share_errors


def score(evidence: Evidence, truth: Truth) -> Leak:
    """Compare guessed shares ``[m, classes]`` with those of the hospitals' training samples.

    ``error`` is the mean absolute error of a share, ``baseline_error`` that of somebody who says
    of every hospital what is so of the federation as a whole, ``gain`` what the attack is better
    by: leakage. Their intervals are over hospitals, of which there are few (``hospitals``): with
    four they say little. ``rank`` is Spearman's correlation across hospitals. Behind a secure sum
    the one guess is scored for every present hospital (a group's for all in it), and
    ``pooled_error`` says how well it knows all of them together. Hospitals whose training an
    attack replaced are left out (``unknown_truth``, a share).
    """
    everybody, jobs = subjects(evidence, truth), truth.jobs()
    where = [i for i, client in enumerate(everybody) if client in jobs]
    asked = tuple(everybody[i] for i in where)
    left_out = unknown(len(everybody), len(asked))
    if not asked:
        return Leak(left_out)
    real = np.stack([findings_at(truth, client).mean(axis=0) for client in asked])
    guess = rows_for(_array(evidence.guesses["shares"]), everybody)[where]
    errors, usual = share_errors(guess, real), share_errors(_federation(truth)[None], real)
    hospitals = np.arange(len(asked))
    scores = {
        **with_bounds("error", lambda drawn: float(errors[drawn].mean()), hospitals, truth),
        "baseline_error": float(usual.mean()),
        **with_bounds(
            "gain", lambda drawn: float((usual - errors)[drawn].mean()), hospitals, truth
        ),
        "rank": rank_agreement(guess, real),
        "hospitals": float(len(asked)),
        **left_out,
    }
    for name, title in (("closed_form", "closed_form_error"), ("prior", "prior_error")):
        if name in evidence.guesses:
            other = rows_for(_array(evidence.guesses[name]), everybody)[where]
            scores[title] = float(share_errors(other, real).mean())
    if not evidence.clients and evidence.about is None:
        scores["pooled_error"] = float(np.abs(guess[0] - _pooled(truth, asked)).mean())
    return Leak(scores)


def _federation(truth: Truth) -> Array:
    return _pooled(truth, tuple(hospital.id for hospital in truth.federation.hospitals))


def _pooled(truth: Truth, hospitals: tuple[int, ...]) -> Array:
    everybody = [findings_at(truth, client) for client in hospitals]
    return np.asarray(np.concatenate(everybody).mean(axis=0))


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().double().cpu().numpy())
