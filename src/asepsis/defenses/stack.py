"""From names and options to a stack of defenses, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asepsis.core.errors import ConfigError
from asepsis.core.registry import DEFENSES, build, entries, find, lookup, split_spec
from asepsis.core.updates import Individual
from asepsis.defenses.composed import check_promises
from asepsis.defenses.pipeline import Named, Pipeline

ORDER = ("client", "transport", "screen", "aggregator", "release", "audit")
"""The rooms of a stack, in the order in which an update meets them."""


def build_pipeline(
    specs: Sequence[str | Mapping[str, Any] | object], place: str = "defenses"
) -> Pipeline:
    """Build a stack of defenses: names, tables with options, or components.

    A recipe stands for the stages that it is made of.

    Raises:
        ConfigError: an unknown name, a wrong option, two rules, transports or audits, stages out of
            order, a stage that needs rows behind a secure sum, one that remembers single
            hospitals where their rows are merged, or a promise of privacy that would not hold.

    Example:
        >>> [named.name for named in build_pipeline(["norm-clip", "median"]).names]
        ['plain', 'norm-clip', 'median']
    """
    named = _hoisted([_named(spec, f"{place}[{i}]") for i, spec in enumerate(specs)])
    _check_rooms(named, place)
    rules = [item for item in named if item.room == "aggregator"]
    transports = [item for item in named if item.room == "transport"]
    if not rules:
        rules = _named("mean", place)
        after = [item.room in ("release", "audit") for item in named]
        named.insert(after.index(True) if any(after) else len(named), rules[0])
    if not transports:
        transports = _named("plain", place)
        named.insert(sum(item.room == "client" for item in named), transports[0])
    _check_order(named, rules, transports, place)
    screens = [item for item in named if item.room == "screen"]
    _check_rows(transports[0], screens, rules[0], place)
    _check_memories(named, place)
    check_promises(named, place)
    return Pipeline(
        transport=transports[0].stage,
        screens=tuple(item.stage for item in screens),
        rule=rules[0].stage,
        releases=tuple(item.stage for item in named if item.room == "release"),
        clients=tuple(item.stage for item in named if item.room == "client"),
        audit=next((item.stage for item in named if item.room == "audit"), None),
        names=tuple(named),
    )


def _named(spec: str | Mapping[str, Any] | object, place: str) -> list[Named]:
    if isinstance(spec, str | Mapping):
        name, _ = split_spec(spec, place)
        found = Named(name, find(DEFENSES, name, place).kind, build(DEFENSES, spec, place))
    else:
        found = _built(spec, place)
    if found.room != "recipe":
        return [found]
    return [item for stage in found.stage.stages() for item in _named(stage, place)]


def _hoisted(parts: list[list[Named]]) -> list[Named]:
    """Put what a recipe does at hospitals before the channel, which may be named before it."""
    first = [item for part in parts if len(part) > 1 for item in part if item.room == "client"]
    rest = [item for part in parts for item in part if item not in first]
    leading = next((i for i, item in enumerate(rest) if item.room != "client"), len(rest))
    return [*rest[:leading], *first, *rest[leading:]]


def _built(spec: object, place: str) -> Named:
    for entry in entries(*DEFENSES):
        if type(spec).__name__ == entry.qualname and isinstance(
            spec, lookup(entry.kind, entry.name)
        ):
            return Named(entry.name, entry.kind, spec)
    raise ConfigError(
        "not a defense",
        place=place,
        got=spec,
        fix="give a name, a table with a name, or a registered component",
    )


def _check_rooms(named: list[Named], place: str) -> None:
    looking = [item.name for item in named if item.room == "inspect"]
    if looking:
        raise ConfigError(
            "an inspector looks at the finished model; it is no stage of the stack",
            place=place,
            got=looking,
            fix=f"write inspect = {looking} beside defenses".replace("'", '"'),
        )


def _check_order(
    named: list[Named], rules: list[Named], transports: list[Named], place: str
) -> None:
    audits = [item for item in named if item.room == "audit"]
    for found, label in ((rules, "rule"), (transports, "transport"), (audits, "audit")):
        if len(found) > 1:
            raise ConfigError(
                f"a stack has one {label}",
                place=place,
                got=[item.name for item in found],
                fix="keep one of them",
            )
    rooms = [item.room for item in named]
    if rooms != sorted(rooms, key=ORDER.index):
        raise ConfigError(
            "stages are out of order",
            place=place,
            got=[item.name for item in named],
            fix="first what hospitals do, then transport, screens, rule, releases, audit",
        )


def _check_rows(transport: Named, screens: list[Named], rule: Named, place: str) -> None:
    delivers = transport.stage.delivers
    needy = [item.name for item in screens] if delivers is not Individual else []
    if delivers not in rule.stage.accepts:
        needy.append(rule.name)
    if not needy:
        return
    fitting = [
        entry.name
        for entry in entries("aggregator")
        if entry.origin == "asepsis" and delivers in _accepts(entry.name)
    ]
    raise ConfigError(
        f"{' and '.join(needy)} cannot work behind {transport.name}: it delivers no single rows",
        place=place,
        fix=f"rules that work behind it: {', '.join(fitting)}; or leave {transport.name} out",
    )


def _check_memories(named: list[Named], place: str) -> None:
    """A merged row bears one hospital's id: what is remembered of it would be of the wrong ones."""
    merging = [i for i, item in enumerate(named) if getattr(item.stage, "merges", False)]
    if not merging:
        return
    behind = [item for item in named[merging[0] + 1 :] if item.room != "audit"]
    # What is remembered by client id is kept under "clients": see asepsis.defenses.memory.
    wrong = [item.name for item in behind if "clients" in item.stage.init(1)]
    if wrong:
        name = named[merging[0]].name
        raise ConfigError(
            f"{' and '.join(wrong)} cannot work behind {name}: it merges rows, and what is "
            "remembered of a hospital would be of others",
            place=place,
            got=[item.name for item in named],
            fix=f"leave {name} out",
        )


def _accepts(rule: str) -> frozenset[type]:
    accepts: frozenset[type] = lookup("aggregator", rule).accepts  # type: ignore[attr-defined]
    return accepts
