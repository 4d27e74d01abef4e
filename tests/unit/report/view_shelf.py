"""A shelf of results with hostile neighbors, and a server over it in this process."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asepsis
from asepsis.report.html import write_report
from asepsis.report.view import Viewer

HOSTILE = "<script>alert(1)</script>\"'&"
SECRET = "a secret beside the shelf"


def fill(root: Path) -> Path:
    """Make a shelf: one study, one with a hostile title, one damaged, links out of it."""
    shelf = root / "shelf"
    table = {
        "dataset": "breast-cancer",
        "attack": "ipm",
        "threat": {"hostile": 1},
        "trainer": {"name": "sgd", "steps": 1},
        "federation": {"hospitals": 4, "rounds": 2},
    }
    kept = shelf / "mine" / "monday"
    write_report(asepsis.run({**table, "title": "Plain"}, out=kept), kept / "report.html")
    asepsis.run({**table, "title": HOSTILE}, out=shelf / "<b>bold</b>")
    (shelf / "damaged").mkdir()
    (shelf / "damaged" / "study.json").write_text("{")
    (root / "secret.txt").write_text(SECRET)
    (shelf / "<b>bold</b>" / "report.html").symlink_to(root / "secret.txt")
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "study.json").write_text(json.dumps({"study": SECRET}))
    (shelf / "way-out").symlink_to(root / "elsewhere")
    return shelf


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: str


def ask(
    server: Viewer, path: str, method: str = "GET", *, host: str | None = "", below: bool = True
) -> Reply:
    """Ask as it stands: nothing of the path is tidied; ``host`` None leaves the header out."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    target = f"{server.home}{path}" if below else path
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    if host is not None:
        connection.putheader("Host", host or server.hosts[0])
    connection.endheaders()
    reply = connection.getresponse()
    found = Reply(reply.status, dict(reply.getheaders()), reply.read().decode())
    connection.close()
    return found


@contextmanager
def serving(root: Path) -> Iterator[Viewer]:
    """Serve a shelf on a free port."""
    with Viewer(root) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
