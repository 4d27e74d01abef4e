"""What every attack on the wire must do, and that the suite finds those that do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from asepsis.core.channel import Message
from asepsis.core.contracts import ChannelAttack
from asepsis.core.registry import build, entries, lookup
from asepsis.core.threat import WireView
from asepsis.core.updates import State
from asepsis.testing import check_channel_attack

ATTACKS: dict[str, tuple[dict[str, Any], ...]] = {
    "intercept": (
        {},
        {"does": "alter", "share": 1.0, "scale": 1.0},
        {"does": "drop"},
        {"does": "drop", "share": 1.0},
        {"does": "replay"},
        {"does": "replay", "share": 1.0},
    ),
}
Made = tuple[State, Mapping[int, Message | None], Mapping[str, float]]


def test_every_attack_on_the_wire_is_in_the_suite() -> None:
    known = {e.name for e in entries("attack") if hasattr(lookup("attack", e.name), "intercept")}
    assert known == set(ATTACKS)


@pytest.mark.parametrize(
    "attack",
    [build("attack", {"name": n, **o}) for n, choices in ATTACKS.items() for o in choices],
    ids=str,
)
def test_an_attack_on_the_wire_keeps_its_promises(attack: ChannelAttack) -> None:
    check_channel_attack(attack)


class Passes:
    """Lets everything pass, in bodies of its own."""

    def intercept(self, state: State, view: WireView, rng: np.random.Generator) -> Made:
        return state, {client: self.put(m, view, rng) for client, m in view.messages.items()}, {}

    def put(self, message: Message, view: WireView, rng: np.random.Generator) -> Message | None:
        return message.copy()


class Widens(Passes):
    """Sends wider numbers."""

    def put(self, message: Message, view: WireView, rng: np.random.Generator) -> Message | None:
        return replace(message, body=message.body.double())


class Shortens(Passes):
    """Sends less than a row."""

    def put(self, message: Message, view: WireView, rng: np.random.Generator) -> Message | None:
        return replace(message, body=message.body[1:].clone())


class Writes(Passes):
    """Writes into what it was shown."""

    def put(self, message: Message, view: WireView, rng: np.random.Generator) -> Message | None:
        message.body.mul_(2)
        return None


class Invents(Passes):
    """Speaks for a hospital that sent nothing."""

    def intercept(self, state: State, view: WireView, rng: np.random.Generator) -> Made:
        return state, {99: None}, {}


class Draws(Passes):
    """Draws from nobody's generator but everybody's."""

    def put(self, message: Message, view: WireView, rng: np.random.Generator) -> Message | None:
        return message.copy() if torch.rand(()) < 2 else None


class Counts(Passes):
    """Measures what is no number."""

    def intercept(self, state: State, view: WireView, rng: np.random.Generator) -> Made:
        return state, {}, {"touched": float("nan")}


class Remembers(Passes):
    """Changes the state that it was handed."""

    def intercept(self, state: State, view: WireView, rng: np.random.Generator) -> Made:
        state["calls"] = state.get("calls", torch.zeros(())) + 1
        return dict(state), {}, {}


class Dices(Passes):
    """Does something else whenever it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def put(self, message: Message, view: WireView, rng: np.random.Generator) -> Message | None:
        self.asked += 1
        return replace(message, body=message.body + self.asked)


def test_the_attack_that_the_broken_ones_are_made_of_is_whole() -> None:
    check_channel_attack(Passes())


@pytest.mark.parametrize(
    ("attack", "promise"),
    [
        (Widens(), "a body stays torch.float32"),
        (Shortens(), "a body stays"),
        (Writes(), "what it was shown is neither modified"),
        (Invents(), "names hospitals that sent something"),
        (Counts(), "measurement 'touched' is finite"),
        (Remembers(), "the state handed in is not modified"),
        (Dices(), "the same call gives the same messages"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Passes) else "",
)
def test_a_broken_attack_is_found_out(attack: ChannelAttack, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_channel_attack(attack)


def test_an_attack_that_draws_from_a_global_generator_is_found_out() -> None:
    with torch.random.fork_rng(devices=[]), pytest.raises(AssertionError, match="global generator"):
        check_channel_attack(Draws())
