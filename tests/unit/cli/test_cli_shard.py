"""``--shard``, ``--cluster`` and what a sweep says of the rounds it did not play."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_command import asepsis, refused

STUDY = """
dataset = "breast-cancer"
trainer = { name = "sgd", steps = 1, batch_size = 8 }
federation = { hospitals = 5, rounds = 4 }
threat = { hostile = 1, starts_at = 2 }
[over]
attack = ["none", "ipm"]
defenses = [["mean"], ["median"]]
"""


@pytest.fixture
def study(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(STUDY)
    return str(path)


def test_the_last_share_tells_the_whole(tmp_path: Path, study: str) -> None:
    words = ["sweep", study, "--out", str(tmp_path / "out"), "--jobs", "1"]
    first = asepsis(*words, "--shard", "2/2")
    assert first.code == 0
    assert "share 2/2: 2 of its 2 runs ended with figures; 2 of other shares" in first.out
    assert "2 runs: 1 scenario" in first.err
    assert not (tmp_path / "out/report.html").exists()
    last = asepsis(*words, "--shard", "1/2", "--json")
    found = json.loads(last.out)
    assert len(found["runs"]) == 4
    assert found["before_attack"] == {"played": 4, "reused": 4}
    told = asepsis("report", str(tmp_path / "out"))
    assert "Rounds before the attack: 4 played, 4 reused." in told.out


def test_a_share_for_machines(tmp_path: Path, study: str) -> None:
    words = ["sweep", study, "--out", str(tmp_path / "out"), "--json", "--shard", "1/4"]
    assert json.loads(asepsis(*words).out) == {"shard": "1/4", "done": 2, "of": 2, "missing": 2}
    words[-1] = "4/4"  # there are only two groups
    assert json.loads(asepsis(*words).out) == {"shard": "4/4", "done": 0, "of": 0, "missing": 2}


def test_what_is_no_share_and_no_cluster_is_refused(tmp_path: Path, study: str) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert "1 <= i <= n" in refused(asepsis("sweep", study, *out, "--shard", "3/2"))
    assert "--out DIR" in refused(asepsis("sweep", study, "--shard", "1/2"))
    assert "HOST:PORT" in refused(asepsis("sweep", study, *out, "--cluster", "auto"))
    assert "no cluster" in refused(asepsis("sweep", study, *out, "--cluster-without-token"))
    both = ["--cluster", "head:6379", "--shard", "1/2"]
    assert "either a share or a cluster" in refused(asepsis("sweep", study, *out, *both))
    assert not (tmp_path / "out").exists()
