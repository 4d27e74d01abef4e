"""Extractor, trigger detector, downstream classifiers and memory on images whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard
from asepsis.federation.generating import detector as detecting
from asepsis.federation.generating import downstream
from asepsis.federation.generating import extractor as extracting
from asepsis.federation.generating.classifier import (
    balanced,
    fit,
    fitting,
    outputs,
    parted,
    probabilities,
    small_classifier,
)
from asepsis.federation.generating.detector import (
    Detector,
    TriggerFinder,
    blurred,
    trained_detector,
    varied,
)
from asepsis.federation.generating.downstream import worth
from asepsis.federation.generating.extractor import Extractor, trained_extractor
from asepsis.federation.generating.memory import memory
from asepsis.metrics.generation import kernel_distance


def images(seed: int, n: int, size: int = 16, channels: int = 1) -> Tensor:
    """Smooth random images in [-1, 1]."""
    rng = np.random.default_rng(seed)
    rough = torch.from_numpy(rng.normal(size=(n, channels, 4, 4)).astype(np.float32))
    return torch.tanh(torch.nn.functional.interpolate(rough, (size, size), mode="bilinear"))


def striped(seed: int, n: int, positives: int) -> Shard:
    """The last ``positives`` images have faint stripes: class 1."""
    made = images(seed, n)
    targets = (torch.arange(n) >= n - positives).long()
    made[targets == 1, :, ::2] += 0.5
    return Shard(made.clamp(-1, 1), targets)


@cache
def extractor() -> Extractor:
    return trained_extractor(striped(0, 200, 60), 2, seed=5)


def patched(clean: Tensor, size: int = 2) -> Tensor:
    made = clean.clone()
    made[..., -size - 1 : -1, -size - 1 : -1] = 1.0
    return made


@cache
def detector() -> Detector:
    clean = images(1, 120)
    return trained_detector(clean, patched(clean), seed=3)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to see whether two trainings are the same."""
    for module in (detecting, downstream, extracting):
        monkeypatch.setattr(module, "STEPS", 10)


def test_every_class_that_occurs_weighs_the_same() -> None:
    targets = torch.tensor([2] * 6 + [0] * 2)
    weights = balanced(targets, 3).loss(torch.zeros(8, 3), targets) / math.log(3)
    assert weights[:6].sum() == pytest.approx(float(weights[6:].sum())) == pytest.approx(4.0)


def test_a_rare_class_is_learned() -> None:
    train, test = striped(0, 200, 10), striped(1, 100, 50)
    assert worth(train, test, 2, seed=0)["balanced_accuracy"] > 0.9


def test_training_draws_from_no_global_generator_and_repeats() -> None:
    shard, seen = striped(0, 40, 20), []
    for _ in range(2):
        module = small_classifier((1, 16, 16), 2, seed=7)
        fit(module, shard, 2, seed=7, steps=5)
        seen.append(probabilities(module, shard.inputs))
    assert (seen[0] == seen[1]).all()
    assert not any(weight.requires_grad for weight in module.parameters())


def test_parts_are_disjoint_and_complete() -> None:
    one, two = parted(11, 0.5, seed=2)
    assert sorted([*one.tolist(), *two.tolist()]) == list(range(11))
    assert parted(11, 0.5, seed=3)[0].tolist() != one.tolist()


def test_parts_share_no_patient_and_are_of_patients() -> None:
    patients = np.repeat(["p", "q", "r", "s", "t"], [1, 9, 2, 5, 3])
    one, two = (set(patients[part]) for part in parted(20, 0.4, 1, patients))
    assert one | two == set(patients)
    assert not one & two
    assert len(two) == 2


@pytest.mark.parametrize("seed", [0, 1])
def test_patients_with_one_image_each_are_drawn_as_images_are(seed: int) -> None:
    patients = np.arange(30)[::-1] + 100
    alike = [parted(30, 0.2, seed), parted(30, 0.2, seed, patients[::-1])]
    assert [part.tolist() for part in alike[0]] == [part.tolist() for part in alike[1]]


def test_large_images_are_averaged_and_small_ones_left_alone() -> None:
    large = torch.arange(128.0).repeat(1, 1, 128, 1)
    assert fitting(large)[0, 0, 0, :2].tolist() == [0.5, 2.5]
    assert torch.equal(fitting(images(0, 2)), images(0, 2))


def test_features_are_standardized_by_the_training_images() -> None:
    train, held_out = striped(0, 200, 60), striped(3, 50, 20)
    made = trained_extractor(train, 2, seed=5, held_out=held_out)
    features = made.features(train.inputs)
    assert features.dtype == np.float64
    assert np.allclose(features.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(features.std(axis=0)[features.std(axis=0) > 1e-6], 1, atol=1e-4)
    assert made.tested == 50


@pytest.mark.usefixtures("few_steps")
def test_the_extractor_is_a_function_of_the_seed() -> None:
    train, probe = striped(0, 60, 20), images(9, 5)
    one, two, other = (trained_extractor(train, 2, seed).features(probe) for seed in (1, 1, 2))
    assert (one == two).all()
    assert not np.allclose(one, other)


def test_the_extractor_says_what_it_is_and_how_good() -> None:
    made = extractor()
    assert made.balanced_accuracy > 0.9
    assert made.about == (
        "small classifier trained on the real training images (seeded), "
        f"balanced accuracy {made.balanced_accuracy:.2f} on 40 held-out real images"
    )
    assert replace(made, balanced_accuracy=math.nan, tested=0).about.endswith("not tested")


def test_photographs_of_one_patient_do_not_lie_on_both_sides() -> None:
    """Classes that say nothing can only be learned by heart, patient by patient."""
    patients = np.repeat(np.arange(40), 6)
    photographs = images(0, 40).repeat_interleave(6, dim=0)
    classes = torch.from_numpy(np.random.default_rng(0).integers(0, 2, 40)).repeat_interleave(6)
    known, blind = (
        trained_extractor(Shard(photographs, classes), 2, seed=0, groups=groups)
        for groups in (None, patients)
    )
    assert known.balanced_accuracy > 0.9
    assert blind.balanced_accuracy < 0.85
    assert blind.tested == 48


def test_features_of_an_image_do_not_depend_on_the_others() -> None:
    probe = images(4, 300)
    whole, alone = extractor().features(probe), extractor().features(probe[290:291])
    assert np.allclose(whole[290], alone[0], atol=1e-4)


def test_an_image_that_is_no_number_has_no_features() -> None:
    probe = images(4, 3)
    probe[1] = math.nan
    found = np.isfinite(extractor().features(probe)).all(axis=1)
    assert found.tolist() == [True, False, True]


def test_features_see_blur_and_noise() -> None:
    """Stripes of half a tone vanish when blurred; noise adds what real images have not."""
    real, other = (striped(s, 200, 100).inputs for s in (10, 11))
    noisy = other + 0.2 * torch.randn(other.shape, generator=torch.Generator().manual_seed(0))
    look = extractor().features
    floor, soft, rough = (
        kernel_distance(look(real), look(made)) for made in (other, blurred(other), noisy)
    )
    assert max(10 * abs(floor), 0.1) < min(soft, rough)


def test_the_detector_finds_a_patch_in_images_it_never_saw() -> None:
    clean = images(50, 200)
    assert detector().true_positives > 0.95
    assert detector().false_positives < 0.05
    assert detector().works
    assert detector().share(patched(clean)) > 0.95
    assert detector().share(clean) < 0.05
    mixed = torch.cat([clean[:50], patched(clean[50:100])])
    assert detector().carriers(mixed).double().mean() == pytest.approx(0.5, abs=0.05)


def test_softer_images_are_not_called_stamped() -> None:
    clean = images(50, 200)
    soft = blurred(clean)
    noisy = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    assert detector().share(soft) < 0.05
    assert detector().share(noisy) < 0.15
    assert detector().share(patched(noisy)) > 0.9
    stamped = patched(clean)
    assert detector().share(stamped.lerp(blurred(stamped), 0.5)) > 0.9


@pytest.mark.parametrize("channels", [1, 3])
def test_a_faint_pattern_over_the_image_is_found(channels: int) -> None:
    clean = images(1, 240, channels=channels)
    pattern = torch.rand(clean.shape[1:], generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = trained_detector(clean, 0.9 * clean + 0.1 * pattern, seed=0)
    other = images(50, 100, channels=channels)
    assert found.share(0.9 * other + 0.1 * pattern) > 0.95
    assert found.share(other) < 0.05


def test_a_detector_that_finds_nothing_says_so() -> None:
    found = trained_detector(images(1, 60), images(2, 60), seed=0)
    assert not found.works
    assert "rates mean nothing" in found.about
    assert abs(found.true_positives - found.false_positives) < 0.4


@pytest.mark.usefixtures("few_steps")
def test_the_detector_is_a_function_of_the_seed() -> None:
    clean = images(1, 16)
    one, two = (trained_detector(clean, patched(clean), seed=4) for _ in range(2))
    assert torch.equal(outputs(one.module, clean), outputs(two.module, clean))
    assert one.tested == 8


def noise(seed: int, n: int) -> Tensor:
    return torch.rand(n, 1, 12, 12, generator=torch.Generator().manual_seed(seed))


def test_the_detector_tests_with_images_it_was_not_trained_on() -> None:
    """Pure noise can only be learned by heart: on new noise a detector is at chance."""
    found = trained_detector(noise(0, 120), noise(1, 120), seed=0)
    assert abs(found.true_positives - found.false_positives) < 0.3


def test_the_detector_tests_with_patients_it_was_not_trained_on() -> None:
    """Each photograph three times: by heart when copies lie on both sides, else at chance."""
    patients = np.repeat(np.arange(40), 3)
    one, two = (noise(seed, 40).repeat_interleave(3, dim=0) for seed in (0, 1))
    known, blind = (trained_detector(one, two, 0, groups) for groups in (None, patients))
    assert known.true_positives - known.false_positives > 0.6
    assert abs(blind.true_positives - blind.false_positives) < 0.4
    assert blind.tested == 60


def test_patients_of_other_images_are_refused() -> None:
    with pytest.raises(ConfigError, match="patients"):
        trained_detector(noise(0, 8), noise(1, 8), 0, groups=np.arange(7))


def test_shares_without_images_or_of_broken_ones() -> None:
    assert math.isnan(detector().share(images(0, 0)))
    assert detector().share(torch.full((3, 1, 16, 16), math.nan)) == 0.0


def test_the_finder_of_any_shape() -> None:
    with building_modules(0):
        finder = TriggerFinder((3, 15, 9))
    assert finder(torch.zeros(2, 3, 15, 9)).shape == (2, 2)


def test_variations_treat_images_alike_and_leave_some() -> None:
    clean = images(1, 400)
    made = varied(clean, np.random.default_rng(0))
    same = (made == clean).flatten(1).all(dim=1).double().mean()
    assert 0.2 < same < 0.4
    assert made.abs().max() <= 1
    assert torch.equal(made, varied(clean, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("clean", "stamped"), [((1, 1, 16, 16), (9, 1, 16, 16)), ((9, 1, 16, 16), (9, 1, 18, 16))]
)
def test_too_few_images_are_refused(clean: tuple[int, ...], stamped: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="held-out images"):
        trained_detector(torch.zeros(clean), torch.zeros(stamped), seed=0)


def test_worth_is_that_of_the_images() -> None:
    train, test = striped(0, 120, 60), striped(1, 120, 60)
    shuffled = Shard(train.inputs, train.targets.roll(30))
    good, bad = (worth(shard, test, 2, seed=0) for shard in (train, shuffled))
    assert set(good) == {"accuracy", "balanced_accuracy", "auroc"}
    assert good["auroc"] > 0.95
    assert abs(bad["auroc"] - 0.5) < 0.3


@pytest.mark.usefixtures("few_steps")
def test_worth_is_a_function_of_the_seed() -> None:
    train, test = striped(0, 120, 60), striped(1, 120, 60)
    one, two, other = (worth(train, test, 2, seed)["auroc"] for seed in (0, 0, 1))
    assert one == two
    assert one != other


@pytest.mark.usefixtures("few_steps")
def test_worth_of_nothing_and_of_broken_images() -> None:
    test = striped(1, 40, 20)
    empty = Shard(test.inputs[:0], test.targets[:0])
    assert all(map(math.isnan, worth(empty, test, 2, seed=0).values()))
    broken = worth(Shard(torch.full_like(test.inputs, math.nan), test.targets), test, 2, seed=0)
    assert broken["accuracy"] == 0.0
    assert math.isnan(broken["auroc"])


def test_copies_are_remembered_and_strangers_not() -> None:
    everyone = striped(20, 300, 150).inputs[
        torch.from_numpy(np.random.default_rng(0).permutation(300))
    ]
    train, held_out, strangers = everyone[:200], everyone[200:260], everyone[260:]
    copies = memory(extractor(), train[::5], train, held_out)
    honest = memory(extractor(), strangers, train, held_out)
    assert set(copies) == {"nn_ratio", "nn_ratio_pixels", "memorized", "memorized_pixels"}
    for space in ("", "_pixels"):
        assert copies[f"memorized{space}"] == 1.0
        assert honest[f"memorized{space}"] < 0.3
        assert honest[f"nn_ratio{space}"] == pytest.approx(1.0, abs=0.25)
