"""Closed forms: exact where they claim to be, and silent where they cannot know."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from inversion_bench import network, one_step, samples, seen_by, summed, tampered, watched

from asepsis.attacks.observe.analytic import Analytic
from asepsis.attacks.observe.dlg import Dlg
from asepsis.attacks.observe.inversion.imprint import Imprint
from asepsis.attacks.observe.robbing_the_fed import RobbingTheFed
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.rng import building_modules
from asepsis.core.samples import Kind
from asepsis.metrics.leakage import match, mse

MLP = {"name": "mlp", "hidden": [128, 16]}
IMPRINTED = {"name": "imprinted", "model": "lenet-sigmoid", "bins": 64}


def errors(guess: torch.Tensor, truth: torch.Tensor) -> list[float]:
    pairs = zip(*match(guess.numpy(), truth.numpy()), strict=True)
    return [mse(guess[i].numpy(), truth[j].numpy()) for i, j in pairs]


@pytest.mark.parametrize(
    ("shape", "kind", "task", "decay"),
    [
        ((1, 12, 12), Kind.IMAGE, "classification", 0.0),
        ((9,), Kind.TABLE, "tabular", 0.0),
        ((9,), Kind.TABLE, "tabular", 0.1),
        ((6, 2), Kind.SEQUENCE, "sequence", 0.0),
    ],
)
def test_one_sample_is_read_off_exactly(
    shape: tuple[int, ...], kind: Kind, task: str, decay: float
) -> None:
    learner, row = network(MLP, shape, one_step(1, weight_decay=decay), kind=kind, task=task)
    home = samples(1, shape)
    evidence = seen_by(Analytic(), watched(learner, row, [home]))
    assert torch.allclose(evidence.guesses["inputs"], home.inputs, atol=1e-4)
    assert evidence.measurements["agreed"] == 1


def test_of_a_batch_only_what_neurons_agree_on_is_claimed() -> None:
    shape = (9,)
    learner, row = network({"name": "mlp", "hidden": [256]}, shape, one_step(4), kind=Kind.TABLE)
    home = samples(4, shape)
    evidence = seen_by(Analytic(), watched(learner, row, [home]))
    found = evidence.guesses["inputs"]
    assert len(found) == evidence.measurements["agreed"] >= 1
    assert max(errors(found, home.inputs)) < 1e-5


def test_where_every_neuron_sees_a_mixture_nothing_is_claimed_for_certain() -> None:
    learner, row = network("logistic", (9,), one_step(4), kind=Kind.TABLE, task="tabular")
    evidence = seen_by(Analytic(), watched(learner, row, [samples(4, (9,))]))
    assert evidence.measurements["agreed"] == 0
    assert len(evidence.guesses["inputs"]) == 1


def test_a_first_layer_that_is_no_linear_one_is_refused() -> None:
    learner, row = network("lenet-sigmoid", (1, 12, 12), one_step(1))
    with pytest.raises(ConfigError, match="first layer"):
        seen_by(Analytic(), watched(learner, row, [samples(1, (1, 12, 12))]))


def test_the_recursion_goes_back_through_convolutions() -> None:
    learner, row = network("lenet-sigmoid", (1, 12, 12), one_step(1))
    home = samples(1, (1, 12, 12))
    evidence = seen_by(Analytic(method="recursive"), watched(learner, row, [home]))
    assert errors(evidence.guesses["inputs"], home.inputs)[0] < 1e-5


@pytest.mark.parametrize(("model", "batch"), [("small-cnn", 1), ("lenet-sigmoid", 2)])
def test_the_recursion_refuses_what_it_cannot_undo(model: str, batch: int) -> None:
    learner, row = network(model, (1, 12, 12), one_step(batch))
    with pytest.raises(ConfigError, match="recursive"):
        seen_by(Analytic(method="recursive"), watched(learner, row, [samples(batch, (1, 12, 12))]))


def test_bins_are_read_by_hand() -> None:
    imprint = Imprint(torch.tensor([1.0]).double(), torch.tensor([0.0, 1.0, 2.0]).double())
    inputs, pulls = torch.tensor([0.5, 2.5]).double(), torch.tensor([3.0, -2.0]).double()
    is_open = (inputs[None] > imprint.edges[:, None]).double()  # [bins, samples]
    weight, bias = (is_open * pulls * inputs).sum(dim=1, keepdim=True), (is_open * pulls).sum(dim=1)
    assert imprint.read(weight, bias).flatten().tolist() == pytest.approx([0.5, 2.5])


def test_a_mixture_that_measures_outside_its_bin_is_dropped() -> None:
    """Two samples in one bin that pull against each other: 3 (0.2) - 2 (0.8) is -1."""
    imprint = Imprint(torch.tensor([1.0]).double(), torch.tensor([0.0, 1.0, 2.0]).double())
    weight, bias = torch.tensor([[-1.0], [0.0], [0.0]]), torch.tensor([1.0, 0.0, 0.0])
    assert len(imprint.read(weight, bias)) == 0
    assert imprint.read(-weight * 0.5, bias).tolist() == [[0.5]]


@pytest.mark.parametrize("summing", [False, True])
def test_an_imprint_is_exact_under_weight_decay(summing: bool) -> None:
    shape, model = (1, 12, 12), {"name": "imprinted", "model": "logistic", "bins": 256}
    exact = {}
    for decay in (0.0, 0.01):
        learner, row = network(model, shape, one_step(8, weight_decay=decay))
        homes = [samples(8, shape, seed=seed) for seed in range(2)]
        attack = RobbingTheFed(measure="random")
        state, view = tampered(attack, learner, row, homes)
        found = seen_by(attack, summed(view) if summing else view, state).guesses["inputs"]
        truth = torch.cat([home.inputs for home in homes]) if summing else homes[0].inputs
        exact[decay] = (len(found), sum(error < 1e-4 for error in errors(found, truth)))
    assert exact[0.01] == exact[0.0]
    assert exact[0.0][1] >= 5


@pytest.mark.parametrize(
    ("model", "shape", "kind", "measure"),
    [
        (IMPRINTED, (1, 12, 12), Kind.IMAGE, "mean"),
        (MLP, (1, 12, 12), Kind.IMAGE, "mean"),
        (MLP, (9,), Kind.TABLE, "random"),
        ({"name": "imprinted", "model": "cnn1d"}, (3, 20), Kind.SEQUENCE, "random"),
    ],
)
def test_an_imprint_holds_one_sample_exactly(
    model: dict[str, object], shape: tuple[int, ...], kind: Kind, measure: str
) -> None:
    learner, row = network(model, shape, one_step(1), kind=kind)
    home = samples(1, shape)
    attack = build("attack", {"name": "robbing-the-fed", "measure": measure})
    state, view = tampered(attack, learner, row, [home])
    evidence = seen_by(attack, view, state)
    assert evidence.about == 0
    assert errors(evidence.guesses["inputs"], home.inputs)[0] < 1e-5


def test_a_secure_sum_of_hospitals_hides_samples_from_dlg_but_not_from_an_imprint() -> None:
    shape = (1, 12, 12)
    learner, row = network(IMPRINTED, shape, one_step(2))
    homes = [samples(2, shape, seed=seed) for seed in range(4)]
    truth = torch.cat([home.inputs for home in homes])
    attack = RobbingTheFed()
    state, view = tampered(attack, learner, row, homes)
    robbed = seen_by(attack, summed(view), state)
    assert robbed.about is None
    assert sum(error < 1e-5 for error in errors(robbed.guesses["inputs"], truth)) >= 4

    plain, start = network("lenet-sigmoid", shape, one_step(1))
    alone = watched(plain, start, [samples(1, shape, seed=seed) for seed in range(4)])
    dlg = Dlg(iterations=12)
    mine = samples(1, shape).inputs
    assert errors(seen_by(dlg, alone).guesses["inputs"], mine)[0] < 1e-3
    assert errors(seen_by(dlg, summed(alone)).guesses["inputs"], truth[::2])[0] > 0.1


def test_an_honest_round_gives_an_imprint_nothing_to_read() -> None:
    learner, row = network(IMPRINTED, (1, 12, 12), one_step(1))
    honest = watched(learner, row, [samples(1, (1, 12, 12))])
    assert RobbingTheFed().observe({}, honest, np.random.default_rng(0)) == ({}, None)


def test_there_must_be_a_place_for_an_imprint() -> None:
    learner, row = network("lenet", (1, 16, 16), one_step(1))
    with pytest.raises(ConfigError, match="no place for an imprint"):
        tampered(RobbingTheFed(), learner, row, [samples(1, (1, 16, 16))])


def test_an_imprinted_model_starts_as_the_model_itself() -> None:
    inner = build("model", "mlp")
    outer = build("model", {"name": "imprinted", "model": "mlp", "bins": 8})
    with building_modules(1):
        made = outer.build((9,), 3)
    with building_modules(1):
        alone = inner.build((9,), 3)
    alone.load_state_dict(made[1].state_dict())
    inputs = samples(5, (9,)).inputs
    assert torch.equal(made(inputs), alone(inputs))
