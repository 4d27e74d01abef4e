"""The process that speaks to Ray, seen from the one that runs the sweep."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Thread

from asepsis.experiments.parcel import Parcel, receive, send

REFUSED = b"InvalidAuthToken"
BEGINNING = 120.0
"""Seconds that the child has to load what it needs."""
CLOSING = 10.0
"""Seconds that the child has to call back what is out."""


class BridgeGone(Exception):  # noqa: N818 (its finder says what it means)
    """The child has ended or does not answer; ``refused`` where the token was wrong."""

    def __init__(self, *, refused: bool = False, last: str = "") -> None:
        super().__init__(last)
        self.refused, self.last = refused, last


class Bridge:
    """A child process in a cluster. It is started in a session of its own: Ctrl-C is ours."""

    def __init__(self, address: str, token: str) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "asepsis.experiments.cluster_bridge", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
            env=_environment(token),
        )
        self._arrived: Queue[bytes | None] = Queue(maxsize=16)
        self._closing = False
        self.room = 1
        """How many groups may be out at once."""
        Thread(target=self._listen, name="from-cluster", daemon=True).start()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        content: bytes | None = b""
        while content is not None and not self._closing:
            with suppress(ValueError, OSError):
                content = receive(self._child.stdout)
            while not self._closing:
                with suppress(Full):
                    self._arrived.put(content, timeout=0.2)
                    break

    def ready(self, patience: float) -> None:
        """Wait until the child is in; what it takes to begin is this machine's own time.

        Raises:
            BridgeGone: it is not let in, or not in time.
        """
        for seconds in (BEGINNING, patience):
            until = time.monotonic() + seconds
            while self.receive(0.1) is None:
                if REFUSED in self._words():
                    raise BridgeGone(refused=True)
                if time.monotonic() > until:
                    raise BridgeGone

    def receive(self, seconds: float) -> Parcel | None:
        """Return what arrives next, ``None`` where nothing does.

        Raises:
            BridgeGone: the child has ended.
        """
        try:
            content = self._arrived.get(timeout=seconds)
        except Empty:
            return None
        if content is None:
            raise BridgeGone(refused=REFUSED in self._words(), last=self._last())
        parcel = Parcel.unpack(content)
        self.room = int(parcel.told.get("room", self.room))
        return parcel

    def submit(self, journey: int, parcel: Parcel, *, gpu: bool) -> None:
        """Send a group out.

        Raises:
            BridgeGone: the child has ended.
        """
        assert self._child.stdin is not None
        try:
            send(self._child.stdin, Parcel({"journey": journey, "gpu": gpu}).pack())
            send(self._child.stdin, parcel.pack())
        except OSError:
            raise BridgeGone(last=self._last()) from None

    def _words(self) -> bytes:
        size = os.fstat(self._said.fileno()).st_size
        return os.pread(self._said.fileno(), 1 << 16, max(0, size - (1 << 16)))

    def _last(self) -> str:
        lines = self._words().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:200] if lines else ""

    def close(self) -> None:
        """Call back what is out, and end the child."""
        self._closing = True
        with suppress(OSError):
            assert self._child.stdin is not None
            self._child.stdin.close()
        try:
            self._child.wait(CLOSING)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._said.close()


def _environment(token: str) -> dict[str, str]:
    """Return what the child knows of the world; a token goes to Ray and stands in no argument."""
    taken = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_")}
    taken |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    taken.pop("RAY_ADDRESS", None)
    if token:
        taken |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    return taken
