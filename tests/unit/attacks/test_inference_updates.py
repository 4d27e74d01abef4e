"""Labels and shares from updates: exact where the mathematics says so, nothing behind a sum."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from inference_bench import hospitals, parts, watched

from asepsis.attacks.observe import label_leakage
from asepsis.attacks.observe.label_leakage import LabelLeakage, labels_used
from asepsis.attacks.observe.property_inference import PropertyInference
from asepsis.attacks.observe.seen import Update, head_of, updates_of
from asepsis.attacks.observe.shadows import Ridge, tilted
from asepsis.core.layout import Layout
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples, Shard
from asepsis.core.updates import Individual, Rows, Summed
from asepsis.core.workshop import Recipe
from asepsis.defenses.stack import build_pipeline
from asepsis.federation.build import assemble
from asepsis.federation.federation import Schedule
from asepsis.federation.scoring.hospitals import labels_trained_on
from asepsis.federation.scoring.truth import Truth
from asepsis.testing.views import views
from asepsis.training.batches import batches, cuts

DIFFERENT = [0.1, 0.25, 0.4, 0.6, 0.75, 0.9]
ONE_STEP = {"trainer": build("trainer", {"name": "sgd", "batch_size": 40, "momentum": 0.0})}
SUM = {"pipeline": build_pipeline(["secure-sum", "mean"])}


def scores(attack: Any, shares: list[float], rounds: int = 1, **changes: Any) -> dict[str, float]:
    _, leak = watched(parts(hospitals(shares), attack, **changes), rounds)
    assert leak is not None
    return leak.scores


def test_the_labels_of_one_step_from_zero_weights_are_counted_exactly() -> None:
    """With weights of 0 every probability is 1/k: the mixture has one exact solution."""
    server, _ = views(Kind.TABLE)
    rng = np.random.default_rng(0)
    row, real, rows = torch.zeros(server.learner.layout.dim), [], []
    for _ in range(6):
        inputs, targets = torch.randn(8, 6, generator=torch.Generator().manual_seed(1)), None
        targets = torch.from_numpy(rng.integers(3, size=8))
        rows.append(-0.1 * server.learner.gradient(row, inputs, targets))
        real.append(torch.bincount(targets, minlength=3))
    weights = torch.full((6,), 8.0, dtype=torch.float64)
    delivery = Individual(tuple(range(6)), Rows(torch.stack(rows)), weights)
    view = replace(
        server,
        sent=row,
        delivery=delivery,
        scale=lambda _: 0.1,
        recipe=lambda _: Recipe(0.1, 0.0, 0.0, 8, 1),
    )
    for given in (view, replace(view, public=None)):
        _, evidence = LabelLeakage().observe({}, given, rng)
        assert evidence is not None
        assert torch.equal(evidence.guesses["counts"], torch.stack(real))


@pytest.mark.parametrize(
    ("hospitals", "counts"), [(1, [3, 0, 1]), (2, [4, 0, 0])], ids=["alone", "mean hospital"]
)
def test_a_negative_entry_is_a_label_for_sure_of_one_hospital_only(
    hospitals: int, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the mixture says (class 0 alone) is corrected by the sign: class 2 occurred."""
    server, _ = views(Kind.TABLE)
    monkeypatch.setattr(label_leakage, "explained", lambda *_: np.array([1.0, 0.0, 0.0]))
    head = head_of(server.learner.layout, 3)
    assert head is not None
    assert head.bias is not None
    delta = torch.zeros(server.learner.layout.dim)
    delta[head.bias] = -0.1 * torch.tensor([-0.2, 0.5, -0.3])
    view = replace(server, scale=lambda _: 0.1, recipe=lambda _: Recipe(0.1, 0.0, 0.0, 4, 1))
    update = Update(0, delta, samples=4, hospitals=hospitals)
    known = Shard(torch.zeros(1, 6), torch.zeros(1, dtype=torch.int64))
    assert label_leakage.counted(view, update, head, known).tolist() == counts


def test_a_sum_without_weights_says_nothing_about_sizes() -> None:
    """Every hospital counts as 1: that is no sample count, and labels are still read off."""
    site = parts(
        hospitals([0.25] * 6, count=40),
        LabelLeakage(),
        pipeline=build_pipeline([{"name": "secure-sum", "weighted": False}, "mean"]),
        trainer=build("trainer", {"name": "sgd", "batch_size": 40, "momentum": 0.0}),
    )
    evidence, leak = watched(site)
    assert evidence is not None
    assert leak is not None
    assert int(evidence.guesses["counts"].sum()) == 40
    assert leak.scores["count_error"] < 6


def test_one_negative_entry_is_the_label_of_a_single_sample() -> None:
    """iDLG's rule, at weights that are anything but zero, and where public samples mislead."""
    server, _ = views(Kind.TABLE)
    learner, row = server.learner, 3 * server.sent
    assert server.public is not None
    wrong = Shard(server.public.inputs, (server.public.targets + 1) % 3)
    for label in range(3):
        inputs = server.public.inputs[:1]
        delta = -0.1 * learner.gradient(row, inputs, torch.tensor([label]))
        view = replace(
            server,
            sent=row,
            public=wrong,
            delivery=Individual((4,), Rows(delta[None]), torch.ones(1, dtype=torch.float64)),
            scale=lambda _: 0.1,
            recipe=lambda _: Recipe(0.1, 0.0, 0.0, 8, 1),
        )
        _, evidence = LabelLeakage().observe({}, view, np.random.default_rng(0))
        assert evidence is not None
        assert evidence.about == 4
        assert evidence.guesses["counts"].tolist() == [[int(i == label) for i in range(3)]]


@pytest.mark.parametrize("changes", [ONE_STEP, {}, {"model": build("model", "mlp")}])
def test_labels_are_counted_far_better_than_the_public_share_would(changes: Any) -> None:
    found = scores(LabelLeakage(), DIFFERENT, **changes)
    assert found["count_error"] < 0.25 * found["prior_count_error"]
    assert found["gain_low"] > 0
    assert found["count_error"] < found["chance_count_error"]


def test_counts_of_several_passes_count_every_use() -> None:
    twice = build("trainer", {"name": "sgd", "batch_size": 8, "momentum": 0.0, "epochs": 2})
    evidence, leak = watched(parts(hospitals(DIFFERENT), LabelLeakage(), trainer=twice))
    assert evidence is not None
    assert leak is not None
    assert evidence.guesses["counts"].sum(dim=1).tolist() == [80] * 6
    assert leak.scores["count_error"] < 0.25 * leak.scores["prior_count_error"]


@pytest.mark.parametrize(("samples", "batch"), [(40, 8), (41, 8), (42, 8), (5, 8), (1, 8), (9, 8)])
@pytest.mark.parametrize("steps", [1, 3, 11])
def test_how_many_labels_are_used_is_what_batches_hold(
    samples: int, batch: int, steps: int
) -> None:
    shard = Shard(torch.zeros(samples, 1), torch.zeros(samples))
    drawn = batches(shard, batch, steps, np.random.default_rng(0))
    recipe = Recipe(0.1, 0.0, 0.0, batch, steps)
    used = sum(len(targets) for _, targets in drawn)
    merged = any(cut.stop - cut.start > batch for cut in cuts(samples, batch))
    assert abs(labels_used(samples, recipe) - used) <= int(merged)


def test_a_random_update_gives_no_labels_away() -> None:
    """Rows drawn apart from the labels: the attack is at chance, or worse."""
    server, _ = views(Kind.TABLE)
    rng = np.random.default_rng(0)
    right, trials = 0, 60
    for _ in range(trials):
        delta = torch.from_numpy(rng.normal(size=(1, server.learner.layout.dim))).float()
        one = Individual((0,), Rows(delta), torch.ones(1, dtype=torch.float64))
        view = replace(server, delivery=one, recipe=lambda _: Recipe(0.1, 0.0, 0.0, 1, 1))
        _, evidence = LabelLeakage().observe({}, view, rng)
        assert evidence is not None
        right += int(evidence.guesses["counts"][0].argmax()) == int(rng.integers(3))
    assert 0.15 <= right / trials <= 0.55


@pytest.mark.parametrize("changes", [{}, ONE_STEP, {"model": build("model", "mlp")}])
def test_shares_are_read_off_updates(changes: Any) -> None:
    found = scores(PropertyInference(), DIFFERENT, **changes)
    assert found["error"] < 0.3 * found["baseline_error"]
    assert found["closed_form_error"] < 0.3 * found["baseline_error"]
    assert found["gain_low"] > 0
    assert found["rank"] > 0.9


def test_shares_are_still_read_off_updates_of_a_trained_model() -> None:
    found = scores(PropertyInference(), DIFFERENT, rounds=5)
    assert found["error"] < 0.4 * found["baseline_error"]
    assert found["rank"] > 0.9


@pytest.mark.parametrize("attack", [PropertyInference(), LabelLeakage()], ids=["shares", "labels"])
def test_behind_a_sum_no_hospital_is_told_from_another(attack: Any) -> None:
    evidence, leak = watched(parts(hospitals(DIFFERENT), attack, **SUM))
    assert evidence is not None
    assert leak is not None
    assert evidence.clients == ()
    assert evidence.about is None
    assert leak.scores["gain"] <= 0.02
    if isinstance(attack, PropertyInference):
        assert leak.scores["rank"] == 0
        assert leak.scores["pooled_error"] < 0.1


def test_where_hospitals_are_alike_there_is_no_property_to_infer() -> None:
    found = scores(PropertyInference(), [0.4] * 6)
    assert found["baseline_error"] == 0
    assert found["gain"] <= 0
    assert np.isnan(found["rank"])


def test_one_hospital_may_be_singled_out() -> None:
    for attack in (PropertyInference(client=2), LabelLeakage(client=2)):
        evidence, leak = watched(parts(hospitals(DIFFERENT), attack))
        assert evidence is not None
        assert leak is not None
        assert evidence.about == 2
        assert leak.scores["hospitals"] == 1
        assert np.isnan(leak.scores["gain_low"])


def findings(seed: int, shares: tuple[float, ...], count: int = 40) -> Samples:
    """Small images with findings of these shares; each lights up a quarter of its own."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, len(shares))) < shares).astype(np.uint8)
    images = rng.integers(0, 100, (count, 12, 12))
    for i in range(len(shares)):
        images[:, 3 * i : 3 * i + 3, :] += 100 * targets[:, i, None, None]
    ids = rng.integers(2**40, size=count)
    return Samples(images.astype(np.uint8), targets, ids, ids)


@pytest.mark.parametrize("weights", [False, (3.0, 1.0, 0.5)])
@pytest.mark.parametrize("attack", [PropertyInference(), LabelLeakage()], ids=["shares", "labels"])
def test_findings_are_counted_one_by_one_whatever_their_weights(attack: Any, weights: Any) -> None:
    shares = [(0.1, 0.5, 0.9), (0.8, 0.2, 0.5), (0.5, 0.9, 0.1), (0.3, 0.4, 0.6)]
    usual = (0.5, 0.5, 0.5)
    sites = tuple(
        Hospital(i, f"h{i}", findings(i, share), findings(50 + i, usual), findings(90 + i, usual))
        for i, share in enumerate(shares)
    )
    made = parts(
        sites,
        attack,
        facts=DataFacts(Kind.MULTILABEL_IMAGE, ("a", "b", "c")),
        task=build("task", {"name": "multilabel", "class_weights": weights}),
    )
    _, leak = watched(made)
    assert leak is not None
    error, usual_error = (
        ("error", "baseline_error")
        if isinstance(attack, PropertyInference)
        else ("count_error", "prior_count_error")
    )
    assert leak.scores[error] < 0.35 * leak.scores[usual_error]


def test_a_network_without_a_linear_end_is_left_alone() -> None:
    with building_modules(0):
        convolution, linear = torch.nn.Conv2d(1, 5, 3), torch.nn.Linear(4, 3, bias=False)
    assert head_of(Layout.of(convolution), 3) is None
    assert head_of(Layout.of(torch.nn.BatchNorm1d(3)), 3) is None
    without_bias = head_of(Layout.of(linear), 3)
    assert without_bias is not None
    assert without_bias.bias is None
    row = torch.arange(12.0)[None]
    assert without_bias.signal(row).tolist() == [[6, 22, 38]]


def test_updates_that_are_no_numbers_are_left_out() -> None:
    rows = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [3.0, 4.0]])
    weights = torch.tensor([2.0, 1.0, 3.0], dtype=torch.float64)
    seen = updates_of(Individual((1, 5, 7), Rows(rows), weights), 8)
    assert [(one.client, one.samples) for one in seen] == [(1, 2), (7, 3)]
    (mean,) = updates_of(Summed(4, torch.tensor([4.0, 8.0]), 8.0), 8)
    assert mean.client is None
    assert mean.delta.tolist() == [0.5, 1.0]
    assert (mean.samples, mean.hospitals) == (2, 4)
    assert updates_of(Summed(2, torch.ones(2), 0.0), 8) == []


def test_tilted_hospitals_have_the_shares_they_say_and_they_differ() -> None:
    rng = np.random.default_rng(0)
    truth = np.eye(3)[rng.integers(3, size=200)]
    drawn = [tilted(truth, 50, 1.5, rng) for _ in range(50)]
    for tilt in drawn:
        assert tilt.shares == pytest.approx(truth[tilt.chosen].mean(axis=0))
    shares = np.stack([tilt.shares for tilt in drawn])
    assert (shares.std(axis=0) > 0.15).all()
    level = np.stack([tilted(truth, 5000, 0.0, rng).shares for _ in range(3)])
    assert level == pytest.approx(np.tile(truth.mean(axis=0), (3, 1)), abs=0.03)


def test_ridge_leaves_one_out_as_brute_force_does() -> None:
    from asepsis.attacks.observe import shadows

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 4)), rng.normal(size=(12, 2))
    x -= x.mean(axis=0)
    left, values, _ = np.linalg.svd(x, full_matrices=False)
    centered = y - y.mean(axis=0)
    fast = shadows._left_out(left, values, left.T @ centered, centered, 2.0)
    slow = []
    for i in range(12):
        keep = np.arange(12) != i
        # The intercept is fitted again without row i, on features centered by all rows.
        ones = np.ones((11, 1))
        design = np.hstack([x[keep], ones])
        penalty = np.diag([2.0] * 4 + [0.0])
        weights = np.linalg.solve(design.T @ design + penalty, design.T @ y[keep])
        slow.append((y[i] - np.append(x[i], 1.0) @ weights) ** 2)
    assert fast == pytest.approx(float(np.mean(slow)))


def test_ridge_finds_a_linear_rule_and_ignores_what_does_not_vary() -> None:
    rng = np.random.default_rng(0)
    features = np.hstack([rng.normal(size=(60, 3)), np.full((60, 1), 7.0)])
    answers = features[:, :2] * [2.0, -1.0] + 3.0
    ridge = Ridge.fit(features, answers)
    asked = rng.normal(size=(5, 4))
    assert ridge.predict(asked) == pytest.approx(asked[:, :2] * [2.0, -1.0] + 3.0, abs=0.02)


def test_labels_of_stragglers_are_those_of_the_steps_they_managed() -> None:
    late = Schedule(rounds=1, stragglers=1.0, straggler_work=0.4)
    trainer = build("trainer", {"name": "sgd", "batch_size": 8, "momentum": 0.0})
    site = parts(hospitals([0.5] * 3, count=40), LabelLeakage(), trainer=trainer, schedule=late)
    federation, _ = assemble(site)
    truth = Truth(federation, 0, (0, 1, 2), torch.zeros(1), torch.zeros(1))
    used = labels_trained_on(truth, 0)
    assert used is not None
    assert used[1] == int(used[0].sum()) == 2 * 8, "two of five steps"
