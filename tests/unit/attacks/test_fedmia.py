"""FedMIA and its baselines against naive loops, and where membership is known by construction."""

from __future__ import annotations

from dataclasses import replace
from math import erf, sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from membership_bench import (
    CLASSES,
    a_learner,
    a_view,
    in_round,
    part,
    samples,
    summed,
    trained_rows,
)
from torch import Tensor

from asepsis.attacks.observe.fedmia import FedMia, likelihoods
from asepsis.attacks.observe.gradient_cosine import GradientCosineMia
from asepsis.attacks.observe.loss_mia import LossMia
from asepsis.attacks.observe.readings import cosines, gradients, readings
from asepsis.core.contracts import ServerAttack
from asepsis.core.samples import Array
from asepsis.core.threat import Evidence, Learner, ServerView
from asepsis.core.updates import Individual, Rows, State, Summed
from asepsis.metrics.membership import auc_interval, patient_weights

RNG = np.random.default_rng(0)


def naive(measured: Array) -> Array:
    """The published formula, a candidate and a target at a time."""
    made = np.empty_like(measured)
    for i, row in enumerate(measured):
        for target in range(len(row)):
            others = [value for k, value in enumerate(row) if k != target]
            mu = sum(others) / len(others)
            sigma = sqrt(sum((value - mu) ** 2 for value in others) / len(others))
            kept = [value for value in others if value <= mu + 3 * sigma]
            mean = sum(kept) / len(kept)
            variance = sum((value - mean) ** 2 for value in kept) / len(kept)
            z = (row[target] - mean) / sqrt(variance + 1e-8)
            made[i, target] = (1 + erf(z / sqrt(2))) / 2
    return made


def local_loss(learner: Learner, row: Tensor, inputs: Tensor, target: Tensor) -> float:
    weight, bias = row[: -1 * CLASSES].view(CLASSES, -1), row[-CLASSES:]
    return float(F.cross_entropy(weight @ inputs + bias, target))


def a_round(clients: int = 4, count: int = 6) -> ServerView:
    learner = a_learner(epochs=2)
    sent = learner.fresh(np.random.default_rng(7))
    shards = [samples(8, seed=k) for k in range(clients)]
    return a_view(learner, trained_rows(learner, sent, shards), samples(count, seed=50), sent)


def observed(attack: ServerAttack, view: ServerView) -> Evidence:
    _, evidence = attack.observe({}, view, np.random.default_rng(0))
    assert evidence is not None
    return evidence


def scores_of(attack: ServerAttack, view: ServerView) -> Array:
    made: Array = observed(attack, view).guesses["scores"].numpy()
    return made


def rows_of(view: ServerView) -> Tensor:
    assert isinstance(view.delivery, Individual)
    return view.delivery.rows.dense()


@pytest.mark.parametrize("clients", [2, 3, 5, 14])
def test_likelihoods_are_the_formulas(clients: int) -> None:
    measured = np.random.default_rng(clients).standard_t(2, size=(40, clients))
    found = likelihoods(torch.from_numpy(measured))
    assert found.scores.numpy() == pytest.approx(naive(measured), abs=1e-9)


def test_the_filter_drops_another_member_and_only_where_it_can() -> None:
    measured = torch.zeros(1, 12, dtype=torch.float64)
    measured[0] += torch.linspace(0, 1e-3, 12)
    measured[0, 3] = 50.0
    found = likelihoods(measured)
    assert found.filtered == pytest.approx(11 / (12 * 11)), "11 of 12 targets leave client 3 out"
    assert float(found.scores[0, 11]) > 0.9, "client 3 would have hidden it"
    assert likelihoods(measured[:, :11]).filtered == 0, "10 others never lie that far apart"


def test_equal_clients_are_all_as_likely() -> None:
    found = likelihoods(torch.full((3, 6), 0.1, dtype=torch.float64))
    assert found.scores.numpy() == pytest.approx(0.5)
    assert found.filtered == 0


def test_variant_one_scores_the_loss_of_local_models() -> None:
    view = a_round()
    assert view.candidates is not None
    losses = [
        [local_loss(a_learner(), view.sent + row, x, y) for row in rows_of(view)]
        for x, y in zip(view.candidates.inputs, view.candidates.targets, strict=True)
    ]
    expected = -np.array(losses)
    assert scores_of(LossMia(), view) == pytest.approx(expected, rel=1e-5)
    assert scores_of(FedMia(), view) == pytest.approx(naive(expected), abs=1e-3)


def test_variant_two_scores_the_cosine_with_the_candidates_gradient() -> None:
    view = a_round()
    assert view.candidates is not None
    expected = np.empty((6, 4))
    for i in range(6):
        one = part(view.candidates, np.array([i]))
        own = view.learner.gradient(view.sent, one.inputs, one.targets)
        for k, row in enumerate(rows_of(view)):
            expected[i, k] = float(F.cosine_similarity(-row.double(), own.double(), dim=0))
    assert scores_of(GradientCosineMia(), view) == pytest.approx(expected, abs=1e-6)
    assert scores_of(FedMia(variant="II"), view) == pytest.approx(naive(expected), abs=1e-3)


def test_gradients_come_in_chunks_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    view = a_round()
    assert view.candidates is not None
    found = readings(view)
    assert found is not None
    whole = cosines(view, found, view.candidates)
    monkeypatch.setattr("asepsis.attacks.observe.readings.FLOATS", 2 * len(view.sent) + 1)
    sizes = [len(part) for part in gradients(view.learner, view.sent, view.candidates)]
    assert sizes == [2, 2, 2]
    assert torch.equal(cosines(view, found, view.candidates), whole)


def test_buffers_are_no_part_of_the_cosine_and_batches_do_not_matter() -> None:
    learner = a_learner(epochs=1, batch_norm=True)
    sent = learner.fresh(np.random.default_rng(7))
    rows = trained_rows(learner, sent, [samples(8, seed=k) for k in range(3)])
    view = a_view(learner, rows, samples(5, seed=50), sent)
    first = scores_of(GradientCosineMia(), view)
    rows[:, learner.parameters :] += 100.0
    moved = a_view(learner, rows, samples(5, seed=50), sent)
    assert scores_of(GradientCosineMia(), moved) == pytest.approx(first, abs=1e-9)
    alone = replace(view, candidates=part(samples(5, seed=50), np.array([2])))
    assert scores_of(GradientCosineMia(), alone)[0] == pytest.approx(first[2], abs=1e-6)
    assert scores_of(LossMia(), alone)[0] == pytest.approx(scores_of(LossMia(), view)[2], rel=1e-5)


def saved(state: State) -> State:
    return {name: tensor.clone() for name, tensor in state.items()}


def test_the_score_is_the_mean_over_audited_rounds_that_a_client_took_part_in() -> None:
    view, attack = a_round(clients=5), FedMia()
    rows = rows_of(view)

    def came(round_: int, clients: tuple[int, ...]) -> ServerView:
        weights = torch.ones(len(clients), dtype=torch.float64)
        delivery = Individual(clients, Rows((round_ + 1) * rows[list(clients)]), weights)
        return replace(in_round(view, round_), delivery=delivery)

    cohorts = {0: (0, 1, 3), 1: (0, 1, 2), 2: (1, 3, 4), 4: (0, 3, 4)}
    state: State = {}
    last: Evidence | None = None
    for round_, clients in cohorts.items():
        state, evidence = attack.observe(saved(state), came(round_, clients), RNG)
        last = evidence
    assert last is not None
    assert last.clients == (0, 1, 2, 3, 4)
    assert last.measurements["audited"] == 3
    alone = {t: scores_of(FedMia(), came(t, cohorts[t])) for t in cohorts}
    for column, client in enumerate(last.clients):
        terms = [alone[t][:, cohorts[t].index(client)] for t in alone if client in cohorts[t]]
        assert last.guesses["scores"][:, column].numpy() == pytest.approx(np.mean(terms, axis=0))


def test_a_secure_sum_leaves_one_score_for_all_hospitals() -> None:
    view = summed(a_round())
    assert view.candidates is not None
    assert isinstance(view.delivery, Summed)
    average = view.sent + view.delivery.total / view.delivery.weight
    losses = view.learner.losses(average, view.candidates.inputs, view.candidates.targets)
    for attack in (FedMia(), LossMia()):
        found = observed(attack, view)
        assert found.clients == ()
        assert found.guesses["scores"].numpy() == pytest.approx(-losses.numpy(), rel=1e-5)
    attack = FedMia()
    state, _ = attack.observe({}, view, RNG)
    doubled = replace(view.delivery, total=2 * view.delivery.total)
    _, second = attack.observe(state, in_round(replace(view, delivery=doubled), 10), RNG)
    assert second is not None
    later = view.sent + doubled.total / doubled.weight
    others = view.learner.losses(later, view.candidates.inputs, view.candidates.targets)
    mean = -(losses + others).numpy() / 2
    assert second.guesses["scores"].numpy() == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("attack", [FedMia(variant="II"), GradientCosineMia()], ids=str)
def test_the_cosine_of_a_sum_is_that_of_the_average(attack: ServerAttack) -> None:
    view = a_round()
    average = a_view(view.learner, rows_of(view).mean(dim=0)[None], view.candidates, view.sent)
    expected = scores_of(GradientCosineMia(), average)[:, 0]
    assert scores_of(attack, summed(view)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("plain", [FedMia(), FedMia(variant="II")], ids=str)
def test_messages_are_read_as_updates_of_average_length(plain: FedMia) -> None:
    attack = FedMia(variant=plain.variant, reads="messages")
    view = a_round()
    rows = rows_of(view)
    length = rows.mean(dim=0).norm()
    scaled = a_view(view.learner, length * rows / rows.norm(dim=1)[:, None], view.candidates)
    told = observed(attack, replace(summed(view), wire=dict(enumerate(1e9 * rows))))
    assert told.clients == (0, 1, 2, 3)
    assert told.guesses["scores"].numpy() == pytest.approx(scores_of(plain, scaled), abs=1e-3)
    assert observed(attack, summed(view)).clients == ()
    assert scores_of(attack, view) == pytest.approx(scores_of(plain, view))


def test_masks_hide_which_hospital_it_was() -> None:
    learner, rng = a_learner(), np.random.default_rng(3)
    pool = samples(80, seed=1)
    home = np.arange(80) % 10
    sent = learner.fresh(np.random.default_rng(7))
    mine = [part(pool, np.flatnonzero(home == k)) for k in range(10)]
    view = a_view(learner, trained_rows(learner, sent, mine), pool, sent)
    assert (scores_of(LossMia(), view).argmax(axis=1) == home).mean() > 0.9
    masked = {k: torch.from_numpy(1e9 * rng.normal(size=len(sent))) for k in range(10)}
    found = scores_of(LossMia(reads="messages"), replace(summed(view), wire=masked))
    assert len(np.unique(found)) == found.size, "it says something"
    assert (found.argmax(axis=1) == home).mean() < 0.25


def test_a_local_model_starts_from_what_its_hospital_was_told() -> None:
    view = a_round()
    other = view.sent + 1.0
    moved = a_view(view.learner, rows_of(view), view.candidates, other)
    found = scores_of(LossMia(), replace(view, told={2: other}))
    assert found[:, 2] == pytest.approx(scores_of(LossMia(), moved)[:, 2])
    assert found[:, 1] == pytest.approx(scores_of(LossMia(), view)[:, 1])


def test_the_global_model_says_the_same_of_all_hospitals() -> None:
    view = a_round()
    assert view.candidates is not None
    found = observed(LossMia(model="global"), view)
    losses = view.learner.losses(view.sent, view.candidates.inputs, view.candidates.targets)
    assert found.clients == ()
    assert found.guesses["scores"].numpy() == pytest.approx(-losses.numpy())


def test_nobody_to_compare_with_and_nobody_to_ask_about_is_no_claim() -> None:
    view = a_round()
    alone = a_view(view.learner, rows_of(view)[:1], view.candidates, view.sent)
    assert FedMia().observe({}, alone, RNG) == ({}, None)
    for attack in (FedMia(), LossMia(), GradientCosineMia()):
        assert attack.observe({}, replace(view, candidates=None), RNG) == ({}, None)
        empty = Summed(0, torch.zeros_like(view.sent), 0.0)
        assert attack.observe({}, replace(view, delivery=empty), RNG) == ({}, None)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e38])
def test_broken_updates_leave_finite_scores(value: float) -> None:
    view = a_round()
    rows = rows_of(view).clone()
    rows[1] = value
    broken = a_view(view.learner, rows, view.candidates, view.sent)
    for attack in (FedMia(), FedMia(variant="II"), LossMia(), GradientCosineMia()):
        assert np.isfinite(scores_of(attack, broken)).all()


ATTACKS = (FedMia(), FedMia(variant="II"), LossMia(), GradientCosineMia())


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_it_finds_members_where_hospitals_memorize_and_nothing_where_they_never_met(
    attack: ServerAttack,
) -> None:
    learner, hospitals, each = a_learner(), 10, 8
    pool = samples(2 * hospitals * each, seed=1)
    home = np.arange(len(pool)) % hospitals
    member = np.arange(len(pool)) < len(pool) // 2
    sent = learner.fresh(np.random.default_rng(7))
    mine = [part(pool, np.flatnonzero(member & (home == k))) for k in range(hospitals)]
    strangers = [samples(each, seed=200 + k) for k in range(hospitals)]
    weights = patient_weights(np.arange(len(pool)), member, np.random.default_rng(0))
    found = []
    for shards in (mine, strangers):
        view = a_view(learner, trained_rows(learner, sent, shards), pool, sent)
        scores = scores_of(attack, view)[np.arange(len(pool)), home]
        found.append(auc_interval(scores, member, weights))
    assert found[0].mean > 0.9
    assert found[1].low < 0.5 < found[1].high
