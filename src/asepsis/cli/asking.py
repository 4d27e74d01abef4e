"""Ask before something that cannot be taken back."""

from __future__ import annotations

import sys

import typer

from asepsis.core.errors import ConfigError


def agreed(question: str, *, yes: bool) -> bool:
    """Whether the user agrees; ``yes`` answers for a script.

    Raises:
        ConfigError: nobody is there to answer.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("nobody is there to answer", got=question, fix="agree with --yes")
    return typer.confirm(question, err=True)
