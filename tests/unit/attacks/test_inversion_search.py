"""Searching inversions: their losses by hand, their simulation beside real training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from inversion_bench import network, one_step, samples, seen_by, summed, watched
from torch import Tensor, nn

from asepsis.attacks.observe.counts import samples_behind
from asepsis.attacks.observe.dlg import Dlg
from asepsis.attacks.observe.idlg import Idlg
from asepsis.attacks.observe.inversion.labels import infer_labels
from asepsis.attacks.observe.inversion.matching import cosine, squared, total_variation
from asepsis.attacks.observe.inversion.problem import Dummies, Problem
from asepsis.attacks.observe.inversion.search import Attempt, search, signed_adam
from asepsis.attacks.observe.inversion.statistics import Statistics
from asepsis.attacks.observe.inversion.steps import simulate
from asepsis.attacks.observe.inversion.targets import chosen
from asepsis.attacks.observe.inverting_gradients import InvertingGradients
from asepsis.core.errors import ConfigError
from asepsis.core.rng import building_modules
from asepsis.core.samples import Kind, Shard
from asepsis.core.updates import Individual, Rows
from asepsis.metrics.leakage import mse
from asepsis.testing.learners import learner_for
from asepsis.training.batches import batches
from asepsis.training.sgd import Sgd

SHAPE = (1, 12, 12)


def test_losses_by_hand() -> None:
    guess, target = torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])
    assert float(squared(guess, target)) == pytest.approx(2 / 25)
    assert float(cosine(guess, target)) == pytest.approx(1 - 24 / 25)
    assert float(cosine(7 * guess, target)) == pytest.approx(1 - 24 / 25)
    assert float(cosine(-target, target)) == pytest.approx(2.0)


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0], [0.0, 1.0, 3.0]])[None, None]
    assert float(total_variation(image)) == pytest.approx((1 + 2 + 1 + 2) / 4 + 0)
    assert float(total_variation(image.mT)) == pytest.approx(1.5)
    assert float(total_variation(samples(3, (5,)).inputs)) == 0


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"weight_decay": 0.01, "epochs": 3}])
@pytest.mark.parametrize("model", ["lenet-sigmoid", "mlp"])
def test_the_simulation_of_true_batches_is_the_update(
    model: str, options: dict[str, float]
) -> None:
    trainer = Sgd(**{"lr": 0.1, "momentum": 0.0, "batch_size": 3, **options})  # type: ignore[arg-type]
    learner, row = network(model, SHAPE, trainer)
    home = samples(7, SHAPE)
    recipe = trainer.recipe(len(home))
    drawn = list(batches(home, recipe.batch, recipe.steps, np.random.default_rng(5)))
    real = learner.fit(row, home, np.random.default_rng(5)) - row
    made = simulate(learner, row, drawn, recipe)
    assert recipe.steps > 1
    assert torch.allclose(made, real, atol=1e-5)


def test_the_simulation_is_differentiable_along_the_weights_too() -> None:
    learner, row = network({"name": "mlp", "hidden": [4]}, (3,), one_step(1, steps=3))
    module = learner.module.double()
    assert next(module.parameters()).dtype is torch.float64
    inputs = samples(3, (3,)).inputs.double().requires_grad_()
    targets = torch.eye(3).double()
    recipe = one_step(1, steps=3, lr=1.0).recipe(3)

    def length(x: Tensor) -> Tensor:
        steps = [(x[i : i + 1], targets[i : i + 1]) for i in range(3)]
        return simulate(learner, row.double(), steps, recipe).square().sum()

    assert torch.autograd.gradcheck(length, (inputs,), eps=1e-6, atol=1e-6)


def test_true_inputs_explain_an_update_of_several_steps_and_others_do_not() -> None:
    learner, row = network("lenet-sigmoid", SHAPE, one_step(2, steps=2, lr=0.5))
    home = samples(4, SHAPE)
    view = watched(learner, row, [home])
    order = np.random.default_rng(0).permutation(4)  # what the hospital drew
    truth = Shard(home.inputs[order], F.one_hot(home.targets[order], 3).float())
    target = chosen(view)
    assert target is not None
    real = Problem(learner, target, squared, simulated=True)
    rough = Problem(learner, target, squared)
    assert real.count == 4
    assert rough.count == 2
    assert float(real.losses(truth.inputs, truth.targets)[0]) < 1e-6
    assert float(real.losses(-truth.inputs, truth.targets)[0]) > 1e-3


@pytest.mark.parametrize("attack", [Dlg(iterations=2, simulate=2), Dlg(iterations=2)])
def test_what_is_simulated_is_said(attack: Dlg) -> None:
    learner, row = network("mlp", (5,), one_step(2, steps=2), kind=Kind.TABLE, task="tabular")
    found = seen_by(attack, watched(learner, row, [samples(4, (5,))]))
    assert found.measurements["local_steps"] == 2
    assert found.measurements["simulated_steps"] == attack.simulate
    count = 4 if attack.simulate else 2
    assert len(found.guesses["inputs"]) == found.measurements["samples"] == count


@pytest.mark.parametrize("classes", [2, 5])
def test_the_inferred_label_is_the_one_whose_gradient_it_is(classes: int) -> None:
    learner, row = network("lenet-sigmoid", SHAPE, one_step(1), classes=classes)
    image = samples(1, SHAPE, seed=3).inputs
    every = torch.eye(classes)
    gradients = [learner.gradient(row, image, every[k : k + 1]) for k in range(classes)]
    for k, gradient in enumerate(gradients):
        found = infer_labels(gradient, classes, 1)
        gaps = [float((gradient - other).norm()) for other in gradients]
        assert int(found.argmax()) == int(np.argmin(gaps)) == k


def test_idlg_finds_label_and_image() -> None:
    learner, row = network("lenet-sigmoid", SHAPE, one_step(1))
    home = samples(1, SHAPE)
    found = seen_by(Idlg(iterations=60, restarts=2), watched(learner, row, [home]))
    assert int(found.guesses["labels"].argmax()) == int(home.targets)
    assert mse(found.guesses["inputs"].numpy(), home.inputs.numpy()) < 1e-3


def test_labels_are_not_made_up_where_there_is_no_bias() -> None:
    with building_modules(0):
        module = nn.Sequential(nn.Flatten(), nn.Linear(5, 3, bias=False))
    learner = learner_for(module, (5,), 3, kind=Kind.TABLE, trainer=one_step(1))
    view = watched(learner, learner.layout.flatten(module), [samples(1, (5,))])
    with pytest.raises(ConfigError, match="labels"):
        seen_by(Idlg(iterations=1), view)


def test_direction_and_smoothness_find_a_smooth_image_inside_the_box() -> None:
    learner, row = network("lenet-sigmoid", SHAPE, one_step(1))
    smooth = F.interpolate(samples(1, (1, 3, 3)).inputs, size=(12, 12), mode="bilinear")
    home = Shard(smooth, torch.tensor([1]))
    attack = InvertingGradients(iterations=200)
    found = seen_by(attack, watched(learner, row, [home])).guesses["inputs"]
    assert mse(found.numpy(), smooth.numpy()) < 0.01
    assert float(found.abs().max()) <= 1


@pytest.mark.parametrize("attack", [Dlg(iterations=2), InvertingGradients(iterations=4)])
def test_both_images_of_a_pair_are_reconstructed(attack: Dlg | InvertingGradients) -> None:
    learner, row = network(
        {"name": "unet", "channels": 4, "depth": 1},
        SHAPE,
        one_step(2),
        kind=Kind.PAIRED_IMAGE,
        task="translation",
        classes=0,
        target_shape=SHAPE,
    )
    images = samples(2, SHAPE)
    targets = torch.cat([samples(2, SHAPE, seed=1).inputs, torch.ones(2, *SHAPE)], dim=1)
    found = seen_by(attack, watched(learner, row, [Shard(images.inputs, targets)]))
    assert found.guesses["inputs"].shape == found.guesses["targets"].shape == (2, *SHAPE)
    assert np.isfinite(found.measurements["gradient_loss"])
    if isinstance(attack, InvertingGradients):
        assert max(float(part.abs().max()) for part in found.guesses.values()) <= 1


def test_several_findings_are_probabilities_each() -> None:
    learner, row = network(
        "lenet-sigmoid", SHAPE, one_step(1), kind=Kind.MULTILABEL_IMAGE, task="multilabel"
    )
    home = Shard(samples(1, SHAPE).inputs, torch.tensor([[1.0, 0.0, 1.0]]))
    found = seen_by(Dlg(iterations=60, restarts=3), watched(learner, row, [home]))
    assert found.guesses["labels"].round().tolist() == [[1.0, 0.0, 1.0]]
    assert mse(found.guesses["inputs"].numpy(), home.inputs.numpy()) < 1e-2


def normalized_network() -> tuple[nn.Sequential, tuple[int, ...]]:
    with building_modules(0):
        layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(4 * 36, 3)), (1, 8, 8)


@pytest.mark.parametrize("steps", [1, 3])
def test_running_statistics_give_the_batch_away(steps: int) -> None:
    module, shape = normalized_network()
    # A rate that leaves the weights as they are, so that all steps see the same statistics.
    learner = learner_for(module, shape, 3, trainer=one_step(4, steps=steps, lr=1e-9))
    row, home = learner.layout.flatten(module), samples(4, shape)
    target = chosen(watched(learner, row, [home]))
    assert target is not None
    found = Statistics.of(learner, target)
    assert found is not None
    maps = module[0](home.inputs).transpose(0, 1).flatten(1).detach()
    mean, var = found.revealed["1"]
    assert torch.allclose(mean, maps.mean(dim=1), atol=1e-5)
    assert torch.allclose(var, maps.var(dim=1), atol=1e-5)
    assert float(found.distance(home.inputs)) < 1e-6
    assert float(found.distance(samples(4, shape, seed=9).inputs)) > 1e-3


def test_matching_statistics_brings_them_closer() -> None:
    module, shape = normalized_network()
    learner = learner_for(module, shape, 3, trainer=one_step(4))
    row, home = learner.layout.flatten(module), samples(4, shape)
    view = watched(learner, row, [home])
    target = chosen(view)
    assert target is not None
    judge = Statistics.of(learner, target)
    assert judge is not None
    gaps = [
        float(judge.distance(seen_by(attack, view).guesses["inputs"]))
        for attack in (
            InvertingGradients(iterations=60),
            InvertingGradients(iterations=60, statistics=1.0),
        )
    ]
    assert gaps[1] < gaps[0] / 2


def test_the_restart_that_explains_the_update_best_wins_whatever_else_it_costs() -> None:
    learner, row = network("mlp", (5,), one_step(1), kind=Kind.TABLE, task="tabular")
    target = chosen(watched(learner, row, [samples(2, (5,))]))
    assert target is not None
    offers = iter([(1.0, 0.5), (2.0, 0.1), (0.5, 0.4)])

    def descend(_: Problem, dummies: Dummies, attempt: Attempt) -> None:
        attempt.offer(*next(offers), dummies)

    best = search(Problem(learner, target, squared), descend, 3, np.random.default_rng(0))
    assert (best.whole, best.loss) == (2.0, 0.1)


def test_signed_adam_offers_what_its_last_step_led_to() -> None:
    learner, row = network("mlp", (5,), one_step(1), kind=Kind.TABLE, task="tabular")
    target = chosen(watched(learner, row, [samples(2, (5,))]))
    assert target is not None
    problem, attempt = Problem(learner, target, squared), Attempt()
    dummies = Dummies.drawn(problem, np.random.default_rng(0))
    before = dummies.inputs.detach().clone()
    signed_adam(problem, dummies, attempt, 1, 1e-3, boxed=False)
    assert attempt.iterations == 1
    assert attempt.inputs is not None
    assert not torch.equal(attempt.inputs, before)
    assert torch.equal(attempt.inputs, dummies.inputs)


def test_an_update_starts_from_what_its_hospital_was_told() -> None:
    learner, row = network("mlp", (5,), one_step(1), kind=Kind.TABLE, task="tabular")
    homes = [samples(2, (5,), seed=seed) for seed in range(2)]

    def starts(told: dict[int, Tensor], client: int | None, *, summing: bool = False) -> Tensor:
        view = watched(learner, row, homes, told)
        target = chosen(replace(summed(view) if summing else view, cohort=(0, 1)), client)
        assert target is not None
        return target.sent

    one, other = row + 0.1, row - 0.1
    assert torch.equal(starts({0: one, 1: other}, 1), other)
    assert torch.equal(starts({1: other}, 0), row)
    assert torch.equal(starts({0: one, 1: one.clone()}, None, summing=True), one)
    assert torch.equal(starts({0: one, 1: other}, None, summing=True), row)
    assert torch.equal(starts({0: one}, None, summing=True), row)


@pytest.mark.parametrize(
    ("counts", "samples_told"), [([1.0, 5.0], (1, 5)), ([1.0, 1.0], (8, 8)), ([0.4, 3.0], (8, 3))]
)
def test_a_count_of_one_is_believed_unless_everybody_says_it(
    counts: list[float], samples_told: tuple[int, ...]
) -> None:
    weights = torch.tensor(counts, dtype=torch.float64)
    assert samples_behind(Individual((0, 1), Rows(torch.ones(2, 3)), weights), 8) == samples_told


def test_a_hospital_of_one_sample_is_explained_by_one_dummy() -> None:
    learner, row = network("mlp", (5,), one_step(8), kind=Kind.TABLE, task="tabular")
    target = chosen(watched(learner, row, [samples(1, (5,)), samples(9, (5,))]))
    assert target is not None
    assert (target.samples, target.batch) == (1, 1)
