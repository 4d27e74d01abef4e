"""A guessed column of patients' records beside what it really says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from asepsis.core.samples import Array
from asepsis.core.threat import Evidence
from asepsis.federation.scoring.asked import asked
from asepsis.federation.scoring.hospitals import with_bounds
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.metrics.imputation import nearest

NAN = float("nan")
GUESSERS = {"values": "accuracy", "majority": "majority", "imputed": "imputed"}


def score(evidence: Evidence, truth: Truth) -> Leak:
    """Compare the attack with guesses that never see the model, on members and on others.

    A guess is right when it is the value of ``support`` nearest to the record's own; records that
    lack the column are left out, and those of which nobody knows whether they were trained on
    (``excluded``, see :func:`asepsis.federation.scoring.asked.asked`). ``accuracy/members`` and
    ``accuracy/others`` are the attack's, ``majority/...`` and ``imputed/...`` the baselines'.
    ``member_gap`` is the attack's accuracy on members minus others; ``leakage`` is that minus the
    imputation's own gap, which no model caused; ``excess/members`` and ``excess/others`` are the
    attack's accuracy minus the imputation's: what the model knows of people in general. All with
    95 % intervals over patients.
    """
    if truth.candidates is None:
        return Leak({})
    known, wanted = _true_values(evidence, truth)
    member, groups = truth.candidates.member[known], truth.candidates.groups[known]
    right = {
        name: (_array(evidence.guesses[guess])[known] == wanted).astype(np.float64)
        for guess, name in GUESSERS.items()
    }
    better = right["accuracy"] - right["imputed"]
    figures: dict[str, Callable[[Array], float]] = {}
    for name, hits in {**right, "excess": better}.items():
        figures[f"{name}/members"] = _mean(hits, member)
        figures[f"{name}/others"] = _mean(hits, ~member)
    figures["member_gap"] = _gap(right["accuracy"], member)
    figures["leakage"] = _gap(better, member)
    scores = {"members": float(member.sum()), "others": float((~member).sum())}
    scores["excluded"] = float((~asked(truth, truth.candidates)).sum())
    if not len(member):
        return Leak(scores)
    for name, figure in figures.items():
        scores |= with_bounds(name, figure, groups, truth)
    return Leak(scores)


def _true_values(evidence: Evidence, truth: Truth) -> tuple[Array, Array]:
    """Return which records have the column, and the supported value nearest to theirs."""
    assert truth.candidates is not None
    column = int(evidence.measurements["attribute"])
    known = np.isfinite(truth.candidates.raw.inputs[:, column]) & asked(truth, truth.candidates)
    support = _array(evidence.guesses["support"])
    values = _array(truth.candidates.shard.inputs[:, column])[known]
    return known, support[nearest(values, support)]


def _mean(hits: Array, where: Array) -> Callable[[Array], float]:
    def figure(drawn: Array) -> float:
        mine = hits[drawn][where[drawn]]
        return float(mine.mean()) if mine.size else NAN

    return figure


def _gap(hits: Array, member: Array) -> Callable[[Array], float]:
    mine, theirs = _mean(hits, member), _mean(hits, ~member)
    return lambda drawn: mine(drawn) - theirs(drawn)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().double().cpu().numpy())
