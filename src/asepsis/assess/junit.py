"""An outcome as JUnit XML: one test case a threat, and one for what defenses cost.

An open threat is a failure. What the evidence does not decide is *skipped*, with the reason:
pipelines show that, and neither fail on it nor count it as passed, so that a verdict does not flap
between red and green from night to night. Whoever wants to stop on it has exit code 3. Neither time
stamps nor host names are written.
"""

from __future__ import annotations

from xml.etree import ElementTree as Tree

from asepsis.assess.outcome import Answer, Finding, Outcome, Ruling
from asepsis.assess.standards import ATLAS, NIST, OWASP, terms_of
from asepsis.assess.words import (
    advised,
    answer_text,
    clean,
    sentence,
    utility_ruling,
    utility_sentence,
)

PASSED = (Ruling.COVERED, Ruling.HARMLESS)
UNDERTRAINED = "the model has not learned what it is for: no claim is made"
UTILITY = "price-without-attack"


def as_junit(outcome: Outcome) -> str:
    """Write an outcome as JUnit XML; whatever text it holds is escaped.

    Returns:
        A document with its declaration, ASCII only.
    """
    cases = [*(_threat(outcome, finding) for finding in outcome.findings), _utility(outcome)]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
    }
    name = f"asepsis assess {clean(outcome.name)}"
    suites = Tree.Element("testsuites", {"name": "asepsis", **counts})
    suite = Tree.SubElement(suites, "testsuite", {"name": name, **counts})
    properties = Tree.SubElement(suite, "properties")
    for key, value in _about(outcome).items():
        Tree.SubElement(properties, "property", {"name": key, "value": clean(value)})
    suite.extend(cases)
    Tree.indent(suites)
    text: bytes = Tree.tostring(suites, encoding="us-ascii", xml_declaration=True)
    return text.decode() + "\n"


def _about(outcome: Outcome) -> dict[str, str]:
    return {
        "answer": str(outcome.answer),
        "exit_code": str(outcome.answer.code),
        "gate": outcome.gate,
        "today": outcome.today,
        "judged": outcome.recommended,
        "recommended": advised(outcome),
        "why": answer_text(outcome),
    }


def _case(name: str) -> Tree.Element:
    return Tree.Element("testcase", {"classname": "asepsis.assess", "name": name})


def _threat(outcome: Outcome, finding: Finding) -> Tree.Element:
    case, terms = _case(finding.key), terms_of(finding.key)
    said = f"{finding.threat.title}: {finding.ruling}; {sentence(finding)}"
    listed = "; ".join(f"{scheme}: {terms.text(scheme)}" for scheme in (NIST, ATLAS, OWASP))
    _judge(case, outcome, finding.ruling, said, listed)
    return case


def _utility(outcome: Outcome) -> Tree.Element:
    case = _case(UTILITY)
    said = f"What the stack costs while nobody attacks: {utility_sentence(outcome)}"
    _judge(case, outcome, utility_ruling(outcome), said, "")
    return case


def _judge(case: Tree.Element, outcome: Outcome, ruling: Ruling, said: str, more: str) -> None:
    if outcome.undertrained and outcome.answer is Answer.INCONCLUSIVE:
        Tree.SubElement(case, "skipped", {"message": UNDERTRAINED})
    elif ruling is Ruling.OPEN:
        Tree.SubElement(case, "failure", {"type": "open", "message": said}).text = more or said
    elif ruling not in PASSED:
        Tree.SubElement(case, "skipped", {"message": said})
    if more:
        Tree.SubElement(case, "system-out").text = f"{said}\n{more}"
