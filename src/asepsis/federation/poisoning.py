"""What hostile hospitals train on: their own data, after the attack has changed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from asepsis.core.contracts import (
    BackdoorAttack,
    Carried,
    DataAttack,
    Distributed,
    TrainAttack,
    UpdateAttack,
)
from asepsis.core.errors import ConfigError
from asepsis.core.rng import Draw
from asepsis.core.samples import Prepare, Samples, Shard

if TYPE_CHECKING:
    from asepsis.federation.parts import Parts

BLIND = "an unconditional generator never sees a label"


def poisoned(parts: Parts, prepare: Prepare) -> dict[tuple[int, str], Shard]:
    """Return what hostile hospitals train on, prepared after the attack has changed it.

    Raises:
        ConfigError: the attack changes nothing, and has nothing else, or labels that nobody sees.
    """
    attack = parts.attack
    if not isinstance(attack, DataAttack):
        return {}

    def poison(own: Samples, client: int, rank: int) -> Samples:
        played = attack
        if isinstance(attack, Distributed):
            played = attack.part(rank, len(parts.threat.clients))
        return played.poison(own, parts.facts, parts.streams.at(Draw.ATTACK_DATA, client))

    hostile = [h for h in parts.hospitals if h.id in parts.threat.clients]
    shards, changed = {}, False
    labels = _labels(parts)
    for rank, hospital in enumerate(hostile):
        made = poison(hospital.train, hospital.id, rank)
        changed = changed or not _same(hospital.train, made, labels)
        shards[hospital.id, "poisoned"] = prepare(made)
    if not changed and _only_poisons(attack):
        raise ConfigError(
            "the attack changes nothing in the data of any hostile hospital",
            place="attack",
            got=f"{type(attack).__name__} at hospitals {', '.join(str(h.id) for h in hostile)}",
            fix="choose classes and a share that they have samples of, or other hostile hospitals"
            if labels
            else f"{BLIND}: use conditional = true",
        )
    return shards


def _labels(parts: Parts) -> bool:
    """Whether anybody ever looks at labels."""
    seen: bool = getattr(parts.model, "conditional", True)
    if not seen and getattr(parts.attack, "relabels", False):
        raise ConfigError(
            BLIND,
            place="attack.label",
            got=getattr(parts.attack, "label", None),
            fix="leave it out, or give the model conditional = true",
        )
    return seen


def _only_poisons(attack: DataAttack) -> bool:
    """Whether poisoned data is all that an attack has, and its trigger none of nature's."""
    carried = isinstance(attack, BackdoorAttack) and isinstance(attack.stamp, Carried)
    return not (carried or isinstance(attack, TrainAttack | UpdateAttack))


def _same(one: Samples, two: Samples, labels: bool) -> bool:
    """Whether two hospitals hold the same inputs, and ``labels``; missing values are equal."""
    pairs = [(one.inputs, two.inputs), *([(one.targets, two.targets)] if labels else [])]
    return all(a is b or np.array_equal(a, b, equal_nan=True) for a, b in pairs)
