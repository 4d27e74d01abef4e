"""Assessments among results: one entry each, with its answer, and its steps below it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from asepsis.defenses.audit.files import plain_file
from asepsis.report.wording import without_paths

REPORT = "report.html"
DIARY = "progress.json"
OUTCOME = "assessment.json"
STEP = re.compile(r"today|final|search-\d{1,3}")
ANSWERS = ("pass", "fail", "inconclusive")
LARGEST_REPORT = 64 << 20
LARGEST_DIARY = 16 << 20
MOST_NAME = 200


@dataclass(frozen=True)
class Assessed:
    """An assessment's own folder: what it is called, what it says, and the places of its steps."""

    place: Path
    title: str
    answer: str
    steps: tuple[Path, ...]


def assessments(places: Iterable[Path], root: Path) -> list[Assessed]:
    """Return the assessments that some results folders are the steps of; none above the root."""
    steps: dict[Path, list[Path]] = {}
    for place in places:
        if place != root and STEP.fullmatch(place.name):
            steps.setdefault(place.parent, []).append(place)
    return [
        _read(home, tuple(sorted(mine, key=_order)))
        for home, mine in steps.items()
        if _is_diary(_table(home / DIARY))
    ]


def _order(step: Path) -> tuple[int, int]:
    """Order steps as they are taken."""
    count = step.name.removeprefix("search-")
    return {"today": 0, "final": 2}.get(step.name, 1), int(count) if count.isdecimal() else 0


def _is_diary(table: object) -> bool:
    return isinstance(table, dict) and {"asked", "spent", "decisions"} <= set(table)


def _read(home: Path, steps: tuple[Path, ...]) -> Assessed:
    if not os.path.lexists(home / OUTCOME):
        return Assessed(home, home.name, "not finished: go on with asepsis assess --resume", steps)
    table = _table(home / OUTCOME)
    if not isinstance(table, dict) or table.get("answer") not in ANSWERS:
        return Assessed(home, home.name, "its answer cannot be read", steps)
    title = str(table.get("name") or home.name)[:MOST_NAME]
    judged = str(table.get("judged", table.get("recommended", "")))[:MOST_NAME]
    said = f"{str(table['answer']).capitalize()}, with {judged}"
    return Assessed(home, without_paths(title), without_paths(said), steps)


def _table(path: Path) -> object:
    content = read_plain(path, LARGEST_DIARY)
    try:
        return None if content is None else json.loads(content)
    except (ValueError, RecursionError):
        return None


def read_plain(path: Path, largest: int) -> bytes | None:
    """Read a file; ``None`` without one that is plain, no link, and of bearable size."""
    try:
        with open(path, "rb", opener=_no_link) as file:
            size = os.fstat(file.fileno()).st_size
            return file.read(size) if size <= largest else None
    except OSError:
        return None


def _no_link(path: str, flags: int) -> int:
    return plain_file(path, flags | getattr(os, "O_NOFOLLOW", 0))


def report_in(place: Path) -> bytes | None:
    """Return the report of a folder; ``None`` without one that may be shown."""
    return read_plain(place / REPORT, LARGEST_REPORT)
