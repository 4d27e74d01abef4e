"""JUnit XML: what fails, what is skipped, and that no text can break it."""

from __future__ import annotations

from xml.etree import ElementTree as Tree

from made_up import COVERED, EVERY, HARMLESS, OPEN, UNCLEAR, hostile, interval, outcome

from asepsis.assess.junit import UTILITY, as_junit
from asepsis.assess.outcome import Answer


def cases(text: str) -> dict[str, str]:
    """Return what became of every test case, after parsing the document strictly."""
    assert "<!DOCTYPE" not in text
    root = Tree.fromstring(text)
    (suite,) = root
    found = {}
    for case in suite.findall("testcase"):
        marks = [child.tag for child in case if child.tag in ("failure", "skipped", "error")]
        found[case.attrib["name"]] = marks[0] if marks else "passed"
    for tag, count in (("failure", "failures"), ("skipped", "skipped")):
        assert suite.attrib[count] == root.attrib[count] == str([*found.values()].count(tag))
    assert suite.attrib["tests"] == str(len(found))
    return found


def test_open_fails_and_what_is_undecided_is_skipped() -> None:
    assert cases(as_junit(outcome(*EVERY, answer=Answer.FAIL))) == {
        "label-flip": "passed",
        "backdoor": "failure",
        "gradient-manipulation": "skipped",
        "membership-inference": "passed",
        "property-inference": "skipped",
        "generator-poisoning": "skipped",
        UTILITY: "passed",
    }


def test_the_price_is_a_case_of_its_own() -> None:
    dear = cases(as_junit(outcome(COVERED, utility=interval(0.03, 0.05))))
    unsure = cases(as_junit(outcome(COVERED, utility=interval(0.01, 0.05))))
    assert dear[UTILITY] == "failure"
    assert unsure[UTILITY] == "skipped"


def test_a_model_that_learned_nothing_neither_passes_nor_fails() -> None:
    poor = outcome(COVERED, OPEN, answer=Answer.INCONCLUSIVE, undertrained=True)
    assert set(cases(as_junit(poor)).values()) == {"skipped"}


def test_a_message_holds_the_figures_it_rests_on() -> None:
    text = as_junit(outcome(OPEN, answer=Answer.FAIL))
    failure = Tree.fromstring(text).find(".//failure")
    assert failure is not None
    assert "badnets leaves 65.0 (60.0 to 70.0) points; the limit is 20" in failure.attrib["message"]
    assert "NISTAML.023" in (failure.text or "")


def test_hostile_text_stays_text() -> None:
    text = as_junit(hostile())
    assert cases(text)["backdoor"] == "failure"
    assert "<script" not in text
    assert "/home" not in text
    assert "alert('x')" in Tree.fromstring(text)[0].attrib["name"]


def test_the_same_outcome_gives_the_same_text() -> None:
    told = outcome(UNCLEAR, HARMLESS, answer=Answer.INCONCLUSIVE)
    assert as_junit(told) == as_junit(told)
