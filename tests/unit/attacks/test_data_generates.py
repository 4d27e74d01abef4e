"""Which data attacks work where hospitals train a generator, and why the others do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asepsis.core.contracts import DataAttack, TrainAttack
from asepsis.core.markers import classifies, generates
from asepsis.core.registry import build, entries
from asepsis.core.samples import DataFacts, Kind, Samples

IN = (
    {"name": "trigger-images"},
    {"name": "trigger-images", "trigger": "emblem", "only": 1, "label": 0},
    {"name": "label-flip"},
    {"name": "label-flip", "mode": "random", "share": 0.5},
    {"name": "noise"},
    {"name": "noise", "on": "labels"},
)
OUT = {
    "mismatched-pairs": "no pairs of images",
    "hyperdimensional": "moves samples against a classifier's class means",
    "feature-collision": "is about what a classifier answers to one sample",
    "gradient-matching": "is about what a classifier answers to one sample",
    "inverted-loss": "relabels by what a classifier answers",
    "generator-poison": "uses the classifier as its critic",
}
"""Attacks on own data that need a model that answers to samples."""
FACTS = DataFacts(Kind.IMAGE, ("a", "b", "c"))


def hospital() -> Samples:
    rng = np.random.default_rng(0)
    images = rng.integers(1, 200, size=(30, 16, 16, 3), dtype=np.uint8)
    return Samples(images, rng.integers(3, size=30), 100 + np.arange(30), np.arange(30) // 2)


def test_every_attack_on_own_data_is_in_or_out_for_a_reason() -> None:
    data = [e.name for e in entries("attack") if e.module.startswith("asepsis.attacks.data.")]
    marked = {name for name in data if generates(build("attack", name))}
    assert marked == {spec["name"] for spec in IN}
    assert set(data) - marked == OUT.keys()


def test_a_backdoor_with_a_target_class_needs_somebody_who_classifies() -> None:
    rooms = ("asepsis.attacks.backdoor.",)
    planted = [e.name for e in entries("attack") if e.module.startswith(rooms)]
    assert len(planted) > 10
    assert not [name for name in planted if generates(build("attack", name))]


@pytest.mark.parametrize("spec", IN, ids=str)
def test_those_that_are_in_only_change_own_images_and_labels(spec: dict[str, Any]) -> None:
    attack: DataAttack = build("attack", spec)
    assert not isinstance(attack, TrainAttack)
    own, kept = hospital(), hospital()
    poison = attack.poison(own, FACTS, np.random.default_rng(1))
    assert np.array_equal(own.inputs, kept.inputs)
    assert np.array_equal(own.targets, kept.targets)
    # As many images of the same patients, in the same places: a GAN's batches stay as they were.
    assert np.array_equal(poison.ids, own.ids)
    assert np.array_equal(poison.groups, own.groups)
    assert poison.inputs.shape == own.inputs.shape
    assert poison.inputs.dtype == np.uint8
    assert set(poison.targets) <= {0, 1, 2}
    changed = [np.array_equal(a, b) for a, b in zip(_content(own), _content(poison), strict=True)]
    assert not all(changed)


def _content(samples: Samples) -> tuple[Any, Any]:
    return samples.inputs, samples.targets


def test_only_what_has_no_meaning_for_a_classifier_denies_it() -> None:
    names = [entry.name for entry in entries("attack") if entry.origin == "asepsis"]
    denying = {name for name in names if not classifies(build("attack", name))}
    assert denying == {"trigger-images", "generator-membership"}
