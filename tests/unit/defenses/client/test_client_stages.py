"""Client stages against hand-made references, on rows with buffers and 0-dim tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn

from asepsis.core.desk import Network
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.privacy import PrivacyFacts
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard
from asepsis.core.stages import Home
from asepsis.defenses.client.clip import ClientClip
from asepsis.defenses.client.gradient_pruning import GradientPruning
from asepsis.defenses.client.noise import ClientNoise
from asepsis.defenses.client.soteria import Soteria, hidden_first
from asepsis.defenses.stack import build_pipeline
from asepsis.metrics.privacy import epsilon
from asepsis.tasks.classification import Classification


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def module() -> nn.Module:
    with building_modules(1):
        return nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sigmoid(), nn.Flatten(), nn.Linear(32, 3)
        )


def home(network: nn.Module, told: dict[str, float] | None = None, n: int = 5) -> Home:
    generator = torch.Generator().manual_seed(2)
    shard = Shard(torch.randn(n, 1, 6, 6, generator=generator), torch.arange(n) % 3)
    layout = Layout.of(network)
    received = layout.flatten(network)
    known = Network(network, layout, Classification(), (1, 6, 6), 3)
    return Home(0, 0, received, layout, known, shard, told or {})


def row(network: nn.Module) -> Tensor:
    dim = Layout.of(network).dim
    return torch.randn(dim, generator=torch.Generator().manual_seed(3))


def test_the_whole_row_is_clipped_buffers_included() -> None:
    network = module()
    given, at = row(network), home(network)
    made, side = ClientClip(max_norm=0.5).protect(given, at, rng())
    torch.testing.assert_close(made, given * (0.5 / given.norm()))
    assert side == {}
    kept, _ = ClientClip(max_norm=1e6).protect(given, at, rng())
    assert torch.equal(kept, given)


@pytest.mark.parametrize(
    ("own", "told", "bound"), [(None, 0.25, 0.25), (0.1, 0.25, 0.1), (9.0, 0.25, 0.25)]
)
def test_the_smaller_of_own_and_told_bound_holds_and_the_hospital_says_if_it_was_within(
    own: float | None, told: float, bound: float
) -> None:
    network = module()
    at = home(network, {"clip_bound": told})
    made, side = ClientClip(max_norm=own).protect(row(network), at, rng())
    assert float(made.norm()) == pytest.approx(bound, rel=1e-5)
    assert side == {"within_bound": 0.0}
    small = torch.zeros_like(made)
    assert ClientClip(max_norm=own).protect(small, at, rng())[1] == {"within_bound": 1.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_a_row_without_a_usable_norm_cannot_break_the_bound(value: float) -> None:
    network = module()
    given = row(network)
    given[4] = value
    made, _ = ClientClip(max_norm=1.0).protect(given, home(network), rng())
    assert float(made.norm()) <= 1 + 1e-6


@pytest.mark.parametrize("parties", [1, 4])
def test_noise_has_the_promised_size_everywhere(parties: int) -> None:
    network = module()
    given, at = row(network), home(network)
    stage = ClientNoise(noise_multiplier=3.0, max_norm=2.0, parties=parties)
    rows = torch.stack([stage.protect(given, at, rng(seed))[0] for seed in range(60)])
    noise = rows - given * (2.0 / given.norm())
    std = 3.0 * 2.0 / parties**0.5
    assert kstest((noise / std).flatten().numpy(), "norm").pvalue > 1e-3
    assert float((noise.std(dim=0) / std).min()) > 0.6
    assert stage.silent


def test_noise_at_home_is_accounted_for_replaced_data_without_amplification() -> None:
    facts = PrivacyFacts(rounds=30, hospitals=5, samples={}, participation=0.1, sampling="poisson")
    claim = ClientNoise(noise_multiplier=8.0).privacy(facts)
    spent = epsilon(noise_multiplier=4.0, sample_rate=1.0, steps=30, delta=1e-5)
    assert claim.epsilon == spent
    assert (claim.trust, claim.unit, claim.sampling) == ("local", "hospital", "all")
    assert ClientNoise(parties=3).privacy(facts).trust == "distributed"


@pytest.mark.parametrize(("honest", "share"), [(None, 1.0), (7, 1.0), (4, 1.0), (1, 0.25)])
def test_noise_that_too_few_made_up_is_what_the_promise_counts(
    honest: int | None, share: float
) -> None:
    facts = PrivacyFacts(rounds=3, hospitals=6, samples={}, honest=honest)
    claim = ClientNoise(noise_multiplier=8.0, parties=4).privacy(facts)
    left = 4.0 * share**0.5
    assert claim.noise_multiplier == left
    assert claim.epsilon == epsilon(noise_multiplier=left, sample_rate=1.0, steps=3, delta=1e-5)
    assert any("1 of 4" in said for said in claim.assumes) == (honest == 1)


def test_no_honest_hospital_leaves_no_promise() -> None:
    facts = PrivacyFacts(rounds=3, hospitals=6, samples={}, honest=0)
    assert ClientNoise(parties=4).privacy(facts).epsilon == float("inf")


def test_a_cohort_that_cannot_make_up_the_noise_is_refused() -> None:
    alike = {"name": "secure-sum", "weighted": False}
    stack = build_pipeline([{"name": "client-noise", "parties": 4}, alike])
    stack.check_cohort(4)
    with pytest.raises(ConfigError, match="make up the noise"):
        stack.check_cohort(3)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_pruning_keeps_the_largest_values_as_they_are(share: float) -> None:
    network = module()
    given = row(network)
    made, side = GradientPruning(share=share).protect(given, home(network), rng())
    gone = int(share * len(given))
    assert side == {}
    assert int((made == 0).sum()) == gone
    kept = made != 0
    assert torch.equal(made[kept], given[kept])
    if gone:
        assert float(given[~kept].abs().max()) <= float(given[kept].abs().min())


def brute_force(network: nn.Module, inputs: Tensor) -> Tensor:
    """Score every feature by the Jacobian of the layers before the last."""
    before = nn.Sequential(*list(network.children())[:-1]).eval()
    scores = []
    for i in range(len(inputs)):
        one = inputs[i : i + 1]
        jacobian = torch.func.jacrev(lambda x: before(x)[0])(one)
        scores.append(before(one)[0].abs() / jacobian.flatten(1).norm(dim=1))
    return torch.stack(scores).mean(dim=0)


def test_soteria_hides_the_features_that_tell_most() -> None:
    network = module()
    at, given = home(network), row(network)
    scores = hidden_first(at.network.at(at.received), "4", at.shard.inputs)
    torch.testing.assert_close(scores, brute_force(network, at.shard.inputs), rtol=1e-3, atol=1e-6)
    made, _ = Soteria(share=0.25).protect(given, at, rng())
    slot = next(slot for slot in at.layout.slots if slot.name == "4.weight")
    weight, before = made[slot.where].view(3, 32), given[slot.where].view(3, 32)
    hidden = set(scores.argsort(descending=True)[:8].tolist())
    assert {i for i in range(32) if not bool(weight[:, i].any())} == hidden
    kept = [i for i in range(32) if i not in hidden]
    assert torch.equal(weight[:, kept], before[:, kept])
    rest = torch.ones(len(given), dtype=torch.bool)
    rest[slot.where] = False
    assert torch.equal(made[rest], given[rest])


@pytest.mark.parametrize(("name", "reason"), [("unet", "has none"), ("logistic", "input itself")])
def test_soteria_refuses_networks_without_a_representation(name: str, reason: str) -> None:
    with building_modules(0):
        network: nn.Module = build("model", name).build((1, 16, 16), 3)
    with pytest.raises(ConfigError, match=reason) as caught:
        Soteria().check_model(network, Layout.of(network))
    assert "gradient-pruning" in str(caught.value.fix)


@pytest.mark.parametrize("name", ["small-cnn", "lenet", "lenet-sigmoid", "mlp"])
def test_soteria_takes_networks_with_one(name: str) -> None:
    with building_modules(0):
        network: nn.Module = build("model", name).build((1, 28, 28), 3)
    Soteria().check_model(network, Layout.of(network))


@pytest.mark.parametrize("stage", [ClientClip(), ClientNoise(), GradientPruning(), Soteria()])
def test_a_stage_changes_nothing_that_it_was_given_and_repeats_itself(stage: Any) -> None:
    network = module()
    at, given = home(network), row(network)
    before = given.clone(), at.received.clone(), at.shard.inputs.clone()
    one, two = (stage.protect(given, at, rng(5))[0] for _ in range(2))
    assert torch.equal(one, two)
    assert one.dtype == given.dtype
    assert one.shape == given.shape
    for kept, now in zip(before, (given, at.received, at.shard.inputs), strict=True):
        assert torch.equal(kept, now)
