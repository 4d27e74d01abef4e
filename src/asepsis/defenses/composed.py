"""Stages whose promise of differential privacy holds only in certain company."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asepsis.core.errors import ConfigError
from asepsis.core.privacy import Claims
from asepsis.core.updates import Individual, Summed
from asepsis.defenses.client.bound import WITHIN

if TYPE_CHECKING:
    from asepsis.defenses.pipeline import Named

TAIL, FINE = 6.0, 100.0
"""A range holds so many standard deviations of noise, and its steps are so many times finer."""


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
        if transport.stage.delivers is not Individual:
            _check_kept(rule, clients, place)
    _check_looks(clients, place)
    for item in clients:
        if getattr(item.stage, "parties", 1) > 1:
            _check_shared(item, clients, transport, rule, place)


def _check_looks(clients: list[Named], place: str) -> None:
    """What is done behind noise keeps a promise only where it looks at nothing but the row."""
    noise: Named | None = None
    for item in clients:
        if noise is not None and getattr(item.stage, "looks_at_data", False):
            raise ConfigError(
                f"{item.name} looks at the hospital's samples, behind the noise of {noise.name}",
                place=place,
                fix=f"put {item.name} before {noise.name}",
            )
        if isinstance(item.stage, Claims):
            noise = item


def _check_shared(
    item: Named, clients: list[Named], transport: Named, rule: Named, place: str
) -> None:
    """Shares of noise add up where rows do: in a sum, each counting the same, as they are sent."""
    problem = fix = ""
    alike = getattr(rule.stage, "unweighted", False) or not getattr(
        transport.stage, "weighted", True
    )
    if transport.stage.delivers is not Summed:
        problem = f"{transport.name} shows more than the sum of all"
        fix = "put a secure sum behind it"
    elif not alike:
        problem = f"{transport.name} weighs them: a hospital with more samples has less of it"
        fix = f"use {transport.name} with weighted = false"
    elif item is not clients[-1]:
        problem = f"{clients[-1].name} changes what was noised"
        fix = f"put {item.name} last of what hospitals do"
    elif hasattr(transport.stage, "grid"):
        problem, fix = _out_of_range(item.stage, transport, rule)
    if problem:
        raise ConfigError(
            f"{item.name} shares its noise out to several hospitals, and {problem}",
            place=place,
            fix=f"{fix}, or use parties = 1",
        )


def _out_of_range(noise: Any, transport: Named, rule: Named) -> tuple[str, str]:
    """Say what a transport with a range cuts off, or rounds away, of a row and its noise."""
    if hasattr(rule.stage, "announce"):
        return f"{rule.name} announces how much, which no range is known to hold", "use the mean"
    bound, std = noise.bounds()
    least = bound + TAIL * std
    if transport.stage.clip < least:
        return (
            f"{transport.name} cuts it off at {transport.stage.clip:g}",
            f"use a clip of at least {least:.4g}",
        )
    if transport.stage.grid(noise.parties).step > std / FINE:
        return (
            f"{transport.name} rounds it to steps that are not far below its {std:.3g}",
            "use more bits or a smaller clip",
        )
    return "", ""


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


def _check_kept(rule: Named, clients: list[Named], place: str) -> None:
    """Nobody clips behind a sum: what leaves must be as short as the last that clipped made it."""
    last = max(i for i, item in enumerate(clients) if _bounds(item.stage))
    for item in clients[last + 1 :]:
        if getattr(item.stage, "enlarges", False):
            raise ConfigError(
                f"{item.name} may make a row longer than {rule.name} takes it to be",
                place=place,
                fix=f"put {clients[last].name} behind {item.name}, or leave {item.name} out",
            )


def _bounds(stage: Any) -> bool:
    return WITHIN in getattr(stage, "reports", ())
