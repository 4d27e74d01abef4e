"""Which attacks try a threat: the static ones, and those of an attacker who knows the defense."""

from __future__ import annotations

from dataclasses import dataclass

from asepsis.core.samples import Kind
from asepsis.experiments.naming import label_of
from asepsis.experiments.spec import Component
from asepsis.experiments.threats import threat

ENOUGH_HOSPITALS = 5
"""With fewer FedMIA's filter can never leave anybody out."""
FLIP: Component = {"name": "label-flip", "share": 1.0}
SPOIL: Component = {"name": "noise", "on": "both", "level": "high"}
SPOIL_TABLE: Component = {"name": "inverted-loss"}


@dataclass(frozen=True)
class Weapon:
    """One attack on one threat: by hostile hospitals, by who watches, or by who intercepts."""

    component: Component
    adaptive: bool = False
    hook: str = "client"

    @property
    def name(self) -> str:
        """What it is called in tables: with what it is made of, or does, not with its figures."""
        of = self.component.get("inner", self.component.get("does"))
        plain = label_of(self.component)
        return f"{plain} ({label_of(of)})" if of else plain


def arsenal(key: str, kind: Kind, hospitals: int) -> list[Weapon]:
    """Return the attacks that try a threat on this kind of data, static ones first.

    A threat without an adaptive one has none that fits: the report says that it was not tried.
    """
    if kind not in threat(key).kinds:
        return []
    return _MADE[key](kind, hospitals)


def _taken_far(inner: Component) -> Weapon:
    return Weapon({"name": "adaptive-poisoning", "inner": inner}, adaptive=True)


def _label_flip(_kind: Kind, _hospitals: int) -> list[Weapon]:
    return [Weapon(FLIP), _taken_far(FLIP)]


def _data_poisoning(kind: Kind, _hospitals: int) -> list[Weapon]:
    inner = SPOIL if kind is not Kind.TABLE else SPOIL_TABLE
    return [Weapon(inner), _taken_far(inner)]


def _backdoor(_kind: Kind, _hospitals: int) -> list[Weapon]:
    return [
        Weapon({"name": "badnets"}),
        Weapon({"name": "model-replacement"}),
        Weapon({"name": "adaptive-backdoor"}, adaptive=True),
    ]


def _gradients(_kind: Kind, _hospitals: int) -> list[Weapon]:
    return [
        Weapon({"name": "ipm", "epsilon": 5.0}),
        Weapon({"name": "min-max"}),
        Weapon({"name": "adaptive"}, adaptive=True),
    ]


def _generator(_kind: Kind, _hospitals: int) -> list[Weapon]:
    return [Weapon({"name": "generator-poison"}), _taken_far({"name": "generator-poison"})]


def _optimized(_kind: Kind, _hospitals: int) -> list[Weapon]:
    return [
        Weapon({"name": "optimized-poisoning"}),
        Weapon({"name": "adaptive-backdoor"}, adaptive=True),
    ]


def _hyperdimensional(_kind: Kind, _hospitals: int) -> list[Weapon]:
    return [Weapon({"name": "hyperdimensional"}), _taken_far({"name": "hyperdimensional"})]


def _inversion(_kind: Kind, _hospitals: int) -> list[Weapon]:
    once = {"starts_at": 0, "rounds": 1}
    return [
        Weapon({"name": "inverting-gradients", "iterations": 200, "when": once}, hook="watch"),
    ]


def _membership(_kind: Kind, hospitals: int) -> list[Weapon]:
    watcher = "fedmia" if hospitals >= ENOUGH_HOSPITALS else "loss-mia"
    return [
        Weapon({"name": watcher}, hook="watch"),
        Weapon({"name": "rmia", "references": 2}, hook="watch"),
    ]


def _property(_kind: Kind, _hospitals: int) -> list[Weapon]:
    once = {"starts_at": 0, "rounds": 1}
    return [Weapon({"name": "property-inference", "when": once}, hook="watch")]


def _interception(_kind: Kind, _hospitals: int) -> list[Weapon]:
    return [
        Weapon({"name": "intercept", "does": "alter"}, hook="wire"),
        Weapon({"name": "intercept", "does": "replay"}, hook="wire"),
    ]


_MADE = {
    "label-flip": _label_flip,
    "data-poisoning": _data_poisoning,
    "backdoor": _backdoor,
    "gradient-manipulation": _gradients,
    "generator-poisoning": _generator,
    "optimized-poisoning": _optimized,
    "hyperdimensional-poisoning": _hyperdimensional,
    "gradient-inversion": _inversion,
    "membership-inference": _membership,
    "property-inference": _property,
    "interception": _interception,
}
