"""``asepsis deploy``, ``certificates`` and ``run --superlink``: what needs no other machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_command import asepsis

STUDY = """
name = "mine"
dataset = "breast-cancer"
federation = { hospitals = 3, rounds = 2 }
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text(STUDY)
    return path


def test_deploy_writes_an_app_folder_and_says_where(study: Path) -> None:
    done = asepsis("deploy", "mine.toml", "--set", "federation.rounds=5")
    assert (done.code, done.out) == (0, "mine-app: read README.md there\n")
    assert "rounds = 5" in (study.parent / "mine-app" / "experiment.toml").read_text()
    assert len(list((study.parent / "mine-app" / "sites").iterdir())) == 3


def test_another_number_of_hospitals_is_refused_with_both_ways_out(study: Path) -> None:
    pytest.importorskip("flwr")
    done = asepsis("deploy", "mine.toml", "--local", "2", "--out", "r")
    assert done.code == 2
    assert "use --local 3, or --set federation.hospitals=2" in done.err
    assert not (study.parent / "r").exists()


def test_certificates_say_what_is_given_to_whom(study: Path) -> None:
    server = asepsis("certificates", "keys", "--host", "superlink.example.org")
    assert server.out.startswith("keys/ca.crt: give every hospital a copy")
    node = asepsis("certificates", "keys", "--node", "a", "--node", "b")
    assert "keys/b.pub: give it to the server; b.key never leaves this side" in node.out
    made = {path.name for path in (study.parent / "keys").iterdir()}
    assert made == {
        *("ca.crt", "ca.key", "server.crt", "server.key"),
        *("a.key", "a.pub", "b.key", "b.pub", "apps.secret"),
    }


REFUSED = {
    "neither a server nor a node": ("certificates", "keys"),
    "results are written with --local": ("deploy", "mine.toml", "--out", "r"),
    "add --engine flower": ("run", "mine.toml", "--superlink", "h:1"),
    "no SuperLink is named": ("run", "mine.toml", "--insecure"),
    "write HOST:PORT": ("run", "mine.toml", "--engine", "flower", "--superlink", "h"),
    "must be said, once": ("run", "mine.toml", "--engine", "flower", "--superlink", "h:1"),
    "no such file": (
        *("run", "mine.toml", "--engine", "flower", "--superlink", "h:1"),
        *("--root-certificates", "nowhere.crt"),
    ),
    "are for this machine": (
        *("run", "mine.toml", "--engine", "flower", "--superlink", "h:1", "--estimate"),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_sense_is_refused(study: Path, message: str) -> None:
    done = asepsis(*REFUSED[message])
    assert done.code == 2
    assert message in done.err
    assert [path.name for path in study.parent.iterdir()] == ["mine.toml"]
