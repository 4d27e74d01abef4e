"""What the page on privacy prints is what its commands print."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from cli_command import asepsis

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "privacy.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```console\n\$ (asepsis .*)\n((?:.|\n)*?)^```$", PAGE, re.MULTILINE)
NUMBER = re.compile(r"\d+\.\d+")


def alike(one: str, other: str) -> bool:
    """Compare text exactly, and measured figures to a hundredth or a twentieth of them."""
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    return all(abs(float(a) - float(b)) <= max(0.011, 0.05 * float(a)) for a, b in pairs)


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_a_command_shown_prints_what_is_shown(
    command: str, output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (toml,) = re.findall(r"^```toml\n((?:.|\n)*?)^```$", PAGE, re.MULTILINE)
    (tmp_path / "private.toml").write_text(toml, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = asepsis(*shlex.split(command)[1:])
    assert done.code == 0, done.err
    assert alike(output, done.out), done.out


def test_commands_are_shown() -> None:
    assert len(SHOWN) == 3
