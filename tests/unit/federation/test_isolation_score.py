"""A claimed row beside the true ones, by hand."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch

from asepsis.core.threat import Evidence
from asepsis.core.updates import Individual, Rows
from asepsis.federation.scoring.isolation import score
from asepsis.federation.scoring.truth import Truth

NAN = math.nan
ROWS = torch.tensor([[3.0, 4.0, 7.0], [4.0, -3.0, 0.0], [0.0, 5.0, 1.0]])


def scores(row: list[float], about: int | None, clients: tuple[int, ...] = ()) -> dict[str, float]:
    weights = torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)
    sent = Individual((2, 5, 6), Rows(ROWS), weights)
    nobody = cast("Any", None)
    truth = Truth(nobody, 0, (2, 5, 6), torch.zeros(3), torch.zeros(3), sent=sent)
    return score(Evidence("isolation", {"row": torch.tensor(row)}, about, clients), truth).scores


def test_columns_that_are_not_claimed_do_not_count() -> None:
    found = scores([3.0, 4.0, NAN], about=2)
    assert found["known"] == pytest.approx(2 / 3)
    assert (found["relative_error"], found["isolated"], found["cosine"]) == (0, 1, 1)
    assert found["other_cosine"] == pytest.approx(0.8)
    # The others' weighted mean is ((4, -3) + 2 (0, 5)) / 3 = (4, 7) / 3.
    assert found["rest_cosine"] == pytest.approx(40 / (5 * math.hypot(4, 7)))


def test_a_row_of_twice_the_length_has_the_right_direction() -> None:
    found = scores([6.0, 8.0, NAN], about=2)
    assert found["relative_error"] == 1
    assert found["scaled_error"] == pytest.approx(0, abs=1e-9)
    assert (found["isolated"], found["isolated_direction"]) == (0, 1)


def test_an_error_of_a_tenth_is_no_isolation() -> None:
    assert scores([3.3, 4.39, NAN], about=2)["isolated"] == 1
    assert scores([3.3, 4.41, NAN], about=2)["isolated"] == 0


def test_a_claim_about_several_is_beside_their_weighted_mean_and_isolates_nobody() -> None:
    found = scores([4 / 3, 7 / 3, 2 / 3], about=None, clients=(5, 6))
    assert found["relative_error"] == pytest.approx(0, abs=1e-6)
    assert (found["isolated"], found["hospitals"]) == (0, 2)


@pytest.mark.parametrize(("row", "about"), [([NAN, NAN, NAN], 2), ([1.0, 1.0, 1.0], 9)])
def test_nothing_claimed_or_nobody_there_is_nothing(row: list[float], about: int) -> None:
    found = scores(row, about)
    assert (found["isolated"], found["isolated_direction"]) == (0, 0)
    assert "relative_error" not in found


@pytest.mark.parametrize(("columns", "isolated"), [(4, 0), (5, 1)])
def test_a_few_columns_isolate_nobody(columns: int, isolated: int) -> None:
    row = torch.ones(100)
    sent = Individual((2,), Rows(row[None]), torch.ones(1, dtype=torch.float64))
    nobody = cast("Any", None)
    truth = Truth(nobody, 0, (2,), torch.zeros(100), torch.zeros(100), sent=sent)
    guess = torch.cat([row[:columns], torch.full((100 - columns,), NAN)])
    found = score(Evidence("isolation", {"row": guess}, 2), truth).scores
    assert (found["relative_error"], found["isolated"]) == (0, isolated)
    assert found["isolated_direction"] == isolated
