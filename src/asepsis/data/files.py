"""Where data files are looked for, and data sets remembered once they are loaded.

In this order: the option ``path``; ``$ASEPSIS_DATA``, by the known layout and flat; the cache
(``$ASEPSIS_CACHE`` or ``~/.cache/asepsis``); a download from the official place into the cache.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asepsis.core.errors import DataError
from asepsis.data.dataset import Dataset
from asepsis.data.download import download

_REMEMBERED = 4
_cache: OrderedDict[tuple[object, ...], Dataset] = OrderedDict()
_lock = threading.RLock()


@dataclass(frozen=True)
class Source:
    """Where a data set's file is found.

    ``layout`` is its place below ``$ASEPSIS_DATA``; ``url`` the official download, ``md5`` its
    official checksum where one is published; ``saved_as`` what a download is called when that is
    not the layout's name; ``how`` tells what to do where nothing can be downloaded.
    """

    layout: str
    url: str | None = None
    md5: str | None = None
    how: str = ""
    saved_as: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """File names to look for, the known one first."""
        own = Path(self.layout).name
        return (own, self.saved_as) if self.saved_as else (own,)


def data_dir() -> Path | None:
    """Return ``$ASEPSIS_DATA``, ``None`` when it is not set."""
    text = os.environ.get("ASEPSIS_DATA")
    return Path(text).expanduser() if text else None


def cache_dir() -> Path:
    """Return the folder that downloads go to."""
    root = os.environ.get("ASEPSIS_CACHE")
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "asepsis") / "data"


def find(source: Source, path: str | None = None) -> Path | None:
    """Return where the file lies on this machine, ``None`` when it is nowhere.

    Raises:
        DataError: ``path`` names something that does not exist.
    """
    if path is not None:
        return existing(path)
    root = data_dir()
    near = [] if root is None else [root / source.layout, *(root / name for name in source.names)]
    for place in [*near, *(cache_dir() / name for name in source.names)]:
        if _there(place):
            return place
    return None


def locate(source: Source, path: str | None = None) -> Path:
    """Return the file, downloading it when it is nowhere and its official place is known.

    Raises:
        DataError: it cannot be had; the message says what would do.
    """
    found = find(source, path)
    if found is not None:
        return found
    if source.url is None:
        raise DataError(
            "not found in $ASEPSIS_DATA nor in the cache, and it cannot be downloaded unattended",
            place=source.layout,
            fix=source.how,
        )
    return download(source.url, cache_dir() / source.names[-1], source.md5)


def existing(path: str) -> Path:
    """Return ``path`` when there is something.

    Raises:
        DataError: there is nothing.
    """
    place = Path(path).expanduser()
    if not _there(place):
        raise DataError("there is no such file", place=path, fix="check the option 'path'")
    return place


def _there(place: Path) -> bool:
    """Whether there is a file or a folder; a pipe in its place would be waited for, forever."""
    return place.is_file() or place.is_dir()


def md5_of(path: Path) -> str:
    """Return a file's MD5 as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def remembered(component: object, path: Path | None, read: Callable[[], Dataset]) -> Dataset:
    """Load a data set once per process: the same options and an unchanged file give it again."""
    stamp = None if path is None else _stamp(path)
    key = (type(component), repr(component), str(path), stamp)
    with _lock:
        if key not in _cache:
            _cache[key] = read()
        _cache.move_to_end(key)
        while len(_cache) > _REMEMBERED:
            _cache.popitem(last=False)
        return _cache[key]


def forget() -> None:
    """Drop all remembered data sets."""
    with _lock:
        _cache.clear()


def _stamp(path: Path) -> tuple[tuple[int, int], ...]:
    """Size and time of change of a file, or of everything in a folder."""
    parts = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = (part.stat(follow_symlinks=part.exists()) for part in parts)  # a link may be broken
    return tuple((info.st_mtime_ns, info.st_size) for info in found)
