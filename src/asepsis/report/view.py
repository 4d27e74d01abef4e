"""A local page to browse runs: loopback only, read-only, behind a secret address.

Other programs and other users of the machine can reach a loopback port, and so can a page in the
user's own browser: every request needs the random word of the address, and a ``Host`` that names
this machine, against names that are made to resolve to it (DNS rebinding). Nothing of an address
is ever used as a path.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asepsis.core.errors import AsepsisError, StoreError
from asepsis.report.page import SCRIPTS, asset
from asepsis.report.shelf_assessments import REPORT, report_in
from asepsis.report.shelf_pages import (
    Shelf,
    Study,
    index_page,
    run_page,
    study_page,
)

LOOPBACK = "127.0.0.1"
SECONDS = 10
"""A client that says nothing for this long is left alone."""
OWN = "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; "
CLOSED = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HTML = "text/html; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, OSError)


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: HTTPStatus
    body: bytes
    kind: str = HTML
    policy: str = OWN + CLOSED
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: HTTPStatus, **headers: str) -> Answer:
    """Return an answer that says no more than its status."""
    return Answer(status, f"{status.phrase}\n".encode(), PLAIN, headers=headers)


class Viewer(ThreadingHTTPServer):
    """The server; ``url`` is where to look. Port 0 takes a free one."""

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self, root: Path, port: int = 0) -> None:
        self.shelf = Shelf(root)
        self.word = secrets.token_urlsafe(16)
        self.shelf.studies()  # a folder that cannot be read is said before anything is served
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            raise StoreError(
                f"cannot listen: {getattr(error, 'strerror', None) or error}",
                place=f"{LOOPBACK}:{port}",
                fix="choose another --port, or 0 for a free one",
            ) from None

    @property
    def home(self) -> str:
        """The path that everything lies below."""
        return f"/{self.word}/"

    @property
    def url(self) -> str:
        """Where to look."""
        return f"http://{LOOPBACK}:{self.server_port}{self.home}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a browser on this machine calls the server."""
        return f"{LOOPBACK}:{self.server_port}", f"localhost:{self.server_port}"

    def answer(self, target: str, host: str | None) -> Answer:
        """Answer a request for a target, as it stands in the request line."""
        if host is None or host.lower() not in self.hosts:
            return refusal(HTTPStatus.MISDIRECTED_REQUEST)
        try:
            path = urlsplit(target).path
        except ValueError:
            return refusal(HTTPStatus.NOT_FOUND)
        word, _, rest = path.removeprefix("/").partition("/")
        if not hmac.compare_digest(word.encode(), self.word.encode()):
            return refusal(HTTPStatus.NOT_FOUND)
        if rest in ("style.css", "sort.js"):
            kind = "text/css" if rest == "style.css" else "text/javascript"
            return Answer(HTTPStatus.OK, asset(rest).encode(), f"{kind}; charset=utf-8")
        try:
            return self._page(rest)
        except (AsepsisError, *BROKEN):
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about connections that broke: a traceback may have the secret word in it."""

    def _page(self, rest: str) -> Answer:
        if not rest:
            return _html(index_page(self.shelf, self.home))
        key, slash, part = rest.partition("/")
        assessed = self.shelf.assessed().get(key)
        if assessed is not None:
            place = {REPORT: assessed.place}
            place |= {f"{step.name}/{REPORT}": step for step in assessed.steps}  # linked from it
            return _report(place[part]) if part in place else refusal(HTTPStatus.NOT_FOUND)
        study = self.shelf.studies().get(key)
        if study is None or study.results is None or not slash:
            return refusal(HTTPStatus.NOT_FOUND)
        if not part:
            return _html(study_page(study, self.home))
        return _report(study.place) if part == REPORT else self._run(study, part)

    def _run(self, study: Study, part: str) -> Answer:
        assert study.results is not None
        known = part.isascii() and part.isdecimal() and len(part) <= 9
        if not known or int(part) >= len(study.results.runs):
            return refusal(HTTPStatus.NOT_FOUND)
        return _html(run_page(study, int(part), self.home))


def _html(page: str) -> Answer:
    return Answer(HTTPStatus.OK, page.encode())


def _report(place: Path) -> Answer:
    """Return a report: it may hold its own style and pictures, and no script but ours."""
    content = report_in(place)
    if content is None:
        return refusal(HTTPStatus.NOT_FOUND)
    return Answer(HTTPStatus.OK, content, policy=_report_policy())


@cache
def _report_policy() -> str:
    texts = {asset("sort.js"), "\n".join(map(asset, SCRIPTS))}  # earlier reports only sort
    sums = sorted(hashlib.sha256(text.encode()).digest() for text in texts)
    allowed = " ".join(f"'sha256-{base64.b64encode(value).decode()}'" for value in sums)
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src {allowed}; {CLOSED}"
    )


class _Handler(BaseHTTPRequestHandler):
    server: Viewer
    timeout = SECONDS
    server_version = "asepsis"
    sys_version = ""

    def parse_request(self) -> bool:
        """Refuse every method that is not for reading."""
        if not super().parse_request():
            return False
        if self.command in ("GET", "HEAD"):
            return True
        self._send(refusal(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD"))
        return False

    def do_GET(self) -> None:
        """Answer with a body."""
        self._send(self._answer())

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._send(self._answer())

    def _answer(self) -> Answer:
        hosts = self.headers.get_all("Host") or []
        return self.server.answer(self.path, hosts[0] if len(hosts) == 1 else None)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Content-Security-Policy", answer.policy)
        for name, value in {**SAFE, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request; nothing of it is repeated."""
        self.close_connection = True
        self._send(refusal(HTTPStatus(code)))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet: an address has the secret word in it."""
