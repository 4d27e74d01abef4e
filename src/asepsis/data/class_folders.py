"""Folders whose names are classes, with hospitals outermost if there are any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asepsis.core.errors import ConfigError, DataError
from asepsis.data.coding import texts
from asepsis.data.files import existing

DEPTHS = {"files": 1, "class": 2, "site": 2, "site/class": 3}
"""So many parts has a file's path below the root."""


def root_of(path: str | None, example: str) -> Path:
    """Return the folder that an option names.

    Raises:
        ConfigError: none is named.
        DataError: there is none.
    """
    if path is None:
        raise ConfigError("say which folder", place="dataset.path", fix=f'path = "{example}"')
    root = existing(path)
    if not root.is_dir():
        raise DataError("this is not a folder", place=str(root))
    return root


def files_in(
    root: Path, layout: str, wanted: Callable[[Path], bool], what: str, most: int
) -> list[Path]:
    """Return the files of a layout, sorted; hidden ones, and hidden folders, are passed over.

    Raises:
        DataError: there is none, there are too many, or one is a link that leads out.
    """
    pattern = "/".join(["*"] * DEPTHS[layout])
    found = sorted(islice((file for file in _plain(root, pattern) if wanted(file)), most + 1))
    if not found or len(found) > most:
        raise DataError(
            f"there should be 1 to {most} {what} in folders {layout}",
            place=str(root),
            got=f"over {most}" if found else f"none: {_seen(root, wanted)}",
            fix='layout = "class" is one folder a class, "site/class" has hospitals outermost',
        )
    whole = root.resolve()
    if not all(file.resolve().is_relative_to(whole) for file in found):
        raise DataError(
            "a file is a link that leads out of the folder", place=str(root), fix="copy it in"
        )
    return found


def _plain(root: Path, pattern: str) -> Iterator[Path]:
    for file in root.glob(pattern):
        hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
        if not hidden and file.is_file():
            yield file


def _seen(root: Path, wanted: Callable[[Path], bool]) -> str:
    """Say where such files are instead, by depth alone."""
    names = {1: "in the folder itself", 2: "one folder down", 3: "two folders down"}
    there = [
        names[depth]
        for depth in names
        if any(wanted(file) for file in _plain(root, "/".join(["*"] * depth)))
    ]
    return f"they are {' and '.join(there)}" if there else "the folder holds none at all"


def classes_of(labels: list[str], place: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Number the classes.

    Raises:
        DataError: there is only one.
    """
    names, targets = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise DataError("two classes are needed at least", place=place, got=f"{len(names)} class")
    return texts(names), targets.astype(np.int64)
