"""What the project declares, what is installed for it, and what is pinned."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PIN = re.compile(r"([A-Za-z0-9][\w.-]*)==([0-9][\w.]*)")
BASE, BUILD = "", "build"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What an installed distribution says of itself."""

    name: str
    version: str
    requires: tuple[str, ...] = ()
    expression: str = ""
    license: str = ""
    classifiers: tuple[str, ...] = ()

    @classmethod
    def of(cls, distribution: Distribution) -> Installed:
        """Read the metadata of a distribution."""
        told = distribution.metadata.json
        return cls(
            name=canonicalize_name(str(told["name"])),
            version=str(told["version"]),
            requires=tuple(told.get("requires_dist", ())),
            expression=str(told.get("license_expression", "")),
            license=str(told.get("license", "")),
            classifiers=tuple(told.get("classifier", ())),
        )


def declared(project: Mapping[str, Any]) -> dict[str, list[Requirement]]:
    """Return what ``pyproject.toml`` asks for: by extra, the base under "", the build's."""
    table = project["project"]
    asked = {BASE: table["dependencies"], BUILD: project["build-system"]["requires"]}
    asked |= table.get("optional-dependencies", {})
    own = canonicalize_name(table["name"])
    return {
        extra: [
            wanted for wanted in map(Requirement, lines) if canonicalize_name(wanted.name) != own
        ]
        for extra, lines in asked.items()
    }


def needed(
    asked: Mapping[str, list[Requirement]], installed: Mapping[str, Installed]
) -> dict[str, Installed]:
    """Return the installed packages that the project reaches, by whichever extra."""
    open_ = [wanted for lines in asked.values() for wanted in lines]
    seen: set[tuple[str, frozenset[str]]] = set()
    reached = {}
    while open_:
        wanted = open_.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in seen or name not in installed:
            continue
        seen.add((name, extras))
        reached[name] = installed[name]
        lines = map(Requirement, installed[name].requires)
        open_ += [line for line in lines if applies(line, extras)]
    return dict(sorted(reached.items()))


def applies(wanted: Requirement, extras: frozenset[str]) -> bool:
    """Tell whether a requirement holds here, for a package installed with these extras."""
    if wanted.marker is None:
        return True
    return any(wanted.marker.evaluate({"extra": extra}) for extra in extras | {""})


def read_pins(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the pinned versions, and what is no exact pin of one package."""
    pins: dict[str, str] = {}
    found = []
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        pin = PIN.fullmatch(line)
        if pin is None:
            found.append(f"constraints.txt: no exact pin: {line!r}; write name==version")
        elif pins.setdefault(canonicalize_name(pin[1]), pin[2]) != pin[2]:
            found.append(f"constraints.txt: {pin[1]} is pinned twice")
    return pins, found


def differing(reached: Mapping[str, Installed], pins: Mapping[str, str]) -> list[str]:
    """Say which packages are needed and not pinned, or installed in another version."""
    found = []
    for name, package in reached.items():
        if name not in pins:
            found.append(f"{name}: {package.version} is installed, constraints.txt lacks it")
        elif Version(Version(package.version).public) != Version(pins[name]):
            found.append(f"{name}: {package.version} is installed, {pins[name]} is pinned")
    return found
