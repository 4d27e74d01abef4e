"""Processes that are started through a keeper, and end with this process whatever happens to it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asepsis.core.errors import AsepsisError

KEEPER = Path(__file__).with_name("keeper.py")
LAST_LINES = 12
READ = 1 << 16
ENDING = 15.0
"""Seconds that a keeper may take to end what it started."""


class ProcessError(AsepsisError):
    """A process could not be started, or ended when it should not have."""


@dataclass(eq=False)
class Processes:
    """Named processes of one deployment; :func:`processes` makes it.

    ``folder`` is private to this user, holds the logs, and is gone at the end.
    """

    folder: Path
    keeper: subprocess.Popen[bytes]
    running: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    _read: bytes = b""

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> int:
        """Start a process and return its id; its output goes to its log.

        Raises:
            ProcessError: it could not be started.
        """
        order = {
            "start": name,
            "argv": list(argv),
            "env": dict(env),
            "log": str(self.log(name)),
            "cwd": str(self.folder),
        }
        self.ended.pop(name, None)
        try:
            assert self.keeper.stdin is not None
            self.keeper.stdin.write(json.dumps(order).encode() + b"\n")
            self.keeper.stdin.flush()
        except OSError:
            raise _keeper_gone() from None
        while name not in self.running and name not in self.ended:
            self._listen(1.0)
        return self.running.get(name, 0)

    def log(self, name: str) -> Path:
        """Return where a process's output goes."""
        return self.folder / f"{name}.log"

    def tail(self, name: str) -> str:
        """Return the last lines that a process said."""
        with suppress(OSError):
            lines = self.log(name).read_text(errors="replace").splitlines()
            return "\n".join(f"  {line}" for line in lines[-LAST_LINES:] if line.strip())
        return ""

    def wait(self, seconds: float) -> None:
        """Take note of what ends, for so long at most."""
        until = time.monotonic() + seconds
        before = len(self.ended)
        while len(self.ended) == before and (left := until - time.monotonic()) > 0:
            self._listen(left)

    def finish(self, name: str, seconds: float) -> int:
        """Wait until one process has ended and return its exit code.

        Raises:
            ProcessError: it takes longer, or another process ends first.
        """
        until = time.monotonic() + seconds
        while name not in self.ended:
            self.check(except_for=name)
            if time.monotonic() > until:
                raise ProcessError(f"{name} takes longer than {seconds:.0f} s\n{self.tail(name)}")
            self.wait(0.2)
        return self.ended[name]

    def check(self, *, except_for: str = "") -> None:
        """Refuse to go on once a process has ended.

        Raises:
            ProcessError: one has; its last words are told.
        """
        for name, code in self.ended.items():
            if name != except_for and (code != 0 or name in self.lasting):
                raise ProcessError(f"{name} ended: {how(code)}\n{self.tail(name)}".rstrip())

    lasting: set[str] = field(default_factory=set)
    """Names of those that end only when they are told to."""

    def close(self) -> None:
        """End everything, and wait until nothing is left."""
        if self.keeper.stdin is not None:
            with suppress(OSError):
                self.keeper.stdin.close()
        try:
            self.keeper.wait(ENDING)
        except subprocess.TimeoutExpired:
            self.keeper.kill()  # what it started dies with it
            self.keeper.wait()
        if self.keeper.stdout is not None:
            self.keeper.stdout.close()

    def _listen(self, seconds: float) -> None:
        assert self.keeper.stdout is not None
        number = self.keeper.stdout.fileno()
        if not select.select([number], [], [], seconds)[0]:
            return
        read = os.read(number, READ)
        if not read:
            raise _keeper_gone()
        *lines, self._read = (self._read + read).split(b"\n")
        for line in lines:
            self._note(json.loads(line))

    def _note(self, said: dict[str, Any]) -> None:
        if "started" in said:
            self.running[said["started"]] = said["pid"]
        elif "ended" in said:
            self.running.pop(said["ended"], None)
            self.ended[said["ended"]] = said["code"]
        elif "failed" in said:
            raise ProcessError("a process cannot be started", place=said["failed"], got=said["why"])


def _keeper_gone() -> ProcessError:
    return ProcessError(
        "the process that keeps the others was killed; they ended with it",
        fix="go on with --resume",
    )


def how(code: int) -> str:
    """Say how a process ended.

    Example:
        >>> how(-9), how(3)
        ('killed by signal 9', 'exit code 3')
    """
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


@contextmanager
def processes() -> Iterator[Processes]:
    """Start a keeper with a private temporary folder; at the end both are gone, and all it kept."""
    with tempfile.TemporaryDirectory(prefix="asepsis-deploy-", ignore_cleanup_errors=True) as made:
        folder = Path(made).resolve()
        keeper = subprocess.Popen(
            [sys.executable, "-I", str(KEEPER), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process to answer
        )
        kept = Processes(folder, keeper)
        try:
            yield kept
        finally:
            kept.close()
