"""``asepsis.craft``: kinds and dtypes, own rows, seeds, and every wrong input."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import asepsis
from asepsis.core.errors import ConfigError, QuorumError
from asepsis.core.registry import build, entries

NAMES = [
    "alie",
    "fang-krum",
    "fang-trimmed-mean",
    "free-rider",
    "gaussian",
    "ipm",
    "mimic",
    "min-max",
    "min-sum",
    "non-finite",
    "poisonedfl",
    "random",
    "rop",
    "sign-flip",
    "sybil",
    "zero",
]
ADAPTIVE = {"adaptive", "adaptive-poisoning"}
X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])


def test_all_update_attacks_are_covered_here() -> None:
    offered = {e.name for e in entries("attack") if ".attacks.update." in e.module}
    assert offered == set(NAMES) | ADAPTIVE


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_in_torch_out(name: str, dtype: torch.dtype) -> None:
    honest = X.to(dtype)
    kept = honest.clone()
    rows = asepsis.craft(honest, name, malicious=2)
    assert (rows.dtype, rows.device, rows.shape) == (dtype, honest.device, (2, 2))
    assert torch.equal(honest, kept)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numpy_in_numpy_out(name: str, dtype: str) -> None:
    rows = asepsis.craft(X.numpy().astype(dtype), name, malicious=2)
    assert isinstance(rows, np.ndarray)
    assert (rows.dtype, rows.shape) == (np.dtype(dtype), (2, 2))


def test_double_precision_is_not_lost_on_the_way() -> None:
    honest = np.array([[1.0], [1.0 + 1e-12]])
    assert asepsis.craft(honest, "ipm", epsilon=1.0)[0, 0] == pytest.approx(-1 - 5e-13, abs=1e-15)


def test_own_rows_default_to_the_honest_mean() -> None:
    assert asepsis.craft(X, "sign-flip", malicious=2).tolist() == [[-3.0, -5.0]] * 2
    assert asepsis.craft(X, "sign-flip", scale=2.0).tolist() == [[-6.0, -10.0]]


def test_own_rows_may_be_given_in_another_kind_or_dtype() -> None:
    for own in (X[:2], X[:2].double(), X[:2].half()):
        made = asepsis.craft(X, "sign-flip", malicious=2, own=own)
        assert made.dtype == torch.float32
        assert made.tolist() == (-X[:2]).tolist()


def test_the_cohort_is_honest_and_hostile_rows_together() -> None:
    """Seven honest and three hostile rows: z is 0.18, as for ten hospitals."""
    honest = np.random.default_rng(0).normal(size=(7, 3))
    rows = asepsis.craft(honest, "alie", malicious=3)
    z = (honest.mean(axis=0) - rows[0]) / honest.std(axis=0, ddof=1)
    assert np.allclose(z, 0.18001, atol=1e-4)


def test_the_seed_decides_what_is_drawn() -> None:
    one, again, two = (asepsis.craft(X, "gaussian", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


def test_a_built_attack_works_as_well_as_its_name() -> None:
    attack = build("attack", {"name": "ipm", "epsilon": 2.0})
    assert torch.equal(asepsis.craft(X, attack), asepsis.craft(X, "ipm", epsilon=2.0))


@pytest.mark.parametrize("honest", [X, X.double(), X.half(), X.numpy()], ids=str)
def test_a_rule_is_asked_in_the_kind_of_matrix_that_it_is_for(honest: Any) -> None:
    asked: list[Any] = []

    def rule(rows: Any) -> Any:
        asked.append(rows)
        return asepsis.aggregate(rows, "median")

    made = asepsis.craft(honest, "adaptive", malicious=2, rule=rule, calls=3)
    assert len(asked) == 3
    assert all(type(rows) is type(honest) and rows.dtype == honest.dtype for rows in asked)
    assert all(rows.shape == (5, 2) for rows in asked)
    assert np.array_equal(np.asarray(asked[0][2:]), np.asarray(honest))
    assert (type(made), made.dtype) == (type(honest), honest.dtype)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e200])
@pytest.mark.parametrize("name", [*NAMES, "adaptive"])
def test_nobody_learns_from_honest_rows_that_the_front_door_would_drop(
    name: str, value: float
) -> None:
    dirty = torch.cat([X[:1], torch.full((1, 2), value, dtype=torch.float64), X[1:]]).double()
    options: dict[str, dict[str, Any]] = {
        "adaptive": {"rule": lambda rows: rows.mean(dim=0)},
        "alie": {"z": 1.0},
    }
    made = asepsis.craft(dirty, name, malicious=3, **options.get(name, {}))
    clean = asepsis.craft(X.double(), name, malicious=3, **options.get(name, {}))
    assert torch.equal(made, clean) or name == "non-finite"


def test_a_row_that_is_dropped_still_counts_for_the_cohort() -> None:
    """Seven hospitals are known to take part: z is that of ten, not of nine."""
    honest = np.random.default_rng(0).normal(size=(7, 3))
    honest[2, 1] = np.nan
    explained = asepsis.craft(honest, "alie", malicious=3, explain=True)
    assert explained.measurements["z"] == pytest.approx(0.18, abs=0.005)


@pytest.mark.parametrize("name", ["free-rider", "poisonedfl"])
def test_attacks_that_live_off_history_can_be_given_one(name: str) -> None:
    first = asepsis.craft(X, name, received=np.zeros(2), explain=True)
    assert not first.value.any()
    assert first.measurements["inactive"] == 1.0
    second = asepsis.craft(
        X, name, received=torch.tensor([1.0, -2.0]), state=first.state, round=1, explain=True
    )
    assert "inactive" not in second.measurements
    assert second.value.abs().tolist() == ([[1.0, 2.0]] if name == "free-rider" else [[8.0, 16.0]])
    assert asepsis.craft(
        X, name, received=torch.tensor([1.0, -2.0]), state=first.state, round=1
    ).equal(second.value)


def test_the_round_decides_what_a_change_is_divided_by() -> None:
    state = asepsis.craft(X, "free-rider", received=torch.zeros(2), explain=True).state
    received = torch.tensor([4.0, 8.0])
    made = asepsis.craft(X, "free-rider", received=received, state=state, round=4)
    assert made.tolist() == [[1.0, 2.0]]


def test_rop_starts_from_the_last_aggregate_that_it_reads_off_two_models() -> None:
    first = asepsis.craft(X, "rop", z=0.0, received=torch.zeros(2), explain=True)
    made = asepsis.craft(
        X, "rop", z=0.0, received=torch.tensor([4.0, 8.0]), state=first.state, round=1
    )
    assert made.tolist() == [[4.0, 8.0]]


def test_what_was_handed_in_is_not_modified() -> None:
    received = torch.tensor([1.0, 2.0])
    state = asepsis.craft(X, "mimic", received=received, explain=True).state
    kept = {name: value.clone() for name, value in state.items()}
    asepsis.craft(X, "mimic", received=received, state=state, round=1)
    assert all(torch.equal(state[name], kept[name]) for name in kept)
    assert received.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("malicious", [np.int64(2), np.uint8(2)])
def test_counts_may_be_numpy_s(malicious: Any) -> None:
    made = asepsis.craft(X, "gaussian", malicious=malicious, seed=np.int64(3))
    assert torch.equal(made, asepsis.craft(X, "gaussian", malicious=2, seed=3))


def test_poisoned_rows_go_as_far_as_makes_a_mean_theirs() -> None:
    own = torch.tensor([[4.0, 5.0]])
    made = asepsis.craft(X, "adaptive-poisoning", own=own, rule=lambda rows: rows.mean(dim=0))
    assert made.tolist() == [[3.0 + 4 * (4.0 - 3.0), 5.0]]  # four take part, one is hostile


def test_half_precision_rows_too_large_for_it_become_infinite_without_a_warning() -> None:
    honest = (3e4 * X.numpy()).clip(max=6e4).astype(np.float16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rule = lambda rows: rows.astype(np.float32).mean(axis=0)  # noqa: E731
        made = asepsis.craft(honest, "adaptive", rule=rule)
        noise = asepsis.craft(honest, "gaussian", sigma=1e30)
    assert made.dtype == np.float16
    assert np.isinf(noise).all()


def test_a_rule_that_refuses_some_rows_is_asked_on() -> None:
    """As in a round, which such rows would void."""

    def rule(rows: torch.Tensor) -> torch.Tensor:
        if float(rows.abs().max()) > 20:
            raise QuorumError("too far", place="matrix")
        return rows.mean(dim=0)

    explained = asepsis.craft(X, "adaptive", rule=rule, explain=True)
    assert explained.measurements["moved"] > 0
    assert float(explained.value.abs().max()) <= 20


def test_a_rule_that_refuses_all_rows_is_one_clear_error() -> None:
    rule = lambda rows: asepsis.aggregate(rows, "krum", f=5)  # noqa: E731
    with pytest.raises(ConfigError, match=r"^rule: .*refuses.*krum with f = 5"):
        asepsis.craft(X, "adaptive", rule=rule)


def test_a_rule_of_another_shape_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"rule: .*another shape; got \(3, 2\); return \(2,\)"):
        asepsis.craft(X, "adaptive", rule=lambda rows: rows[1:])


RODE = {"received": torch.zeros(3), "round": torch.tensor(0)}
WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "unknown": (X, {"attack": "alei"}, "unknown attack; got 'alei'; did you mean 'alie'"),
    "a rule": (X, {"attack": "krum"}, "unknown attack; got 'krum'"),
    "a data attack": (X, {"attack": "label-flip"}, "attack: this attack crafts no updates"),
    "a passive attack": (X, {"attack": "dlg"}, "attack: this attack crafts no updates"),
    "no attack": (X, {"attack": 3}, "attack: this attack crafts no updates; got 3"),
    "misspelled option": (X, {"attack": "ipm", "epsilom": 1.0}, "did you mean 'epsilon'"),
    "option out of range": (X, {"attack": "ipm", "epsilon": 0.0}, "ipm.epsilon: .* greater than 0"),
    "option as text": (X, {"attack": "ipm", "epsilon": "1"}, "ipm.epsilon: .* valid number"),
    "NaN option": (X, {"attack": "alie", "z": float("nan")}, "alie.z: .*finite number"),
    "unknown choice": (X, {"attack": "non-finite", "value": "none"}, "non-finite.value"),
    "options for a built one": (
        X,
        {"attack": build("attack", "ipm"), "epsilon": 1.0},
        "attack: options go with an attack's name; got {'epsilon': 1.0}",
    ),
    "no rule for one that needs it": (
        X,
        {"attack": "adaptive"},
        "attack: nobody tells .*; .*pass rule= to asepsis.craft",
    ),
    "none hostile": (X, {"malicious": 0}, "malicious: .* integer of at least 1; got 0"),
    "fewer than none": (X, {"malicious": -1}, "malicious: .* at least 1; got -1"),
    "half a hospital": (X, {"malicious": 1.5}, "malicious: .* integer .* got 1.5"),
    "hostile as text": (X, {"malicious": "2"}, "malicious: .* integer .* got '2'"),
    "hostile as truth": (X, {"malicious": True}, "malicious: .* integer .* got True"),
    "no seed": (X, {"seed": -1}, "seed: .* integer of at least 0; got -1"),
    "seed as text": (X, {"seed": "a"}, "seed: .* integer of at least 0; got 'a'"),
    "half a seed": (X, {"seed": 0.5}, "seed: .* got 0.5"),
    "before the first round": (X, {"round": -1}, "round: .* integer of at least 0; got -1"),
    "a rule's name": (X, {"rule": "krum"}, "rule: .* function.* got 'krum'; .*aggregate"),
    "a model of another size": (
        X,
        {"received": torch.zeros(3)},
        "received: .* got \\(3,\\); give \\(2,\\)",
    ),
    "a model as a list": (X, {"received": [0.0, 0.0]}, "received: .* PyTorch tensor or a NumPy"),
    "a model that is no number": (
        X,
        {"received": torch.tensor([0.0, float("nan")])},
        "received: .* finite",
    ),
    "a state that is none": (X, {"state": 3}, "state: .* another attack.* got 'int'"),
    "a state of something else": (X, {"state": {"z": 1.0}}, "state: .* got 'dict'"),
    "a state of another size": (
        X,
        {"attack": "free-rider", "state": RODE, "received": torch.zeros(2), "round": 1},
        r"state: .* another number of coordinates; got \['received', 'round'\]",
    ),
    "a state of another attack": (
        X,
        {"attack": "poisonedfl", "state": RODE, "received": torch.zeros(2)},
        "state: .* another attack",
    ),
    "several models": (X, {"received": X}, "received: .* got \\(3, 2\\); give \\(2,\\)"),
    "no usable rows": (
        torch.full((2, 2), float("nan")),
        {},
        "honest: no finite honest rows to look at; got \\(2, 2\\)",
    ),
    "no honest rows": (X[:0], {}, "honest: no finite honest rows to look at; got \\(0, 2\\)"),
    "d = 0": (X[:, :0], {}, "honest: an update has at least one coordinate"),
    "1-D": (X[0], {}, "honest: .* two dimensions"),
    "ints": (X.int(), {}, "honest: updates are floating-point numbers"),
    "a list": ([[1.0]], {}, "honest: a matrix is a PyTorch tensor or a NumPy array"),
    "too many own rows": (X, {"own": X}, "own: .* wrong shape; got \\(3, 2\\); give \\(1, 2\\)"),
    "narrow own rows": (X, {"own": X[:1, :1]}, "own: own rows have the wrong shape"),
    "own rows as a list": (X, {"own": [[1.0, 2.0]]}, "own: a matrix is a PyTorch tensor"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_one_clear_error(case: str) -> None:
    honest, call, message = WRONG[case]
    with pytest.raises(ConfigError, match=f"^{message}" if ":" in message else message):
        asepsis.craft(honest, **{"attack": "ipm", **call})
