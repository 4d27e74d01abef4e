"""Whoever watches gets copies of its own: nothing it does to them reaches anybody else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from test_round import parts, played
from torch import Tensor

from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ReleaseView, ServerView, When
from asepsis.core.updates import Individual, State
from asepsis.defenses.stack import build_pipeline
from asepsis.federation.federation import Watch
from asepsis.federation.observing import inferred


@dataclass
class Looks:
    """Does something with what it is shown, and claims nothing."""

    act: Callable[[ServerView], None] = lambda view: None
    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        self.act(view)
        return state, None


@dataclass
class Reads:
    """Keeps a copy of everything it is shown."""

    shown: list[dict[str, Tensor]] = field(default_factory=list)
    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        self.shown.append({name: tensor.clone() for name, tensor in tensors_in(view).items()})
        return state, None


def tensors_in(view: ServerView) -> dict[str, Tensor]:
    assert view.candidates is not None
    assert view.public is not None
    assert view.facts.received is not None
    found = {
        "sent": view.sent,
        "received": view.facts.received,
        "candidates": view.candidates.inputs,
        "targets": view.candidates.targets,
        "public": view.public.inputs,
    }
    if isinstance(view.delivery, Individual):
        found |= {"rows": view.delivery.rows.dense(), "weights": view.delivery.weights}
        found |= {f"side/{name}": value for name, value in view.delivery.side.items()}
    return found


def spoil(view: ServerView) -> None:
    for tensor in tensors_in(view).values():
        tensor.mul_(0).add_(torch.arange(tensor.numel()).view(tensor.shape).to(tensor))


def watchers(*attacks: Any, **changes: Any) -> Any:
    named = {f"watcher {i}": Watch(attack, When()) for i, attack in enumerate(attacks)}
    return parts(observers=named, candidates=3, **changes)


def test_a_vandal_who_watches_changes_neither_the_run_nor_what_others_see() -> None:
    alone, beside = Reads(), Reads()
    _, _, quiet, _ = played(watchers(alone), rounds=2)
    _, _, spoiled, _ = played(watchers(Looks(spoil), beside), rounds=2)
    assert torch.equal(quiet.row, spoiled.row)
    for one, two in zip(alone.shown, beside.shown, strict=True):
        assert set(one) == set(two) >= {"weights", "side/loss"}
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "stack", [["mean"], ["secure-sum", "mean"], ["secure-aggregation", "mean"]]
)
def test_what_is_handed_out_cannot_be_written_to(stack: list[str]) -> None:
    refused: list[str] = []

    def write(view: ServerView) -> None:
        given: dict[str, Any] = {"told": view.told, "wire": view.wire, "side": view.delivery.side}
        for name, mapping in given.items():
            try:
                mapping["loss"] = 1e9
            except TypeError:
                refused.append(name)
        if view.wire:
            view.wire[0].zero_()
            assert bool(view.wire[0].any())

    pipeline = build_pipeline(stack)
    _, _, written, _ = played(watchers(Looks(write), pipeline=pipeline))
    _, _, quiet, _ = played(watchers(pipeline=pipeline))
    assert torch.equal(written.row, quiet.row)
    assert "wire" in refused


def test_who_attacks_the_released_model_gets_copies_too() -> None:
    @dataclass
    class Vandal:
        seen: list[Tensor] = field(default_factory=list)
        kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

        def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence | None:
            assert view.candidates is not None
            assert view.public is not None
            assert view.facts.received is not None
            given = [view.row, view.facts.received, view.candidates.inputs, view.public.inputs]
            self.seen.append(torch.cat([tensor.flatten() for tensor in given]))
            for tensor in given:
                tensor.zero_()
            return None

    vandal = Vandal()
    federation, _, state, outcome = played(watchers(vandal, vandal))
    facts = federation.facts_of(0, outcome.cohort, state.row)
    inferred(federation, state.row, facts)
    assert torch.equal(*vandal.seen)
    assert bool(vandal.seen[0].any())


def test_two_who_watch_in_the_same_way_draw_their_own_numbers() -> None:
    @dataclass
    class Draws:
        drawn: list[float] = field(default_factory=list)
        kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

        def observe(
            self, state: State, view: ServerView, rng: np.random.Generator
        ) -> tuple[State, Evidence | None]:
            self.drawn.append(float(rng.random()))
            return state, None

        def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence | None:
            self.drawn.append(float(rng.random()))
            return None

    one, two, again = Draws(), Draws(), Draws()
    made = watchers(one, two)
    for parts_ in (made, replace(made, observers={"watcher 1": Watch(again, When())})):
        federation, _, state, outcome = played(parts_)
        inferred(federation, state.row, federation.facts_of(0, outcome.cohort, state.row))
    assert len({*one.drawn, *two.drawn}) == 4
    assert two.drawn == again.drawn


def test_what_the_server_defends_itself_with_is_nobodys_public_data() -> None:
    reads = Reads()
    made = watchers(reads)
    validation = [hospital.validation for hospital in made.hospitals]
    numbered = [replace(v, ids=v.ids + 100 * i) for i, v in enumerate(validation)]
    homes = [replace(h, validation=v) for h, v in zip(made.hospitals, numbered, strict=True)]
    root = numbered[2].take(np.arange(6))
    made = replace(made, hospitals=tuple(homes), root=(root, "validation patients of h2"))
    federation, *_ = played(made)
    public, own = reads.shown[0]["public"], federation.prepare(root).inputs
    assert len(public) == 6 * 8 - 6
    assert not any(bool((public == row).all(dim=1).any()) for row in own)
