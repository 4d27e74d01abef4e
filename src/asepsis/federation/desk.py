"""What the server has besides the delivery: the network as functions, and root data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from asepsis.core.desk import Desk, Root
from asepsis.core.errors import ConfigError
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Hospital, Samples, Shard
from asepsis.core.threads import one_thread

if TYPE_CHECKING:
    from asepsis.federation.federation import Federation


@dataclass(frozen=True, slots=True, eq=False)
class RootData:
    """Clean samples that the server holds: prepared, and whose they are."""

    shard: Shard
    whose: str


def root_samples(
    hospitals: tuple[Hospital, ...], count: int, hospital: int | None, streams: Streams
) -> tuple[Samples, str]:
    """Draw root data from validation patients, who neither train nor test; all when fewer.

    Args:
        hospitals: all hospitals; of hostile ones the samples are as they really are.
        count: how many samples.
        hospital: from this hospital alone; from all when ``None``.
        streams: of the partition's seed, so that all runs on one partition share root data.

    Raises:
        ConfigError: no such hospital, or it has no validation samples.
    """
    if hospital is not None and not 0 <= hospital < len(hospitals):
        raise ConfigError(
            "no such hospital",
            place="root.hospital",
            got=hospital,
            fix=f"hospitals are numbered 0 to {len(hospitals) - 1}",
        )
    chosen = hospitals if hospital is None else (hospitals[hospital],)
    pool = joined([one.validation for one in chosen])
    if not len(pool):
        raise ConfigError("there are no validation samples to draw root data from", place="root")
    drawn = streams.at(Draw.ROOT).permutation(len(pool))[:count]
    whose = "validation patients of " + (
        "all hospitals" if hospital is None else hospitals[hospital].name
    )
    return pool.take(np.sort(drawn)), whose


def joined(parts: list[Samples]) -> Samples:
    """Concatenate samples of several hospitals."""
    masks = [part.mask for part in parts if part.mask is not None]
    return Samples(
        inputs=np.concatenate([part.inputs for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        ids=np.concatenate([part.ids for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
        mask=np.concatenate(masks) if len(masks) == len(parts) else None,
    )


def desk_in(federation: Federation, round_: int, received: Tensor) -> Desk:
    """Return what the server has in this round; its own update is trained when first asked."""
    plan = federation.plan
    sent = received.clone()
    data = federation.root
    root = None
    if data is not None:
        root = Root(data.shard, data.whose, _update(federation, data.shard, round_, sent))
    return Desk(sent, plan.layout, plan.network, root, federation.expected)


def _update(
    federation: Federation, shard: Shard, round_: int, sent: Tensor
) -> Callable[[], Tensor]:
    plan = federation.plan

    @cache
    def train() -> Tensor:
        rng = federation.streams.at(Draw.ROOT, round_)
        fresh = copy.deepcopy(plan.module)
        with one_thread():
            row, _ = plan.trainer.train(fresh, plan.layout, sent, shard, plan.task, rng, 1.0)
        return row

    return lambda: train().clone()
