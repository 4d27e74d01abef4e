"""Delete the evidence of a results folder: pictures, checkpoints, models; or all of it.

Only what asepsis wrote is deleted, by its name and place; no link is followed. What else lies in
the folder stays. Records are kept unless everything is to go.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asepsis.core.errors import StoreError
from asepsis.experiments.store import HALF_WRITTEN, Store, guarded, locked

EVIDENCE = ("artifacts", "checkpoints", "prefixes", "traces", "exports")
RECORDS = ("runs", "ledgers")
SUFFIXES = (".safetensors", ".jsonl", ".csv", ".tex", ".svg", ".pdf", ".png", ".html", ".parquet")
DEPTH = 3


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
        every = sorted(_below(root, 1))
        plain = [path for path in every if stat.S_ISREG(path.lstat().st_mode)]
        files = [path for path in plain if _is_mine(path.relative_to(root), everything)]
        known = {path for path in plain if _is_mine(path.relative_to(root), True)}
        foreign = [path for path in every if path not in known and path.name != ".lock"]
        size = sum(path.lstat().st_size for path in files)
    return Purge(root, tuple(files), size, tuple(foreign), everything)


def purge(plan: Purge) -> None:
    """Delete what was found, and the folders that are empty then.

    Raises:
        StoreError: another process writes here, or a file cannot be deleted.
    """
    _check(plan.root)
    with locked(plan.root):
        for path in plan.files:
            with guarded(path):
                if _plain_way(plan.root, path):
                    path.unlink(missing_ok=True)
        with guarded(plan.root):
            _remove_empty(plan.root, EVIDENCE if not plan.everything else (*EVIDENCE, *RECORDS))
    if plan.everything:
        with guarded(plan.root):
            (plan.root / ".lock").unlink(missing_ok=True)
            if not any(plan.root.iterdir()):
                plan.root.rmdir()


def _check(root: Path) -> None:
    if root.is_symlink():
        raise StoreError("this is a link", place=str(root), fix="name the folder itself")
    plan = root / "study.json"
    if not root.is_dir() or plan.is_symlink() or not plan.is_file():
        raise _no_results(root)
    table = Store(root).read_plan()
    if not isinstance(table, dict) or not {"study", "cells"} <= set(table):
        raise _no_results(root)


def _no_results(root: Path) -> StoreError:
    return StoreError(
        "this is no results folder of asepsis: nothing is deleted",
        place=str(root),
        fix="name a folder that a run wrote",
    )


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield files and links below a folder, into no link."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False) and depth <= DEPTH:
                yield from _below(path, depth + 1)
            else:
                yield path


def _is_mine(path: Path, everything: bool) -> bool:
    """Whether a path in a results folder is one that asepsis writes, and so may delete."""
    top = path.parts[0]
    if path.name.endswith(HALF_WRITTEN) and path.name.startswith("."):
        return True
    if len(path.parts) == 1:
        pages = top.startswith("report") and path.suffix == ".html"
        return pages or (everything and top == "study.json")
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
