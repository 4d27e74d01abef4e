"""Every combination of defenses works, or is refused with the reason and a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from asepsis.core.errors import ConfigError
from asepsis.core.registry import entries
from asepsis.experiments.composition import (
    AXES,
    NONE,
    Cell,
    Verdict,
    cells,
    composed,
    played,
    tried,
)
from asepsis.report.composed import markdown, summarized

PAGE = Path(__file__).resolve().parents[3] / "docs" / "composition.md"
SAMPLE = 197
"""Every 197th combination that works is played by default, and every eighth behind a sum."""


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    return composed(cells())


def test_all_transports_and_all_rules_are_there(verdicts: list[Verdict]) -> None:
    for name, kind in (("transport", "transport"), ("rule", "aggregator")):
        there = {getattr(verdict.cell, name) for verdict in verdicts}
        assert there == {entry.name for entry in entries(kind) if entry.origin == "asepsis"}


def test_every_refusal_says_why_and_what_would_do(verdicts: list[Verdict]) -> None:
    silent = [v.cell.names() for v in verdicts if not v.works and not (v.reason and v.fix)]
    assert not silent


def test_a_refusal_names_one_of_those_that_do_not_fit(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        names = [getattr(verdict.cell, name) for name in AXES]
        assert verdict.works or any(name in verdict.reason for name in names if name != NONE)


def test_the_page_is_what_is_found(verdicts: list[Verdict]) -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(summarized(verdicts))


def test_a_sample_of_what_works_plays_a_round(verdicts: list[Verdict]) -> None:
    works = playable(verdicts)
    summed = [cell for cell in works if cell.transport in ("secure-sum", "secure-aggregation")]
    for cell in {*works[::SAMPLE], *summed[::8]}:
        check_round(cell)


@pytest.mark.slow
def test_all_that_works_plays_a_round(verdicts: list[Verdict]) -> None:
    for cell in playable(verdicts):
        check_round(cell)


@pytest.mark.slow
def test_every_screen_and_rule_that_works_plays_a_round() -> None:
    chosen = {"transport": ["plain", "grouped-secure-sum"], "privacy": [NONE]}
    verdicts = composed(cells(chosen, every=True))
    assert not [v.cell.names() for v in verdicts if not v.works and not (v.reason and v.fix)]
    for cell in playable(verdicts):
        check_round(cell)


def playable(verdicts: list[Verdict]) -> list[Cell]:
    """Those that work, and for which everything is installed."""
    return [verdict.cell for verdict in verdicts if verdict.works and not verdict.missing]


def check_round(cell: Cell) -> None:
    outcome = played(cell)
    assert outcome.void is None, f"{cell.names()}: {outcome.void}"
    assert outcome.server is not None
    assert outcome.server.aggregate is not None
    assert bool(outcome.server.aggregate.delta.isfinite().all()), cell.names()


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (Cell("secure-sum", NONE, "krum", NONE), "delivers no single rows"),
        (Cell("grouped-secure-sum", NONE, "foolsgold", NONE), "merges rows"),
        (Cell("secure-sum", NONE, "dp-mean", NONE), "no hospital does"),
        (Cell("plain", "nnm", "dp-mean", NONE), "noise covers one row alone"),
        (Cell("grouped-secure-sum", NONE, "dp-mean", "client-clip"), "counts hospitals"),
        (Cell("plain", NONE, "feddetect", "dp-sgd"), "side:loss"),
    ],
    ids=lambda value: value.names() if isinstance(value, Cell) else None,
)
def test_what_must_not_be_is_refused(cell: Cell, reason: str) -> None:
    verdict = tried(cell)
    assert reason in verdict.reason
    assert verdict.fix


def test_what_only_three_together_say_is_named(verdicts: list[Verdict]) -> None:
    found = summarized(verdicts)
    assert "secure-sum + dp-mean + client-clip" in found.only_together
    assert "grouped-secure-sum + bucketing + bulyan" in found.not_together


def test_an_axis_is_narrowed_and_mistakes_are_named() -> None:
    found = list(cells({"transport": ["plain"], "rule": ["krum"], "privacy": [NONE]}))
    assert {(cell.transport, cell.rule) for cell in found} == {("plain", "krum")}
    with pytest.raises(ConfigError, match="did you mean 'krum'"):
        list(cells({"rule": ["kum"]}))
