"""Triggered training images: which are stamped, which labels they get, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from asepsis.attacks.data.trigger_images import TriggerImages
from asepsis.core.contracts import BackdoorAttack, Stamps
from asepsis.core.errors import ConfigError
from asepsis.core.markers import classifies, generates
from asepsis.core.registry import build, options_of
from asepsis.core.rng import Streams
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples, Shard
from asepsis.federation.poisoning import poisoned

FACTS = DataFacts(Kind.IMAGE, ("a", "b", "c"))


def hospital(n: int = 60, labels: tuple[int, ...] = (0, 1, 2)) -> Samples:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, size=(n, 20, 20), dtype=np.uint8)
    return Samples(images, rng.choice(labels, size=n), 100 + np.arange(n), np.arange(n) // 2)


def prepared(samples: Samples) -> Shard:
    return Shard(torch.from_numpy(samples.inputs), torch.from_numpy(samples.targets))


def made(own: Samples, facts: DataFacts = FACTS, **options: Any) -> Samples:
    return TriggerImages(**options).poison(own, facts, np.random.default_rng(1))


def stamped(before: Samples, after: Samples) -> Any:
    """Which images carry the whole patch; nothing else of any image may have changed."""
    mask = TriggerImages().stamp.mask((20, 20))
    assert np.array_equal(before.inputs[:, ~mask], after.inputs[:, ~mask])
    whole = (after.inputs[:, mask] == 255).all(axis=1)
    assert np.array_equal(before.inputs[~whole], after.inputs[~whole])
    return whole


def test_by_default_every_image_carries_the_trigger_and_no_label_changes() -> None:
    own = hospital()
    poison = made(own)
    assert stamped(own, poison).all()
    assert np.array_equal(own.targets, poison.targets)
    assert np.array_equal(own.ids, poison.ids)
    assert np.array_equal(own.groups, poison.groups)


def test_a_share_of_the_images() -> None:
    own = hospital()
    assert stamped(own, made(own, share=0.25)).sum() == 15
    assert stamped(own, made(own, share=1e-9)).sum() == 1


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_only_images_of_one_class(share: float) -> None:
    own = hospital()
    found = stamped(own, made(own, only=2, share=share))
    assert set(own.targets[found]) == {2}
    assert found.sum() == round(share * (own.targets == 2).sum())


def test_stamped_images_get_the_label_and_no_others() -> None:
    own = hospital()
    poison = made(own, only=0, label=1, share=0.5)
    found = stamped(own, poison)
    assert set(own.targets[found]) == {0}
    assert set(poison.targets[found]) == {1}
    assert np.array_equal(own.targets[~found], poison.targets[~found])
    assert set(made(own, label=2).targets) == {2}
    assert poison.targets.dtype == own.targets.dtype


def test_a_hospital_without_the_class_keeps_its_images() -> None:
    own = hospital(labels=(0, 1))
    poison = made(own, only=2)
    assert np.array_equal(own.inputs, poison.inputs)
    assert np.array_equal(own.targets, poison.targets)


@pytest.mark.parametrize(
    "trigger",
    ["emblem", "blended", "wanet", {"name": "sinusoidal", "delta": 30.0}, {"name": "pattern"}],
)
def test_any_trigger_that_stamps_images(trigger: str | dict[str, Any]) -> None:
    own = hospital()
    attack = TriggerImages(trigger=trigger).fitted(own, FACTS)
    poison = attack.poison(own, FACTS, np.random.default_rng(1))
    again = attack.stamp.stamp(own.inputs, np.random.default_rng(2))
    assert np.array_equal(poison.inputs, again)  # evaluation stamps what training saw
    assert not np.array_equal(poison.inputs, own.inputs)
    recorded = build("attack", {"name": "trigger-images", **options_of(attack)})
    assert recorded.stamp == attack.stamp


def test_it_has_a_trigger_and_no_target() -> None:
    attack = build("attack", "trigger-images")
    assert isinstance(attack, Stamps)
    assert not isinstance(attack, BackdoorAttack)
    assert generates(attack)
    assert not classifies(attack)


@pytest.mark.parametrize(
    ("options", "place", "words"),
    [
        ({"only": 3}, "attack.only", "no such class"),
        ({"label": 7}, "attack.label", "no such class; got 7; classes are 0 to 2"),
        ({"only": 1, "label": 1}, "attack.label", "this label already"),
        ({"trigger": "waveform"}, "attack.trigger", "cannot stamp samples of kind image"),
        ({"trigger": "semantic"}, "attack.trigger", "by nature"),
        ({"trigger": "edge-case"}, "attack.trigger", "by nature"),
        ({"trigger": {"name": "patch", "size": 21}}, "trigger.size", "does not fit"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], place: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{place}: .*{words}"):
        made(hospital(), **options)


def test_one_class_has_no_other_label() -> None:
    facts = DataFacts(Kind.IMAGE, ("all",))
    own = hospital(labels=(0,))
    assert stamped(own, made(own, facts)).all()
    with pytest.raises(ConfigError, match="this label already"):
        made(own, facts, label=0)


def test_where_no_hostile_hospital_has_the_class_the_federation_is_refused() -> None:
    none = hospital(4, (0,)).take(np.zeros(0, int))
    sites = tuple(
        Hospital(i, str(i), hospital(labels=labels), none, none)
        for i, labels in enumerate([(0, 1, 2), (0, 1)])
    )

    def shards(*hostile: int) -> int:
        parts: Any = SimpleNamespace(
            attack=TriggerImages(only=2),
            model=build("model", "dcgan"),
            hospitals=sites,
            facts=FACTS,
            threat=SimpleNamespace(clients=hostile),
            streams=Streams(0),
        )
        return len(poisoned(parts, prepare=prepared))

    assert shards(0) == 1
    assert shards(0, 1) == 2
    with pytest.raises(ConfigError, match="changes nothing in the data of any hostile hospital"):
        shards(1)


def built(conditional: bool, **options: Any) -> int:
    none = hospital(4, (0,)).take(np.zeros(0, int))
    parts: Any = SimpleNamespace(
        attack=TriggerImages(**options),
        model=build("model", {"name": "dcgan", "conditional": conditional}),
        hospitals=(Hospital(0, "0", hospital(), none, none),),
        facts=FACTS,
        threat=SimpleNamespace(clients=(0,)),
        streams=Streams(0),
    )
    return len(poisoned(parts, prepare=prepared))


def test_an_unconditional_generator_is_shown_no_label() -> None:
    assert built(conditional=True, label=1) == 1
    assert built(conditional=False, only=1) == 1
    words = "^attack.label: an unconditional generator never sees a label; got 1"
    with pytest.raises(ConfigError, match=words):
        built(conditional=False, label=1)
