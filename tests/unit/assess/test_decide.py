"""What may be said of a threat: by intervals, of the worst attack, never by means."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from asepsis.assess.decide import answer_of, better, firm, ruling_of
from asepsis.assess.outcome import Answer, Finding, Measured, Ruling
from asepsis.assess.spec import LimitsSpec
from asepsis.metrics.intervals import Interval

LIMIT = 0.05


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 7, 0.001)


def part(
    before: tuple[float, float],
    after: tuple[float, float],
    gained: tuple[float, float] = (0.1, 0.3),
    *,
    p: float = 0.001,
    above: float = 0.001,
    adaptive: bool = False,
    failed: int = 0,
) -> Measured:
    told = interval(*before), interval(*after), interval(*gained)
    return Measured("an attack", adaptive, *told, p, above, failed)


def test_harm_today_that_is_shown_to_go_below_the_limit_is_covered() -> None:
    assert ruling_of([part((0.2, 0.4), (0.0, 0.04))], LIMIT) is Ruling.COVERED


def test_the_worst_attack_decides() -> None:
    static, adaptive = part((0.2, 0.4), (0.0, 0.04)), part((0.2, 0.4), (0.06, 0.4), adaptive=True)
    assert ruling_of([static, adaptive], LIMIT) is Ruling.OPEN
    straddling = part((0.2, 0.4), (0.01, 0.4), above=0.3, adaptive=True)
    assert ruling_of([static, straddling], LIMIT) is Ruling.UNCLEAR


def test_a_gain_that_is_not_shown_is_not_claimed() -> None:
    unsure = part((0.0, 0.3), (-0.01, 0.04), (-0.02, 0.3), p=0.2)
    assert ruling_of([unsure], LIMIT) is Ruling.HARMLESS  # nor was any harm shown
    corrected = part((0.2, 0.4), (0.0, 0.04), (0.01, 0.3), p=0.06)
    assert ruling_of([corrected], LIMIT) is Ruling.UNCLEAR


def test_attacks_that_were_not_shown_to_harm_today_are_no_part_of_the_claim() -> None:
    static = part((0.0, 0.3), (-0.01, 0.04), (-0.02, 0.3), p=0.2)
    adaptive = part((0.8, 0.9), (0.0, 0.04), (0.7, 0.9), adaptive=True)
    assert ruling_of([static, adaptive], LIMIT) is Ruling.COVERED


def test_what_never_harms_today_is_harmless_and_not_covered() -> None:
    assert ruling_of([part((-0.01, 0.02), (-0.01, 0.02), (-0.01, 0.01), p=0.9)], LIMIT) is (
        Ruling.HARMLESS
    )


def test_a_single_seed_says_nothing() -> None:
    single = Interval(0.0, math.nan, math.nan, 1)
    alone = Measured("an attack", False, single, single, single)
    assert ruling_of([alone], LIMIT) is Ruling.UNCLEAR
    assert not better(alone)


def test_harm_above_the_limit_is_claimed_after_holm_only() -> None:
    assert ruling_of([part((0.2, 0.4), (0.06, 0.4), above=0.06)], LIMIT) is Ruling.UNCLEAR


def test_seeds_that_failed_are_not_left_out_of_a_claim() -> None:
    survivors = part((0.2, 0.4), (0.0, 0.04), failed=2)
    assert ruling_of([survivors], LIMIT) is Ruling.UNCLEAR


def test_three_seeds_claim_nothing() -> None:
    few = [replace(part((0.2, 0.4), (0.0, 0.01)), after=Interval(0.005, 0.0, 0.01, 3))]
    assert ruling_of(few, LIMIT) is Ruling.UNCLEAR
    harm = [replace(part((0.2, 0.4), (0.3, 0.4)), after=Interval(0.35, 0.3, 0.4, 3))]
    assert ruling_of(harm, LIMIT) is Ruling.UNCLEAR


def test_equal_seeds_are_never_certain() -> None:
    assert firm(Interval(0.0, 0.0, 0.0, 5)).high > 0.01
    wide = Interval(0.1, 0.0, 0.2, 5)
    assert firm(wide) == wide


def test_what_could_not_be_measured_is_not_harmless() -> None:
    nothing = Interval(math.nan, math.nan, math.nan, 0)
    lost = Measured("an attack", False, nothing, nothing, nothing)
    assert ruling_of([lost], LIMIT) is Ruling.UNTRIED
    assert ruling_of([], LIMIT) is Ruling.UNTRIED
    assert ruling_of([part((0.2, 0.4), (0.0, 0.04)), lost], LIMIT) is Ruling.UNCLEAR


def finding(ruling: Ruling) -> Finding:
    return Finding("backdoor", 0.2, ruling)


FREE = Interval(0.0, -0.005, 0.005, 7)


@pytest.mark.parametrize(
    ("rulings", "expected"),
    [
        ([Ruling.COVERED, Ruling.HARMLESS, Ruling.NOT_APPLICABLE], Answer.PASS),
        ([Ruling.COVERED, Ruling.UNCLEAR], Answer.INCONCLUSIVE),
        ([Ruling.COVERED, Ruling.UNTRIED], Answer.INCONCLUSIVE),
        ([Ruling.NOT_APPLICABLE], Answer.INCONCLUSIVE),
        ([], Answer.INCONCLUSIVE),
        ([Ruling.UNCLEAR, Ruling.OPEN], Answer.FAIL),
    ],
)
def test_a_pipeline_hears_the_worst(rulings: list[Ruling], expected: Answer) -> None:
    assert answer_of([finding(one) for one in rulings], FREE, LimitsSpec()) is expected


def test_what_a_defense_costs_counts_too() -> None:
    covered = [finding(Ruling.COVERED)]
    assert answer_of(covered, interval(0.03, 0.06), LimitsSpec()) is Answer.FAIL
    assert answer_of(covered, interval(-0.01, 0.06), LimitsSpec()) is Answer.INCONCLUSIVE
    few = Interval(0.0, -0.005, 0.005, 3)
    assert answer_of(covered, few, LimitsSpec()) is Answer.INCONCLUSIVE
    unknown = Interval(math.nan, math.nan, math.nan, 0)
    assert answer_of(covered, unknown, LimitsSpec()) is Answer.INCONCLUSIVE


def test_exit_codes_are_those_of_the_manual() -> None:
    assert [answer.code for answer in Answer] == [0, 1, 3]
