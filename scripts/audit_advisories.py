"""Known advisories beside the versions that are pinned and those that are allowed."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


@dataclass(frozen=True, kw_only=True)
class Advisory:
    """One advisory: versions from ``introduced``, if any is given, to below ``fixed`` have it.

    ``unreached`` says why it does not matter to asepsis: versions that have it may then be
    allowed, and are not pinned all the same.
    """

    id: str
    package: str
    fixed: str
    what: str
    reviewed: datetime.date
    introduced: str = "0"
    unreached: str = ""

    def concerns(self, version: Version) -> bool:
        """Tell whether a version has it."""
        return Version(self.introduced) <= version < Version(self.fixed)


def read_advisories(path: Path) -> list[Advisory]:
    """Read ``advisories.toml``; an unknown key is an error."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Advisory(**row) for row in table["advisory"]]


def affected(
    advisories: Iterable[Advisory],
    pins: Mapping[str, str],
    asked: Mapping[str, list[Requirement]],
) -> list[str]:
    """Say which pins and which declared lower bounds have a known advisory."""
    found = []
    bounds = {
        (canonicalize_name(wanted.name), extra): lowest(wanted)
        for extra, lines in asked.items()
        for wanted in lines
    }
    for (name, extra), bound in bounds.items():
        if bound is None:
            found.append(f"{name}: no lower bound in pyproject.toml{of(extra)}")
    for known in advisories:
        says = f"{known.id} ({known.what}); it is fixed in {known.fixed}"
        if known.package not in pins and all(name != known.package for name, _ in bounds):
            found.append(f"{known.package}: {known.id} is kept, and nothing needs the package")
        if known.package in pins and known.concerns(Version(pins[known.package])):
            found.append(f"{known.package}: {pins[known.package]} is pinned and has {says}")
        for (name, extra), bound in bounds.items():
            if name == known.package and bound and not known.unreached and known.concerns(bound):
                found.append(f"{name}: {bound} is allowed{of(extra)} and has {says}")
    return found


def lowest(wanted: Requirement) -> Version | None:
    """Return the lowest version that a requirement allows, None where it sets no bound."""
    bounds = [Version(part.version) for part in wanted.specifier if part.operator in (">=", "==")]
    return max(bounds, default=None)


def of(extra: str) -> str:
    """Name an extra in a sentence."""
    return f" by the extra {extra}" if extra else ""
