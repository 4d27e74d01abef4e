"""The command line as a user gets it, in this process: exit code, output, messages."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from asepsis.cli.main import main

TABLE = {
    "dataset": '"breast-cancer"',
    "attack": '"ipm"',
    "threat": "{ hostile = 2 }",
    "trainer": '{ name = "sgd", steps = 2 }',
    "federation": "{ hospitals = 5, rounds = 2 }",
}


@dataclass(frozen=True)
class Done:
    """What a command left behind; a traceback is never caught, it fails the test."""

    code: int
    out: str
    err: str


def asepsis(*words: str) -> Done:
    """Run ``asepsis WORDS`` through its entry point."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["asepsis", *words]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return Done(code, out.getvalue(), err.getvalue())


def refused(done: Done) -> str:
    """Return the one message of a command that was refused: exit code 2, nothing on stdout."""
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.startswith("asepsis: "), done.err
    assert "Traceback" not in done.err
    assert done.err.count("asepsis: ") == 1
    return done.err.removeprefix("asepsis: ").rstrip("\n")


def toml(folder: Path, extra: str = "", **changes: str | None) -> str:
    """Write a small experiment, with changes, and return its path."""
    lines = [f"{key} = {value}" for key, value in {**TABLE, **changes}.items() if value is not None]
    path = folder / "mine.toml"
    path.write_text("\n".join(lines) + f"\n{extra}\n")
    return str(path)
