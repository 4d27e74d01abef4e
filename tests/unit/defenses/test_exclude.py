"""The blocklist: it drops whom it names, wherever they stand, and nobody else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import asepsis
from asepsis.core.errors import ConfigError, QuorumError
from asepsis.core.registry import build
from asepsis.core.updates import Individual, Rows
from asepsis.defenses.screen.exclude import Exclude
from asepsis.defenses.stack import build_pipeline
from asepsis.testing import cohorts


def came(*clients: int) -> Individual:
    """One row a client, filled with its number."""
    rows = torch.tensor([[float(client)] * 3 for client in clients])
    weights = torch.full((len(clients),), 20.0, dtype=torch.float64)
    return Individual(clients, Rows(rows), weights)


def test_the_named_go_in_every_round_and_the_others_stay_as_they_are() -> None:
    screen = Exclude(hospitals=(7, 2))
    state = screen.init(3)
    for clients, left in [((0, 2, 5, 7), (0, 5)), ((2, 5), (5,)), ((0, 1), (0, 1))]:
        state, made = screen.apply(state, came(*clients), cohorts.context(dim=3))
        assert made.delivery.clients == left
        assert made.delivery.rows.dense()[:, 0].tolist() == [float(client) for client in left]
        assert made.verdicts == {client: float(client in left) for client in clients}
        assert made.scores == {client: float(client not in left) for client in clients}
        assert made.measurements == {"dropped": float(len(clients) - len(left))}


def test_it_gives_what_the_rule_would_give_without_them() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 5))
    rows[[1, 8]] *= 1e6
    for rule in ("mean", "median", "krum"):
        made = asepsis.aggregate(rows, [{"name": "exclude", "hospitals": [1, 8]}, rule])
        left = asepsis.aggregate(np.delete(rows, [1, 8], axis=0), rule)
        assert np.array_equal(made, left)


def test_with_nobody_named_it_changes_nothing() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 5))
    made = asepsis.aggregate(rows, ["exclude", "mean"], explain=True)
    assert np.array_equal(made.value, asepsis.aggregate(rows, "mean"))
    assert made.stages[0].changed == 0


def test_nobody_left_makes_the_round_void() -> None:
    screen = Exclude(hospitals=(0, 1, 9))
    with pytest.raises(QuorumError, match="all hospitals of the round are excluded"):
        screen.apply(screen.init(3), came(0, 1), cohorts.context(dim=3))
    stack = build_pipeline([{"name": "exclude", "hospitals": [0, 1]}])
    outcome = stack.receive(stack.init(3), came(0, 1), 0, cohorts.STREAMS, cohorts.desk(3))[1]
    assert str(outcome.void).startswith("no-quorum")


def test_numbers_that_no_hospital_has_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"hospitals\.1: .* greater than or equal to 0; got -3"):
        build("screen", {"name": "exclude", "hospitals": [2, -3]})


def test_it_is_refused_where_a_row_is_of_several_hospitals() -> None:
    with pytest.raises(ConfigError, match="exclude cannot work behind bucketing"):
        build_pipeline(["bucketing", {"name": "exclude", "hospitals": [1]}])
