"""``asepsis audit-dp``: exit codes, and the claimed epsilon beside the bound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest
from cli_command import asepsis, refused, toml

from asepsis.core.registry import register, unregister
from asepsis.defenses.client.noise import ClientNoise

QUIET = '[{ name = "dp-fedavg", noise_multiplier = 50.0 }]'
LOUD = '[{ name = "dp-fedavg", noise_multiplier = 0.05 }]'


class Talks(ClientNoise):
    """Lets the exact training loss pass beside a noised row."""

    silent: ClassVar[bool] = False


def experiment(folder: Path, defenses: str) -> str:
    return toml(folder, attack=None, threat=None, defenses=defenses)


def test_nothing_found_is_inconclusive(tmp_path: Path) -> None:
    done = asepsis("audit-dp", experiment(tmp_path, QUIET), "--trials", "40")
    assert done.code == 3
    assert "0 (inconclusive)" in done.out
    assert "the most they could have found" in done.out


def test_the_claimed_epsilon_stands_beside_the_bound(tmp_path: Path) -> None:
    done = asepsis("audit-dp", experiment(tmp_path, LOUD), "--trials", "80", "--json")
    assert done.code == 0
    (found,) = json.loads(done.out)
    assert 0 < found["bound"]["epsilon"] <= found["bound"]["largest"] < found["claim"]["epsilon"]
    assert found["claim"]["unit"] == "hospital"
    assert found["verdict"] == "not refuted"


def test_what_is_broken_fails(tmp_path: Path) -> None:
    register("client", "talks")(Talks)
    try:
        stack = '[{ name = "talks", noise_multiplier = 6.0 }]'
        done = asepsis("audit-dp", experiment(tmp_path, stack), "--trials", "20")
    finally:
        unregister("client", "talks")
    assert done.code == 1
    assert "telemetry loss: 1 of 1 values change with the data and have no noise" in done.out


@pytest.mark.parametrize("words", [("nowhere.toml",), ("quickstart",)])
def test_what_promises_nothing_or_is_not_there_is_refused(words: tuple[str, ...]) -> None:
    assert refused(asepsis("audit-dp", *words))


def test_an_attack_is_left_out(tmp_path: Path) -> None:
    path = toml(tmp_path, defenses=QUIET)
    assert asepsis("audit-dp", path, "--trials", "20").code == 3
