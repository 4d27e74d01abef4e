"""Secure sums of groups: what the server sees, and what is said of whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import asepsis
from asepsis.core.channel import Channel
from asepsis.core.errors import ConfigError, QuorumError
from asepsis.core.updates import Grouped, Individual, Rows
from asepsis.defenses.stack import build_pipeline
from asepsis.defenses.transport.grouped_secure_sum import GroupedSecureSum
from asepsis.testing import cohorts

FIXED = {"name": "grouped-secure-sum", "regroup": False}


def carried(sent: Individual, drawn: tuple[int, ...] | None = None, **options: Any) -> Any:
    rng = np.random.default_rng(3)
    channel = Channel(0, rng, sent.clients if drawn is None else drawn)
    return GroupedSecureSum(**options).deliver(sent, channel)


def test_a_group_is_the_weighted_mean_of_its_members() -> None:
    sent = cohorts.delivery(cohorts.rows(8, 4))
    made = carried(sent).delivery
    assert isinstance(made, Grouped)
    assert sorted(i for group in made.members.values() for i in group) == list(range(8))
    assert sorted(map(len, made.members.values())) == [4, 4]
    for place, client in enumerate(made.clients):
        group = list(made.members[client])
        assert client == min(group)
        shares = sent.weights[group] / sent.weights[group].sum()
        expected = shares @ sent.rows.dense()[group].double()
        torch.testing.assert_close(made.rows.row(place).double(), expected, rtol=1e-5, atol=1e-6)
        assert float(made.weights[place]) == float(sent.weights[group].sum())
        assert float(made.side["loss"][place]) == pytest.approx(
            float(sent.side["loss"][group].mean())
        )


def test_groups_never_have_fewer_than_their_size_and_use_everybody() -> None:
    for n in range(3, 30):
        for size in (3, 4, 7):
            if n < size:
                continue
            sent = cohorts.delivery(cohorts.rows(n, 1))
            groups = list(carried(sent, size=size).delivery.members.values())
            assert min(map(len, groups)) >= size
            assert sorted(i for group in groups for i in group) == list(range(n))
            assert len(groups) == n // size


def test_groups_are_drawn_anew_or_stay() -> None:
    sent = cohorts.delivery(cohorts.rows(12, 1))
    rng = np.random.default_rng(0)

    def groups(**options: Any) -> list[tuple[int, ...]]:
        made = GroupedSecureSum(**options).deliver(sent, Channel(0, rng, sent.clients)).delivery
        assert isinstance(made, Grouped)
        return sorted(made.members.values())

    assert groups() != groups()
    assert groups(regroup=False) == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)]


def test_a_group_of_which_too_few_answer_is_not_opened() -> None:
    everybody = cohorts.delivery(cohorts.rows(9, 2))
    answered = everybody.select(torch.tensor([0, 2, 3, 4, 5]))
    made = carried(answered, drawn=tuple(range(9)), regroup=False)
    assert made.delivery.members == {3: (3, 4, 5)}
    assert made.measurements == {"groups_unopened": 2.0}
    few = everybody.select(torch.tensor([0, 4, 8]))
    void = carried(few, drawn=tuple(range(9)), regroup=False)
    assert void.delivery is None
    assert "3 answered" in str(void.aborted)


def test_counts_are_cut_and_may_be_left_out() -> None:
    rows = torch.tensor([[0.0], [0.0], [3.0]])
    weights = torch.tensor([1.0, float("nan"), 1e12], dtype=torch.float64)
    sent = Individual((0, 1, 2), Rows(rows), weights)
    assert carried(sent, max_count=2.0).delivery.rows.dense().tolist() == [[2.0]]
    assert carried(sent, weighted=False).delivery.rows.dense().tolist() == [[1.0]]


def explained(matrix: Tensor, rule: Any) -> Any:
    return asepsis.aggregate(matrix, [FIXED, rule], explain=True)


def test_one_row_that_is_no_number_costs_its_group_alone() -> None:
    matrix = cohorts.rows(12, 3)
    matrix[4] = torch.nan
    made = explained(matrix, "mean")
    kept = [0, 1, 2, *range(6, 12)]
    torch.testing.assert_close(made.value, matrix[kept].mean(dim=0))
    channel = made.stages[0]
    assert channel.measurements == {"rows_withheld": 12.0, "groups": 4.0, "groups_unusable": 1.0}
    assert channel.verdicts == {3: 0.0, 4: 0.0, 5: 0.0}
    assert made.dropped == ()


def test_what_a_rule_says_of_a_group_it_says_of_all_in_it() -> None:
    matrix = cohorts.rows(15, 3)
    matrix[7] += 100.0
    made = explained(matrix, {"name": "multi-krum", "f": 1})
    assert [made.verdicts[i] for i in (6, 7, 8)] == [0.0, 0.0, 0.0]
    assert set(made.verdicts) == set(range(15))
    assert max(made.verdicts.values()) == 1.0
    assert float(made.value.abs().max()) < 5


def test_an_unusable_group_spends_f() -> None:
    matrix = cohorts.rows(15, 3)
    matrix[0] = torch.inf
    # Four groups are too few for f = 1 (2 f + 3), not for what is left of it.
    assert bool(explained(matrix, {"name": "krum", "f": 1}).value.isfinite().all())


def test_the_rule_must_work_with_so_many_groups() -> None:
    stack = build_pipeline([FIXED, {"name": "krum", "f": 1}])
    stack.check_cohort(15)
    with pytest.raises(QuorumError, match="krum with f = 1 needs at least 5 rows; got 4"):
        stack.check_cohort(14)
    with pytest.raises(ConfigError, match="at least 3 hospitals"):
        build_pipeline([FIXED, "mean"]).check_cohort(2)


@pytest.mark.parametrize("stage", ["foolsgold", "reputation"])
def test_nothing_that_remembers_single_hospitals_follows(stage: str) -> None:
    with pytest.raises(ConfigError, match="merges rows"):
        build_pipeline([FIXED, stage])
