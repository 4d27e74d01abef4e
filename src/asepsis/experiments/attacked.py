"""Whether anybody attacked in a round of a record: hospitals, or somebody on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asepsis.federation.intercepting import DROPPED


def attacked(item: Mapping[str, Any]) -> bool:
    """Whether a hostile hospital took part, or somebody sat on the wire.

    Example:
        >>> attacked({"hostile": []}), attacked({"hostile": [], "intercepted": {}})
        (False, True)
    """
    return bool(item.get("hostile")) or "intercepted" in item


def hostile_rows(item: Mapping[str, Any]) -> set[int]:
    """Return whose rows are an attacker's: those of hostile hospitals, and what came for others.

    Example:
        >>> sorted(hostile_rows({"hostile": [1], "intercepted": {"4": "altered", "5": "dropped"}}))
        [1, 4]
    """
    return {*item.get("hostile", ()), *(_intercepted(item) - cut_off(item))}


def cut_off(item: Mapping[str, Any]) -> set[int]:
    """Return the hospitals whose message somebody on the wire let nobody have."""
    touched = item.get("intercepted", {})
    return {int(client) for client, what in touched.items() if what == DROPPED}


def _intercepted(item: Mapping[str, Any]) -> set[int]:
    return {int(client) for client in item.get("intercepted", {})}
