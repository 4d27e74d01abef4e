"""Whether what is installed may be used, by its own metadata."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from audit_pins import Installed

TROVE = "License :: "


@dataclass(frozen=True)
class Policy:
    """Licenses that are fine, other words for them, and packages looked at one by one."""

    permissive: frozenset[str]
    also: Mapping[str, str]
    reviewed: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Policy:
        """Read ``licenses.toml``; every review gives its reason."""
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        reviewed = {}
        for row in table["reviewed"]:
            if not row["reason"].strip():
                raise ValueError(f"{path.name}: the review of {row['package']} gives no reason")
            reviewed[row["package"]] = row["license"]
        also = {text.casefold(): name for text, name in table["also_called"].items()}
        return cls(frozenset(table["permissive"]), also, reviewed)


def refused(packages: Iterable[Installed], policy: Policy) -> list[str]:
    """Say which packages have a license that is neither permissive nor reviewed."""
    found = []
    for package in packages:
        told = license_of(package, policy)
        if not allowed(told, policy) and policy.reviewed.get(package.name) != told:
            found.append(
                f"{package.name}: its license is {told or 'not said'}, which is not permissive; "
                "review it in scripts/licenses.toml, or do without the package"
            )
    return found


def license_of(package: Installed, policy: Policy) -> str:
    """Return the license as an SPDX expression where possible, else as the package says it."""
    if package.expression:
        return package.expression
    trove = [line.removeprefix(TROVE) for line in package.classifiers if line.startswith(TROVE)]
    names = [line.removeprefix("OSI Approved :: ") for line in trove if line != "OSI Approved"]
    if names:  # several may mean a choice or a sum: a sum is the stricter
        return " AND ".join(policy.also.get(name.casefold(), name) for name in sorted(names))
    first = package.license.strip().partition("\n")[0]
    return policy.also.get(first.casefold(), first)


def allowed(expression: str, policy: Policy) -> bool:
    """Tell whether every way of reading an expression's AND, and one of its OR, is permissive."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    return bool(tokens) and _any(tokens, policy) and not tokens


def _any(tokens: list[str], policy: Policy) -> bool:
    fine = _all(tokens, policy)
    while tokens and tokens[0] == "OR":
        tokens.pop(0)
        fine = _all(tokens, policy) or fine
    return fine


def _all(tokens: list[str], policy: Policy) -> bool:
    fine = _one(tokens, policy)
    while tokens and tokens[0] == "AND":
        tokens.pop(0)
        fine = _one(tokens, policy) and fine
    return fine


def _one(tokens: list[str], policy: Policy) -> bool:
    token = tokens.pop(0) if tokens else ""
    if token == "(":
        fine = _any(tokens, policy)
        return bool(tokens) and tokens.pop(0) == ")" and fine
    if tokens and tokens[0] == "WITH":
        token = f"{token} {tokens.pop(0)} {tokens.pop(0) if tokens else ''}"
    return token in policy.permissive
