"""Gradient inversion: it sees through one update, not through a sum, and never cheats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from torch import Tensor

from asepsis.attacks.observe.dlg import Dlg
from asepsis.attacks.observe.inversion.labels import infer_labels
from asepsis.core.layout import Layout
from asepsis.core.rng import building_modules
from asepsis.core.samples import Kind
from asepsis.core.threat import Facts, Learner, ServerView
from asepsis.core.updates import Delivery, Individual, Rows, Summed
from asepsis.core.workshop import Recipe
from asepsis.metrics.leakage import psnr, reconstruction_metrics
from asepsis.models.lenet import LeNetSigmoid
from asepsis.models.mlp import Mlp
from asepsis.testing.learners import learner_for

STEP = 0.1
CLIENTS = 10


def digits(count: int, size: int = 28) -> tuple[Tensor, Tensor]:
    """Smooth digits scaled to [-1, 1] and their one-hot classes."""
    images, classes = load_digits(return_X_y=True)
    picked = images[:count].reshape(count, 8, 8) / 8 - 1
    large = zoom(picked, (1, size / 8, size / 8), order=1).astype(np.float32)
    return torch.from_numpy(large)[:, None], F.one_hot(
        torch.from_numpy(classes[:count]), 10
    ).float()


def network(seed: int, size: int = 28) -> tuple[Learner, Tensor]:
    with building_modules(seed):
        module = LeNetSigmoid().build((1, size, size), 10)
    layout = Layout.of(module)
    return learner_for(module, (1, size, size), 10), layout.flatten(module)


def view(made: Learner, row: Tensor, delivery: Delivery, batch: int = 1) -> ServerView:
    recipe = Recipe(STEP, 0.0, 0.0, batch, 1)
    facts = Facts(0, CLIENTS, 1.0)
    return ServerView(facts, row, delivery, made, lambda _: STEP, batch, lambda _: recipe)


def federation(seed: int, size: int = 28) -> tuple[ServerView, Tensor]:
    """One gradient step of each hospital on one image of its own."""
    made, row = network(seed, size)
    inputs, targets = digits(CLIENTS, size)
    rows = torch.stack(
        [-STEP * made.gradient(row, inputs[i : i + 1], targets[i : i + 1]) for i in range(CLIENTS)]
    )
    weights = torch.ones(CLIENTS, dtype=torch.float64)
    return view(made, row, Individual(tuple(range(CLIENTS)), Rows(rows), weights)), inputs


def summed(seen: ServerView) -> ServerView:
    assert isinstance(seen.delivery, Individual)
    total = seen.delivery.rows.dense().sum(dim=0)
    return replace(seen, delivery=Summed(CLIENTS, total, float(CLIENTS)))


def decibels(attack: Dlg, seen: ServerView, truth: Tensor, seed: int) -> float:
    evidence = attack.observe({}, seen, np.random.default_rng(seed))[1]
    assert evidence is not None
    return psnr(evidence.guesses["inputs"][0].numpy(), truth.numpy(), data_range=2.0)


@pytest.mark.slow
def test_one_image_is_reconstructed_and_a_sum_hides_it() -> None:
    alone, behind_sum = [], []
    for seed in range(5):
        seen, inputs = federation(seed)
        alone.append(decibels(Dlg(client=0), seen, inputs[0], seed))
        behind_sum.append(decibels(Dlg(), summed(seen), inputs[0], seed))
    assert sum(score > 25 for score in alone) >= 3
    assert max(behind_sum) < 25


def test_restarts_find_a_small_image_that_a_sum_hides() -> None:
    seen, inputs = federation(seed=0, size=12)
    attack = Dlg(client=2, restarts=2, iterations=60)
    assert decibels(attack, seen, inputs[2], seed=1) > 25
    assert decibels(attack, summed(seen), inputs[2], seed=1) < 20


def test_evidence_has_the_promised_shape_and_leaves_the_global_generator_alone() -> None:
    seen, _ = federation(seed=0, size=12)
    before = torch.random.get_rng_state()
    assert isinstance(seen.delivery, Individual)
    claims = replace(seen.delivery, weights=8 * seen.delivery.weights)
    evidence = Dlg(iterations=2, restarts=2).observe(
        {}, replace(seen, delivery=claims, batch=3), np.random.default_rng(0)
    )[1]
    assert torch.equal(before, torch.random.get_rng_state())
    assert evidence is not None
    assert (evidence.kind, evidence.about) == ("inversion", 0)
    assert evidence.guesses["inputs"].shape == (3, 1, 12, 12)
    assert evidence.guesses["labels"].sum(dim=1).tolist() == pytest.approx([1.0] * 3)
    assert evidence.measurements["iterations"] <= 4
    assert not any(guess.requires_grad for guess in evidence.guesses.values())


def test_the_same_generator_gives_the_same_evidence() -> None:
    seen, _ = federation(seed=0, size=12)
    one, two = (Dlg(iterations=3).observe({}, seen, np.random.default_rng(4))[1] for _ in range(2))
    assert one is not None
    assert two is not None
    assert torch.equal(one.guesses["inputs"], two.guesses["inputs"])


def test_restarts_only_improve_the_gradient_loss() -> None:
    seen, _ = federation(seed=1, size=12)
    losses = []
    for restarts in (1, 2, 3):
        evidence = Dlg(iterations=2, restarts=restarts).observe({}, seen, np.random.default_rng(0))[
            1
        ]
        assert evidence is not None
        losses.append(evidence.measurements["gradient_loss"])
    assert losses == sorted(losses, reverse=True)


def test_a_sum_names_nobody() -> None:
    seen, _ = federation(seed=0, size=12)
    evidence = Dlg(iterations=1, client=3).observe({}, summed(seen), np.random.default_rng(0))[1]
    assert evidence is not None
    assert evidence.about is None


def test_there_is_nothing_to_attack_in_an_absent_zero_or_broken_update() -> None:
    seen, _ = federation(seed=0, size=12)
    assert isinstance(seen.delivery, Individual)
    rng = np.random.default_rng(0)
    assert Dlg(client=99).observe({}, seen, rng)[1] is None
    for value in (0.0, float("nan"), float("inf")):
        matrix = torch.full_like(seen.delivery.rows.dense(), value)
        assert (
            Dlg().observe({}, replace(seen, delivery=seen.delivery.with_rows(matrix)), rng)[1]
            is None
        )
    assert Dlg().observe({}, replace(seen, delivery=Summed(0, seen.sent, 0.0)), rng)[1] is None


@pytest.mark.parametrize("label", range(10))
def test_one_label_is_read_off_exactly(label: int) -> None:
    made, row = network(seed=3)
    inputs, _ = digits(1)
    truth = F.one_hot(torch.tensor([label]), 10).float()
    assert torch.equal(infer_labels(made.gradient(row, inputs, truth), 10, 1), truth)


def test_a_label_twice_in_a_batch_is_found_twice() -> None:
    mean_p = torch.tensor([0.3, 0.3, 0.4])
    gradient = mean_p - torch.tensor([0.0, 2.0, 1.0]) / 3
    found = infer_labels(gradient, classes=3, batch=3)
    assert found.sum(dim=0).tolist() == [0.0, 2.0, 1.0]


def test_inferred_labels_stay_fixed_while_a_table_row_is_recovered() -> None:
    with building_modules(0):
        module = Mlp(hidden=(32,)).build((6,), 3)
    layout = Layout.of(module)
    made, row = learner_for(module, (6,), 3, kind=Kind.TABLE), layout.flatten(module)
    rng = np.random.default_rng(2)
    patient = torch.from_numpy(rng.normal(size=(1, 6)).astype(np.float32))
    update = -STEP * made.gradient(row, patient, torch.tensor([[0.0, 0.0, 1.0]]))
    delivery = Individual((5,), Rows(update[None]), torch.ones(1, dtype=torch.float64))
    attack = Dlg(labels="inferred", restarts=3, iterations=50)
    evidence = attack.observe({}, view(made, row, delivery), rng)[1]
    assert evidence is not None
    assert evidence.about == 5
    assert evidence.guesses["labels"].tolist() == [[0.0, 0.0, 1.0]]
    found = reconstruction_metrics(evidence.guesses["inputs"].numpy(), patient.numpy(), 2.0)
    assert found["mse"] < 0.01


class Padded:
    """A learner of a model with two more columns, which are buffers."""

    def __init__(self, inner: Learner) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def gradient(self, row: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return F.pad(self._inner.gradient(row[:-2], x, y), (0, 2))


def test_columns_of_buffers_are_ignored() -> None:
    seen, _ = federation(seed=0, size=12)
    assert isinstance(seen.delivery, Individual)
    matrix = seen.delivery.rows.dense()
    noisy = torch.cat([matrix, torch.full((CLIENTS, 2), 1e6)], dim=1)
    padded = Padded(seen.learner)
    widened = replace(
        seen,
        sent=F.pad(seen.sent, (0, 2)),
        delivery=seen.delivery.with_rows(noisy),
        learner=cast(Learner, padded),
    )
    plain = Dlg(iterations=2).observe({}, seen, np.random.default_rng(0))[1]
    found = Dlg(iterations=2).observe({}, widened, np.random.default_rng(0))[1]
    assert plain is not None
    assert found is not None
    assert torch.equal(plain.guesses["inputs"], found.guesses["inputs"])
