"""Errors a user can act on: each names the place, what was got and what would do.

The command line prints them as one message and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AsepsisError(Exception):
    """Base of every error that a user can mend.

    Args:
        message: what is wrong, in one sentence without a final period.
        place: where: a field of the experiment, a file, a row.
        got: the offending value.
        fix: what would do instead.

    Example:
        >>> str(AsepsisError("unknown rule", place="defenses[0]", got="kum", fix="try 'krum'"))
        "defenses[0]: unknown rule; got 'kum'; try 'krum'"
    """

    def __init__(
        self,
        message: str,
        *,
        place: str | None = None,
        got: object = None,
        fix: str | None = None,
    ) -> None:
        self.message, self.place, self.got, self.fix = message, place, got, fix
        super().__init__(self._text())

    def _text(self) -> str:
        head = f"{self.place}: {self.message}" if self.place else self.message
        parts = [head]
        if self.got is not None:
            parts.append(f"got {_short(self.got)}")
        if self.fix:
            parts.append(self.fix)
        return "; ".join(parts)


class ConfigError(AsepsisError):
    """The experiment asks for something that does not exist or does not fit together."""


class DataError(AsepsisError):
    """A data file is missing, corrupt, too large or not what its card says."""


class StoreError(AsepsisError):
    """A results folder cannot be read or written."""


class QuorumError(AsepsisError):
    """Too few usable rows are left for a rule."""


class MissingExtraError(AsepsisError):
    """An optional dependency is not installed.

    Example:
        >>> str(MissingExtraError("monai", "medical"))
        "monai is not installed; install it with: pip install 'asepsis[medical]'"
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed", fix=f"install it with: pip install 'asepsis[{extra}]'"
        )


def shown(error: object) -> str:
    r"""Return an error's text for a terminal: what a file brought along rules no terminal.

    Example:
        >>> shown("\x1b[2J is not in the network")
        '?[2J is not in the network'
    """
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in str(error))


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Say which of ``options`` was probably meant, or list them all.

    Example:
        >>> did_you_mean("kum", ["krum", "mean"])
        "did you mean 'krum'? One of: krum, mean"
    """
    known = sorted(options)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}One of: {', '.join(known)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
