"""What every data attack must do, for every kind of sample that it says it can change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asepsis.attacks.backdoor.badnets import BadNets
from asepsis.core.contracts import BackdoorAttack, DataAttack, TrainAttack
from asepsis.core.registry import build, entries
from asepsis.core.samples import Array, DataFacts, Kind, Samples

ATTACKS: dict[str, tuple[dict[str, Any], ...]] = {
    "label-flip": ({}, {"mode": "one-to-one", "source": 2, "target": 0}, {"mode": "random"}),
    "mismatched-pairs": ({}, {"share": 0.3}),
    "trigger-images": ({}, {"share": 0.3, "only": 2}, {"only": 0, "label": 1}),
    "noise": ({}, {"on": "labels"}, {"on": "both", "level": "low"}),
    "hyperdimensional": (
        {"dimensions": 500},
        {"dimensions": 50, "mode": "one-to-one", "source": 2, "target": 0},
    ),
    "adaptive-backdoor": ({"target": 1},),
    "badnets": ({}, {"target": 2, "share": 0.1}, {"keep_originals": True}),
    "blended": ({}, {"trigger": {"name": "blended", "alpha": 0.05}}),
    "dba": ({}, {"rank": 2, "of": 4}),
    "durable": ({},),
    "edge-case": ({"target": 1}, {"target": 2, "share": 0.5, "keep_originals": True}),
    "semantic": ({"target": 1}, {"target": 2, "share": 0.5, "keep_originals": True}),
    "sinusoidal": ({"trigger": {"name": "sinusoidal", "frequency": 2}},),
    "wanet": ({}, {"noise_share": 0.0}, {"target": 2, "keep_originals": True}),
}
CLASSES = ("a", "b", "c")


def inputs(kind: Kind, n: int, rng: np.random.Generator) -> Array:
    if kind is Kind.TABLE:
        table = rng.normal(size=(n, 6)).astype(np.float32)
        table[0, 0] = np.nan
        return table
    if kind is Kind.SEQUENCE:
        return rng.normal(size=(n, 40, 2)).astype(np.float32)
    shape = (n, 12, 12, 12) if kind is Kind.VOLUME else (n, 12, 12)
    return rng.integers(0, 200, size=shape, dtype=np.uint8)


def hospital(kind: Kind, n: int = 24) -> Samples:
    rng = np.random.default_rng(0)
    labels = rng.integers(len(CLASSES), size=n)
    several = (rng.random((n, len(CLASSES))) < 0.4).astype(np.uint8)
    made = inputs(kind, n, rng)
    targets = {Kind.MULTILABEL_IMAGE: several, Kind.PAIRED_IMAGE: 255 - made}
    return Samples(
        inputs=made,
        targets=targets.get(kind, labels),
        ids=100 + np.arange(n),
        groups=np.arange(n) // 2,
    )


def cases() -> list[Any]:
    attacks = [
        (f"{name}-{number}", build("attack", {"name": name, **options}))
        for name, choices in ATTACKS.items()
        for number, options in enumerate(choices)
    ]
    return [
        pytest.param(attack, kind, id=f"{label}-{kind}")
        for label, attack in attacks
        for kind in sorted(attack.kinds)
    ]


def same(one: Samples, two: Samples) -> bool:
    """Whether two hospitals hold equal bytes (NaN equals NaN)."""
    pairs = [(one.inputs, two.inputs), (one.targets, two.targets), (one.ids, two.ids)]
    return all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def test_every_data_attack_is_on_the_list() -> None:
    built_in = [entry for entry in entries("attack") if entry.module.startswith("asepsis.")]
    rooms = (".attacks.data.", ".attacks.backdoor.")
    names = [entry.name for entry in built_in if any(room in entry.module for room in rooms)]
    poisoners = {name for name in names if isinstance(build("attack", name), DataAttack)}
    assert poisoners >= ATTACKS.keys()
    # Planted backdoors poison as badnets does; they stand in the suite of training attacks.
    planted = {name for name in names if isinstance(build("attack", name), TrainAttack)}
    assert poisoners - planted <= ATTACKS.keys()


@pytest.mark.parametrize(("attack", "kind"), cases())
def test_samples_stay_samples(attack: DataAttack, kind: Kind) -> None:
    own = hospital(kind)
    poisoned = attack.poison(own, DataFacts(kind, CLASSES), np.random.default_rng(1))
    assert poisoned.inputs.dtype == own.inputs.dtype
    assert poisoned.targets.dtype == own.targets.dtype
    assert poisoned.inputs.shape[1:] == own.inputs.shape[1:]
    assert len(poisoned.targets) == len(poisoned.ids) == len(poisoned.groups) == len(poisoned)
    patients = dict(zip(own.ids, own.groups, strict=True))
    assert all(patients[i] == who for i, who in zip(poisoned.ids, poisoned.groups, strict=True))
    if kind is not Kind.PAIRED_IMAGE:
        assert set(np.unique(poisoned.targets)) <= set(range(len(CLASSES)))


@pytest.mark.parametrize(("attack", "kind"), cases())
def test_something_changes_but_not_the_originals(attack: DataAttack, kind: Kind) -> None:
    own, kept = hospital(kind), hospital(kind)
    poisoned = attack.poison(own, DataFacts(kind, CLASSES), np.random.default_rng(1))
    assert same(own, kept)
    assert not same(poisoned, own)


@pytest.mark.parametrize(("attack", "kind"), cases())
def test_the_same_generator_gives_the_same_samples(attack: DataAttack, kind: Kind) -> None:
    facts = DataFacts(kind, CLASSES)
    one = attack.poison(hospital(kind), facts, np.random.default_rng(7))
    two = attack.poison(hospital(kind), facts, np.random.default_rng(7))
    assert same(one, two)


@pytest.mark.parametrize(("attack", "kind"), cases())
def test_two_samples_are_enough(attack: DataAttack, kind: Kind) -> None:
    own = hospital(kind, n=24).take(np.array([3, 5]))
    poisoned = attack.poison(own, DataFacts(kind, CLASSES), np.random.default_rng(1))
    assert len(poisoned) >= 2


@pytest.mark.parametrize("kind", sorted(build("attack", "badnets").kinds))
def test_a_backdoor_is_fitted_once_and_stamps_the_same_everywhere(kind: Kind) -> None:
    facts, own = DataFacts(kind, CLASSES), hospital(kind)
    attack = build("attack", "badnets").fitted(own, facts)
    assert isinstance(attack, BadNets)
    assert isinstance(attack, BackdoorAttack)
    elsewhere = own.changed(inputs=own.inputs[::-1].copy())
    stamped = attack.stamp.stamp(elsewhere.inputs, np.random.default_rng(0))
    again = build("attack", {"name": "badnets", "trigger": attack.trigger})
    assert np.array_equal(
        stamped, again.stamp.stamp(elsewhere.inputs, np.random.default_rng(1)), equal_nan=True
    )
    assert attack.fitted(elsewhere, facts) == attack


@pytest.mark.parametrize("kind", sorted(build("attack", "badnets").kinds))
def test_the_mask_is_what_the_trigger_changes(kind: Kind) -> None:
    own = hospital(kind)
    trigger = build("attack", "badnets").fitted(own, DataFacts(kind, CLASSES)).stamp
    before = own.inputs.copy()
    stamped = trigger.stamp(own.inputs, np.random.default_rng(0))
    changed = (stamped != before) & ~(
        np.isnan(stamped.astype(float)) & np.isnan(before.astype(float))
    )
    assert np.array_equal(changed.any(axis=0), trigger.mask(own.inputs.shape[1:]))
    assert np.array_equal(own.inputs, before, equal_nan=True)
