"""Assessments with a search: in time, resumed after a stop, and helpless where it is so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from asepsis.assess.assessment import assess
from asepsis.assess.outcome import Answer, Outcome, Ruling
from asepsis.assess.spec import assessment_of
from asepsis.experiments.run import RunOptions
from asepsis.experiments.sweep import Progress

pytestmark = pytest.mark.slow

SMALL: Mapping[str, Any] = {
    "data": "breast-cancer",
    "hostile": 3,
    "threats": ["gradient-manipulation"],
    "federation": {"hospitals": 10, "rounds": 9},
    "minutes": 60.0,
    "seeds": 5,
}
ONLY = [["median"], ["norm-clip", "median"]]


def run(root: Path, *, resume: bool = False, stop_after: int = 0, **changes: Any) -> Outcome:
    heard = []

    def listen(progress: Progress) -> None:
        if progress.kind == "done":
            heard.append(progress)
        if stop_after and len(heard) >= stop_after:
            raise KeyboardInterrupt

    how = RunOptions(engine="serial", jobs=1, resume=resume)
    return assess(assessment_of({**SMALL, **changes}), root, how, listener=listen)


def test_a_stack_that_helps_is_found_and_measured_afresh(tmp_path: Path) -> None:
    stacks = [
        ["secure-sum", "mean"],
        ["median"],
        [{"name": "trimmed-mean", "f": 3}],
        ["norm-clip", "median"],
    ]
    found = run(tmp_path / "a", only=stacks)
    assert found.spent < 60 * SMALL["minutes"]
    [finding] = found.findings
    assert found.changes
    assert finding.ruling is Ruling.COVERED
    assert any(part.adaptive for part in finding.parts)
    assert all(part.after.high <= finding.limit for part in finding.parts)
    front = [one for one in found.candidates if one.front]
    assert front
    assert sum(one.chosen for one in found.candidates) == 1


def test_nothing_helps_where_only_a_sum_may_be_seen(tmp_path: Path) -> None:
    """A secure sum is the mean: it cannot take less harm, and nobody says that it does."""
    found = run(tmp_path / "a", only=[["secure-sum", "mean"]])
    assert not found.changes
    assert found.findings[0].ruling is Ruling.OPEN
    assert found.answer is Answer.FAIL
    assert any("nothing helps" in note for note in found.notes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(tmp_path_factory.mktemp("whole") / "a", only=ONLY)


@pytest.mark.parametrize("stop_after", [1, 20, 60])
def test_an_assessment_that_was_stopped_goes_on_where_it_was(
    tmp_path: Path, whole: Outcome, stop_after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", stop_after=min(stop_after, whole.runs - 1), only=ONLY)
    again = run(tmp_path / "stopped", resume=True, only=ONLY)
    assert again.recommended == whole.recommended
    assert again.seeds == whole.seeds
    assert again.findings == whole.findings
