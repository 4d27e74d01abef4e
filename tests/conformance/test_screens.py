"""What every screen must do, whoever registered it; and that the checks have teeth."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch

from asepsis.core.registry import build, entries
from asepsis.core.stages import Screen, ServerContext
from asepsis.core.updates import Individual, Screened, State
from asepsis.testing import check_screen

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "exclude": [{"hospitals": [6, 1, 400]}],
    "fair-detector": [{"min_size": 3}, {"reach": 1.0}],
    "norm-clip": [{"max_norm": 0.1}, {"max_norm": 1e6}],
    "adaptive-clip": [{"initial": 0.1, "noise": 1.0}, {"quantile": 1.0, "rate": 10.0}],
    "arc": [{"f": 0}, {"f": 3}],
    "bucketing": [{"size": 1}, {"size": 20}],
    "dnc": [{"coordinates": 2, "iterations": 2}, {"f": 4, "fraction": 1.5}],
    "nnm": [{"f": 0}, {"f": 4}],
    "reputation": [{"strikes": 1}, {"forgetting": 1.0, "tolerance": 1.0}],
    "signguard": [{"share": 1.0}, {"lower": 0.0, "upper": 1.0}],
    "smpc-verify": [{"parties": 3, "samples": 4}, {"against": "received", "tolerance": 1.0}],
    "sparsify": [{"keep": 1.0}, {"keep": 0.5}],
    "three-sigma": [{"of": "norm"}, {"robust": False, "sigmas": 1.0}],
}


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
        delivery.rows.dense().mul_(0.5)
        return delivery


class Owes(Lets):
    def passed(self, delivery: Individual) -> Individual:
        return Individual(delivery.clients, delivery.rows, -delivery.weights)


class Nobody(Lets):
    """Says that no row at all will do."""

    def smallest(self, spent: int = 0) -> int:
        return 0


class Modest(Lets):
    """Says that it needs three rows: a round with fewer is void."""

    def smallest(self, spent: int = 0) -> int:
        return 3


class Unsure(Lets):
    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        return state, Screened(delivery, scores={delivery.clients[0]: float("nan")})


class Flat(Lets):
    """Scores rows by their length over that of the shortest: no number where all are zero."""

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        norms = delivery.rows.dense().norm(dim=1)
        shortest = norms.min() if len(norms) else 1.0
        scores = dict(zip(delivery.clients, (norms / shortest).tolist(), strict=True))
        return state, Screened(delivery, scores=scores)


class Retells(Lets):
    """Writes what hospitals report."""

    def passed(self, delivery: Individual) -> Individual:
        delivery.side["loss"].clamp_(max=1.0)
        return delivery


class Strongest(Lets):
    """Keeps the longest row: crashes when there is none."""

    def passed(self, delivery: Individual) -> Individual:
        norms = delivery.rows.dense().norm(dim=1)
        return delivery.select(norms.argmax()[None])


@pytest.mark.parametrize("screen", [Lets(), DropsAll(), Strongest(), Modest()])
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
        (Nobody(), "smallest"),
        (Unsure(), "scores are finite"),
        (Flat(), "scores are finite"),
        (Retells(), "its input is not modified"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Lets) else "",
)
def test_a_broken_screen_is_found_out(screen: Screen, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_screen(screen)


def test_a_screen_that_makes_non_finite_rows_is_found_out() -> None:
    with pytest.raises(AssertionError, match="finite rows with all zeros"):
        check_screen(Normalizes())
