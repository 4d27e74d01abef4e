"""SARIF 2.1.0: rules, taxonomies and results refer to each other, and say nothing about places."""

from __future__ import annotations

import json
from typing import Any

import pytest
from made_up import COVERED, EVERY, HARMLESS, OPEN, hostile, interval, outcome

from asepsis.assess.junit import UTILITY
from asepsis.assess.outcome import Answer, Outcome
from asepsis.assess.sarif import as_sarif

KINDS = {"pass", "fail", "notApplicable"}


def read(told: Outcome) -> dict[str, Any]:
    """Parse a document and check what the standard asks of its parts."""
    document = json.loads(as_sarif(told))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(rules) == len(set(rules))
    taxa = {
        (taxonomy["name"], taxon["id"])
        for taxonomy in run["taxonomies"]
        for taxon in taxonomy["taxa"]
    }
    supported = {item["name"] for item in run["tool"]["driver"]["supportedTaxonomies"]}
    assert supported == {taxonomy["name"] for taxonomy in run["taxonomies"]}
    for rule in run["tool"]["driver"]["rules"]:
        for link in rule.get("relationships", []):
            assert (link["target"]["toolComponent"]["name"], link["target"]["id"]) in taxa
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["kind"] in KINDS
        assert (result["kind"] == "fail") == (result["level"] in ("error", "warning", "note"))
        assert result["level"] != "none" or result["kind"] != "fail"
        assert result["message"]["text"]
        (place,) = result["locations"]
        assert place["physicalLocation"]["artifactLocation"] == {"uri": "federation.toml"}
    marks = [result["partialFingerprints"]["asepsisThreat/v1"] for result in run["results"]]
    assert len(marks) == len(set(marks))
    found: dict[str, Any] = run
    return found


def levels(told: Outcome) -> dict[str, set[str]]:
    made: dict[str, set[str]] = {}
    for result in read(told)["results"]:
        made.setdefault(result["ruleId"], set()).add(result["level"])
    return made


def test_levels_follow_rulings() -> None:
    assert levels(outcome(*EVERY, answer=Answer.FAIL)) == {
        "label-flip": {"none"},
        "backdoor": {"error"},
        "gradient-manipulation": {"warning"},
        "membership-inference": {"none", "note"},
        "property-inference": {"warning"},
        "generator-poisoning": {"none"},
        UTILITY: {"none"},
    }


@pytest.mark.parametrize(("high", "level"), [(0.01, "none"), (0.05, "warning")])
def test_the_price_is_a_result(high: float, level: str) -> None:
    assert levels(outcome(COVERED, utility=interval(0.0, high)))[UTILITY] == {level}


def test_nothing_is_claimed_of_a_model_that_learned_nothing() -> None:
    poor = outcome(COVERED, OPEN, answer=Answer.INCONCLUSIVE, undertrained=True)
    assert levels(poor)["label-flip"] == levels(poor)["backdoor"] == {"warning"}


def test_the_exit_code_is_told() -> None:
    run = read(outcome(OPEN, answer=Answer.FAIL))
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]


def test_hostile_text_stays_text_and_names_no_place() -> None:
    text = as_sarif(hostile())
    read(hostile())
    assert text.isascii()
    assert "/home" not in text
    assert "\\u0000" not in text
    assert "\\u001b" not in text


def test_a_finding_keeps_its_mark_from_run_to_run() -> None:
    first, again = read(outcome(OPEN)), read(outcome(OPEN, HARMLESS, spent=9.0))
    assert first["results"][0]["partialFingerprints"] == again["results"][0]["partialFingerprints"]
