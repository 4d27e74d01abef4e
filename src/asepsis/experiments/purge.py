"""Delete the evidence of a results folder: pictures, checkpoints, models; or all of it.

The folder of an assessment holds a results folder a step; they go together. Only what asepsis
wrote is deleted, by its name and place; no link is followed. What else lies in the folder stays.
Records are kept unless everything is to go.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from asepsis.core.errors import StoreError
from asepsis.experiments.locks import LOCKS, locked
from asepsis.experiments.store import HALF_WRITTEN, LARGEST_RECORD, Store, contents, guarded

EVIDENCE = ("artifacts", "checkpoints", "prefixes", "traces", "exports")
RECORDS = ("runs", "ledgers")
SUFFIXES = (".safetensors", ".jsonl", ".csv", ".tex", ".svg", ".pdf", ".png", ".html", ".parquet")
DEPTH = 3
EVENTS = "tensorboard"
"""Where a tracker was told, if nobody said where else."""
TOLD = ("study.json", "devices.json", "mlflow.db")
STEP = re.compile(r"today|final|search-\d{1,3}")
"""What an assessment calls its steps."""
DIARY = "progress.json"
ASSESSED = (DIARY, "assessment.json", "junit.xml", "assessment.sarif", "recommended.toml")


@dataclass(frozen=True)
class Purge:
    """What would be deleted of a results folder; what stays since asepsis did not write it."""

    root: Path
    files: tuple[Path, ...]
    size: int
    foreign: tuple[Path, ...]
    everything: bool

    @property
    def by_part(self) -> dict[str, tuple[int, int]]:
        """Number of files and bytes, by the part of the folder they lie in."""
        found: dict[str, tuple[int, int]] = {}
        for file in self.files:
            part = file.relative_to(self.root).parts[0]
            count, size = found.get(part, (0, 0))
            found[part] = (count + 1, size + file.lstat().st_size)
        return found


def plan_purge(root: Path, *, everything: bool = False) -> Purge:
    """Find what would be deleted.

    Raises:
        StoreError: this is no results folder, or a link to one.
    """
    _check(root)
    with guarded(root):
        steps = _steps(root)
        every = sorted(_below(root, 1, DEPTH + (steps is not None)))
        plain = [path for path in every if stat.S_ISREG(path.lstat().st_mode)]
        files = [path for path in plain if _is_mine(path, root, steps, everything)]
        known = {path for path in plain if _is_mine(path, root, steps, True)}
        foreign = [path for path in every if path not in known and path.name not in LOCKS]
        size = sum(path.lstat().st_size for path in files)
    return Purge(root, tuple(files), size, tuple(foreign), everything)


def purge(plan: Purge) -> None:
    """Delete what was found, and the folders that are empty then.

    Raises:
        StoreError: another process writes here, or a file cannot be deleted.
    """
    _check(plan.root)
    with ExitStack() as locks:
        rooms = _steps(plan.root) or [plan.root]
        for room in rooms:
            locks.enter_context(locked(room))
        for path in plan.files:
            with guarded(path):
                if _plain_way(plan.root, path):
                    path.unlink(missing_ok=True)
        with guarded(plan.root):
            for room in rooms:
                _remove_empty(room, (*EVIDENCE, *(RECORDS if plan.everything else ()), EVENTS))
    if plan.everything:
        with guarded(plan.root):
            for room in dict.fromkeys((*rooms, plan.root)):
                _remove_room(room)


def _remove_room(room: Path) -> None:
    for name in LOCKS:
        (room / name).unlink(missing_ok=True)
    if not any(room.iterdir()):
        room.rmdir()


def _check(root: Path) -> None:
    if root.is_symlink():
        raise StoreError("this is a link", place=str(root), fix="name the folder itself")
    if not (_is_results(root) or _is_assessment(root)):
        raise _no_results(root)


def _is_results(root: Path) -> bool:
    plan = root / "study.json"
    if not root.is_dir() or not _is_plain(plan):
        return False
    table = Store(root).read_plan()
    return isinstance(table, dict) and {"study", "cells"} <= set(table)


def _is_assessment(root: Path) -> bool:
    diary = root / DIARY
    if not root.is_dir() or not _is_plain(diary):
        return False
    try:
        table = json.loads(contents(diary, LARGEST_RECORD) or b"")
    except (ValueError, RecursionError):
        return False
    return isinstance(table, dict) and {"asked", "spent", "decisions"} <= set(table)


def _is_plain(path: Path) -> bool:
    return not path.is_symlink() and path.is_file()


def _steps(root: Path) -> list[Path] | None:
    """Return the results folders of an assessment's steps; ``None`` for one results folder."""
    if _is_results(root):
        return None
    found = sorted(path for path in root.iterdir() if STEP.fullmatch(path.name))
    return [path for path in found if not path.is_symlink() and _is_results(path)]


def _no_results(root: Path) -> StoreError:
    return StoreError(
        "this is no results folder of asepsis: nothing is deleted",
        place=str(root),
        fix="name a folder that a run wrote",
    )


def _below(folder: Path, depth: int, deepest: int) -> Iterator[Path]:
    """Yield files and links below a folder, into no link."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False) and depth <= deepest:
                yield from _below(path, depth + 1, deepest)
            else:
                yield path


def _is_mine(path: Path, root: Path, steps: Collection[Path] | None, everything: bool) -> bool:
    """Whether a path is one that asepsis writes, and so may delete."""
    inside = path.relative_to(root)
    if steps is None:
        return _of_run(inside, everything)
    step = root / inside.parts[0]
    if step in steps:
        return _of_run(path.relative_to(step), everything)
    kept = everything and path.name in ASSESSED
    return len(inside.parts) == 1 and (kept or path.name == "report.html" or _half_written(path))


def _half_written(path: Path) -> bool:
    return path.name.endswith(HALF_WRITTEN) and path.name.startswith(".")


def _of_run(path: Path, everything: bool) -> bool:
    """Whether a path in a results folder is one that asepsis writes."""
    top = path.parts[0]
    if _half_written(path):
        return True
    if len(path.parts) == 1:
        pages = top.startswith("report") and path.suffix == ".html"
        return pages or (everything and top in TOLD)
    if top == EVENTS:
        return everything and len(path.parts) == 3 and path.name.startswith("events.out.tfevents.")
    parts = (*EVIDENCE, *RECORDS) if everything else EVIDENCE
    deep = 3 if top == "traces" else 2
    return top in parts and len(path.parts) == deep and path.suffix in SUFFIXES


def _plain_way(root: Path, path: Path) -> bool:
    """Whether no folder on the way has become a link since it was looked at."""
    between = [root / part for part in path.relative_to(root).parents]
    return not any(folder.is_symlink() for folder in between)


def _remove_empty(root: Path, parts: tuple[str, ...]) -> None:
    for part in parts:
        folder = root / part
        if folder.is_symlink() or not folder.is_dir():
            continue
        for inner in [*(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink()), folder]:
            if not any(inner.iterdir()):
                inner.rmdir()
