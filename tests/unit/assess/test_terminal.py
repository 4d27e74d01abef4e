"""The terminal: 80 columns are enough, and no text from a file acts on it."""

from __future__ import annotations

import io

import pytest
from made_up import EVERY, OPEN, hostile, outcome
from rich.console import Console

from asepsis.assess.outcome import Answer, Outcome
from asepsis.assess.terminal import print_outcome


def printed(told: Outcome, width: int = 80, *, colors: bool = False) -> str:
    out = io.StringIO()
    print_outcome(told, Console(file=out, width=width, force_terminal=colors))
    return out.getvalue()


@pytest.mark.parametrize("told", [outcome(*EVERY, answer=Answer.FAIL), hostile()])
def test_eighty_columns_are_enough(told: Outcome) -> None:
    text = printed(told)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_the_answer_comes_first_and_all_parts_follow() -> None:
    text = printed(outcome(*EVERY, answer=Answer.FAIL))
    parts = ["Fail.", "ruling", "What breaks us today?", "What do we recommend?", "Notes"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    for ruling in ("covered", "open", "unclear", "harmless here", "not measured", "n/a"):
        assert ruling in text


def test_today_shows_its_own_worst_attack() -> None:
    rows = [line for line in printed(outcome(OPEN)).splitlines() if "Backdoor" in line]
    assert "85 [80, 90]" in rows[0]
    assert "65 [60, 70]" in rows[0]


def test_hostile_text_does_not_act() -> None:
    text = printed(hostile())
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "\u202e" not in text
    assert "/home" not in text
