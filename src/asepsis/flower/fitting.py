"""Which defenses a plain Flower app can have: what it lacks is named before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asepsis.core.errors import ConfigError, QuorumError
from asepsis.core.registry import build, entries
from asepsis.core.updates import Individual
from asepsis.defenses.pipeline import Named, Pipeline, needs_of
from asepsis.defenses.stack import build_pipeline

PLACE = "defenses"
ALWAYS = frozenset({"received", "layout", "side:loss"})
GIVEN = {
    "network": "network=TorchNetwork(module, input_shape, classes)",
    "head": "network=TorchNetwork(module, input_shape, classes)",
    "root": "root=(inputs, targets) beside network=",
}
"""What a team may hand over, by the need that it meets."""


def stack_for_flower(
    defenses: Sequence[str | Mapping[str, Any] | object], offered: frozenset[str]
) -> Pipeline:
    """Build a stack of which a plain app's server can do everything.

    Raises:
        ConfigError: as :func:`asepsis.defenses.stack.build_pipeline`, or a stage needs what is
            not there; the message names it, and what would do.
    """
    stack = build_pipeline(defenses, PLACE)
    clients = [item.name for item in stack.names if item.room == "client"]
    if clients:
        raise ConfigError(
            f"{' and '.join(clients)} is done at hospitals, and a plain app's clients do not do it",
            place=PLACE,
            got=[item.name for item in stack.names],
            fix="leave it out, and let clients do it by a mod of Flower's; screens that clip at "
            "the server: norm-clip, adaptive-clip",
        )
    if stack.name_of(stack.transport) != "plain":
        raise ConfigError(
            f"{stack.name_of(stack.transport)} needs clients that take part in it, and a plain "
            "app's clients send their updates as they are",
            place=PLACE,
            got=stack.name_of(stack.transport),
            fix='leave it out (that is "plain")',
        )
    for item in stack.names:
        _check_needs(item, offered)
    return stack


def _check_needs(item: Named, offered: frozenset[str]) -> None:
    missing = sorted(needs_of(item.stage) - offered)
    if not missing:
        return
    ways = dict.fromkeys(GIVEN[need] for need in missing if need in GIVEN)
    room = "rules" if item.room == "aggregator" else f"{item.room}s"
    raise ConfigError(
        f"{item.name} needs {' and '.join(missing)}, which a plain app's server does not have",
        place=PLACE,
        got=item.name,
        fix=f"give {' and '.join(ways)}; {room} that need nothing more: "
        f"{', '.join(_fitting(item.room, offered))}",
    )


def _fitting(room: str, offered: frozenset[str]) -> Iterable[str]:
    for entry in entries(room):
        if entry.origin != "asepsis":
            continue
        stage = build(room, entry.name)
        if needs_of(stage) <= offered and Individual in getattr(stage, "accepts", {Individual}):
            yield entry.name


def check_cohort(stack: Pipeline, hospitals: int) -> None:
    """Refuse to start with so few hospitals a round that a stage could never work.

    Raises:
        QuorumError: naming the stage, and how many it needs.
    """
    try:
        stack.check_cohort(hospitals)
    except QuorumError as error:
        raise QuorumError(
            error.message,
            place="min_train_nodes",
            got=error.got,
            fix=f"{error.fix}; or ask more hospitals for each round: min_train_nodes",
        ) from None
