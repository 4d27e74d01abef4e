"""Facts on real images: what the judges of generated images see in them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asepsis.attacks.backdoor.blended import BlendedTrigger
from asepsis.attacks.backdoor.patch import Patch
from asepsis.core.contracts import Trigger
from asepsis.core.samples import Array, Shard
from asepsis.federation.generating.detector import blurred, trained_detector
from asepsis.federation.generating.extractor import Extractor, trained_extractor
from asepsis.federation.generating.memory import memory
from asepsis.metrics.generation import kernel_distance

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "ASEPSIS_DATA" not in os.environ,
        reason="needs real data: set ASEPSIS_DATA to a folder with pneumoniamnist.npz",
    ),
]
SETS = ("pneumoniamnist", "breastmnist")


@cache
def arrays(name: str) -> dict[str, Array]:
    [path] = Path(os.environ["ASEPSIS_DATA"]).rglob(f"{name}.npz")
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def prepared(raw: Array) -> Tensor:
    """Pad 28×28 to 32×32, as the images of a generator are."""
    wide = np.pad(raw, ((0, 0), (2, 2), (2, 2)), mode="edge")
    return torch.from_numpy(wide[:, None].astype(np.float32) / 127.5 - 1)


def shard(name: str, split: str) -> Shard:
    found = arrays(name)
    targets = torch.from_numpy(found[f"{split}_labels"].ravel().astype(np.int64))
    return Shard(prepared(found[f"{split}_images"]), targets)


@cache
def extractor(name: str) -> Extractor:
    return trained_extractor(shard(name, "train"), 2, seed=0)


@pytest.mark.parametrize(("name", "least"), [("pneumoniamnist", 0.9), ("breastmnist", 0.65)])
def test_the_extractor_tells_the_diagnoses_apart(name: str, least: float) -> None:
    assert extractor(name).balanced_accuracy > least


def test_the_kernel_distance_sees_what_generators_do_wrong() -> None:
    """Of 2,354 real images against others: near zero; blurred, noisy or one image: far from it."""
    images = shard("pneumoniamnist", "train").inputs
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
    one, two = images[order[::2]], images[order[1::2]]
    noise = torch.randn(two.shape, generator=torch.Generator().manual_seed(0))
    wrong = (blurred(blurred(two)), two + 0.1 * noise, two[:1].expand_as(two), two.flip(2))
    look = extractor("pneumoniamnist").features
    floor, *far = (kernel_distance(look(one), look(made)) for made in (two, *wrong))
    assert abs(floor) < 0.02
    assert min(far) > 5 * abs(floor)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    "trigger",
    [Patch(size=3), Patch(size=2), BlendedTrigger(alpha=0.1)],
    ids=["3×3", "2×2", "blended"],
)
def test_the_detector_finds_triggers_in_other_real_images(name: str, trigger: Trigger) -> None:
    raw, rng = arrays(name), np.random.default_rng(0)
    known, other = raw["val_images"], raw["train_images"]
    made = trained_detector(prepared(known), prepared(trigger.stamp(known, rng)), seed=0)
    assert made.works
    assert made.share(prepared(trigger.stamp(other, rng))) > 0.95
    assert made.share(prepared(other)) < 0.05
    assert made.share(blurred(prepared(other))) < 0.05


@pytest.mark.parametrize("name", SETS)
def test_strangers_are_no_copies_and_copies_are(name: str) -> None:
    train, held_out = shard(name, "train").inputs, shard(name, "val").inputs
    strangers, honest = held_out[::2], held_out[1::2]
    found = memory(extractor(name), strangers, train, honest)
    copied = memory(extractor(name), train[: len(strangers)], train, honest)
    for space in ("", "_pixels"):
        assert found[f"nn_ratio{space}"] == pytest.approx(1.0, abs=0.1)
        assert found[f"memorized{space}"] < 0.15
        assert copied[f"memorized{space}"] == 1.0
