"""LiRA and RMIA against naive loops, on models that remember and on models that never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from membership_bench import a_learner, a_release, part, samples
from scipy import stats
from torch import nn

from asepsis.attacks.infer.lira import Lira, likelihood_ratio
from asepsis.attacks.infer.references import (
    halves,
    log_likelihood,
    logit_confidence,
    pooled,
    references,
    trained,
)
from asepsis.attacks.infer.rmia import Rmia, calibrated, dominance
from asepsis.core.contracts import ModelAttack
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import Array, Kind, Shard
from asepsis.core.threat import ReleaseView
from asepsis.metrics.membership import auc_interval, patient_weights
from asepsis.testing.learners import learner_for

SHADOWS = 8


def measured(seed: int, models: int = SHADOWS, count: int = 5) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    inside = halves(count, models, rng)
    return rng.normal(size=count), rng.normal(size=(models, count)), inside


def test_the_likelihood_ratio_is_that_of_two_normal_distributions() -> None:
    released, models, inside = measured(0)
    found = likelihood_ratio(
        torch.from_numpy(released), torch.from_numpy(models), inside, "per-example"
    )
    for i in range(5):
        seen, unseen = models[inside[:, i], i], models[~inside[:, i], i]
        expected = stats.norm.logpdf(
            released[i], seen.mean(), seen.std(ddof=1)
        ) - stats.norm.logpdf(released[i], unseen.mean(), unseen.std(ddof=1))
        assert float(found[i]) == pytest.approx(expected)


def test_a_global_variance_is_the_mean_over_samples() -> None:
    released, models, inside = measured(1)
    found = likelihood_ratio(torch.from_numpy(released), torch.from_numpy(models), inside, "global")
    sides = [[models[side[:, i], i] for i in range(5)] for side in (inside, ~inside)]
    spreads = [np.sqrt(np.mean([side.var(ddof=1) for side in one])) for one in sides]
    for i in range(5):
        expected = stats.norm.logpdf(released[i], sides[0][i].mean(), spreads[0])
        expected -= stats.norm.logpdf(released[i], sides[1][i].mean(), spreads[1])
        assert float(found[i]) == pytest.approx(expected)


def test_rmia_is_the_share_of_the_population_that_is_dominated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    released, models = rng.uniform(0.01, 1, 9), rng.uniform(0.01, 1, (4, 9))
    ratios = calibrated(torch.from_numpy(np.log(released)), torch.from_numpy(np.log(models)))
    monkeypatch.setattr("asepsis.attacks.infer.rmia.PAIRS", 8)
    found = dominance(ratios[:5], ratios[5:], gamma=1.5)
    own = released / models.mean(axis=0)
    expected = [np.mean([own[x] / own[z] >= 1.5 for z in range(5, 9)]) for x in range(5)]
    assert found.tolist() == expected


def test_every_sample_is_in_half_of_the_models_and_no_two_models_are_alike() -> None:
    inside = halves(300, SHADOWS, np.random.default_rng(3))
    assert (inside.sum(axis=0) == SHADOWS // 2).all()
    assert abs(inside.mean(axis=1) - 0.5).max() < 0.1
    assert len({row.tobytes() for row in inside}) == SHADOWS


def test_the_pool_is_the_candidates_and_then_some_of_the_public_samples() -> None:
    candidates, public = samples(4, seed=4), samples(30, seed=5)
    pool = pooled(candidates, public, 10, np.random.default_rng(0))
    assert len(pool) == 14
    assert torch.equal(pool.inputs[:4], candidates.inputs)
    where = [(public.inputs == one).all(dim=1).nonzero().item() for one in pool.inputs[4:]]
    assert len(set(where)) == 10
    assert torch.equal(pool.targets[4:], public.targets[torch.tensor(where)])
    assert pooled(candidates, None, 10, np.random.default_rng(0)) is candidates


def test_confidence_and_likelihood_of_classes_by_hand() -> None:
    learner, shard = a_learner(), samples(6, seed=6)
    row = learner.fresh(np.random.default_rng(0))
    p = learner.probabilities(row, shard.inputs).double().numpy()
    mine = p[np.arange(6), shard.targets.numpy()]
    found = logit_confidence(learner, row, shard).numpy()
    assert found == pytest.approx(np.log(mine / (1 - mine)), rel=1e-5)
    assert log_likelihood(learner, row, shard).numpy() == pytest.approx(np.log(mine))


def test_confidence_and_likelihood_of_findings_by_hand() -> None:
    rng = np.random.default_rng(7)
    with building_modules(0):
        module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    task = build("task", "multilabel")
    learner = learner_for(module, (1, 4, 4), 3, task=task, kind=Kind.MULTILABEL_IMAGE)
    has = rng.integers(2, size=(5, 3)).astype(np.float32)
    images = rng.normal(size=(5, 1, 4, 4)).astype(np.float32)
    shard = Shard(torch.from_numpy(images), torch.from_numpy(has))
    row = learner.fresh(np.random.default_rng(0))
    p = learner.probabilities(row, shard.inputs).double().numpy()
    joint = np.where(has > 0, p, 1 - p).prod(axis=1)
    found = logit_confidence(learner, row, shard).numpy()
    assert found == pytest.approx(np.log(joint / (1 - joint)))
    assert log_likelihood(learner, row, shard).numpy() == pytest.approx(np.log(joint))


def test_images_that_are_put_out_are_measured_by_their_loss() -> None:
    learner = a_learner()
    pairs = replace(learner, kind=Kind.PAIRED_IMAGE)  # type: ignore[type-var]
    row, shard = learner.fresh(np.random.default_rng(0)), samples(4, seed=8)
    expected = -learner.losses(row, shard.inputs, shard.targets).double()
    assert torch.equal(logit_confidence(pairs, row, shard), expected)
    assert torch.equal(log_likelihood(pairs, row, shard), expected)


def test_certain_models_have_finite_confidence() -> None:
    learner, shard = a_learner(), samples(4, seed=9)
    row = 1e4 * learner.fresh(np.random.default_rng(0))
    assert bool(logit_confidence(learner, row, shard).isfinite().all())
    assert bool(log_likelihood(learner, row, shard).isfinite().all())


def a_memory(seed: int) -> tuple[ReleaseView, Array]:
    """A released model that was trained on the first half of the candidates, and who they are."""
    learner, pool = a_learner(), samples(60, seed=seed)
    member = np.arange(60) < 30
    start = learner.fresh(np.random.default_rng(1))
    row = learner.fit(start, part(pool, np.flatnonzero(member)), np.random.default_rng(2))
    return a_release(learner, row, pool, samples(40, seed=seed + 1)), member


ATTACKS: tuple[ModelAttack, ...] = (Lira(shadows=8, rounds=1), Rmia(references=4, rounds=1))


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_it_finds_members_where_the_model_remembers_and_nothing_where_it_never_met(
    attack: ModelAttack,
) -> None:
    view, member = a_memory(20)
    weights = patient_weights(np.arange(60), member, np.random.default_rng(0))
    found = []
    strangers = view.learner.fit(
        view.learner.fresh(np.random.default_rng(3)), samples(30, 99), np.random.default_rng(4)
    )
    for row in (view.row, strangers):
        evidence = attack.infer(replace(view, row=row), np.random.default_rng(5))
        assert evidence is not None
        assert evidence.clients == ()
        found.append(auc_interval(evidence.guesses["scores"].numpy(), member, weights))
    assert found[0].mean > 0.9
    assert found[1].low < 0.5 < found[1].high


def test_a_reference_model_is_a_federation_of_its_own() -> None:
    learner, shard = a_learner(epochs=2), samples(14, seed=50)
    found = trained(learner, shard, 3, 2, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    row, order = learner.fresh(rng), rng.permutation(14)
    shares = [part(shard, order[a:b]) for a, b in ((0, 5), (5, 10), (10, 14))]
    for _ in range(2):
        row = sum((learner.fit(row, mine, rng) for mine in shares), torch.zeros_like(row)) / 3
    assert found.numpy() == pytest.approx(row.numpy(), abs=1e-6)
    alone = trained(learner, part(shard, np.arange(2)), 5, 1, np.random.default_rng(0))
    assert bool(alone.isfinite().all()), "no hospital is left without a sample"


def test_it_plays_as_many_rounds_as_were_played_unless_told() -> None:
    view, _ = a_memory(60)
    later = replace(view, facts=replace(view.facts, round=2))
    given, asked = (
        references(later, logit_confidence, 2, rounds, 0, np.random.default_rng(0))
        for rounds in (None, 3)
    )
    assert given is not None
    assert asked is not None
    assert torch.equal(given.models, asked.models)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_candidates_there_is_no_claim_and_without_public_samples_there_is(
    attack: ModelAttack,
) -> None:
    view, _ = a_memory(30)
    rng = np.random.default_rng(0)
    assert attack.infer(replace(view, candidates=None), rng) is None
    alone = attack.infer(replace(view, public=None), rng)
    assert alone is not None
    assert alone.guesses["scores"].shape == (60,)


def test_reference_models_are_trained_on_their_own_half() -> None:
    view, _ = a_memory(40)
    found = references(view, logit_confidence, 4, 1, 20, np.random.default_rng(0))
    assert found is not None
    assert found.candidates == 60
    assert found.models.shape == (4, 80)
    for inside, said in zip(found.inside, found.models.numpy(), strict=True):
        assert said[inside].mean() > said[~inside].mean() + 3
