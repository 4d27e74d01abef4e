"""What standards call a threat, so that a finding can be filed where people look for it.

Terms are of NIST AI 100-2 E2025 (March 2025, attack index of predictive AI), of MITRE ATLAS as of
its data release 2026.07, and of the OWASP Machine Learning Security Top 10 of 2023 (a draft). In
November 2026 ids and names were compared with OWASP's project page, with the release notes of ATLAS
and published copies of its data, and with published copies of NIST's index; NIST's own document
was not at hand.

Law is pointed at, not interpreted, and none of it is legal advice: GDPR (Regulation (EU) 2016/679;
Art. 5 and 32 compared with quotations), the HIPAA Security Rule (45 CFR Part 164, Subpart C;
section 164.312 compared with the edition of 2019, section 164.308 not) and the EU AI Act
(Regulation (EU) 2024/1689; Art. 15(5) compared with summaries).

``NIST``, ``ATLAS`` and ``OWASP`` describe machine learning in general. Where a list has no term for
a threat to a federation, that is said, with what comes nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NIST, ATLAS, OWASP = "NIST AI 100-2 E2025", "MITRE ATLAS", "OWASP ML Top 10"
VERSIONS: Mapping[str, str] = {NIST: "E2025", ATLAS: "2026.07", OWASP: "2023"}
NOT_ADVICE = "Pointers for the reader's own counsel; not legal advice."
BY_API = "ATLAS describes it through an inference API; here updates are observed"


@dataclass(frozen=True, slots=True)
class Term:
    """One entry of a list; ``nearest`` says how it differs where it does not quite fit."""

    scheme: str
    id: str
    name: str
    nearest: str = ""

    @property
    def text(self) -> str:
        """Id and name, as in a table."""
        return f"{self.id} {self.name}{' (nearest)' if self.nearest else ''}"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the standards call one threat; ``without`` gives the reason where a list has no term."""

    terms: tuple[Term, ...]
    pointers: tuple[str, ...]
    without: Mapping[str, str]

    def of(self, scheme: str) -> tuple[Term, ...]:
        """Return the terms of one list."""
        return tuple(term for term in self.terms if term.scheme == scheme)

    def text(self, scheme: str) -> str:
        """Write the terms of one list, or that there is none."""
        return "; ".join(term.text for term in self.of(scheme)) or "no term"


DATA_POISONING = Term(NIST, "NISTAML.013", "Data Poisoning")
BACKDOOR = Term(NIST, "NISTAML.023", "Backdoor Poisoning")
MODEL_AVAILABILITY = Term(NIST, "NISTAML.011", "Model Poisoning (availability)")
MODEL_INTEGRITY = Term(NIST, "NISTAML.026", "Model Poisoning (integrity)")
RECONSTRUCTION = Term(NIST, "NISTAML.032", "Reconstruction")
MEMBERSHIP = Term(NIST, "NISTAML.033", "Membership Inference")
PROPERTY = Term(NIST, "NISTAML.034", "Property Inference")
POISON_DATA = Term(ATLAS, "AML.T0020", "Training Data Poisoning")
POISON_MODEL = Term(ATLAS, "AML.T0018.000", "Poison AI Model")
INSERT_TRIGGER = Term(ATLAS, "AML.T0043.004", "Insert Backdoor Trigger")
ERODE = Term(ATLAS, "AML.T0031", "Erode AI Model Integrity")
INFER_MEMBER = Term(ATLAS, "AML.T0024.000", "Infer Training Data Membership", BY_API)
INVERT = Term(ATLAS, "AML.T0024.001", "Invert AI Model", BY_API)
ML02 = Term(OWASP, "ML02:2023", "Data Poisoning Attack")
ML03 = Term(OWASP, "ML03:2023", "Model Inversion Attack")
ML04 = Term(OWASP, "ML04:2023", "Membership Inference Attack")
ML10 = Term(OWASP, "ML10:2023", "Model Poisoning")

GDPR_SECURITY = ("GDPR Art. 5(1)(f)", "GDPR Art. 32(1)(b), (d)")
RISK = "HIPAA 45 CFR 164.308(a)(1)(ii)(A) risk analysis"
INTACT = "HIPAA 45 CFR 164.312(c)(1) integrity"
SENDING = "HIPAA 45 CFR 164.312(e)(1), (e)(2)(i) transmission security, integrity controls"
AI_ACT = "EU AI Act Art. 15(5)"
SPOILED = (*GDPR_SECURITY, RISK, INTACT, AI_ACT)
LEAKED = (*GDPR_SECURITY, "GDPR Art. 25(1)", RISK, AI_ACT)
SENT = (*GDPR_SECURITY, RISK, SENDING, AI_ACT)


def _terms(
    *terms: Term, pointers: tuple[str, ...], without: Mapping[str, str] | None = None
) -> Terms:
    return Terms(terms, pointers, without or {})


STANDARDS: Mapping[str, Terms] = {
    "label-flip": _terms(DATA_POISONING, POISON_DATA, ERODE, ML02, pointers=SPOILED),
    "data-poisoning": _terms(DATA_POISONING, POISON_DATA, ERODE, ML02, pointers=SPOILED),
    "backdoor": _terms(
        BACKDOOR,
        MODEL_INTEGRITY,
        POISON_DATA,
        POISON_MODEL,
        INSERT_TRIGGER,
        ML02,
        ML10,
        pointers=SPOILED,
    ),
    "gradient-manipulation": _terms(
        MODEL_AVAILABILITY, POISON_MODEL, ERODE, ML10, pointers=SPOILED
    ),
    "generator-poisoning": _terms(DATA_POISONING, POISON_DATA, ERODE, ML02, pointers=SPOILED),
    "optimized-poisoning": _terms(
        MODEL_INTEGRITY, BACKDOOR, POISON_MODEL, INSERT_TRIGGER, ML10, pointers=SPOILED
    ),
    "hyperdimensional-poisoning": _terms(
        DATA_POISONING, POISON_DATA, ERODE, ML02, pointers=SPOILED
    ),
    "gradient-inversion": _terms(RECONSTRUCTION, INVERT, ML03, pointers=LEAKED),
    "membership-inference": _terms(MEMBERSHIP, INFER_MEMBER, ML04, pointers=LEAKED),
    "property-inference": _terms(
        PROPERTY,
        pointers=LEAKED,
        without={
            ATLAS: "its inference techniques are about single records and inputs",
            OWASP: "ML03:2023 and ML04:2023 are about single inputs and records",
        },
    ),
    "interception": _terms(
        ERODE,
        pointers=SENT,
        without={
            NIST: "its index has no attack on the channel; what altered messages do is that of "
            "NISTAML.011",
            OWASP: "none of the ten is about messages between those who train",
        },
    ),
}


def terms_of(key: str) -> Terms:
    """Return what the standards call a threat.

    Raises:
        KeyError: there is no such threat.

    Example:
        >>> terms_of("membership-inference").text(OWASP)
        'ML04:2023 Membership Inference Attack'
        >>> terms_of("property-inference").text(ATLAS)
        'no term'
    """
    return STANDARDS[key]
