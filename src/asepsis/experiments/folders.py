"""All results folders below a place; what cannot be read is listed and never fatal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asepsis.core.errors import AsepsisError, StoreError
from asepsis.experiments.results import Results, load_results

PLAN = "study.json"
DEEPEST = 6
LARGEST_FILE = 1 << 30
LARGEST_FOLDER = 4 << 30
MOST_FOLDERS = 2000
"""More results folders than this are not looked for."""


@dataclass(frozen=True, eq=False)
class Found:
    """A results folder: what it holds, or why it cannot be read."""

    place: Path
    results: Results | None
    problem: str = ""


def results_folders(root: Path) -> list[Path]:
    """Return all results folders at or below a place, sorted; links are not followed.

    Raises:
        StoreError: there is no such folder.
    """
    if not root.is_dir():
        raise StoreError("no such folder", place=str(root), fix="name a folder of results")
    return sorted(_walk(root))[:MOST_FOLDERS]


def _walk(root: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(root, followlinks=False):
        place = Path(here)
        if PLAN in files and not (place / PLAN).is_symlink():
            yield place
            folders.clear()  # what a results folder holds is its own
        elif len(place.relative_to(root).parts) >= DEEPEST:
            folders.clear()


def load_all(root: Path) -> list[Found]:
    """Read every results folder at or below a place."""
    return [load(place) for place in results_folders(root)]


def load(place: Path) -> Found:
    """Read one results folder; whatever is wrong with it is said in its stead."""
    problem = _unfit(place)
    if problem:
        return Found(place, None, problem)
    try:
        results = load_results(place)
        results.groups()  # a plan whose attacked runs have lost their twins is damaged, too
    except AsepsisError as error:
        return Found(place, None, error.message)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OSError) as error:
        return Found(place, None, f"not what asepsis wrote ({type(error).__name__})")
    return Found(place, results)


def _unfit(place: Path) -> str:
    """Say why a folder is not read at all: it leads elsewhere, or is too large to be a record."""
    runs = place / "runs"
    if runs.is_symlink() or any(path.is_symlink() for path in runs.glob("*.jsonl")):
        return "its records are links to somewhere else"
    files = [place / PLAN, *runs.glob("*.jsonl")]
    if not all(path.is_file() for path in files):  # a pipe would be waited for, forever
        return "its records are no plain files"
    sizes = [path.stat().st_size for path in files]
    if max(sizes) > LARGEST_FILE or sum(sizes) > LARGEST_FOLDER:
        return f"its records are larger than {LARGEST_FOLDER >> 20:,} MiB"
    return ""
