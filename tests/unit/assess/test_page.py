"""The page of an assessment: it answers first, hides nothing, loads nothing, escapes everything."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from made_up import (
    COVERED,
    EVERY,
    HARMLESS,
    OPEN,
    UNCLEAR,
    UNTRIED,
    candidate,
    hostile,
    interval,
    measured,
    outcome,
)

from asepsis.assess.briefing import briefing, not_covered
from asepsis.assess.figures import front_plot, harm_plot, worst_multiple
from asepsis.assess.outcome import Answer, Finding, Outcome, Ruling
from asepsis.assess.page import render
from asepsis.assess.tables import ordered
from asepsis.assess.words import answer_text, clean, decisive, sentence
from asepsis.metrics.intervals import Interval

QUESTIONS = (
    "The answer",
    "What breaks us today?",
    "What do we recommend?",
    "At what price?",
    "What stays open?",
    "How sure is this?",
    "What is not covered?",
)


class Seen(HTMLParser):
    """Collects tags, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def answers(told: Outcome) -> dict[str, tuple[str, str]]:
    return {point.question: (point.answer, point.tone) for point in briefing(told)}


def test_the_first_screen_asks_seven_questions_in_order() -> None:
    assert tuple(answers(outcome())) == QUESTIONS
    assert all(answer for answer, _ in answers(outcome(*EVERY, answer=Answer.FAIL)).values())


@pytest.mark.parametrize(
    ("told", "begins", "tone"),
    [
        (outcome(COVERED, HARMLESS), "Pass. With median, all 2 threats", "good"),
        (outcome(OPEN, answer=Answer.FAIL), "Fail. With median, backdoor above", "bad"),
        (
            outcome(COVERED, utility=interval(0.03, 0.05), answer=Answer.FAIL),
            "Fail. With median, its price without an attack above",
            "bad",
        ),
        (
            outcome(UNCLEAR, UNTRIED, answer=Answer.INCONCLUSIVE),
            "Inconclusive. With median, gradient manipulation undecided and property inference not",
            "unclear",
        ),
        (
            outcome(COVERED, undertrained=True, answer=Answer.INCONCLUSIVE),
            "Inconclusive. The model has not learned",
            "unclear",
        ),
    ],
)
def test_the_answer_is_given_with_its_reason(told: Outcome, begins: str, tone: str) -> None:
    said, shown = answers(told)["The answer"]
    assert said.startswith(begins)
    assert shown == tone


def test_a_stack_that_covers_nothing_is_no_recommendation() -> None:
    said, tone = answers(outcome(OPEN, answer=Answer.FAIL))["What do we recommend?"]
    assert "no reason yet to leave mean" in said
    assert tone == "unclear"
    assert answers(outcome())["What do we recommend?"][0].startswith("Run median instead of mean")


def test_nothing_helps_is_an_answer() -> None:
    kept = outcome(OPEN, answer=Answer.FAIL, recommended="mean", stack=({"name": "mean"},))
    said, tone = answers(kept)["What do we recommend?"]
    assert said.startswith("Nothing that was tried helps")
    assert tone == "bad"


def test_a_stack_that_costs_too_much_is_no_recommendation() -> None:
    dear = outcome(COVERED, utility=interval(0.03, 0.05), answer=Answer.FAIL)
    said, tone = answers(dear)["What do we recommend?"]
    assert "price above your limit: no reason yet to leave mean" in said
    assert tone == "unclear"


@pytest.mark.parametrize(
    ("note", "says"),
    [
        ("time for 0 of 25 stacks: give it more minutes for all of them", "give it more minutes"),
        ("the search ended before its rung 1: no time is left", "give it more minutes"),
        ("nothing that was tried breaks today's stack: no search", "was needed"),
        ("", "none was searched for, as asked"),
    ],
)
def test_where_nothing_else_was_tried_nothing_is_said_of_it(note: str, says: str) -> None:
    alone = outcome(
        OPEN,
        answer=Answer.FAIL,
        recommended="mean",
        candidates=(candidate("mean", 0.0, 0.4),),
        notes=(note,),
    )
    said, tone = answers(alone)["What do we recommend?"]
    assert says in said
    assert "Nothing that was tried helps" not in said
    assert tone == "bad"


def test_refused_stacks_were_not_tried() -> None:
    refused = (candidate("mean", 0.0, 0.4), candidate("krum", 0.1, 0.1, refused="too few"))
    alone = outcome(OPEN, answer=Answer.FAIL, recommended="mean", candidates=refused)
    assert "none fits" in answers(replace(alone, notes=()))["What do we recommend?"][0]


def test_what_breaks_today_needs_the_whole_interval() -> None:
    assert "label flipping" in answers(outcome())["What breaks us today?"][0]
    wide = Finding("backdoor", 0.2, Ruling.UNCLEAR, (measured("b", (0.1, 0.9), (0.1, 0.9)),))
    said, _ = answers(outcome(wide, answer=Answer.INCONCLUSIVE))["What breaks us today?"]
    assert said.startswith("Nothing that was tried was shown to harm mean")
    assert "not shown to be harmless" in said


def test_few_seeds_are_said() -> None:
    assert "needs 5" in answers(outcome(seeds=(0, 1, 2)))["How sure is this?"][0]
    assert "needs 5" not in answers(outcome())["How sure is this?"][0]


def test_what_was_not_asked_or_not_tried_is_named() -> None:
    said = not_covered(outcome(*EVERY))
    assert "no sense on these data: generator-based poisoning" in said
    assert "was tried: backdoor" in said
    assert "Not asked for: data poisoning" in said


def test_the_attack_that_decides_is_the_one_that_is_surely_harmful() -> None:
    wide, sure = measured("wide", (0.5, 0.6), (0.0, 0.9)), measured("sure", (0.5, 0.6), (0.3, 0.4))
    found = decisive(Finding("backdoor", 0.2, Ruling.OPEN, (wide, sure)))
    assert found is not None
    assert found.attack == "sure"


def test_a_gain_that_is_not_shown_is_said_so() -> None:
    below = Finding("backdoor", 0.2, Ruling.UNCLEAR, (measured("b", (0.3, 0.5), (0.1, 0.15)),))
    assert sentence(below).startswith("below the limit, but not shown to be less")
    assert sentence(UNCLEAR).startswith("the interval straddles the limit")


def test_what_is_below_zero_does_no_harm() -> None:
    part = measured("flip", (0.2, 0.3), (-0.13, -0.1))
    said = sentence(Finding("label-flip", 0.05, Ruling.COVERED, (part,)))
    assert "flip does no harm (−11.5 (−13.0 to −10.0) points)" in said
    wide = measured("flip", (0.2, 0.3), (-0.13, 0.03))
    said = sentence(Finding("label-flip", 0.05, Ruling.COVERED, (wide,)))
    assert "flip does no harm on average (" in said
    assert "today flip does 25.0 (20.0 to 30.0) points" in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"failed": 2}, "2 seeds failed"),
        ({"after": Interval(0.3, 0.25, 0.4, 3)}, "3 seeds decide nothing"),
        ({"after": Interval(0.3, math.nan, math.nan, 1)}, "1 seed decides nothing"),
        ({"above": 0.2}, "above the limit, but not beyond doubt after correction"),
    ],
)
def test_why_a_threat_is_unclear(changes: dict[str, Any], says: str) -> None:
    part = replace(measured("b", (0.3, 0.5), (0.3, 0.4)), **changes)
    fine = measured("c", (0.3, 0.5), (0.0, 0.1))
    assert sentence(Finding("backdoor", 0.2, Ruling.UNCLEAR, (part, fine))).startswith(says)


def test_a_reason_is_shown_whatever_was_ruled() -> None:
    part = measured("b", (0.3, 0.5), (0.3, 0.4))
    for ruling in (Ruling.OPEN, Ruling.UNCLEAR, Ruling.UNTRIED):
        told = Finding("backdoor", 0.2, ruling, (part,), "1 seeds ended: no /home/eva/x.csv")
        assert "1 seeds ended: no [path]" in sentence(told)


def test_the_page_holds_every_part() -> None:
    text = Seen(render(outcome(*EVERY), toml="name = 'x'", full="final/report.html")).text
    for part in (
        "straddles the limit",
        "adaptive",
        "not tried",
        "NISTAML.013",
        "AML.T0020",
        "ML02:2023",
        "not legal advice",
        "needs 7 hospitals",
        "time for 4 of 25 stacks",
        "asepsis run recommended.toml",
        "0.004",
    ):
        assert part in text, part


def test_the_page_loads_nothing() -> None:
    seen = Seen(render(outcome(*EVERY), full="final/report.html"))
    assert {link for link in seen.links if not link.startswith("#")} == {"final/report.html"}
    assert seen.tags.count("script") == 1
    assert not {"link", "iframe", "object"} & set(seen.tags)


def test_hostile_text_is_text() -> None:
    page = render(hostile(), toml="</code><script>alert('x')</script>")
    seen = Seen(page)
    assert seen.tags.count("script") == 1
    assert "<script>alert" not in page
    assert "/home" not in page
    assert not re.search("[\x00\x1b\u202e\ud800]", page)
    assert "alert('x')" in seen.text


def test_plots_need_something_to_plot() -> None:
    assert front_plot(outcome(candidates=(candidate("mean", 0.0, 0.1),))) is None
    assert harm_plot(outcome(UNTRIED)) is None
    plot = front_plot(outcome())
    assert plot is not None
    assert "<script" not in plot.svg


def test_goals_are_compared_by_their_own_limits() -> None:
    one = replace(candidate("x", 0.0, 0.0), harm={"label-flip": 0.1, "backdoor": 0.3})
    assert worst_multiple(outcome(), one) == pytest.approx(2.0)


def test_stacks_that_came_farthest_stand_first_and_refused_ones_last() -> None:
    names = [one.name for one in ordered(outcome())]
    assert names == ["mean", "median", "krum", "bulyan"]


def test_the_same_outcome_gives_the_same_page() -> None:
    assert render(outcome(*EVERY)) == render(outcome(*EVERY))


def test_clean_keeps_line_breaks_and_words() -> None:
    assert clean("a\tb\nc") == "a\tb\nc"
    assert answer_text(hostile()).isprintable()
