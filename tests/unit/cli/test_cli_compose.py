"""``asepsis compose`` says what goes together."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from asepsis.cli.main import app
from asepsis.core.errors import ConfigError

FEW = ["--rule", "krum", "--rule", "mean", "--screen", "none", "--privacy", "none"]


def test_it_prints_a_table_and_the_reasons() -> None:
    result = CliRunner().invoke(app, ["compose", *FEW])
    assert result.exit_code == 0
    assert "Rule behind transport" in result.output
    assert "it delivers no single rows" in " ".join(result.output.split())
    assert "combinations work." in result.output


def test_json_has_every_combination() -> None:
    result = CliRunner().invoke(app, ["compose", *FEW, "--json"])
    rows = json.loads(result.output)
    by_pair = {(row["transport"], row["rule"]): row for row in rows}
    assert by_pair["plain", "krum"]["works"] is True
    refused = by_pair["secure-sum", "krum"]
    assert refused["works"] is False
    assert "mean" in refused["fix"]


def test_two_forms_at_once_are_refused() -> None:
    result = CliRunner().invoke(app, ["compose", *FEW, "--json", "--markdown"])
    assert isinstance(result.exception, ConfigError)


def test_a_mistake_is_named() -> None:
    result = CliRunner().invoke(app, ["compose", "--rule", "kum"])
    assert isinstance(result.exception, ConfigError)
    with pytest.raises(ConfigError, match="did you mean 'krum'"):
        raise result.exception
