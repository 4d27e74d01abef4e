"""``asepsis view`` as a user gets it: an address, then Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from cli_command import asepsis, refused

from asepsis.report.view import Viewer


def test_it_prints_where_to_look_and_ends_well_when_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(server: Viewer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Viewer, "serve_forever", interrupted)
    done = asepsis("view", str(tmp_path), "--no-browser")
    assert (done.code, done.err.strip()) == (0, "stopped")
    assert done.out.startswith("http://127.0.0.1:")


@pytest.mark.slow
def test_a_real_ctrl_c_ends_a_real_server_well(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "asepsis.cli.main", "view", str(tmp_path), "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(url, timeout=5) as page:
            assert b"No results here yet" in page.read()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err.strip() == "stopped"


def test_no_such_folder_is_one_message(tmp_path: Path) -> None:
    assert "no such folder" in refused(asepsis("view", str(tmp_path / "x"), "--no-browser"))
