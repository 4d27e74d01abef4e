"""What an assessment decided, so that one that goes on after a stop decides the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asepsis.assess.spec import AssessSpec
from asepsis.core.errors import StoreError
from asepsis.experiments.spec import digest
from asepsis.experiments.store import write_atomic
from asepsis.report.shelf_assessments import LARGEST_DIARY, read_plain

NAME = "progress.json"


@dataclass
class Diary:
    """Decisions by name, and the seconds that were spent."""

    path: Path
    asked: str
    spent: float = 0.0
    decisions: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, asked: str, resume: bool) -> Diary:
        """Take up the diary of a folder, or begin one.

        Raises:
            StoreError: it is about something else, damaged, or there and nobody said resume.
        """
        if not path.exists():
            made = cls(path, asked)
            made.write(0.0)
            return made
        if not resume:
            raise StoreError(
                "the folder already holds an assessment",
                place=str(path.parent),
                fix="go on with --resume, or choose another place with --out DIR",
            )
        try:
            table = json.loads(read_plain(path, LARGEST_DIARY) or b"")
            known = cls(path, str(table["asked"]), float(table["spent"]), dict(table["decisions"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise StoreError("damaged", place=str(path), fix="choose another --out DIR") from None
        if known.asked != asked:
            raise StoreError(
                "the folder holds an assessment that asked something else",
                place=str(path.parent),
                fix="resume with the file it was started with, or choose another --out DIR",
            )
        return known

    def decide(self, what: str, made: Callable[[], Any], spent: float) -> Any:
        """Return what was decided before, else decide now and write it down."""
        if what not in self.decisions:
            self.decisions[what] = made()
            self.write(spent)
        return self.decisions[what]

    def write(self, spent: float) -> None:
        """Write down what was decided, and the time."""
        self.spent = max(self.spent, spent)
        table = {"asked": self.asked, "spent": self.spent, "decisions": self.decisions}
        write_atomic(self.path, json.dumps(table).encode())


def diary_in(asked: AssessSpec, out: Path, resume: bool) -> Diary:
    """Open the diary of an assessment's folder; more minutes are no other question.

    Raises:
        StoreError: the folder cannot be made, or holds another assessment.
    """
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(error.strerror or "cannot be made", place=str(out)) from None
    return Diary.of(out / NAME, digest(asked.model_dump(mode="json", exclude={"minutes"})), resume)
