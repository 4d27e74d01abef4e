"""DP-SGD: clipping and noise against hand-made references, the sampler against the accountant."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom, kstest
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.privacy import PrivacyFacts
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard
from asepsis.metrics.privacy import epsilon
from asepsis.training.dp_sgd import DpSgd, sampled
from asepsis.training.per_sample import clipped_sum, watched

TASK = build("task", "classification")


class Scaled(nn.Module):
    """A convolution, a group norm and a 0-dim parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.gain = Gain()
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.gain(self.norm(self.conv(x)).relu()).flatten(1))
        return made


class Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


def network() -> nn.Module:
    with building_modules(3):
        return Scaled()


def shard(n: int = 12) -> Shard:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(n, 1, 8, 8, generator=generator)
    return Shard(inputs, torch.arange(n) % 3)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def row_of(trainer: DpSgd, data: Shard, seed: int = 0, module: nn.Module | None = None) -> Tensor:
    module = network() if module is None else module
    layout = Layout.of(module)
    row, side = trainer.train(module, layout, layout.flatten(module), data, TASK, rng(seed), 1.0)
    assert side == {}
    return row


def by_hand(module: nn.Module, data: Shard, clip: float) -> Tensor:
    """Sum the clipped gradients of single samples, one backward pass each."""
    total = torch.zeros(sum(weight.numel() for weight in module.parameters()))
    for i in range(len(data)):
        module.zero_grad()
        loss = TASK.loss(module(data.inputs[i : i + 1]), data.targets[i : i + 1]).sum()
        found = torch.autograd.grad(loss, list(module.parameters()))
        flat = torch.cat([part.reshape(-1) for part in found])
        total += flat * min(1.0, clip / float(flat.norm()))
    return total


@pytest.mark.parametrize("clip", [1e-2, 1.0, 1e6])
def test_every_sample_is_clipped_over_all_parameters_together(clip: float) -> None:
    module, data = network(), shard()
    with watched(module) as wrapped:
        found = clipped_sum(wrapped, TASK, data.inputs, data.targets, clip)
    flat = torch.cat([part.reshape(-1) for part in found])
    torch.testing.assert_close(flat, by_hand(module, data, clip), rtol=1e-4, atol=1e-6)


def test_large_batches_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = network(), shard(7)
    with watched(module) as wrapped:
        whole = clipped_sum(wrapped, TASK, data.inputs, data.targets, 0.3)
        monkeypatch.setattr("asepsis.training.per_sample.MOST_VALUES", 1000)
        parts = clipped_sum(wrapped, TASK, data.inputs, data.targets, 0.3)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_one_step_without_noise_is_the_mean_of_clipped_gradients() -> None:
    data = shard()
    trainer = DpSgd(lr=0.5, steps=1, batch_size=100, clip=0.7, noise_multiplier=0.0)
    expected = -0.5 * by_hand(network(), data, 0.7) / 12
    torch.testing.assert_close(row_of(trainer, data), expected, rtol=1e-4, atol=1e-6)


def test_momentum_and_decay_come_after_the_noise() -> None:
    data, module = shard(), network()
    trainer = DpSgd(
        lr=0.1, momentum=0.5, weight_decay=0.2, steps=2, batch_size=100, noise_multiplier=0.0
    )
    weights = torch.cat([w.detach().reshape(-1) for w in module.parameters()])
    start, speed, layout = weights.clone(), torch.zeros_like(weights), Layout.of(module)
    for _ in range(2):
        layout.load(module, weights)
        speed = 0.5 * speed + by_hand(module, data, 1.0) / 12 + 0.2 * weights
        weights = weights - 0.1 * speed
    found = row_of(trainer, data)
    torch.testing.assert_close(found, weights - start, rtol=1e-4, atol=1e-6)


def test_noise_has_the_promised_size_on_every_coordinate() -> None:
    """Differences to the noiseless run, over many streams: one normal sample, 0-dim included."""
    data, module = shard(), network()
    how: dict[str, Any] = {"lr": 0.5, "steps": 1, "batch_size": 100, "clip": 0.7}
    still = row_of(DpSgd(**how, noise_multiplier=0.0), data)
    rows = [row_of(DpSgd(**how, noise_multiplier=2.0), data, seed) for seed in range(40)]
    noise = torch.stack(rows) - still
    std = 0.5 * 2.0 * 0.7 / 12
    assert kstest((noise / std).flatten().numpy()[:20_000], "norm").pvalue > 1e-3
    spread = noise.std(dim=0) / std
    assert float(spread.min()) > 0.5
    assert float(spread.max()) < 1.6
    slot = next(slot for slot in Layout.of(module).slots if slot.name == "gain.by")
    assert bool((noise[:, slot.where] != 0).all())


def test_an_empty_step_moves_by_noise_alone_over_the_expected_batch() -> None:
    data = shard(2)
    trainer = DpSgd(lr=1.0, steps=1, batch_size=1, clip=1e-3, noise_multiplier=1e3)
    seed = next(s for s in range(50) if not len(_first(trainer, s)))
    row = row_of(trainer, data, seed)
    assert float(row.std()) == pytest.approx(1.0, rel=0.2)


def _first(trainer: DpSgd, seed: int) -> Any:
    return trainer.drawn(2, 1.0, rng(seed))[0]


def test_the_sampler_is_the_one_that_the_accountant_assumes() -> None:
    """Every record by itself, with the claimed rate: sizes binomial, pairs independent."""
    trainer, n, steps = DpSgd(batch_size=20), 100, 4000
    facts = PrivacyFacts(rounds=1, hospitals=1, samples={0: n})
    assert trainer.privacy(facts).sample_rate == trainer.rate(n) == 0.2
    assert trainer.privacy(facts).sampling == "poisson"
    drawn = np.zeros((steps, n), dtype=bool)
    for step, where in enumerate(sampled(n, trainer.rate(n), steps, rng(7))):
        drawn[step, where] = True
    sizes = drawn.sum(axis=1)
    assert sizes.std() == pytest.approx(binom.std(n, 0.2), rel=0.05)  # 0 for shuffled batches
    assert drawn.mean() == pytest.approx(0.2, abs=0.003)
    pairs = np.cov(drawn.T.astype(float))
    assert abs(pairs[~np.eye(n, dtype=bool)].mean()) < 2e-4
    again = (drawn[1:] & drawn[:-1]).mean()
    assert again == pytest.approx(0.04, abs=0.002)  # 0 without replacement over a pass


def test_same_stream_same_row_and_the_module_stays_plain() -> None:
    module, data = network(), shard()
    before = {name for name, _ in module.named_parameters()}
    trainer = DpSgd(steps=2, batch_size=4)
    layout = Layout.of(module)
    start = layout.flatten(module)
    rows = [trainer.train(module, layout, start, data, TASK, rng(1), 1.0)[0] for _ in range(2)]
    assert torch.equal(rows[0], rows[1])
    assert {name for name, _ in module.named_parameters()} == before
    assert all(not hasattr(weight, "grad_sample") for weight in module.parameters())
    assert not torch.equal(rows[0], row_of(trainer, data, 2))
    copy.deepcopy(module)


def test_one_broken_sample_cannot_break_the_bound() -> None:
    data = shard()
    data.inputs[3] = math.inf
    row = row_of(DpSgd(lr=1.0, steps=1, batch_size=100, noise_multiplier=0.0), data)
    others = [i for i in range(12) if i != 3]
    rest = Shard(data.inputs[others], data.targets[others])
    torch.testing.assert_close(row, -by_hand(network(), rest, 1.0) / 12, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.BatchNorm2d(2),
        lambda: nn.BatchNorm2d(2, affine=False, track_running_stats=False),
        lambda: nn.InstanceNorm2d(2, track_running_stats=True),
        lambda: nn.LSTM(3, 3),
    ],
    ids=["batch-norm", "bare-batch-norm", "instance-norm", "lstm"],
)
def test_unfit_layers_are_refused_with_reason_and_fix(layer: Callable[[], nn.Module]) -> None:
    with building_modules(0):
        module = nn.Sequential(nn.Conv2d(1, 2, 3), layer())
    with pytest.raises(ConfigError) as caught:
        DpSgd().check_model(module, Layout.of(module))
    assert caught.value.place == "model"
    assert f"1 ({type(module[1]).__name__})" in str(caught.value.got)
    assert 'norm = "group"' in str(caught.value.fix)


def test_a_buffer_that_would_be_sent_is_refused() -> None:
    with building_modules(0):
        module = nn.Linear(2, 2)
    module.register_buffer("seen", torch.zeros(1))
    with pytest.raises(ConfigError, match="without noise"):
        DpSgd().check_model(module, Layout.of(module))


@pytest.mark.parametrize("name", ["small-cnn", "lenet", "mlp", "unet"])
def test_networks_that_fit_are_taken(name: str) -> None:
    with building_modules(0):
        module = build("model", name).build((1, 28, 28), 3)
    DpSgd().check_model(module, Layout.of(module))


@pytest.mark.parametrize("name", ["densenet121", "resnet18"])
def test_the_fix_that_is_named_works(name: str) -> None:
    pytest.importorskip("monai")
    with building_modules(0):
        module = build("model", {"name": name, "norm": "group"}).build((1, 32, 32), 3)
        usual = build("model", name).build((1, 32, 32), 3)
    DpSgd().check_model(module, Layout.of(module))
    with pytest.raises(ConfigError, match="BatchNorm"):
        DpSgd().check_model(usual, Layout.of(usual))
    inputs = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    row = row_of(DpSgd(steps=1), Shard(inputs, torch.tensor([0, 1])), module=module)
    assert bool(torch.isfinite(row).all())


def test_the_claim_is_the_worst_hospitals_with_the_others_and_patients_beside() -> None:
    trainer = DpSgd(batch_size=10, noise_multiplier=2.0, steps=5)
    facts = PrivacyFacts(
        rounds=20,
        hospitals=2,
        samples={0: 1000, 1: 100},
        records={0: 1, 1: 3},
        trained={0: 20, 1: 4},
    )
    claim = trainer.privacy(facts)

    def spent(rate: float, steps: int, records: int = 1) -> float:
        return epsilon(
            noise_multiplier=2.0, sample_rate=rate, steps=steps, delta=1e-5, records=records
        )

    assert claim.epsilon == spent(0.1, 20)
    assert (claim.hospital, claim.unit, claim.trust, claim.steps) == (1, "record", "local", 20)
    found = {(c.hospital, c.unit): c.epsilon for c in claim.all()}
    assert found == {
        (1, "record"): spent(0.1, 20),
        (0, "record"): spent(0.01, 100),
        (1, "patient of up to 3 records"): spent(0.1, 20, 3),
    }
    assert any("public" in text for text in claim.assumes)
