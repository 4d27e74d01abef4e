"""Membership scores beside who was really trained on, by both protocols for non-members.

``held-out``: members against held-out non-members of the same hospital, each by the column of the
hospital where it lies. ``elsewhere``: members against non-members of other hospitals, by the
column of the hospital that is asked about: this may measure a scanner's identity, not membership,
which is what the blind classifier beside it shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from asepsis.core.errors import ConfigError
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Array
from asepsis.core.threat import Evidence
from asepsis.federation.candidates import Candidates
from asepsis.federation.scoring.asked import among
from asepsis.federation.scoring.asked import asked as asked_about
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.metrics.blind import blind_scores, member_odds
from asepsis.metrics.intervals import Interval
from asepsis.metrics.membership import (
    advantage,
    auc_interval,
    excess_interval,
    mean_interval,
    patient_weights,
    roc_curve,
    tpr_at_fpr,
)

FEWEST = 5
"""FedMIA compares a hospital with the others: below so many the figures say so."""
CLASSIFIER = (0, 1)
"""The address of the blind classifier's draws: bootstraps have a round alone."""
LARGEST = 1e300
"""Infinite scores count as this, so that they differ from columns that nobody gave."""
RATES = {"tpr@0.1%": 0.001, "tpr@1%": 0.01}


@dataclass(frozen=True, slots=True, eq=False)
class Blind:
    """What is known without the model: log-odds of being a member ``[n]``, of lying at each home.

    ``at`` ``[n, hospitals]`` are log-probabilities, in the order of ``homes``.
    """

    member: Array
    at: Array
    homes: Array


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Candidates and the hospital that each is asked about: places, columns, who is a member."""

    who: Array
    column: Array
    member: Array


def score(evidence: Evidence, truth: Truth) -> Leak:
    """Return figures of both protocols, of which hospital, and of the federation as a whole.

    Per protocol ``auc`` with ``low`` and ``high`` (95 %, over patients), ``either``
    (``max(auc, 1 - auc)``), ``tpr@0.1%`` and ``tpr@1%`` (NaN, not estimable, below ``10 / FPR``
    non-members), ``advantage``, ``blind`` (the AUC of a classifier that never saw the model) and
    ``excess`` (what the attack adds to it, or to guessing where that is more)
    with bounds, ``members`` and ``nonmembers``. ``excess`` takes the attack's sign as it is: of an
    attack that is inverted it is negative, and ``either`` is what shows that it tells them apart.
    ``which-hospital/auc``: for a member, the chance that its own hospital's column is higher than
    another's; one half where columns are the same. ``federation/``: members of any hospital
    against all non-members, by the largest score over known columns (scores that compare hospitals
    sum up to the same for members and others), beside ``blind`` and ``excess``.
    ``few_clients`` is 1 where fewer than 5 hospitals are told apart or compared, ``unscored`` the
    share of candidates without a score, ``excluded`` how many are left out because an attack
    changed what their hospital trained on, see :func:`asepsis.federation.scoring.asked.asked`.

    Raises:
        ConfigError: there are no candidates, or the scores are not theirs.
    """
    everybody = truth.candidates
    if everybody is None or not len(everybody.member):
        raise ConfigError("membership needs candidates", place="candidates.members")
    where = asked_about(truth, everybody)
    candidates, excluded = among(everybody, where), float((~where).sum())
    if not where.any():
        return Leak({"excluded": excluded})
    homes = np.unique(candidates.home)
    given = _given(evidence, len(where))[where]
    columns = _columns(given, evidence.clients, homes)
    rng = truth.federation.streams.at(Draw.BOOTSTRAP, truth.round)
    weights = patient_weights(candidates.groups, candidates.member, rng)
    blind = _blind(candidates, truth.federation.streams)
    asked = {"held-out": held_out(candidates, homes), "elsewhere": elsewhere(candidates, homes)}
    scores: dict[str, float] = {}
    curves: dict[str, list[list[float]]] = {}
    for name, pairs in asked.items():
        found, known = _guesses(columns, blind, pairs, name)
        usable = np.isfinite(found)
        kept = Pairs(pairs.who[usable], pairs.column[usable], pairs.member[usable])
        figures = _figures(found[usable], known[usable], kept, weights)
        scores |= {f"{name}/{key}": value for key, value in figures.items()}
        curves[name] = roc_curve(found[usable], kept.member)
        curves[f"{name} (blind)"] = roc_curve(known[usable], kept.member)
    scores |= _which_hospital(columns, candidates, homes, weights)
    scores |= _federation(columns, blind, candidates, weights)
    scores["few_clients"] = float(_told_apart(given, homes) < FEWEST)
    scores["excluded"] = excluded
    scores["unscored"] = float(np.mean(~np.isfinite(columns).any(axis=1)))
    return Leak(scores, curves=curves)


def held_out(candidates: Candidates, homes: Array) -> Pairs:
    """Ask of every candidate whether the hospital where it lies trained on it."""
    who = np.arange(len(candidates.member))
    return Pairs(who, np.searchsorted(homes, candidates.home), candidates.member)


def elsewhere(candidates: Candidates, homes: Array) -> Pairs:
    """Ask of members whether their own hospital trained on them, of others whether another did."""
    own = np.searchsorted(homes, candidates.home)
    members = np.flatnonzero(candidates.member)
    others = np.flatnonzero(~candidates.member)
    who, column = np.repeat(others, len(homes)), np.tile(np.arange(len(homes)), len(others))
    foreign = own[who] != column
    return Pairs(
        np.concatenate([members, who[foreign]]),
        np.concatenate([own[members], column[foreign]]),
        np.repeat([True, False], [len(members), int(foreign.sum())]),
    )


def _given(evidence: Evidence, candidates: int) -> Array:
    """Return the scores ``[n]`` or ``[n, clients]`` that were claimed.

    A score that is no number knows nothing: it is its column's median.
    """
    given = evidence.guesses["scores"].detach().cpu().double().numpy()
    width = len(evidence.clients)
    if given.shape not in ((candidates,), (candidates, width)):
        raise ConfigError(
            "membership scores do not fit the candidates",
            got=given.shape,
            fix=f"return scores of shape {(candidates,)} or {(candidates, width)}",
        )
    return _informed(given.reshape(candidates, -1)).reshape(given.shape)


def _columns(given: Array, clients: tuple[int, ...], homes: Array) -> Array:
    """Return scores ``[n, homes]``: the same for all where nobody is told apart, NaN if unknown."""
    if given.ndim == 1:
        return np.repeat(given[:, None], len(homes), axis=1)
    made = np.full((len(given), len(homes)), np.nan)
    for place, home in enumerate(homes):
        if int(home) in clients:
            made[:, place] = given[:, clients.index(int(home))]
    return made


def _told_apart(given: Array, homes: Array) -> int:
    """Count columns that differ: members of a group share one."""
    return len(homes) if given.ndim == 1 else len({column.tobytes() for column in given.T})


def _informed(given: Array) -> Array:
    made = np.clip(given, -LARGEST, LARGEST)
    for column in made.T:
        missing = np.isnan(column)
        if missing.any() and not missing.all():
            column[missing] = np.median(column[~missing])
    return made


@lru_cache(maxsize=2)
def _blind(candidates: Candidates, streams: Streams) -> Blind:
    """The same in every round: fitted once for a set of candidates."""
    rng = streams.at(Draw.BOOTSTRAP, *CLASSIFIER)
    raw, homes = candidates.raw, np.unique(candidates.home)
    member = member_odds(
        raw.inputs, raw.targets, candidates.member, raw.groups, rng, strata=candidates.home
    )
    at = blind_scores(raw.inputs, raw.targets, candidates.home, raw.groups, rng)
    return Blind(member, at, homes)


def _guesses(columns: Array, blind: Blind, pairs: Pairs, name: str) -> tuple[Array, Array]:
    """Return the attack's and the blind classifier's scores of pairs."""
    known = blind.member[pairs.who]
    if name == "elsewhere":
        known = known + blind.at[pairs.who, pairs.column]
    return columns[pairs.who, pairs.column], known


def _figures(found: Array, known: Array, pairs: Pairs, weights: Array) -> dict[str, float]:
    member, who = pairs.member, pairs.who
    others = len(np.unique(who[~member]))
    auc = auc_interval(found, member, weights, who)
    return {
        **_named("auc", auc),
        "either": max(auc.mean, 1 - auc.mean),
        **{name: tpr_at_fpr(found, member, rate, others) for name, rate in RATES.items()},
        "advantage": advantage(found, member),
        **_named("blind", auc_interval(known, member, weights, who)),
        **_named("excess", excess_interval(found, known, member, weights, who)),
        "members": float(member.sum()),
        "nonmembers": float(others),
    }


def _which_hospital(
    columns: Array, candidates: Candidates, homes: Array, weights: Array
) -> dict[str, float]:
    own = np.searchsorted(homes, candidates.home)
    mine = columns[np.arange(len(own)), own]
    known = np.isfinite(columns)
    known[np.arange(len(own)), own] = False
    with np.errstate(invalid="ignore"):
        wins = (mine[:, None] > columns) + 0.5 * (mine[:, None] == columns)
    usable = np.flatnonzero(candidates.member & np.isfinite(mine) & known.any(axis=1))
    share = (wins * known)[usable].sum(axis=1) / known[usable].sum(axis=1)
    found = mean_interval(share, weights[:, usable])
    return {f"which-hospital/{key}": value for key, value in _named("auc", found).items()}


def _federation(
    columns: Array, blind: Blind, candidates: Candidates, weights: Array
) -> dict[str, float]:
    known = np.isfinite(columns)
    where = np.flatnonzero(known.any(axis=1))
    scores = np.where(known, columns, -np.inf).max(axis=1)[where]
    member, nature = candidates.member[where], blind.member[where]
    auc = auc_interval(scores, member, weights, where)
    figures = {
        **_named("auc", auc),
        "either": max(auc.mean, 1 - auc.mean),
        **_named("blind", auc_interval(nature, member, weights, where)),
        **_named("excess", excess_interval(scores, nature, member, weights, where)),
    }
    return {f"federation/{key}": value for key, value in figures.items()}


def _named(name: str, found: Interval) -> dict[str, float]:
    prefix = "" if name == "auc" else f"{name}_"
    return {name: found.mean, f"{prefix}low": found.low, f"{prefix}high": found.high}
