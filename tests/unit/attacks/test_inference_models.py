"""What a released model gives away of classes and of hidden columns, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from inference_bench import hospitals, parts, records, released
from torch import Tensor, nn

from asepsis.attacks.infer.attribute_inference import AttributeInference
from asepsis.attacks.infer.gan_reconstruction import GanReconstruction
from asepsis.attacks.infer.model_inversion import ModelInversion, surprise, variation
from asepsis.attacks.infer.synthetic_mia import synthetic_mia
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples, Shard
from asepsis.core.threat import Evidence, Facts, ReleaseView
from asepsis.federation.build import assemble
from asepsis.federation.scoring.kinds import judged
from asepsis.federation.scoring.truth import Truth
from asepsis.metrics.leakage import mse
from asepsis.testing.learners import learner_for
from asepsis.training.learner import Learner

Prior = Literal["marginal", "imputed", "flat"]
SIDE = 12


def release(learner: Learner, row: Tensor, **beside: Any) -> ReleaseView:
    return ReleaseView(Facts(0, 1, 1.0), row, learner, learner.trainer.recipe, **beside)


def inferred(attack: Any, view: ReleaseView) -> Evidence:
    evidence = attack.infer(view, np.random.default_rng(0))
    assert evidence is not None
    assert isinstance(evidence, Evidence)
    return evidence


# Attribute inference


class Memory(nn.Module):
    """A model that knows its training records by heart, and shrugs at any other."""

    def __init__(self, inputs: Tensor, targets: Tensor, faith: float) -> None:
        super().__init__()
        self.faith = nn.Parameter(torch.tensor(faith))
        self.register_buffer("inputs", inputs.double())
        self.register_buffer("targets", nn.functional.one_hot(targets, 2).double())

    def forward(self, asked: Tensor) -> Tensor:
        same = torch.cdist(asked.double(), self.get_buffer("inputs")) < 1e-3
        return self.faith * (same.double() @ self.get_buffer("targets")).float()


def people(seed: int, count: int = 60) -> Shard:
    """Records whose first column is a coin and tells nothing of anything."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, 3))
    inputs[:, 0] = rng.choice([-1.0, 1.0], size=count, p=[0.4, 0.6])
    targets = rng.integers(2, size=count)
    return Shard(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(targets))


def accuracies(attack: AttributeInference, faith: float) -> tuple[float, float, Evidence]:
    """Accuracy on members and on others, of a model with so much faith in its memory."""
    members, others = people(0), people(1)
    memory = Memory(members.inputs, members.targets, faith)
    learner = learner_for(memory, (3,), 2, task=build("task", "tabular"), kind=Kind.TABLE)
    candidates = Shard(
        torch.cat([members.inputs, others.inputs]), torch.cat([members.targets, others.targets])
    )
    row = learner.layout.flatten(memory)
    view = release(learner, row, candidates=candidates, public=people(2, 200))
    evidence = inferred(attack, view)
    right = evidence.guesses["values"] == candidates.inputs[:, 0].double()
    return float(right[:60].double().mean()), float(right[60:].double().mean()), evidence


@pytest.mark.parametrize("prior", ["marginal", "imputed", "flat"])
def test_a_model_that_knows_records_by_heart_gives_members_columns_away(prior: Prior) -> None:
    members, others, _ = accuracies(AttributeInference(prior=prior), faith=9.0)
    # Confidence at most doubles a value's odds: a sure imputation is not always overruled.
    assert members > 0.75 if prior == "imputed" else members == 1.0
    assert others < members - 0.2


def test_a_model_that_knows_nothing_leaves_the_prior() -> None:
    _, _, evidence = accuracies(AttributeInference(), faith=0.0)
    assert torch.equal(evidence.guesses["values"], evidence.guesses["majority"])
    assert set(evidence.guesses["majority"].tolist()) == {1.0}
    members, others, evidence = accuracies(AttributeInference(prior="imputed"), faith=0.0)
    assert abs(members - others) < 0.25
    assert evidence.guesses["support"].tolist() == [-1.0, 1.0]


def test_the_hidden_column_is_not_looked_at() -> None:
    members = people(0)
    memory = Memory(members.inputs, members.targets, 9.0)
    learner = learner_for(memory, (3,), 2, task=build("task", "tabular"), kind=Kind.TABLE)
    view = release(
        learner, learner.layout.flatten(memory), candidates=members, public=people(2, 200)
    )
    lied = members.inputs.clone()
    lied[:, 0] = 77.0
    for prior in ("marginal", "imputed"):
        attack = AttributeInference(prior=prior)
        one = inferred(attack, view)
        two = inferred(attack, replace(view, candidates=Shard(lied, members.targets)))
        assert all(torch.equal(one.guesses[name], two.guesses[name]) for name in one.guesses)


def test_a_column_that_the_others_determine_is_no_leak() -> None:
    """Imputation finds it without the model, on members and others alike."""
    sites = hospitals([0.5] * 3)
    sites = tuple(
        replace(
            site,
            **{
                part: getattr(site, part).changed(inputs=_doubled(getattr(site, part).inputs))
                for part in ("train", "validation", "test")
            },
        )
        for site in sites
    )
    _, leak = released(parts(sites, AttributeInference(values=2, prior="imputed")))
    assert leak is not None
    assert leak.scores["accuracy/members"] > 0.85
    assert leak.scores["imputed/others"] > 0.85
    assert leak.scores["leakage_low"] <= 0 <= leak.scores["leakage_high"]
    assert abs(leak.scores["excess/members"]) < 0.1


def _doubled(inputs: Any) -> Any:
    made = inputs.copy()
    made[:, 0] = made[:, 1]
    return made


def test_records_that_lack_the_column_are_not_scored() -> None:
    sites = hospitals([0.5] * 3)
    for site in sites:
        site.train.inputs[::2, 0] = np.nan
    _, leak = released(parts(sites, AttributeInference(values=2)))
    assert leak is not None
    assert leak.scores["others"] == 60
    assert 0 < leak.scores["members"] < 45
    assert leak.scores["accuracy/members_low"] <= leak.scores["accuracy/members"]


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such column"):
        released(parts(hospitals([0.5] * 3), AttributeInference(attribute=4)))


# Classes


def templates() -> Tensor:
    """Two smooth images that have nothing in common."""
    across = torch.linspace(-1, 1, SIDE)
    return torch.stack([across.expand(SIDE, SIDE), across[:, None].expand(SIDE, SIDE)])[:, None]


def template_model(strength: float) -> tuple[Learner, Tensor]:
    """A linear model whose weights are the templates."""
    with building_modules(0):
        module = build("model", "logistic").build((1, SIDE, SIDE), 2)
    learner = learner_for(module, (1, SIDE, SIDE), 2)
    weights = strength * templates().reshape(-1)
    return learner, torch.cat([weights, torch.zeros(2)])


@pytest.mark.parametrize(
    "attack", [ModelInversion(steps=60), GanReconstruction(steps=40, diversity=0.0)]
)
def test_a_model_that_is_made_of_its_classes_shows_them(attack: Any) -> None:
    learner, row = template_model(0.5)
    evidence = inferred(attack, release(learner, row))
    found, wanted = evidence.guesses["inputs"], templates()
    assert found.shape == wanted.shape
    assert float(found.abs().max()) <= 1
    own = [float((found[c] * (wanted[c] - wanted[1 - c])).mean()) for c in range(2)]
    assert min(own) > 0.1
    assert (evidence.guesses["confidence"] > 0.9).all()


@pytest.mark.parametrize("attack", [ModelInversion(steps=60), GanReconstruction(steps=5)])
def test_a_model_that_knows_nothing_shows_nothing(attack: Any) -> None:
    learner, row = template_model(0.0)
    evidence = inferred(attack, release(learner, row))
    assert evidence.guesses["confidence"] == pytest.approx(torch.full((2,), 0.5))
    closeness = [
        mse(one.numpy(), two.numpy())
        for one, two in zip(evidence.guesses["inputs"], templates(), strict=True)
    ]
    assert min(closeness) > 0.25


def test_smoothness_is_a_virtue_of_a_class() -> None:
    """Where the model says nothing, what remains is the penalty: it lowers the variation."""
    learner, row = template_model(0.0)
    rough, smooth = (
        inferred(ModelInversion(steps=30, tv=tv, l2=0.0), release(learner, row)).guesses["inputs"]
        for tv in (0.0, 1.0)
    )
    assert float(variation(smooth).max()) < 0.5 * float(variation(rough).min())


def test_a_model_that_has_blown_up_has_no_classes() -> None:
    learner, row = template_model(float("nan"))
    for attack in (ModelInversion(steps=2), GanReconstruction(steps=1)):
        assert attack.infer(release(learner, row), np.random.default_rng(0)) is None


def test_more_restarts_never_explain_a_class_worse() -> None:
    learner, row = template_model(0.2)
    losses = [
        inferred(ModelInversion(steps=5, restarts=n), release(learner, row)).measurements["loss"]
        for n in (1, 3)
    ]
    assert losses[1] <= losses[0]


def test_surprise_is_of_the_class_or_of_the_finding_alone() -> None:
    outputs = torch.tensor([[2.0, 0.0], [5.0, 1.0]])
    softmax = torch.log_softmax(outputs, dim=1)
    assert surprise(outputs, Kind.TABLE) == pytest.approx(-softmax.diagonal())
    sigmoid = torch.sigmoid(torch.tensor([2.0, 1.0])).log()
    assert surprise(outputs, Kind.MULTILABEL_IMAGE) == pytest.approx(-sigmoid)


def test_variation_counts_every_axis() -> None:
    volume = torch.zeros(1, 1, 2, 2, 2)
    volume[0, 0, 0] = 1.0
    assert variation(volume).tolist() == [1.0]
    assert variation(torch.ones(3, 1, 1, 1)).tolist() == [0, 0, 0]


class Claims:
    """Claims whatever it was told to."""

    kinds = frozenset(Kind)

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs

    def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence:
        return Evidence(kind="classes", guesses={"inputs": self.inputs})


def pictured(seed: int, count: int) -> Samples:
    """Noisy templates, one class each."""
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % 2
    clean = 127.5 * (templates()[torch.from_numpy(targets), 0].numpy() + 1)
    noisy = clean + rng.normal(0, 20, clean.shape)
    ids = rng.integers(2**40, size=count)
    return Samples(np.clip(noisy, 0, 255).astype(np.uint8), targets, ids, ids)


def imaging(attack: Any) -> Any:
    sites = tuple(
        Hospital(i, f"h{i}", pictured(i, 30), pictured(50 + i, 20), pictured(90 + i, 20))
        for i in range(3)
    )
    facts = DataFacts(Kind.IMAGE, ("across", "down"))
    return parts(sites, attack, facts=facts, task=build("task", "classification"))


def test_the_class_means_themselves_score_highest_and_noise_scores_lowest() -> None:
    noise = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    _, perfect = released(imaging(Claims(templates())))
    _, swapped = released(imaging(Claims(templates().flip(0))))
    _, random = released(imaging(Claims(noise)))
    assert perfect is not None
    assert swapped is not None
    assert random is not None
    assert perfect.scores["recognized"] == 1.0
    assert swapped.scores["recognized"] == 0.0
    assert perfect.scores["judge_accuracy"] > 0.9
    assert perfect.scores["psnr_mean"] > 20 > 10 > random.scores["psnr_mean"]
    assert perfect.scores["ssim_mean"] > 0.8 > random.scores["ssim_mean"]
    assert perfect.scores["psnr_member"] > random.scores["psnr_member"]
    assert perfect.scores["prior_psnr_mean"] == random.scores["prior_psnr_mean"]
    assert perfect.pictures["guess"].shape == perfect.pictures["nearest"].shape


def test_the_prior_of_a_class_is_made_of_public_samples_alone() -> None:
    """The public samples as the claim itself do as well as the prior; training data do not."""
    federation, _ = assemble(imaging(Claims(templates())))
    public, row = federation.public, federation.begin().row
    assert public is not None
    means = torch.stack([public.inputs[public.targets == c].mean(dim=0) for c in range(2)])
    truth = Truth(federation, 0, (0, 1, 2), row, row, public=public)
    scores = judged(Evidence("classes", {"inputs": means}), truth).scores
    for figure in ("mse_mean", "psnr_mean", "mse_member"):
        assert scores[figure] == pytest.approx(scores[f"prior_{figure}"], rel=1e-4)


def test_the_nearest_member_is_the_nearest() -> None:
    learnt = pictured(1, 30)
    scaled = torch.from_numpy(learnt.inputs[:2].astype(np.float32) / 127.5 - 1)[:, None]
    _, leak = released(imaging(Claims(scaled)))
    assert leak is not None
    assert leak.scores["mse_member"] < 1e-9
    assert leak.scores["mse_mean"] > 1e-3


def test_inversion_of_a_trained_model_finds_what_a_judge_recognizes() -> None:
    _, leak = released(imaging(ModelInversion(steps=60)), rounds=3)
    assert leak is not None
    assert leak.scores["recognized"] == 1.0


def test_tables_are_scored_without_a_range() -> None:
    _, leak = released(parts(hospitals([0.5] * 3), ModelInversion(steps=20)))
    assert leak is not None
    assert {"mse_mean", "mse_member", "prior_mse_mean", "recognized"} <= set(leak.scores)
    assert not [name for name in leak.scores if "psnr" in name]


# Synthetic samples


def test_copies_of_records_give_members_away() -> None:
    rng = np.random.default_rng(0)
    drawn = [torch.from_numpy(records(rng, rng.integers(2, size=30)).inputs) for _ in range(3)]
    members, others, public = drawn
    evidence = synthetic_mia(torch.cat([members, others]), members + 0.01, public)
    scores = evidence.guesses["scores"]
    assert evidence.kind == "membership"
    assert float(scores[:30].min()) > float(scores[30:].max())


def test_an_exact_representative_has_a_hundred_decibels() -> None:
    _, first = released(imaging(Claims(templates())))
    assert first is not None
    _, exact = released(imaging(Claims(first.pictures["truth"])))
    assert exact is not None
    assert exact.scores["mse_mean"] == 0
    assert exact.scores["psnr_mean"] == 100
