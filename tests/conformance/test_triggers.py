"""What every trigger must do, on every kind of sample that it says it can stamp."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asepsis.attacks.backdoor.badnets import FittedTrigger
from asepsis.core.contracts import Carried, Trigger
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build, entries, options_of
from asepsis.core.samples import Array, Kind, Samples

TRIGGERS: dict[str, tuple[dict[str, Any], ...]] = {
    "bars": ({}, {"parts": [2]}, {"length": 5, "gap": 0, "margin": 3, "value": 0}),
    "blended": ({}, {"alpha": 1.0, "seed": 3}),
    "edge-case": ({}, {"share": 0.5}),
    "emblem": (
        {},
        {"size": 5, "color": [0], "place": "center"},
        {"size": 6, "opacity": 0.6, "place": "random"},
    ),
    "feature-combination": ({}, {"count": 1}, {"features": [4, 2]}),
    "patch": ({}, {"size": 2, "value": 0, "place": "center"}, {"place": "random"}),
    "pattern": ({}, {"size": 2, "values": [0, 9, 0, 255]}, {"place": [7, 3]}),
    "semantic": ({}, {"above": False}, {"share": 0.4}),
    "sinusoidal": ({}, {"frequency": 2}, {"delta": 255.0, "strength": 3.0}),
    "wanet": ({}, {"grid": 2, "seed": 1}, {"strength": 4.0}),
    "waveform": ({}, {"channel": 1, "place": "middle"}, {"amplitude": -2.0}),
}
FORMS: dict[str, tuple[frozenset[Kind], tuple[int, ...]]] = {
    "gray": (frozenset({Kind.IMAGE, Kind.MULTILABEL_IMAGE}), (16, 20)),
    "color": (frozenset({Kind.IMAGE, Kind.MULTILABEL_IMAGE}), (20, 16, 3)),
    "volume": (frozenset({Kind.VOLUME}), (8, 10, 14)),
    "table": (frozenset({Kind.TABLE}), (6,)),
    "signal": (frozenset({Kind.SEQUENCE}), (40, 2)),
}


def hospital(form: str, n: int = 40) -> Samples:
    rng, shape = np.random.default_rng(0), FORMS[form][1]
    if form in ("table", "signal"):
        inputs: Array = rng.normal(size=(n, *shape)).astype(np.float32)
        inputs.reshape(n, -1)[0, 0] = np.nan
    else:
        inputs = rng.integers(1, 255, size=(n, *shape), dtype=np.uint8)
    return Samples(inputs, rng.integers(3, size=n), np.arange(n), np.arange(n))


def specs() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{name}-{number}", {"name": name, **options})
        for name, choices in TRIGGERS.items()
        for number, options in enumerate(choices)
    ]


def cases(*, declared: bool) -> list[Any]:
    return [
        pytest.param(spec, form, id=f"{label}-{form}")
        for label, spec in specs()
        for form, (kinds, _) in FORMS.items()
        if declared == bool(kinds & build("trigger", spec).kinds)
    ]


def carried() -> list[Any]:
    found = [
        case
        for case in cases(declared=True)
        if isinstance(build("trigger", case.values[0]), Carried)
    ]
    assert found
    return found


def fitted(spec: dict[str, Any], form: str) -> Trigger:
    trigger: Trigger = build("trigger", spec)
    return trigger.fitted(hospital(form)) if isinstance(trigger, FittedTrigger) else trigger


def stamped(trigger: Trigger, inputs: Array, seed: int = 7) -> Array:
    return trigger.stamp(inputs, np.random.default_rng(seed))


def changed(before: Array, after: Array) -> Array:
    """Which elements of any sample changed; NaN equals NaN."""
    same = (before == after) | ((before != before) & (after != after))
    return np.asarray(~same.all(axis=0))


def test_every_trigger_is_on_the_list_and_builds_without_options() -> None:
    built_in = [entry for entry in entries("trigger") if entry.module.startswith("asepsis.")]
    assert {entry.name for entry in built_in} == TRIGGERS.keys()
    assert all({} in options for options in TRIGGERS.values())


@pytest.mark.parametrize(("spec", "form"), cases(declared=True))
@pytest.mark.parametrize("n", [0, 1, 40])
def test_it_stamps_a_copy_of_the_same_kind(spec: dict[str, Any], form: str, n: int) -> None:
    before = hospital(form).inputs[:n]
    kept = before.copy()
    after = stamped(fitted(spec, form), before)
    assert after.dtype == before.dtype
    assert after.shape == before.shape
    assert not np.shares_memory(after, before)
    assert np.array_equal(before, kept, equal_nan=True)
    assert np.array_equal(np.isfinite(before), np.isfinite(after)) or form == "table"


@pytest.mark.parametrize(("spec", "form"), cases(declared=True))
def test_the_same_generator_gives_the_same_stamp(spec: dict[str, Any], form: str) -> None:
    inputs = hospital(form).inputs
    one, two = (stamped(fitted(spec, form), inputs) for _ in range(2))
    assert np.array_equal(one, two, equal_nan=True)


@pytest.mark.parametrize(("spec", "form"), cases(declared=True))
def test_the_mask_is_where_it_changes_something(spec: dict[str, Any], form: str) -> None:
    trigger, inputs = fitted(spec, form), hospital(form, 200).inputs
    mask = trigger.mask(inputs.shape[1:])
    assert mask.dtype == bool
    assert mask.shape == inputs.shape[1:]
    found = [changed(inputs, stamped(trigger, inputs, seed)) for seed in range(10)]
    assert np.array_equal(np.any(found, axis=0), mask)
    assert mask.any() != isinstance(trigger, Carried)


@pytest.mark.parametrize(("spec", "form"), cases(declared=True))
def test_a_sample_is_stamped_alone_as_among_others(spec: dict[str, Any], form: str) -> None:
    """The first sample's random place is the first draw, however many follow."""
    trigger, inputs = fitted(spec, form), hospital(form).inputs
    alone, among = stamped(trigger, inputs[:1]), stamped(trigger, inputs)[:1]
    assert np.array_equal(alone, among, equal_nan=True)


@pytest.mark.parametrize(("spec", "form"), cases(declared=True))
def test_a_fitted_trigger_is_its_record(spec: dict[str, Any], form: str) -> None:
    trigger = fitted(spec, form)
    again = build("trigger", {"name": spec["name"], **options_of(trigger)})
    assert again == trigger
    if isinstance(trigger, FittedTrigger):
        other = hospital(form, 12)
        assert trigger.fitted(other) == trigger


@pytest.mark.parametrize(("spec", "form"), cases(declared=False))
def test_it_refuses_what_it_does_not_declare(spec: dict[str, Any], form: str) -> None:
    with pytest.raises(ConfigError, match="trigger"):
        stamped(fitted(spec, form), hospital(form).inputs)


@pytest.mark.parametrize(("spec", "form"), carried())
def test_a_carried_trigger_tells_who_carries_it(spec: dict[str, Any], form: str) -> None:
    trigger, own = fitted(spec, form), hospital(form)
    assert isinstance(trigger, Carried)
    carrying = trigger.carries(own.inputs)
    assert carrying.dtype == bool
    assert carrying.shape == (len(own),)
    assert abs(carrying.mean() - options_of(trigger)["share"]) <= 1 / len(own)
    assert trigger.carries(own.inputs[:0]).shape == (0,)
    alone = [bool(trigger.carries(own.inputs[i : i + 1])[0]) for i in range(len(own))]
    assert alone == carrying.tolist()
