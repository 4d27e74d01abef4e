"""What every screen must do, whoever registered it; and that the checks have teeth."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from asepsis.core.contracts import Screen, ServerContext
from asepsis.core.registry import build, entries
from asepsis.core.updates import Individual, Screened, State
from asepsis.testing import check_screen

OPTIONS: dict[str, list[dict[str, Any]]] = {"norm-clip": [{"max_norm": 0.1}, {"max_norm": 1e6}]}


def choices() -> list[Any]:
    return [
        pytest.param(build("screen", {"name": entry.name, **options}), id=f"{entry.name}-{number}")
        for entry in entries("screen")
        for number, options in enumerate([{}, *OPTIONS.get(entry.name, [])])
    ]


@pytest.mark.parametrize("screen", choices())
def test_a_screen_keeps_its_promises(screen: Screen) -> None:
    check_screen(screen)


class Lets:
    """Lets everything through, to be spoiled by subclasses in one way each."""

    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})

    def init(self, dim: int) -> State:
        return {}

    def passed(self, delivery: Individual) -> Individual:
        return delivery

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        return state, Screened(self.passed(delivery))


class DropsAll(Lets):
    def passed(self, delivery: Individual) -> Individual:
        return delivery.select(torch.zeros(0, dtype=torch.long))


class DropsFirst(Lets):
    def passed(self, delivery: Individual) -> Individual:
        return delivery.select(torch.arange(1, len(delivery.clients)))


class Normalizes(Lets):
    """Divides every row by its length: a zero row becomes no number."""

    def passed(self, delivery: Individual) -> Individual:
        rows = delivery.rows.dense()
        return delivery.with_rows(rows / rows.norm(dim=1, keepdim=True))


class Reverses(Lets):
    def passed(self, delivery: Individual) -> Individual:
        return delivery.select(torch.arange(len(delivery.clients)).flip(0))


class Invents(Lets):
    def passed(self, delivery: Individual) -> Individual:
        clients = tuple(client + 100 for client in delivery.clients)
        return Individual(clients, delivery.rows, delivery.weights)


class Writes(Lets):
    def passed(self, delivery: Individual) -> Individual:
        delivery.rows.matrix.mul_(0.5)
        return delivery


class Owes(Lets):
    def passed(self, delivery: Individual) -> Individual:
        return Individual(delivery.clients, delivery.rows, -delivery.weights)


class Strongest(Lets):
    """Keeps the longest row: crashes when there is none."""

    def passed(self, delivery: Individual) -> Individual:
        norms = delivery.rows.dense().norm(dim=1)
        return delivery.select(norms.argmax()[None])


@pytest.mark.parametrize("screen", [Lets(), DropsAll(), Strongest()])
def test_a_sound_screen_passes(screen: Screen) -> None:
    check_screen(screen)


@pytest.mark.parametrize(
    ("screen", "promise"),
    [
        (DropsFirst(), "permutation"),
        (Reverses(), "clients stay in order"),
        (Invents(), "only clients of the round go on"),
        (Writes(), "its input is not modified"),
        (Owes(), "one finite weight a client, never negative"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Lets) else "",
)
def test_a_broken_screen_is_found_out(screen: Screen, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_screen(screen)


def test_a_screen_that_makes_non_finite_rows_is_found_out() -> None:
    with pytest.raises(AssertionError, match="finite rows with all zeros"):
        check_screen(Normalizes())
