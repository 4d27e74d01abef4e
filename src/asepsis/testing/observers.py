"""What everybody promises who watches a federation or holds the released model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from asepsis.core.contracts import BroadcastAttack, ModelAttack, Observer, ServerAttack
from asepsis.core.errors import ConfigError
from asepsis.core.markers import classifies
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ReleaseView, ServerView, Setting
from asepsis.core.updates import Individual, State
from asepsis.testing.promises import Promises, copied, round_trip, same, same_state
from asepsis.testing.views import (
    HOSPITALS,
    SAMPLES,
    before_it_is_sent,
    behind_a_sum,
    come_back,
    in_groups,
    masked,
    released_generator,
    rows_of,
    views,
)

Look = Callable[[State, int], tuple[State, Evidence | None]]
Told = Mapping[int, Tensor]
EVERYBODY = tuple(range(HOSPITALS))


def check_observer(attack: Observer) -> None:
    """Check that an observing attack, or one on the released model, keeps its promises.

    For every kind of sample that it takes, on a small model: what it was shown is not modified; the
    same call claims the same; no global generator moves; the state is a dict of
    tensors and goes on from a checkpoint; guesses are tensors, finite where the updates are;
    measurements are finite; it names only clients of the round, and none behind a secure sum.
    Updates of zeros or NaN, no public samples and no candidates do not crash it. Neither do groups,
    masked messages and colluders. What a server that tampers sends, on a network with a hidden
    layer, are finite models to hospitals of the cohort, and it looks at what comes back from there.

    Raises:
        AssertionError: naming the promise that was broken.

    Example:
        >>> from asepsis.core.registry import build
        >>> check_observer(build("attack", "label-leakage"))
    """
    promises = Promises(str(attack))
    promises.hold(isinstance(attack, ServerAttack | ModelAttack), "it has observe() or infer()")
    kinds = getattr(attack, "kinds", None)
    promises.hold(bool(kinds) and set(kinds or ()) <= set(Kind), "it declares kinds")
    for kind in sorted(set(kinds or ())):
        server, release = _fitting(attack, kind)
        if isinstance(attack, ServerAttack):
            _check_server(attack, promises, server)
        if isinstance(attack, BroadcastAttack) and getattr(attack, "tampers", True):
            _check_tampering(attack, promises, kind)
        if isinstance(attack, ModelAttack):
            _check_model(attack, promises, release)


def _fitting(attack: Observer, kind: Kind) -> tuple[ServerView, ReleaseView]:
    """Return views of the plain model, of a deep one or a generator where the attack wants one."""
    plain = views(kind)
    if not classifies(attack):
        return plain[0], released_generator()
    check = getattr(attack, "check", None)
    if check is None:
        return plain
    view, samples = plain[0], (SAMPLES,) * HOSPITALS
    try:
        check(Setting(view.learner, view.sent, view.scale, view.recipe, samples))
    except ConfigError:
        return views(kind, deep=True)
    return plain


def _check_server(attack: ServerAttack, promises: Promises, view: ServerView) -> None:
    def look(given: ServerView) -> Look:
        return lambda state, seed: attack.observe(state, given, np.random.default_rng(seed))

    shown = _shown(view)
    first = _check(promises, look(view), EVERYBODY, "single updates")
    unharmed = all(same(a, b) for a, b in zip(shown, _shown(view), strict=True))
    promises.hold(unharmed, "what it was shown is not modified")
    _check_goes_on(promises, look(replace(view, facts=replace(view.facts, round=1))), first)
    # Who colludes and who takes part is known whatever the channel hides.
    sees = EVERYBODY if getattr(attack, "colludes", False) else ()
    _check(promises, look(behind_a_sum(view)), sees, "a secure sum")
    _check(promises, look(masked(view)), EVERYBODY, "the messages of a secure sum")
    _check(promises, look(in_groups(view)), EVERYBODY, "groups")
    rows = rows_of(view)
    league = replace(view, colluders={1: rows[1], 3: rows[3]}, counts={1: 16.0, 3: 16.0})
    _check(promises, look(behind_a_sum(league)), EVERYBODY, "a secure sum with colluders")
    assert isinstance(view.delivery, Individual)
    for value in (0.0, torch.nan):
        broken = replace(view, delivery=view.delivery.with_rows(torch.full_like(rows, value)))
        promises.state(look(broken)({}, 0)[0])
    _check(promises, look(replace(view, public=None, candidates=None)), None, "nothing beside it")


def _check_tampering(attack: BroadcastAttack, promises: Promises, kind: Kind) -> None:
    view, _ = views(kind, deep=True, cohort=(1, 2, 4))
    kept, before = view.sent.clone(), _global_generators()
    state, told = _sent(attack, promises, {}, view)
    promises.hold(_global_generators() == before, "no global generator moves (tampering)")
    promises.hold(same(kept, view.sent), "what it was shown is not modified (tampering)")
    remembered = copied(state)
    _, later = _sent(attack, promises, state, view)
    promises.hold(same_state(state, remembered), "the state handed in is not modified (tampering)")
    _, resumed = _sent(attack, promises, round_trip(remembered), view)
    promises.hold(_alike(later, resumed), "it goes on from a checkpoint (tampering)")
    came = come_back(view, kind, told)

    def look(given: ServerView) -> Look:
        return lambda _, seed: attack.observe(
            copied(remembered), given, np.random.default_rng(seed)
        )

    _check(promises, look(came), view.cohort, "a tampered round")
    _check(promises, look(behind_a_sum(came)), view.cohort, "a tampered round's secure sum")
    _check(promises, look(in_groups(came)), view.cohort, "a tampered round's groups")


def _sent(
    attack: BroadcastAttack, promises: Promises, state: State, view: ServerView
) -> tuple[State, Told]:
    shown = before_it_is_sent(view)
    after, told = attack.tamper(state, shown, np.random.default_rng(0))
    repeated, again = attack.tamper(state, shown, np.random.default_rng(0))
    promises.state(after)
    promises.hold(set(told) <= set(shown.cohort), "it sends to hospitals of the cohort only")
    fit = all(one.shape == view.sent.shape and bool(one.isfinite().all()) for one in told.values())
    promises.hold(fit, "it sends finite models")
    alike = same_state(after, repeated) and _alike(told, again)
    promises.hold(alike, "the same call sends the same")
    return after, told


def _alike(one: Told, two: Told) -> bool:
    return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)


def _check_model(attack: ModelAttack, promises: Promises, view: ReleaseView) -> None:
    def look(given: ReleaseView) -> Look:
        return lambda state, seed: (state, attack.infer(given, np.random.default_rng(seed)))

    row = view.row.clone()
    _check(promises, look(view), None, "the released model")
    promises.hold(same(row, view.row), "what it was shown is not modified")
    _check(promises, look(replace(view, public=None, candidates=None)), None, "nothing beside it")
    look(replace(view, row=torch.full_like(view.row, torch.nan)))({}, 0)


def _check(promises: Promises, look: Look, clients: tuple[int, ...] | None, where: str) -> State:
    before = _global_generators()
    state, claim = look({}, 0)
    promises.hold(_global_generators() == before, f"no global generator moves ({where})")
    promises.state(state)
    after, again = look({}, 0)
    promises.hold(same_state(state, after), f"the same call gives the same state ({where})")
    promises.hold((claim is None) == (again is None), f"the same call claims the same ({where})")
    if claim is not None and again is not None:
        alike = same_state(claim.guesses, again.guesses)
        promises.hold(alike, f"the same call claims the same ({where})")
        _check_claim(promises, claim, clients, where)
    return state


def _check_claim(
    promises: Promises, claim: Evidence, clients: tuple[int, ...] | None, where: str
) -> None:
    promises.hold(bool(claim.guesses), f"a claim has guesses ({where})")
    # An isolated row says NaN where it knows nothing.
    known = [g[~g.isnan()] if claim.kind == "isolation" else g for g in claim.guesses.values()]
    finite = all(bool(guess.isfinite().all()) and guess.numel() > 0 for guess in known)
    promises.hold(finite, f"guesses are finite ({where})")
    promises.hold(all(math.isfinite(v) for v in claim.measurements.values()), "figures are finite")
    named = {*claim.clients, *(() if claim.about is None else (claim.about,))}
    if clients is not None:
        promises.hold(named <= set(clients), f"it names only clients that it can see ({where})")


def _check_goes_on(promises: Promises, look: Look, state: State) -> None:
    kept = copied(state)
    after, one = look(state, 1)
    promises.hold(same_state(state, kept), "the state handed in is not modified")
    later, two = look(round_trip(kept), 1)
    alike = (one is None) == (two is None) and same_state(after, later)
    if one is not None and two is not None:
        alike = alike and same_state(one.guesses, two.guesses)
    promises.hold(alike, "it goes on from a checkpoint as if nothing had happened")


def _shown(view: ServerView) -> list[Tensor]:
    assert view.public is not None
    assert view.candidates is not None
    parts = [view.public.inputs, view.candidates.inputs, view.candidates.targets]
    return [part.clone() for part in (view.sent, rows_of(view), *parts)]


def _global_generators() -> tuple[bytes, str]:
    # Reading the legacy global state is the only way to notice that somebody drew from it.
    numpy_state = np.random.get_state()  # noqa: NPY002
    return bytes(torch.get_rng_state().tolist()), str(numpy_state)
