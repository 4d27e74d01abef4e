"""What a generator gives away: everything when it remembers its members, nothing when it does not.

The generators here are told what to make, so that the truth is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asepsis.attacks.infer import generator_membership
from asepsis.attacks.infer.generator_membership import GeneratorMembership
from asepsis.core.errors import ConfigError
from asepsis.core.samples import Array, Shard
from asepsis.core.threat import Evidence, Facts, ReleaseView, Setting
from asepsis.metrics.inference import nearest_distance
from asepsis.models.gan import Gan, Synthesizer
from asepsis.testing.learners import learner_for
from asepsis.training.learner import Learner

SIDE, EACH, CLASSES = 6, 30, 2


class Told(Synthesizer):
    """Makes one of the images that it was given, of the class asked for, a little blurred."""

    def __init__(self, shown: Shard, classes: int, blur: float = 0.05) -> None:
        super().__init__((1, SIDE, SIDE), classes, z_dim=SIDE * SIDE)
        self.blur = nn.Parameter(torch.tensor(blur))
        self.register_buffer("images", shown.inputs)
        self.register_buffer("labels", shown.targets.double())

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        self.check(labels)
        images, known = self.get_buffer("images"), self.get_buffer("labels")
        rows = []
        for i, noise in enumerate(z):
            fitting = images if labels is None else images[known == labels[i]]
            which = int(noise[0].abs() * 1e4) % len(fitting)
            rows.append(fitting[which] + self.blur * noise.view(1, SIDE, SIDE))
        return torch.stack(rows)


def images(seed: int, count: int = EACH * CLASSES) -> Shard:
    """Images of two classes: noise about one gray or the other."""
    rng = np.random.default_rng(seed)
    targets = torch.from_numpy(np.arange(count) % CLASSES)
    noise = rng.normal(scale=0.3, size=(count, 1, SIDE, SIDE)).astype(np.float32)
    return Shard(torch.from_numpy(noise) + (targets.view(-1, 1, 1, 1) - 0.5), targets)


def joined(*shards: Shard) -> Shard:
    return Shard(
        torch.cat([shard.inputs for shard in shards]),
        torch.cat([shard.targets for shard in shards]),
    )


def view_of(generator: Synthesizer, **beside: Any) -> ReleaseView:
    module = Gan(generator, nn.Flatten())
    learner = learner_for(module, (1, SIDE, SIDE), CLASSES)
    row = learner.layout.flatten(module)
    known: dict[str, Any] = {"candidates": joined(images(0), images(1)), "public": images(2, 400)}
    return ReleaseView(
        Facts(0, 5, 1.0), row, learner, learner.trainer.recipe, **{**known, **beside}
    )


def claimed(view: ReleaseView, **options: Any) -> Evidence:
    evidence = GeneratorMembership(**options).infer(view, np.random.default_rng(0))
    assert evidence is not None
    return evidence


def auc(scores: Array, member: Array) -> float:
    """The chance that a member scores higher than another, ties counting half."""
    apart = scores[member][:, None] - scores[~member][None, :]
    return float(((apart > 0) + 0.5 * (apart == 0)).mean())


def known(view: ReleaseView, **options: Any) -> float:
    """AUC of the scores; the first half of the candidates are members."""
    scores = claimed(view, **options).guesses["scores"].numpy()
    return auc(scores, np.arange(len(scores)) < len(scores) // 2)


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("public", [True, False])
def test_a_generator_that_remembers_gives_its_members_away(classes: int, public: bool) -> None:
    beside = {} if public else {"public": None}
    assert known(view_of(Told(images(0), classes), **beside)) > 0.99


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_a_generator_that_remembers_nobody_gives_nobody_away(classes: int) -> None:
    found = [known(view_of(Told(images(seed, 200), classes))) for seed in range(10, 16)]
    assert 0.4 < float(np.mean(found)) < 0.6


def test_a_candidate_is_compared_with_its_own_class() -> None:
    """This one remembers one class, and generates strangers for the other."""
    one, other = images(0), images(7, 200)
    shown = joined(
        Shard(one.inputs[one.targets == 0], one.targets[one.targets == 0]),
        Shard(other.inputs[other.targets == 1], other.targets[other.targets == 1]),
    )
    view = view_of(Told(shown, CLASSES))
    scores = claimed(view).guesses["scores"].numpy()
    assert view.candidates is not None
    label = view.candidates.targets.numpy()
    member = np.arange(len(scores)) < len(scores) // 2
    assert auc(scores[label == 0], member[label == 0]) > 0.99
    assert 0.25 < auc(scores[label == 1], member[label == 1]) < 0.75


def test_scores_are_the_ratio_of_distances_to_the_nearest_of_the_class() -> None:
    members, public = images(0, 8), images(2, 11)
    view = view_of(Told(members, CLASSES, blur=0.0), public=public, candidates=images(5, 6))
    assert view.candidates is not None
    scores = claimed(view, images=200).guesses["scores"]
    for label in range(CLASSES):
        mine = view.candidates.targets == label
        near, far = (
            torch.cdist(view.candidates.inputs[mine].flatten(1), of_class.flatten(1)).amin(dim=1)
            for of_class in (shard.inputs[shard.targets == label] for shard in (members, public))
        )
        wanted = (far.log() - near.log()).double()
        assert torch.allclose(scores[mine], wanted - wanted.median(), atol=1e-4)


def test_a_class_that_all_generated_images_are_far_from_is_no_class_of_strangers() -> None:
    """Both classes are remembered, one of them so dimly that its members are far as well."""

    class Dim(Told):
        def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
            assert labels is not None
            return super().forward(z, labels) + 0.5 * labels.view(-1, 1, 1, 1)

    assert known(view_of(Dim(images(0), CLASSES))) > 0.9


def test_more_draws_vary_less() -> None:
    view = view_of(Told(images(3, 200), CLASSES, blur=0.3))

    def spread(draws: int) -> float:
        attack = GeneratorMembership(images=8, draws=draws)
        found = [attack.infer(view, np.random.default_rng(seed)) for seed in range(4)]
        scores = torch.stack([made.guesses["scores"] for made in found if made is not None])
        return float(scores.std(dim=0).mean())

    assert spread(16) < 0.5 * spread(1)
    assert claimed(view, images=8, draws=3).measurements == {"synthetic": 48.0}


def test_public_images_of_other_classes_calibrate_where_there_is_none_of_this() -> None:
    public = images(2, 100)
    only = Shard(public.inputs[public.targets == 0], public.targets[public.targets == 0])
    assert known(view_of(Told(images(0), CLASSES), public=only)) > 0.95


def test_classes_without_candidates_are_not_generated() -> None:
    asked = images(0, 20)
    only = Shard(asked.inputs[asked.targets == 1], asked.targets[asked.targets == 1])
    view = view_of(Told(images(0), CLASSES), candidates=only)
    assert claimed(view, images=8, draws=2).measurements == {"synthetic": 16.0}


def test_public_images_are_compared_once_however_many_draws(monkeypatch: Any) -> None:
    pools: list[int] = []

    def watched(samples: Array, pool: Array) -> Array:
        pools.append(len(pool))
        return nearest_distance(samples, pool)

    monkeypatch.setattr(generator_membership, "nearest_distance", watched)
    claimed(view_of(Told(images(0), CLASSES)), images=8, draws=3)
    assert sorted(pools) == [8] * 6 + [200] * 2


def test_large_images_are_averaged_down_before_they_are_compared() -> None:
    """Checkerboards of opposite signs average to the same gray: only the average counts."""
    board = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(32, 32).view(1, 1, 64, 64)

    class Board(Synthesizer):
        def __init__(self) -> None:
            super().__init__((1, 64, 64), 0, z_dim=1)
            self.gray = nn.Parameter(torch.tensor(0.25))

        def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
            return self.gray - 0.5 * board.expand(len(z), -1, -1, -1)

    asked = Shard(torch.cat([board / 2, board / 4 + 0.5]), torch.tensor([0, 0]))
    view = view_of(Board(), candidates=asked, public=None)
    scores = claimed(view, images=2).guesses["scores"]
    assert scores.tolist() == pytest.approx([-0.25 * 32, -0.25 * 32])


def test_nobody_asked_about_and_a_broken_generator_claim_nothing() -> None:
    attack, rng = GeneratorMembership(images=4), np.random.default_rng(0)
    assert attack.infer(view_of(Told(images(0), 0), candidates=None), rng) is None
    assert attack.infer(view_of(Told(images(0), 0), candidates=images(0, 0)), rng) is None
    assert attack.infer(view_of(Told(images(0), 0, blur=float("nan"))), rng) is None


def test_a_classifier_is_refused_beforehand() -> None:
    learner: Learner = learner_for(nn.BatchNorm2d(2), (2, 2, 2), 2)
    row = learner.layout.flatten(learner.module)
    setting = Setting(learner, row, lambda n: 1.0, learner.trainer.recipe, (4, 4))
    with pytest.raises(ConfigError, match=r'the model makes none.*set task = "generation"'):
        GeneratorMembership().check(setting)
