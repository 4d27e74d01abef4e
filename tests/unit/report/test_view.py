"""The local page: what it shows, and what nobody gets out of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from view_shelf import HOSTILE, SECRET, ask, fill, serving

from asepsis.core.errors import StoreError
from asepsis.report.shelf_pages import Shelf
from asepsis.report.view import Viewer


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="module")
def server(shelf: Path) -> Iterator[Viewer]:
    with serving(shelf) as found:
        yield found


def key_of(server: Viewer, title: str) -> str:
    return next(
        key
        for key, study in server.shelf.studies().items()
        if study.results is not None and study.title == title
    )


def test_the_index_names_every_study_and_what_cannot_be_read(server: Viewer) -> None:
    page = ask(server, "")
    assert page.status == 200
    assert "Plain" in page.body
    assert "damaged cannot be read" in page.body
    assert "2 runs" in page.body
    assert f"{key_of(server, 'Plain')}/report.html" in page.body


def assess_folder(root: Path, shelf: Path, outcome: str | None) -> Path:
    """Make an assessment's folder of a study's records."""
    home = root / "assess-ours" / "monday"
    for step in ("today", "search-1", "search-10", "search-2", "final"):
        shutil.copytree(shelf / "mine" / "monday", home / step)
    (home / "progress.json").write_text('{"asked": "x", "spent": 1, "decisions": {}}')
    if outcome is not None:
        (home / "assessment.json").write_text(outcome)
    return home


def test_an_assessment_is_one_entry_with_its_steps_below(shelf: Path, tmp_path: Path) -> None:
    told = {"name": HOSTILE, "answer": "fail", "judged": "median", "recommended": "mean"}
    home = assess_folder(tmp_path, shelf, json.dumps(told))
    (home / "report.html").write_text("the answer")
    for root in (tmp_path, home.parent, home):
        with serving(root) as server:
            (key,) = server.shelf.assessed()
            page = ask(server, "").body
            assert "Fail, with median" in page
            assert HOSTILE not in page
            assert page.count("<h2>") == 1
            steps = re.findall(r"kicker\">\S*?(today|search-\d+|final) ·", page)
            assert steps == ["today", "search-1", "search-2", "search-10", "final"]
            assert f"{key}/report.html" in page
            assert ask(server, f"{key}/report.html").body == "the answer"
            assert ask(server, f"{key}/final/report.html").status == 200
            assert ask(server, f"{key}/../report.html").status == 404
            assert ask(server, f"{key}/").status == 404


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (None, "not finished"),
        ("{", "its answer cannot be read"),
        ("[" * 100_000, "its answer cannot be read"),
        ('{"answer": "fine"}', "its answer cannot be read"),
    ],
)
def test_an_assessment_without_an_answer_is_listed(
    shelf: Path, tmp_path: Path, outcome: str | None, says: str
) -> None:
    home = assess_folder(tmp_path, shelf, outcome)
    (tmp_path / "secret").write_text(SECRET)
    (home / "report.html").symlink_to(tmp_path / "secret")
    with serving(tmp_path) as server:
        (key,) = server.shelf.assessed()
        assert says in ask(server, "").body
        assert ask(server, f"{key}/report.html").status == 404


def test_steps_without_a_diary_are_studies(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "mine" / "monday", tmp_path / "final")
    (tmp_path / "progress.json").write_text("[]")
    assert Shelf(tmp_path).assessed() == {}


def test_a_study_and_its_runs_can_be_read(server: Viewer) -> None:
    key = key_of(server, "Plain")
    assert "ipm" in ask(server, f"{key}/").body
    run = ask(server, f"{key}/1").body
    assert "ipm / mean, seed 0" in run
    assert "By round" in run
    assert "&#34;name&#34;: &#34;ipm&#34;" in run
    assert ask(server, f"{key}/report.html").body.startswith("<!DOCTYPE html>")


def test_every_link_of_every_page_leads_somewhere(server: Viewer) -> None:
    todo, seen = [server.home], set()
    while todo:
        here = todo.pop()
        if here in seen:
            continue
        seen.add(here)
        page = ask(server, here, below=False)
        assert page.status == 200, here
        if page.body.startswith("<!DOCTYPE"):
            continue  # a report links to itself alone
        for link in re.findall(r'(?:href|src)="([^"]+)"', page.body):
            if not link.startswith("data:"):
                folder = here[: here.rindex("/") + 1]
                target = link if link.startswith("/") else folder + link.removeprefix("./")
                todo.append(target)
    assert len(seen) > 8


def test_names_from_a_folder_are_text(server: Viewer) -> None:
    key = key_of(server, HOSTILE)
    for path in ("", f"{key}/", f"{key}/0"):
        page = ask(server, path).body
        assert "<script>alert" not in page
        assert "<b>bold" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_no_link_out_of_the_shelf_is_followed(server: Viewer) -> None:
    assert ask(server, f"{key_of(server, HOSTILE)}/report.html").status == 404
    assert "way-out" not in ask(server, "").body


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "../../secret.txt",
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        "....//secret.txt",
        "..\\secret.txt",
        "/etc/passwd",
        "mine/monday/study.json",
        "mine/monday/report.html",
        "KEY/../../../secret.txt",
        "KEY/%2e%2e/%2e%2e/secret.txt",
        "KEY/study.json",
        "KEY/runs/",
        "KEY/report.html/",
        "KEY/-1",
        "KEY/99",
        "KEY/0/",
        "KEY/00000000000000000000",
        "KEY/٣",
        "KEY",
        "\x00",
        "style.css/..",
        "report.html.j2",
    ],
)
def test_no_path_leads_to_a_file(server: Viewer, path: str) -> None:
    target = (
        path.replace("KEY", key_of(server, "Plain")).replace("٣", "%D9%A3").replace("\x00", "%00")
    )
    page = ask(server, target)
    assert page.status == 404
    assert SECRET not in page.body
    assert page.body == "Not Found\n"


def test_without_the_word_nothing_is_there(server: Viewer) -> None:
    for path in ("/", "/style.css", f"/{'x' * len(server.word)}/", f"/{server.word[:-1]}/"):
        assert ask(server, path, below=False).status == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{}", "127.0.0.1", "0.0.0.0:{}", None]
)
def test_another_host_is_refused(server: Viewer, host: str | None) -> None:
    named = host.format(server.server_port) if host else None
    assert ask(server, "", host=named).status == 421


def test_two_hosts_are_no_host(server: Viewer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as line:
        hosts = f"Host: {server.hosts[0]}\r\nHost: evil.example\r\n"
        line.sendall(f"GET {server.home} HTTP/1.1\r\n{hosts}\r\n".encode())
        assert line.recv(4096).startswith(b"HTTP/1.0 421")


def test_localhost_is_this_machine(server: Viewer) -> None:
    assert ask(server, "", host=f"LocalHost:{server.server_port}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_only_reading_is_allowed(server: Viewer, method: str) -> None:
    page = ask(server, "", method)
    assert page.status == 405
    assert page.headers["Allow"] == "GET, HEAD"


def test_head_is_get_without_a_body(server: Viewer) -> None:
    whole, head = ask(server, ""), ask(server, "", "HEAD")
    assert head.status == 200
    assert head.body == ""
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]


def test_every_answer_is_closed_to_everything_else(server: Viewer) -> None:
    key = key_of(server, "Plain")
    paths = ["", f"{key}/", f"{key}/0", f"{key}/report.html", "style.css", "sort.js", "nowhere"]
    for page in [*(ask(server, path) for path in paths), ask(server, "", "POST")]:
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'unsafe" not in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in page.headers
        assert "Python" not in page.headers["Server"]


@pytest.mark.parametrize(
    "noise", [b"\r\n\r\n", b"GARBAGE\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET " + b"x" * 70000]
)
def test_noise_is_refused_and_not_repeated(server: Viewer, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as line:
        line.sendall(noise)
        line.shutdown(socket.SHUT_WR)
        found = line.recv(65536)
    assert b"GARBAGE" not in found
    assert b"xxx" not in found
    assert ask(server, "").status == 200


def test_only_the_loopback_listens(server: Viewer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.socket.getsockname()[0] == "127.0.0.1"
    table = Path("/proc/net/tcp")
    if table.exists():
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
        port = f"{server.server_port:04X}"
        ours = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
        assert ours == [f"0100007F:{port}"]


def test_two_shelves_have_two_words(shelf: Path) -> None:
    with Viewer(shelf) as one, Viewer(shelf) as other:
        assert one.word != other.word
        assert len(one.word) >= 20


def test_a_port_that_is_taken_is_one_message(shelf: Path, server: Viewer) -> None:
    with pytest.raises(StoreError, match="cannot listen"):
        Viewer(shelf, server.server_port)


def test_a_place_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder"):
        Viewer(tmp_path / "nowhere")


def test_records_that_lead_elsewhere_are_not_read(tmp_path: Path) -> None:
    shelf = fill(tmp_path)
    record = next((shelf / "mine" / "monday" / "runs").glob("*.jsonl"))
    record.rename(tmp_path / "moved.jsonl")
    record.symlink_to(tmp_path / "moved.jsonl")
    problems = {study.name: study.problem for study in Shelf(shelf).studies().values()}
    assert problems["mine/monday"] == "its records are links to somewhere else"


def test_a_record_that_is_no_record_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    shelf = fill(tmp_path)
    for record in (shelf / "mine" / "monday" / "runs").glob("*.jsonl"):
        record.write_text('{"type": "header", "result": 3}\n{"type": "footer", "result": []}\n')
    with serving(shelf) as server:
        page = ask(server, "")
    assert page.status == 200
    assert "mine/monday cannot be read" in page.body
    assert HOSTILE.partition(">")[2].partition("<")[0] in page.body


def test_what_changes_is_read_again(tmp_path: Path) -> None:
    root = fill(tmp_path)
    shelf = Shelf(root)
    before = {study.name: study for study in shelf.studies().values()}
    again = {study.name: study for study in shelf.studies().values()}
    assert again["mine/monday"] is before["mine/monday"]
    record = next((root / "mine" / "monday" / "runs").glob("*.jsonl"))
    os.utime(record, ns=(1, 1))
    assert shelf.studies() != before
    changed = {study.name: study for study in shelf.studies().values()}
    assert changed["mine/monday"] is not before["mine/monday"]


@pytest.mark.parametrize("target", ["http://[", "//[", "http://[x]/", "//\x85", "*", "?", "#"])
def test_a_target_that_is_no_address_is_refused(server: Viewer, target: str) -> None:
    assert server.answer(target, server.hosts[0]).status == 404


def test_a_connection_that_breaks_says_nothing(
    server: Viewer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.handle_error(None, ("127.0.0.1", 1))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["study.json", "runs/a.jsonl"])
def test_a_pipe_in_place_of_a_record_is_not_waited_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "a" / "runs").mkdir(parents=True)
    (tmp_path / "a" / "study.json").write_text("{}")
    (tmp_path / "a" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "a" / name)
    [study] = Shelf(tmp_path).studies().values()
    assert "no plain files" in study.problem
