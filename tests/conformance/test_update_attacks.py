"""What every update attack must do, whoever registered it; and that the checks have teeth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import asepsis
from asepsis.core.contracts import UpdateAttack
from asepsis.core.registry import build, entries
from asepsis.core.threat import ClientView, Omniscient, Sees
from asepsis.core.updates import State
from asepsis.testing import check_update_attack

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "adaptive": [{"perturbation": "std", "calls": 1}, {"perturbation": "sign", "calls": 15}],
    "adaptive-poisoning": [{"inner": {"name": "noise", "level": "high"}, "calls": 3}],
    "alie": [{"z": 1.5}, {"z": -1.0}, {"supporters": 1}],
    "fang-krum": [{"f": 0}, {"epsilon": 0.0, "smallest": 0.5}],
    "fang-trimmed-mean": [{"b": 10.0}],
    "free-rider": [{"sigma": 0.1, "decay": 1.0}, {"mode": "lazy"}],
    "gaussian": [{"add": True, "sigma": 10.0}],
    "ipm": [{"epsilon": 10.0}],
    "mimic": [{"target": 0}, {"warmup": 1}],
    "min-max": [{"perturbation": "std"}, {"perturbation": "sign"}],
    "min-sum": [{"perturbation": "std", "bound": "smallest"}, {"perturbation": "sign"}],
    "non-finite": [{"value": "inf"}, {"value": "-inf"}],
    "poisonedfl": [{"window": 1, "floor": 0.0}],
    "rop": [{"angle": 180.0, "location": 0.0}, {"z": 1.0, "scale": "absolute"}],
    "sign-flip": [{"scale": 5.0}],
    "sybil": [
        {"inner": {"name": "ipm", "epsilon": 2.0}},
        {"inner": "adaptive"},
        {"inner": "mimic", "jitter": 0.0},
    ],
}


def update_attacks() -> list[str]:
    names = [entry.name for entry in entries("attack")]
    return [name for name in names if isinstance(build("attack", name), UpdateAttack)]


def choices() -> list[Any]:
    return [
        pytest.param(build("attack", {"name": name, **options}), id=f"{name}-{number}")
        for name in update_attacks()
        for number, options in enumerate([{}, *OPTIONS.get(name, [])])
    ]


def rule(rows: np.ndarray) -> np.ndarray:
    return asepsis.aggregate(rows, "median")


@pytest.mark.parametrize("attack", choices())
def test_an_update_attack_keeps_its_promises(attack: UpdateAttack[Any]) -> None:
    check_update_attack(attack)


@pytest.mark.parametrize("name", update_attacks())
@pytest.mark.parametrize("malicious", [1, 3])
def test_an_update_attack_crafts_from_a_matrix(name: str, malicious: int) -> None:
    honest = np.random.default_rng(0).normal(size=(5, 4))
    known = rule if getattr(build("attack", name), "needs_rule", False) else None
    rows = asepsis.craft(honest, name, malicious=malicious, seed=3, rule=known)
    assert rows.shape == (malicious, 4)
    again = asepsis.craft(honest, name, malicious=malicious, seed=3, rule=known)
    assert np.array_equal(rows, again, equal_nan=True)


class Copies:
    """Sends its honest rows, to be spoiled by subclasses in one way each."""

    sees: ClassVar[Sees] = Sees.OWN

    def rows(self, view: ClientView, rng: np.random.Generator) -> Tensor:
        return view.rows.clone()

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        return state, self.rows(view, rng), {}


class Hands(Copies):
    def rows(self, view: ClientView, rng: np.random.Generator) -> Tensor:
        return view.rows


class Writes(Copies):
    def rows(self, view: ClientView, rng: np.random.Generator) -> Tensor:
        made = view.rows.clone()
        view.rows.zero_()
        return made


class Draws(Copies):
    def rows(self, view: ClientView, rng: np.random.Generator) -> Tensor:
        return torch.randn(view.rows.shape)


class Widens(Copies):
    def rows(self, view: ClientView, rng: np.random.Generator) -> Tensor:
        return view.rows.double()


class Alone(Copies):
    def rows(self, view: ClientView, rng: np.random.Generator) -> Tensor:
        return view.rows.mean(0)


class Shares(Copies):
    def rows(self, view: ClientView, rng: np.random.Generator) -> Tensor:
        return view.rows[:1].clone().expand(len(view.clients), -1)


class Peeks(Copies):
    """Says that its own row will do, and reads the honest ones."""

    def rows(self, view: ClientView, rng: np.random.Generator) -> Tensor:
        assert isinstance(view, Omniscient), "it was not granted the honest rows"
        return view.honest[:1].repeat(len(view.clients), 1)


class Remembers(Copies):
    """Writes to what it remembers instead of remembering anew."""

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        state = state or {"rounds": torch.zeros(1)}
        state["rounds"] += 1
        return state, view.rows.clone(), {}


class Measures(Copies):
    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        return state, view.rows.clone(), {"length": float("nan")}


class Notes(Copies):
    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        return {"clients": view.clients}, view.rows.clone(), {}  # type: ignore[dict-item]


class Keeps(Copies):
    """Remembers whatever it was shown."""

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        return {"sum": view.rows.sum(dim=0)}, view.rows.clone(), {}


class Gives(Copies):
    """Cannot stand a row that is not finite."""

    def rows(self, view: ClientView, rng: np.random.Generator) -> Tensor:
        return view.rows[:, torch.isfinite(view.rows).all(dim=0)].clone()


def test_the_attack_that_the_broken_ones_are_made_of_is_whole() -> None:
    check_update_attack(Copies())


@pytest.mark.parametrize(
    ("attack", "promise"),
    [
        (Hands(), "neither modified nor handed on"),
        (Writes(), "the same call gives the same rows twice|neither modified"),
        (Widens(), "rows keep their dtype, not torch.float64"),
        (Alone(), "rows have shape"),
        (Shares(), "rows are no views of one another"),
        (Peeks(), "it was not granted the honest rows"),
        (Remembers(), "the state handed in is not modified"),
        (Measures(), "measurement 'length' is finite"),
        (Keeps(), "its state is finite"),
        (Gives(), r"rows have shape \(1, 1\), not \(1, 0\)"),
        (Notes(), "its state maps names to tensors"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Copies) else "",
)
def test_a_broken_attack_is_found_out(attack: UpdateAttack[Any], promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_update_attack(attack)


def test_an_attack_that_draws_from_a_global_generator_is_found_out() -> None:
    with torch.random.fork_rng(devices=[]), pytest.raises(AssertionError, match="global generator"):
        check_update_attack(Draws())
