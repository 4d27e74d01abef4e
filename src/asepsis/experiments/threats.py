"""The threats that the survey names: who attacks what, to what end, and by which components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from asepsis.core.samples import Kind

EVERY = frozenset(Kind)
LABELED = EVERY - {Kind.PAIRED_IMAGE}
SINGLE = LABELED - {Kind.MULTILABEL_IMAGE}
HOSPITAL, SERVER = "a malicious hospital", "a curious server"
WIRE = "an interceptor on the wire"
EAVESDROPPER = "an eavesdropper on the wire"


class Goal(StrEnum):
    """What an attack is after; severity is ranked inside one goal only."""

    AVAILABILITY = "availability"
    INTEGRITY = "integrity"
    CONFIDENTIALITY = "confidentiality"


@dataclass(frozen=True, slots=True)
class Threat:
    """One family of attacks: who, what it touches, to what end, on which kinds of data."""

    key: str
    title: str
    attacker: str
    target: str
    goal: Goal
    kinds: frozenset[Kind] = LABELED

    @property
    def passive(self) -> bool:
        """Whether the attacker only looks."""
        return self.goal is Goal.CONFIDENTIALITY


THREATS: tuple[Threat, ...] = (
    Threat("label-flip", "Label flipping", HOSPITAL, "training labels", Goal.AVAILABILITY),
    Threat("data-poisoning", "Data poisoning", HOSPITAL, "training inputs", Goal.AVAILABILITY),
    Threat("backdoor", "Backdoor", HOSPITAL, "answers to triggered inputs", Goal.INTEGRITY),
    Threat(
        "gradient-manipulation",
        "Gradient manipulation",
        HOSPITAL,
        "model updates",
        Goal.AVAILABILITY,
        EVERY,
    ),
    Threat(
        "generator-poisoning",
        "Generator-based poisoning",
        HOSPITAL,
        "training inputs, made up by a generator",
        Goal.AVAILABILITY,
        frozenset({Kind.IMAGE}),
    ),
    Threat(
        "optimized-poisoning",
        "Optimized model poisoning",
        HOSPITAL,
        "model updates that plant a backdoor",
        Goal.INTEGRITY,
    ),
    Threat(
        "hyperdimensional-poisoning",
        "Hyperdimensional poisoning",
        HOSPITAL,
        "training inputs, moved towards another class",
        Goal.AVAILABILITY,
        SINGLE,
    ),
    Threat(
        "gradient-inversion",
        "Gradient inversion",
        SERVER,
        "training samples, from updates",
        Goal.CONFIDENTIALITY,
        EVERY,
    ),
    Threat(
        "membership-inference",
        "Membership inference",
        SERVER,
        "who was trained on",
        Goal.CONFIDENTIALITY,
        EVERY,
    ),
    Threat(
        "property-inference",
        "Property inference",
        SERVER,
        "what a hospital's patients have in common",
        Goal.CONFIDENTIALITY,
    ),
    Threat(
        "interception",
        "Interception",
        WIRE,
        "messages between hospitals and server",
        Goal.AVAILABILITY,
        EVERY,
    ),
)

COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "label-flip": ("label-flip",),
    "data-poisoning": (
        "noise",
        "inverted-loss",
        "mismatched-pairs",
        "feature-collision",
        "gradient-matching",
    ),
    "backdoor": (
        "badnets",
        "blended",
        "wanet",
        "sinusoidal",
        "semantic",
        "edge-case",
        "dba",
        "neurotoxin",
        "chameleon",
        "a3fl",
        "durable",
        "perdoor",
        "quiet-trigger",
        "decoys",
        "model-replacement",
        "alternating-minimization",
        "adaptive-backdoor",
        "trigger-images",
    ),
    "gradient-manipulation": (
        "adaptive",
        "adaptive-poisoning",
        "alie",
        "fang-krum",
        "fang-trimmed-mean",
        "free-rider",
        "gaussian",
        "ipm",
        "mimic",
        "min-max",
        "min-sum",
        "non-finite",
        "poisonedfl",
        "random",
        "rop",
        "sign-flip",
        "sybil",
        "zero",
    ),
    "generator-poisoning": ("generator-poison",),
    "optimized-poisoning": ("optimized-poisoning",),
    "hyperdimensional-poisoning": ("hyperdimensional",),
    "gradient-inversion": (
        "analytic",
        "dlg",
        "idlg",
        "inverting-gradients",
        "robbing-the-fed",
        "model-inconsistency",
        "cohort-difference",
        "colluding-server",
        "model-inversion",
        "gan-reconstruction",
    ),
    "membership-inference": (
        "fedmia",
        "loss-mia",
        "gradient-cosine-mia",
        "lira",
        "rmia",
        "generator-membership",
    ),
    "property-inference": ("property-inference", "attribute-inference", "label-leakage"),
    "interception": ("intercept",),
}
"""Which components belong to a family."""

_FAMILY = {name: key for key, names in COMPONENTS.items() for name in names}
_BY_KEY = {threat.key: threat for threat in THREATS}


def threat(key: str) -> Threat:
    """Return a threat by its key.

    Raises:
        KeyError: there is none.

    Example:
        >>> str(threat("backdoor").goal)
        'integrity'
    """
    return _BY_KEY[key]


def threat_of(name: str) -> Threat | None:
    """Return the family of an attack or observer by the name of its component, if it has one.

    Example:
        >>> threat_of("ipm").title, threat_of("somebody-elses")
        ('Gradient manipulation', None)
    """
    key = _FAMILY.get(name)
    return None if key is None else _BY_KEY[key]
