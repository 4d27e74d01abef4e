"""Real images beside generated ones: who is compared with whom."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard
from asepsis.federation.generating import extractor, kept, value
from asepsis.federation.generating.memory import NAMES
from asepsis.federation.generating.noise import Noise
from asepsis.federation.generating.reference import Reference
from asepsis.models.dcgan import Dcgan


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(extractor, "STEPS", 30)
    yield
    kept.forget()


def pictures(labels: Tensor, seed: int) -> Tensor:
    """Noise about one gray or the other, by class: a perfect conditional generator."""
    rng = np.random.default_rng(seed)
    noise = torch.from_numpy(rng.normal(0, 0.2, size=(len(labels), 1, 8, 8))).float()
    return (noise + (labels.float() - 0.5).view(-1, 1, 1, 1)).clamp(-1, 1)


def labels(zeros: int, ones: int) -> Tensor:
    return torch.tensor([0] * zeros + [1] * ones)


def shard(targets: Tensor, seed: int) -> Shard:
    return Shard(pictures(targets, seed), targets)


REAL = labels(80, 80)
"""The first hospital has one class alone, the second the other."""


def reference(strangers: int = 60, seed: int = 0) -> Reference:
    train = shard(labels(100, 100), 1)
    unseen = pictures(labels(strangers // 2, strangers - strangers // 2), 3)
    return Reference(
        real=shard(REAL, 2),
        train=train,
        groups=np.arange(200) // 2,
        known=np.arange(200),
        strangers=unseen,
        classes=2,
        seed=seed,
    )


def test_a_hospitals_images_are_compared_with_those_made_of_its_own_classes() -> None:
    made, generated = reference(), pictures(REAL, 4)
    for mine in (np.arange(80), np.arange(80, 160)):
        far = made.distance(generated.flip(0), mine)
        assert abs(made.distance(generated, mine)) < 0.05 * far


def test_one_image_of_each_class_is_a_collapse() -> None:
    """Two grays are as far apart as the classes are: only within a class is nothing left."""
    made = reference()
    copies = pictures(REAL, 4)
    copies[:80], copies[80:] = copies[:1].clone(), copies[80:81].clone()
    found, fine = (made.figures(i, labeled=True) for i in (copies, pictures(REAL, 4)))
    assert found["diversity"] > 0.3
    assert found["class_diversity"] == pytest.approx(0, abs=1e-6)
    assert found["collapsed"] == 1
    assert fine["class_diversity"] == pytest.approx(1, abs=0.3)
    assert fine["collapsed"] == 0
    assert "class_diversity" not in made.figures(copies)


def test_floors_rest_on_as_many_images_as_distances_where_there_are_enough() -> None:
    """Validation images and those set aside by the extractor: 120 and 40 make 160."""
    made = reference(120)
    assert made.about_floors == (
        "160 test images against 160 others of patients that the extractor never saw (in "
        "validation, or set aside in training)"
    )
    wrong = replace(made, strangers=-made.strangers.abs())
    assert wrong.floors["kernel_floor"] > 10 * abs(made.floors["kernel_floor"])


def test_other_real_images_are_of_patients_the_extractor_never_saw() -> None:
    """Drawn without replacement, whole patients' images aside: no image is there twice."""
    made = reference(60)
    learned, aside = extractor.set_aside(200, made.seed, made.groups)
    assert not set(made.groups[learned]) & set(made.groups[aside])
    pool = torch.cat([made.strangers, made.train.inputs[aside]]).flatten(1)
    found = made._others.flatten(1)
    assert len(found) == len(pool) == 100
    assert torch.equal((found[:, None] == pool).all(2).sum(0), torch.ones(100).long())


def test_floors_of_fewer_images_say_so() -> None:
    assert reference(60).about_floors == (
        "100 test images against 100 others of patients that the extractor never saw (in "
        "validation, or set aside in training); fewer than the 160 behind distances, so that the "
        "Fréchet floor is too large"
    )


def test_floors_fall_back_on_training_images() -> None:
    few = reference(8)
    assert few.about_floors == (
        "160 test images against 160 training images, which the extractor knows (only 48 others)"
    )
    assert replace(few, strangers=-few.strangers.abs()).floors == few.floors


def test_normal_images_have_the_moments_of_the_training_images() -> None:
    rng = np.random.default_rng(0)
    train = torch.from_numpy(rng.normal(0.1, 0.1, size=(300, 1, 2, 2))).float()
    train[:, :, 1, 1] = -train[:, :, 0, 0]
    real = Shard(torch.zeros(4000, 1, 2, 2), torch.zeros(4000).long())
    known = Shard(train, train[:, 0, 0, 0].long())
    made = Reference(real, known, np.arange(300), np.arange(300), train[:0], 1, seed=0)
    drawn = made._normal().flatten(1)
    assert torch.allclose(drawn.mean(0), train.flatten(1).mean(0), atol=0.01)
    wanted = torch.cov(train.flatten(1).T, correction=0)
    assert torch.allclose(torch.cov(drawn.T), wanted, atol=0.001)


def test_figures_without_network_are_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = reference().gaussian()
    monkeypatch.setattr(Reference, "_normal", lambda _: pytest.fail("drawn again"))
    assert reference().gaussian() == first


@pytest.mark.parametrize("seeds", [5, 32])
def test_every_cell_finds_what_the_first_cell_of_its_seed_made(seeds: int) -> None:
    known: kept.Kept[object] = kept.Kept()
    for seed in range(seeds):
        known.get(("key", seed), object)
    for seed in range(seeds):
        known.get(("key", seed), lambda: pytest.fail("made again"))


def test_what_is_unused_longest_is_forgotten() -> None:
    known: kept.Kept[int] = kept.Kept(most=2)
    made = iter(range(5))
    assert [known.get((key,), lambda: next(made)) for key in "abaca"] == [0, 1, 0, 2, 0]
    assert known.get(("b",), lambda: 9) == 9


def test_nothing_holds_the_training_images() -> None:
    made = reference()
    train = weakref.ref(made.train.inputs)
    assert made.extractor.features(made.real.inputs).shape[0] == len(REAL)
    del made
    gc.collect()
    assert train() is None


def test_hashes_depend_on_values_and_not_on_how_they_lie() -> None:
    images = torch.rand(600, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    other = images.clone()
    other[599, 2, 1, 1] += 1
    turned = images.contiguous(memory_format=torch.channels_last)
    assert kept.digest(turned) == kept.digest(images) != kept.digest(other)


def test_classifiers_learn_from_as_many_images_of_every_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(value, "MOST", 50)
    seen = []

    def noted(train: Shard, test: Shard, classes: int, seed: int) -> dict[str, float]:
        seen.append((len(train), train.targets.sum().item()))
        return {"auroc": 0.5}

    monkeypatch.setattr(value, "worth", noted)
    monkeypatch.setattr(kept, "worth", noted)
    with building_modules(0):
        generator = Dcgan(width=8, z_dim=4).build((1, 8, 8), 2).generator
    judge = value.Value(reference(), Noise(0))
    judge.figures(generator)
    (real, ones), synthetic, both = seen
    assert (real, both[0]) == (50, 100)
    assert synthetic == (real, ones)
    assert both[1] == 2 * ones
    assert 15 < ones < 35
    assert judge.terms(generator) == {"downstream_images": 50, "strangers": 60}


def test_real_images_that_nobody_trained_on_stand_beside_what_is_given_away() -> None:
    with building_modules(0):
        generator = Dcgan(width=8, z_dim=4, conditional=False).build((1, 8, 8), 2).generator
    found = value.Value(reference(), Noise(0)).figures(generator)
    assert {f"memorization/{beside}{name}" for name in NAMES for beside in ("", "floor/")} == set(
        found
    )
    assert 0.6 < found["memorization/floor/nn_ratio"] < 1.6
    copied = reference()
    copied = replace(copied, strangers=copied.train.inputs[:60])
    assert value.Value(copied, Noise(0)).figures(generator)["memorization/floor/memorized"] == 1
