"""Inversion over fixed targets: every target counts, missed ones too."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import DataFacts, Kind, Samples, Shard
from asepsis.core.threat import Evidence, ServerView
from asepsis.core.updates import State
from asepsis.experiments.inversion_targets import QUANTILES, invert_targets
from asepsis.testing.learners import learner_for
from asepsis.training.learner import Learner
from asepsis.training.sgd import Sgd

SHAPE = (1, 12, 12)


def shard(count: int, seed: int) -> Shard:
    rng = np.random.default_rng(seed)
    inputs = torch.from_numpy(rng.uniform(-1, 1, (count, *SHAPE)).astype(np.float32))
    return Shard(inputs, torch.from_numpy(rng.integers(2, size=count)))


class EverySecond:
    """Knows the sample itself, but speaks only of every second target."""

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    def __init__(self, samples: Shard) -> None:
        self._samples, self._calls = samples, -1

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        self._calls += 1
        if self._calls % 2:
            return state, None
        own = self._samples.inputs[self._calls : self._calls + 1]
        return state, Evidence("inversion", {"inputs": own})


def mlp() -> tuple[Learner, torch.Tensor]:
    with building_modules(0):
        module = build("model", {"name": "mlp", "hidden": [128, 8]}).build(SHAPE, 2)
    learner = learner_for(module, SHAPE, 2)
    return learner, learner.layout.flatten(module)


def test_an_exact_attack_succeeds_on_every_target() -> None:
    learner, row = mlp()
    found = invert_targets(build("attack", "analytic"), learner, row, shard(6, 0), shard(20, 1))
    assert (found.targets, found.batch, found.local_steps) == (6, 1, 1)
    assert found.success.mean == 1
    assert 0.5 < found.success.low < found.success.high
    assert found.values["top1"] == (1.0,) * 6
    assert min(found.values["excess/psnr"]) > 20
    assert len(found.quantiles("psnr")) == len(QUANTILES)
    assert found.pictures["truth"].shape == found.pictures["guess"].shape == (6, *SHAPE)


def test_a_target_without_a_claim_is_no_success() -> None:
    learner, row = mlp()
    targets = shard(4, 0)
    found = invert_targets(EverySecond(targets), learner, row, targets)
    assert found.success.mean == 0.5
    assert np.isnan(found.values["psnr"]).tolist() == [False, True, False, True]
    assert found.mean("psnr").n == 2


def test_a_malicious_server_sends_its_model_first() -> None:
    learner, row = mlp()
    attack = build("attack", {"name": "robbing-the-fed", "measure": "random"})
    found = invert_targets(attack, learner, row, shard(8, 0), shard(60, 1), batch=2)
    assert found.targets == 4
    assert found.success.mean > 0.5


def test_real_local_steps_are_stated() -> None:
    learner, row = mlp()
    trainer = Sgd(lr=0.05, batch_size=1, steps=3)
    found = invert_targets(
        build("attack", {"name": "dlg", "iterations": 1}),
        learner,
        row,
        shard(8, 0),
        batch=4,
        trainer=trainer,
    )
    assert (found.targets, found.local_steps) == (2, 3)


@pytest.mark.slow
def test_most_of_50_digits_are_reconstructed_from_a_new_lenet() -> None:
    from sklearn.datasets import load_digits

    images, classes = load_digits(return_X_y=True)
    inputs = torch.from_numpy(images.reshape(-1, 1, 8, 8).astype(np.float32) / 8 - 1)
    large = torch.nn.functional.interpolate(inputs, size=(28, 28), mode="bilinear")
    everyone = Shard(large, torch.from_numpy(classes))
    order = np.random.default_rng(0).permutation(len(large))
    parts = [torch.from_numpy(order[cut]) for cut in (slice(50), slice(50, 250))]
    targets, public = (Shard(everyone.inputs[p], everyone.targets[p]) for p in parts)
    with building_modules(0):
        module = build("model", "lenet-sigmoid").build((1, 28, 28), 10)
    learner = learner_for(module, (1, 28, 28), 10)
    attack = build("attack", {"name": "dlg", "iterations": 30, "restarts": 2})
    found = invert_targets(attack, learner, learner.layout.flatten(module), targets, public)
    assert found.targets == 50
    assert found.success.low > 0.5
    assert found.mean("excess/psnr").low > 0


@pytest.mark.slow
def test_a_trained_unet_gives_less_away_than_the_mean_image() -> None:
    data = build("dataset", {"name": "head-phantom", "size": 32, "n": 260}).load()
    raw = Samples(data.inputs, data.targets, np.arange(len(data.inputs)), data.groups)
    facts = DataFacts(Kind.PAIRED_IMAGE, (), unit=data.unit, window=data.window)
    task = build("task", "translation").fitted([raw], facts)
    prepared = task.fit([raw], facts)(raw)
    order = np.random.default_rng(0).permutation(len(raw))
    train, public, targets = (
        Shard(prepared.inputs[where], prepared.targets[where])
        for where in map(torch.from_numpy, (order[:200], order[200:260], order[:3]))
    )
    with building_modules(0):
        module = build("model", {"name": "unet", "channels": 8, "depth": 2}).build((1, 32, 32), 0)
    learner = learner_for(
        module,
        (1, 32, 32),
        0,
        task=task,
        kind=Kind.PAIRED_IMAGE,
        target_shape=(1, 32, 32),
        trainer=Sgd(lr=0.05, batch_size=8, epochs=5),
    )
    row = learner.fit(learner.layout.flatten(module), train, np.random.default_rng(0))
    attack = build("attack", {"name": "dlg", "iterations": 10})
    found = invert_targets(attack, learner, row, targets, public)
    assert found.success.mean == 0
    assert {"inside/ssim", "target/inside/mae"} <= set(found.values)
    for name in ("", "target/"):
        assert max(found.values[f"{name}excess/ssim"]) < 0
