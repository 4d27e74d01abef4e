"""Load a user's own data so that no message names a file, a folder or a value.

Messages end up in terminals, logs and records. A file's name may be a patient's, so files are
told by the option that names them, and files in a folder by their number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from asepsis.core.errors import AsepsisError, DataError
from asepsis.data.cards import Card
from asepsis.data.dataset import Dataset, DatasetComponent

FILES = ("path",)
"""Options that name a file or a folder, of a data set that says nothing else in ``files``."""
FILE = "[file]"
_LETTER = r"[^\\/\s:;,'\"]"
_ENDING = rf"(?:{_LETTER}{{1,50}} ){{0,3}}{_LETTER}{{0,50}}\.\w{{1,7}}\b"
_GAP = rf" (?=(?:{_LETTER}| ){{0,200}}[\\/]|{_ENDING})"
"""A space inside a path: a folder or a file's ending follows. Better a word too many is taken."""
ANY_PATH = re.compile(rf"(?<!\w)(?:[A-Za-z]:|~)?(?:[\\/](?:{_LETTER}|{_GAP})+)+[\\/]?")
LEAST = 3
"""A shorter option's value is too common a text to be taken out of words around it."""


def is_private(kind: object) -> bool:
    """Whether data of a component, or of its class, are a user's own; without a card they are."""
    card = getattr(kind, "card", None)
    return not (isinstance(card, Card) and (card.public or card.synthetic))


def file_options(kind: object) -> tuple[str, ...]:
    """Return the options of a data set that name files."""
    return tuple(getattr(kind, "files", FILES))


def load_guarded(component: DatasetComponent) -> Dataset:
    """Load a data set; where it is a user's own, no error names a file or repeats a value.

    Raises:
        DataError: the data cannot be had, or are not what their card says.
    """
    if not is_private(component):
        return _load_public(component)
    named = {option: getattr(component, option, None) for option in file_options(component)}
    given = {option: text for option, text in named.items() if isinstance(text, str)}
    try:
        return component.load()
    except AsepsisError as error:
        raise _without_files(error, given) from None
    except Exception as error:  # noqa: BLE001 (its text may repeat a value, a traceback too)
        raise DataError(
            f"the data cannot be read ({type(error).__name__}; its text may repeat their values)",
            place="dataset",
            fix="load them with Python to see it",
        ) from None


def _load_public(component: DatasetComponent) -> Dataset:
    """Load data whose files may have been damaged, or replaced, since they were published."""
    try:
        return component.load()
    except AsepsisError:
        raise
    except Exception as error:
        raise DataError(
            f"the data are not what their card says ({type(error).__name__}: {error})",
            place="dataset",
            fix="fetch them again",
        ) from error


def _without_files(error: AsepsisError, given: Mapping[str, str]) -> AsepsisError:
    told = type(error).__new__(type(error))
    AsepsisError.__init__(
        told,
        scrubbed(error.message, given),
        place=None if error.place is None else _place(error.place, given),
        got=_got(error.got, given),
        fix=None if error.fix is None else scrubbed(error.fix, given),
    )
    return told


def _got(got: object, given: Mapping[str, str]) -> object:
    """Keep numbers; whatever else was got may be a place, or hold one."""
    plain = got if isinstance(got, list | tuple) else [got]
    if all(isinstance(item, int | float | None) for item in plain):
        return got
    return scrubbed(got if isinstance(got, str) else str(got), given)


def _place(place: str, given: Mapping[str, str]) -> str:
    """Name the option instead of a file, and a file in its folder by number."""
    for option, text in given.items():
        if place in _spellings(text):
            return f"dataset.{option}"
        root, file = Path(text), Path(place)
        if text.startswith("~") and len(_spellings(text)) > 1:
            root = root.expanduser()
        if file.is_relative_to(root) and root.is_dir():
            files = sorted(item for item in root.rglob("*") if item.is_file())
            if file in files:
                number = files.index(file) + 1
                return f"dataset.{option}, file {number} of {len(files)} in sorted order"
            return f"dataset.{option}"
    return scrubbed(place, given)


def scrubbed(text: str, given: Mapping[str, str]) -> str:
    """Take the files that options name, and whatever else looks like a path, out of a text.

    Example:
        >>> scrubbed("mine.csv: cannot read /tmp/x/mine.csv", {"path": "mine.csv"})
        'dataset.path: cannot read [file]'
    """
    for option, value in sorted(given.items(), key=lambda item: -len(item[1])):
        for spelling in sorted(_spellings(value), key=len, reverse=True):
            if len(spelling) >= LEAST:
                text = _whole(spelling).sub(f"dataset.{option}", text)
    return ANY_PATH.sub(FILE, text)


def _spellings(text: str) -> set[str]:
    try:
        path = Path(text).expanduser()
        return _written(text, path)
    except (OSError, RuntimeError, ValueError):  # nobody's home, or no path at all
        return {text}


def _written(text: str, path: Path) -> set[str]:
    return {text, str(path), str(path.absolute()), str(path.resolve())}


def _whole(text: str) -> re.Pattern[str]:
    """Match a file's name as a whole, with whatever lies below it."""
    return re.compile(rf"(?<![\w/\\.]){re.escape(text)}(?:[\\/][^:;'\"\n]*|(?!\w))")
