"""Every threat has its terms or says that a list has none; ids look as the lists write them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asepsis.assess.spec import AssessSpec, LimitsSpec
from asepsis.assess.standards import ATLAS, NIST, OWASP, STANDARDS, VERSIONS, terms_of
from asepsis.experiments.threats import THREATS, Goal, threat

FORMS = {
    NIST: r"NISTAML\.0\d\d?",
    ATLAS: r"AML\.T\d{4}(\.\d{3})?",
    OWASP: r"ML(0\d|10):2023",
}
KEYS = [one.key for one in THREATS]


def test_every_threat_of_the_survey_and_no_other_is_named() -> None:
    assert sorted(STANDARDS) == sorted(KEYS)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("scheme", VERSIONS)
def test_a_threat_has_terms_or_a_reason_why_not(key: str, scheme: str) -> None:
    terms = terms_of(key)
    assert bool(terms.of(scheme)) != bool(terms.without.get(scheme)), "one, and not both"
    assert (terms.text(scheme) == "no term") == (scheme in terms.without)


@pytest.mark.parametrize("key", KEYS)
def test_ids_have_the_form_of_their_list(key: str) -> None:
    for term in terms_of(key).terms:
        assert re.fullmatch(FORMS[term.scheme], term.id), term
        assert term.name


def test_an_id_has_one_name() -> None:
    names = {(t.id, t.name) for terms in STANDARDS.values() for t in terms.terms}
    assert len(names) == len({one for one, _ in names})


@pytest.mark.parametrize("key", KEYS)
def test_law_is_pointed_at_for_every_threat(key: str) -> None:
    law = " ".join(terms_of(key).pointers)
    assert all(word in law for word in ("GDPR Art. 32", "45 CFR 164.", "EU AI Act Art. 15"))


def test_goals_agree_with_the_branches_of_the_taxonomy() -> None:
    branch = {Goal.AVAILABILITY: "01", Goal.INTEGRITY: "02", Goal.CONFIDENTIALITY: "03"}
    for key, terms in STANDARDS.items():
        for term in terms.of(NIST):
            assert term.id.removeprefix("NISTAML.")[:2] == branch[threat(key).goal], (key, term)


def test_the_page_on_assessments_shows_the_same_terms() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "assess.md").read_text("utf-8")
    for key in KEYS:
        row = " | ".join(terms_of(key).text(scheme) for scheme in VERSIONS)
        assert f"| `{key}` | {row} |" in page


def test_the_page_on_assessments_names_every_key() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "assess.md").read_text("utf-8")
    for key in (*AssessSpec.model_fields, *LimitsSpec.model_fields):
        assert f"| `{key}` |" in page or f"`{key}`, " in page or f", `{key}`" in page, key
    assert f"| `seeds` | `{AssessSpec.model_fields['seeds'].default}` |" in page
    assert f"| `minutes` | `{AssessSpec.model_fields['minutes'].default:g}` |" in page
    for key, field in LimitsSpec.model_fields.items():
        assert f"| `{key}` | `{field.default:g}` |" in page
