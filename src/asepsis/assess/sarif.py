"""An outcome as SARIF 2.1.0: threats are rules, standards are taxonomies, findings are results.

Open is an ``error``, undecided or not measured a ``warning``; what held is a result of kind
``pass``, with a ``note`` beside it where no attacker who knows the defense was tried. Places are
logical, by the name of the threat; the one file that is named is ``federation.toml``, because
viewers of code scanning show no result without a file. Nothing says where data are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from asepsis.assess.junit import PASSED, UTILITY
from asepsis.assess.outcome import Finding, Outcome, Ruling
from asepsis.assess.standards import NOT_ADVICE, VERSIONS, Term, terms_of
from asepsis.assess.words import (
    advised,
    answer_text,
    clean,
    sentence,
    utility_ruling,
    utility_sentence,
)

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
ASKED = "federation.toml"
LEVELS = {Ruling.OPEN: "error", Ruling.UNCLEAR: "warning", Ruling.UNTRIED: "warning"}
NO_CLAIM = " The model has not learned what it is for: no claim is made."
UNADAPTED = " No attacker who knows the defense was tried."


def as_sarif(outcome: Outcome) -> str:
    """Write an outcome as one SARIF document."""
    run = {
        "tool": {"driver": _driver(outcome)},
        "automationDetails": {"id": f"asepsis-assess/{_slug(outcome.name)}/"},
        "invocations": [{"executionSuccessful": True, "exitCode": outcome.answer.code}],
        "taxonomies": [_taxonomy(scheme, outcome) for scheme in VERSIONS],
        "results": list(_results(outcome)),
        "properties": {
            "answer": str(outcome.answer),
            "why": answer_text(outcome),
            "today": clean(outcome.today),
            "judged": clean(outcome.recommended),
            "recommended": clean(advised(outcome)),
        },
        "columnKind": "unicodeCodePoints",
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _driver(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": "asepsis",
        "version": version("asepsis"),
        "rules": [*(_rule(finding) for finding in outcome.findings), _utility_rule()],
        "supportedTaxonomies": [{"name": scheme} for scheme in VERSIONS],
    }


def _rule(finding: Finding) -> dict[str, Any]:
    threat, terms = finding.threat, terms_of(finding.key)
    law = "; ".join(terms.pointers)
    return {
        "id": finding.key,
        "name": "".join(word.title() for word in finding.key.split("-")),
        "shortDescription": {"text": threat.title},
        "fullDescription": {"text": f"{threat.attacker} against {threat.target} ({threat.goal})"},
        "help": {"text": f"{law}. {NOT_ADVICE}"},
        "relationships": [
            {
                "target": {"id": term.id, "toolComponent": {"name": term.scheme}},
                "kinds": ["relevant"],
            }
            for term in terms.terms
        ],
        "properties": {"tags": ["security", str(threat.goal), *(t.id for t in terms.terms)]},
    }


def _utility_rule() -> dict[str, Any]:
    return {
        "id": UTILITY,
        "name": "PriceWithoutAttack",
        "shortDescription": {"text": "What the stack costs while nobody attacks"},
    }


def _taxonomy(scheme: str, outcome: Outcome) -> dict[str, Any]:
    used: dict[str, Term] = {
        term.id: term for finding in outcome.findings for term in terms_of(finding.key).of(scheme)
    }
    return {
        "name": scheme,
        "version": VERSIONS[scheme],
        "isComprehensive": False,
        "taxa": [
            {"id": term.id, "shortDescription": {"text": term.name}} for term in used.values()
        ],
    }


def _results(outcome: Outcome) -> Iterable[dict[str, Any]]:
    for index, finding in enumerate(outcome.findings):
        said = f"{finding.threat.title}: {finding.ruling}; {sentence(finding)}."
        yield _result(outcome, finding.key, index, finding.ruling, said)
        if finding.ruling in PASSED and finding.parts and not finding.adaptive:
            text = f"{finding.threat.title}: {finding.ruling}.{UNADAPTED}"
            kind = {"level": "note", "kind": "fail"}
            yield _placed(outcome, finding.key, index, kind, text, "adaptive")
    said = f"What the stack costs while nobody attacks: {utility_sentence(outcome)}."
    yield _result(outcome, UTILITY, len(outcome.findings), utility_ruling(outcome), said)


def _result(outcome: Outcome, key: str, index: int, ruling: Ruling, said: str) -> dict[str, Any]:
    kind = {"kind": "pass", "level": "none"}
    if ruling is Ruling.NOT_APPLICABLE:
        kind = {"kind": "notApplicable", "level": "none"}
    elif outcome.undertrained:
        kind, said = {"kind": "fail", "level": "warning"}, said + NO_CLAIM
    elif ruling in LEVELS:
        kind = {"kind": "fail", "level": LEVELS[ruling]}
    return _placed(outcome, key, index, kind, said)


def _placed(
    outcome: Outcome, key: str, index: int, kind: dict[str, str], said: str, more: str = ""
) -> dict[str, Any]:
    mark = hashlib.sha256(f"{outcome.name}\n{key}\n{more}".encode(errors="replace")).hexdigest()
    return {
        "ruleId": key,
        "ruleIndex": index,
        **kind,
        "message": {"text": said},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": ASKED},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"name": key, "fullyQualifiedName": f"federation/{key}"}],
            }
        ],
        "partialFingerprints": {"asepsisThreat/v1": mark[:32]},
    }


def _slug(name: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in name) or "-"
