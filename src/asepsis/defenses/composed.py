"""Stages whose promise of differential privacy holds only in certain company."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asepsis.core.errors import ConfigError
from asepsis.core.privacy import Claims
from asepsis.core.updates import Individual, Summed
from asepsis.defenses.client.bound import WITHIN

if TYPE_CHECKING:
    from asepsis.defenses.pipeline import Named


def check_promises(named: list[Named], place: str) -> None:
    """Refuse stacks in which noise would not cover what it is said to cover.

    Raises:
        ConfigError: naming the stage, and what would do.
    """
    by_room: dict[str, list[Named]] = {}
    for item in named:
        by_room.setdefault(item.room, []).append(item)
    transport, rule = by_room["transport"][0], by_room["aggregator"][0]
    clients, screens = by_room.get("client", []), by_room.get("screen", [])
    if isinstance(rule.stage, Claims):
        _check_rows(rule, screens, place)
        _check_merged(rule, transport, place)
        _check_bounded(rule, transport, clients, place)
    for item in clients:
        if getattr(item.stage, "parties", 1) > 1 and transport.stage.delivers is not Summed:
            raise ConfigError(
                f"{item.name} shares its noise out to several hospitals, and {transport.name} "
                "shows more than the sum of all",
                place=place,
                fix="put a secure sum behind it, or use parties = 1",
            )


def _check_rows(rule: Named, screens: list[Named], place: str) -> None:
    if screens:
        names = " and ".join(item.name for item in screens)
        raise ConfigError(
            f"{rule.name} cannot promise anything behind {names}: what a screen does to one row "
            "depends on others, and the noise covers one row alone",
            place=place,
            fix=f"leave {names} out; {rule.name} clips by itself",
        )


def _check_merged(rule: Named, transport: Named, place: str) -> None:
    if getattr(transport.stage, "merges", False):
        raise ConfigError(
            f"{rule.name} counts hospitals, and {transport.name} delivers groups",
            place=place,
            fix="use plain or a secure sum of all",
        )


def _check_bounded(rule: Named, transport: Named, clients: list[Named], place: str) -> None:
    bounded = transport.stage.delivers is Individual or any(_bounds(item.stage) for item in clients)
    if not bounded:
        raise ConfigError(
            f"{rule.name} cannot clip behind {transport.name}, and no hospital does",
            place=place,
            fix="put client-clip first, as the recipe dp-fedavg does",
        )


def _bounds(stage: Any) -> bool:
    return WITHIN in getattr(stage, "reports", ())
