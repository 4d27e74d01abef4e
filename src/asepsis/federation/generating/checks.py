"""What fits a federation that trains a generator, and what only makes sense there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asepsis.core.contracts import (
    BackdoorAttack,
    ChannelAttack,
    PartlyLocal,
    Stamps,
    TrainAttack,
    UpdateAttack,
)
from asepsis.core.errors import ConfigError
from asepsis.core.markers import classifies, generates

if TYPE_CHECKING:
    from asepsis.federation.parts import Parts

FITTING = {
    "model": 'use model = "dcgan" or "style-gan"',
    "trainer": 'use trainer = "gan"',
}


def check_generating(parts: Parts) -> None:
    """Refuse what does not fit the task: generators with classifiers, and the other way round.

    Raises:
        ConfigError: naming the place, and what would do.
    """
    generator = generates(parts.task)
    for place, part in (("model", parts.model), ("trainer", parts.trainer)):
        if generates(part) != generator:
            raise ConfigError(
                f"the task {'needs' if generator else 'has no use for'} a {place} of generators",
                place=place,
                got=type(part).__name__,
                fix=FITTING[place] if generator else 'set task = "generation", or use another',
            )
    for place, attack in _attacking(parts):
        blind = isinstance(attack, UpdateAttack | ChannelAttack)  # it looks at no sample
        if generator and not (generates(attack) or blind):
            raise _unfit(place, attack, "needs a model that answers to samples", "generation")
        if not generator and not classifies(attack):
            raise _unfit(place, attack, "needs a model that makes samples", str(parts.facts.kind))
    for name, probe in parts.probes.items():
        if not isinstance(probe, Stamps if generator else BackdoorAttack):
            raise _unfit(
                f"probes.{name}", probe, "has no trigger to look for", str(parts.facts.kind)
            )
    if isinstance(parts.model, PartlyLocal) and parts.model.local:
        _check_local(parts)
    if generator:
        _check_looks(parts)


def _attacking(parts: Parts) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = [
        (f"probes.{name}", probe) for name, probe in parts.probes.items()
    ]
    found += [(f"observe {name}", watch.attack) for name, watch in parts.observers.items()]
    return found if parts.attack is None else [("attack", parts.attack), *found]


def _unfit(place: str, attack: object, why: str, task: str) -> ConfigError:
    return ConfigError(
        f"this attack {why}",
        place=place,
        got=f"{type(attack).__name__} in a federation for {task}",
        fix="asepsis list attacks says which tasks each works on",
    )


def _check_local(parts: Parts) -> None:
    """Who replaces a hospital's training would have to keep its local parts too."""
    if isinstance(parts.attack, TrainAttack):
        raise ConfigError(
            "this attack trains by itself, and keeps none of the parts that stay at a hospital",
            place="attack",
            got=type(parts.attack).__name__,
            fix='use a model all of which travels (travels = "both")',
        )


def _check_looks(parts: Parts) -> None:
    if parts.inspectors:
        raise ConfigError(
            "inspectors look at answers to samples, and a generator gives none",
            place="inspect",
            got=", ".join(parts.inspectors),
            fix="leave them out",
        )
    if parts.unseen is not None:
        raise ConfigError(
            "generated images have no hospital: none can be unseen",
            place="federation.unseen",
            got=parts.unseen.name,
            fix="leave it out",
        )
