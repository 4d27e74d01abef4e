"""What a consortium may write into federation.toml, and what is refused."""

from pathlib import Path

import pytest

from asepsis.assess.spec import assessment_of, load_assessment
from asepsis.core.errors import ConfigError
from asepsis.experiments.threats import THREATS, Goal


def test_two_lines_are_an_assessment() -> None:
    spec = assessment_of({"data": "heart-disease"})
    assert spec.feared() == tuple(threat.key for threat in THREATS)
    assert spec.defenses == ({"name": "mean"},)
    assert spec.limits.of(Goal.AVAILABILITY) == 0.05


def test_threats_come_in_the_survey_s_order_and_once() -> None:
    table = {
        "data": "heart-disease",
        "threats": ["membership", "backdoor", "poisoning", "label-flip"],
    }
    assert assessment_of(table).feared() == (
        "label-flip",
        "data-poisoning",
        "backdoor",
        "gradient-manipulation",
        "membership-inference",
    )


def test_an_unknown_threat_names_the_closest() -> None:
    with pytest.raises(ConfigError, match="backdoor"):
        assessment_of({"data": "heart-disease", "threats": ["backdor"]})


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as found:
        assessment_of({"data": "heart-disease", "minutes": "ten", "hostil": 2, "hostile": 0})
    text = str(found.value)
    assert "minutes" in text
    assert "hostil" in text
    assert "hostile" in text


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="asepsis init"):
        load_assessment(tmp_path / "federation.toml")


def test_overrides_take_the_place_of_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_text('data = "heart-disease"\nminutes = 60\n')
    assert load_assessment(path, {"minutes": 2.0}).minutes == 2.0
