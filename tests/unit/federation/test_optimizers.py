from __future__ import annotations

import pytest
import torch

from asepsis.federation.optimizers import FedAdam, FedAvg, FedYogi


def test_fedavg_adds_the_aggregate_and_scales_parameters_only() -> None:
    row, delta = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, -0.5, 1.0])
    _, moved = FedAvg(lr=2.0).apply({}, row, delta, parameters=2)
    assert moved.tolist() == [2.0, 1.0, 4.0]
    assert row.tolist() == [1.0, 2.0, 3.0]


def test_fedadam_agrees_with_a_hand_computed_step() -> None:
    server = FedAdam(lr=0.1, beta1=0.9, beta2=0.99, tau=0.01)
    state, moved = server.apply(server.init(1), torch.zeros(1), torch.tensor([2.0]), 1)
    m, v = 0.1 * 2.0, 0.99 * 1e-4 + 0.01 * 4.0
    assert float(moved) == pytest.approx(0.1 * m / (v**0.5 + 0.01), rel=1e-5)
    _, again = server.apply(state, moved, torch.tensor([-1.0]), 1)
    m, v = 0.9 * m - 0.1, 0.99 * v + 0.01
    assert float(again - moved) == pytest.approx(0.1 * m / (v**0.5 + 0.01), rel=1e-4)


def test_fedyogi_changes_its_second_moment_additively_unlike_fedadam() -> None:
    state, delta = {"m": torch.zeros(1), "v": torch.ones(1)}, torch.tensor([0.1])
    yogi, _ = FedYogi().apply(state, torch.zeros(1), delta, 1)
    adam, _ = FedAdam().apply(state, torch.zeros(1), delta, 1)
    assert float(yogi["v"]) == pytest.approx(1 - 0.01 * 0.01, rel=1e-6)
    assert float(adam["v"]) == pytest.approx(0.99 + 0.01 * 0.01, rel=1e-6)
    grown, _ = FedYogi().apply(FedYogi().init(1), torch.zeros(1), torch.tensor([3.0]), 1)
    assert float(grown["v"]) == pytest.approx(1e-6 + 0.01 * 9.0, rel=1e-5)


@pytest.mark.parametrize("server", [FedAdam(), FedYogi()])
def test_buffers_are_averaged_plainly(server: FedAdam) -> None:
    """An adaptive step on a running variance could make it negative."""
    _, moved = server.apply(server.init(2), torch.tensor([1.0, 0.2]), torch.tensor([1.0, -0.1]), 1)
    assert float(moved[1]) == pytest.approx(0.1)
    assert float(moved[0]) != pytest.approx(2.0)
