"""What everybody promises who watches a federation or holds the released model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from asepsis.core.contracts import BroadcastAttack, ModelAttack, Observer, ServerAttack
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import Kind, Shard
from asepsis.core.threat import BroadcastView, Evidence, Facts, ReleaseView, ServerView
from asepsis.core.updates import Individual, Rows, State, Summed
from asepsis.testing.learners import learner_for
from asepsis.testing.promises import Promises, copied, round_trip, same, same_state
from asepsis.training.learner import Learner
from asepsis.training.sgd import Sgd

HOSPITALS = 5
CLASSES = 3
SAMPLES = 16
SHAPES: dict[Kind, tuple[int, ...]] = {
    Kind.IMAGE: (1, 12, 12),
    Kind.MULTILABEL_IMAGE: (1, 12, 12),
    Kind.VOLUME: (1, 8, 8, 8),
    Kind.TABLE: (6,),
    Kind.SEQUENCE: (10, 2),
}
TASKS = {
    Kind.IMAGE: "classification",
    Kind.MULTILABEL_IMAGE: "multilabel",
    Kind.VOLUME: "classification",
    Kind.TABLE: "tabular",
    Kind.SEQUENCE: "sequence",
}
Look = Callable[[State, int], tuple[State, Evidence | None]]


def check_observer(attack: Observer) -> None:
    """Check that an observing attack, or one on the released model, keeps its promises.

    For every kind of sample with classes that it takes, on a linear model: what it was shown is
    not modified; the same call claims the same; no global generator moves; the state is a dict of
    tensors and goes on from a checkpoint; guesses are tensors, finite where the updates are;
    measurements are finite; it names only clients of the round, and none behind a secure sum.
    Updates of zeros or NaN, no public samples and no candidates do not crash it. What a server that
    tampers sends, on a network with a hidden layer, are finite models to hospitals of the cohort.

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
    for kind in sorted(set(kinds or ()) & set(SHAPES)):
        server, release = views(kind)
        if isinstance(attack, ServerAttack):
            _check_server(attack, promises, server)
        if isinstance(attack, BroadcastAttack) and getattr(attack, "tampers", True):
            _check_tampering(attack, promises, kind)
        if isinstance(attack, ModelAttack):
            _check_model(attack, promises, release)


def views(kind: Kind) -> tuple[ServerView, ReleaseView]:
    """Return what a curious server has of five hospitals, and what the holder of a model has."""
    learner = _learner(kind)
    row = learner.fresh(np.random.default_rng(0))
    updates = [
        learner.fit(row, _samples(kind, i), np.random.default_rng(i)) - row for i in range(5)
    ]
    facts = Facts(0, HOSPITALS, 1.0, row.clone(), parameters=learner.parameters)
    trainer = learner.trainer
    delivery = Individual(
        tuple(range(HOSPITALS)),
        Rows(torch.stack(updates)),
        torch.full((HOSPITALS,), float(SAMPLES), dtype=torch.float64),
    )
    server = ServerView(
        facts=facts,
        sent=row,
        delivery=delivery,
        learner=learner,
        scale=trainer.gradient_scale,
        batch=trainer.batch,
        recipe=trainer.recipe,
        candidates=_samples(kind, 0),
        public=_samples(kind, 9),
    )
    release = ReleaseView(
        facts, row + updates[0], learner, trainer.recipe, server.candidates, server.public
    )
    return server, release


def _learner(kind: Kind, model: str = "logistic") -> Learner:
    shape = SHAPES[kind]
    with building_modules(0):
        module = build("model", model).build(shape, CLASSES)
    trainer = Sgd(lr=0.1, momentum=0.0, batch_size=8)
    task = build("task", TASKS[kind])
    return learner_for(module, shape, CLASSES, task=task, trainer=trainer, kind=kind)


def _samples(kind: Kind, seed: int) -> Shard:
    rng = np.random.default_rng(100 + seed)
    inputs = rng.uniform(-1, 1, (SAMPLES, *SHAPES[kind])).astype(np.float32)
    if kind is Kind.MULTILABEL_IMAGE:
        targets = torch.from_numpy(rng.integers(2, size=(SAMPLES, CLASSES)).astype(np.float32))
    else:
        targets = torch.from_numpy(rng.integers(CLASSES, size=SAMPLES))
    return Shard(torch.from_numpy(inputs), targets)


def _check_server(attack: ServerAttack, promises: Promises, view: ServerView) -> None:
    def look(given: ServerView) -> Look:
        return lambda state, seed: attack.observe(state, given, np.random.default_rng(seed))

    shown = _shown(view)
    first = _check(promises, look(view), tuple(range(HOSPITALS)), "single updates")
    unharmed = all(same(a, b) for a, b in zip(shown, _shown(view), strict=True))
    promises.hold(unharmed, "what it was shown is not modified")
    _check_goes_on(promises, look(replace(view, facts=replace(view.facts, round=1))), first)
    assert isinstance(view.delivery, Individual)
    total = SAMPLES * view.delivery.rows.dense().sum(dim=0)
    behind = replace(view, delivery=Summed(HOSPITALS, total, float(HOSPITALS * SAMPLES)))
    _check(promises, look(behind), (), "a secure sum")
    rows = view.delivery.rows.dense()
    for value in (0.0, torch.nan):
        broken = replace(view, delivery=view.delivery.with_rows(torch.full_like(rows, value)))
        promises.state(look(broken)({}, 0)[0])
    _check(promises, look(replace(view, public=None, candidates=None)), None, "nothing beside it")


def _check_tampering(attack: BroadcastAttack, promises: Promises, kind: Kind) -> None:
    learner, cohort = _learner(kind, "mlp"), (1, 2, 4)
    row = learner.fresh(np.random.default_rng(0))
    facts = Facts(0, HOSPITALS, 1.0, row.clone(), parameters=learner.parameters)

    def send() -> tuple[State, Mapping[int, Tensor]]:
        view = BroadcastView(facts, row, cohort, learner, _samples(kind, 9))
        return attack.tamper({}, view, np.random.default_rng(0))

    kept, before = row.clone(), _global_generators()
    (state, told), (_, again) = send(), send()
    promises.hold(_global_generators() == before, "no global generator moves (tampering)")
    promises.hold(same(kept, row), "what it was shown is not modified (tampering)")
    promises.state(state)
    promises.hold(set(told) <= set(cohort), "it sends to hospitals of the cohort only")
    fit = all(one.shape == row.shape and bool(one.isfinite().all()) for one in told.values())
    promises.hold(fit, "it sends finite models")
    alike = told.keys() == again.keys() and all(same(told[i], again[i]) for i in told)
    promises.hold(alike, "the same call sends the same")


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
    finite = all(bool(guess.isfinite().all()) for guess in claim.guesses.values())
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
    assert isinstance(view.delivery, Individual)
    assert view.public is not None
    assert view.candidates is not None
    parts = [view.public.inputs, view.candidates.inputs, view.candidates.targets]
    return [part.clone() for part in (view.sent, view.delivery.rows.dense(), *parts)]


def _global_generators() -> tuple[bytes, str]:
    # Reading the legacy global state is the only way to notice that somebody drew from it.
    numpy_state = np.random.get_state()  # noqa: NPY002
    return bytes(torch.get_rng_state().tolist()), str(numpy_state)
