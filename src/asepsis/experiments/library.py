"""Where studies stand: built in by name, each with its profiles, or a user's own TOML.

A study is one file, ``NAME.toml``, or a folder with a file for every profile: ``NAME/quick.toml``,
``NAME/full.toml``. Nothing here imports PyTorch: the command line lists studies with it.
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO, Any

from asepsis.core.errors import ConfigError, did_you_mean
from asepsis.defenses.audit.files import plain_file

DEFAULT_PROFILE = "quick"
LARGEST_FILE = 1 << 20
MOST_PARTS = 16
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_ENDLESS = re.compile(rf"(?<![\w-])(?:{_PART}){{{MOST_PARTS},}}")
"""A dotted key beyond any use: the time to read one grows with the square of its parts."""


def studies() -> list[str]:
    """Return the names of the built-in studies."""
    return sorted(_built_in())


def profiles(name: str) -> list[str]:
    """Return the profiles of a built-in study, or of a user's folder; a file has one, ``quick``.

    Raises:
        ConfigError: there is no such study.
    """
    return list(_profiles(_find(name)))


def read_toml(name: str, profile: str | None = None) -> dict[str, Any]:
    """Read a study or experiment: built in by name, a ``.toml`` file, or a folder of profiles.

    Raises:
        ConfigError: there is none, it has no such profile, or it is not valid TOML.
    """
    text, place = study_text(name, profile)
    return parsed_toml(text, place)


def study_text(name: str, profile: str | None = None) -> tuple[str, str]:
    """Return a study's TOML as it stands, and what to call it in messages.

    Raises:
        ConfigError: there is none, or it has no such profile.
    """
    found = _profiles(_find(name))
    wanted = profile or (DEFAULT_PROFILE if len(found) > 1 else next(iter(found)))
    if wanted not in found:
        raise ConfigError(
            "the study has no such profile",
            place=f"{name} --profile",
            got=wanted,
            fix=did_you_mean(wanted, found),
        )
    place = name if len(found) == 1 else f"{name} ({wanted})"
    return _text(found[wanted], place), place


def _built_in() -> dict[str, Traversable]:
    items = resources.files("asepsis.studies").iterdir()
    return {item.name.removesuffix(".toml"): item for item in items if _holds_study(item)}


def _holds_study(item: Traversable) -> bool:
    return item.name.endswith(".toml") if item.is_file() else bool(_tables(item))


def _tables(folder: Traversable) -> dict[str, Traversable]:
    if not folder.is_dir():
        return {}
    found = sorted((item for item in folder.iterdir() if item.is_file()), key=lambda i: i.name)
    return {i.name.removesuffix(".toml"): i for i in found if i.name.endswith(".toml")}


def _find(name: str) -> Traversable:
    path, known = Path(name), _built_in()
    if path.suffix == ".toml" or path.is_file() or (name not in known and _tables(path)):
        return path
    if name not in known:
        raise ConfigError(
            "unknown study",
            place="run",
            got=name,
            fix=f"{did_you_mean(name, known)}; or a .toml file",
        )
    return known[name]


def _profiles(found: Traversable) -> dict[str, Traversable]:
    tables = _tables(found) or {DEFAULT_PROFILE: found}
    first = [DEFAULT_PROFILE] if DEFAULT_PROFILE in tables else []
    return {name: tables[name] for name in dict.fromkeys([*first, *tables])}


def _opened(item: Traversable) -> IO[bytes]:
    return open(item, "rb", opener=plain_file) if isinstance(item, Path) else item.open("rb")


def _text(item: Traversable, place: str) -> str:
    try:
        with _opened(item) as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ConfigError("the file is too large for an experiment", place=place)
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigError("not a text file", place=place, fix="TOML is UTF-8") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the file ({reason})", place=place) from None


def parsed_toml(text: str, place: str) -> dict[str, Any]:
    """Parse TOML that a stranger may have written.

    Raises:
        ConfigError: it is none, or a key has so many parts that reading it would take minutes.
    """
    if _ENDLESS.search(text):
        fix = f"at most {MOST_PARTS} parts"
        raise ConfigError("not valid TOML: a key has too many parts", place=place, fix=fix)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise ConfigError(f"not valid TOML: {error}", place=place) from None
