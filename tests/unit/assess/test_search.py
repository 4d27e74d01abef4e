"""Which stacks go on, and which ones nothing beats."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asepsis.assess.outcome import Candidate
from asepsis.assess.search import LAST, excess, promoted, ranked, with_front
from asepsis.assess.spec import LimitsSpec

LIMITS = LimitsSpec()


def candidate(name: str, utility: float, harm: float, **known: Any) -> Candidate:
    given = {"bytes_up": 100.0, **known}
    return Candidate(name, ({"name": name},), 1, 1, utility, {"label-flip": harm}, **given)


def test_within_the_limits_nothing_is_exceeded() -> None:
    assert excess(candidate("median", 0.02, 0.05), LIMITS) == 0.0
    assert excess(candidate("median", 0.04, 0.05), LIMITS) == 1.0  # one limit of 2 points more


def test_what_could_not_be_measured_ranks_behind_what_was_bad() -> None:
    bad, unknown = candidate("mean", 0.0, 0.4), candidate("krum", 0.0, math.nan)
    assert [one.name for one in ranked([unknown, bad], LIMITS)] == ["mean", "krum"]


def test_refused_stacks_never_go_on() -> None:
    refused = candidate("krum", math.nan, math.nan, refused="needs five hospitals")
    assert ranked([refused], LIMITS) == []


def test_equally_safe_stacks_are_ordered_by_what_hospitals_send() -> None:
    dear, cheap = candidate("a", 0.0, 0.0, bytes_up=900.0), candidate("b", 0.0, 0.0)
    assert [one.name for one in ranked([dear, cheap], LIMITS)] == ["b", "a"]


def test_of_equals_the_simplest_goes_first() -> None:
    long = replace(candidate("a", 0.0, 0.06), stack=({"name": "a"}, {"name": "b"}))
    short = candidate("c", 0.0, 0.061)
    assert [one.name for one in ranked([long, short], LIMITS)] == ["c", "a"]


def test_a_third_goes_on_and_a_few_to_the_last_rung() -> None:
    many = [candidate(str(i), 0.0, i / 100) for i in range(30)]
    assert len(promoted(many, LIMITS, 2)) == 10
    assert len(promoted(many, LIMITS, 1)) == LAST
    assert promoted(many, LIMITS, 1)[0] == ({"name": "0"},)


def test_the_front_is_what_no_other_beats() -> None:
    good, cheap, beaten = (
        candidate("a", 0.05, 0.0),
        candidate("b", 0.0, 0.3),
        candidate("c", 0.1, 0.4),
    )
    assert [one.front for one in with_front([good, cheap, beaten])] == [True, True, False]


def test_figures_of_different_rungs_are_not_on_one_front() -> None:
    early = replace(candidate("early", 0.0, 0.0), rung=1)
    winner = replace(candidate("winner", 0.0, 0.02), rung=3)
    assert [one.front for one in with_front([early, winner])] == [False, True]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_a_stack_is_on_the_front_or_one_there_beats_it(
    pairs: list[tuple[float, float]],
) -> None:
    marked = with_front([candidate(str(i), u, h) for i, (u, h) in enumerate(pairs)])
    front = [one for one in marked if one.front]
    assert front
    for one in marked:
        mine = (round(one.utility, 2), round(one.harm["label-flip"], 2))
        others = [(round(o.utility, 2), round(o.harm["label-flip"], 2)) for o in front]
        assert one.front or any(o[0] <= mine[0] and o[1] <= mine[1] for o in others)
