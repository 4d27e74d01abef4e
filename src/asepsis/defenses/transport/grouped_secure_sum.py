"""Secure sums of small groups: the server compares groups, and sees no single hospital."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.channel import Carried, Channel
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.updates import Grouped, Individual, Rows
from asepsis.defenses.transport.honest import FEWEST, check_honest


@register("transport", "grouped-secure-sum")
class GroupedSecureSum:
    """Deliver the secure sum of every group of hospitals, so that a robust rule can compare them.

    The n hospitals that begin a round are dealt into ``floor(n / size)`` groups of at least
    ``size``, at random (or, with ``regroup = false``, in order of client id), before anybody
    answers. For each group G the server learns ``sum_G w_i x_i`` ``[d]``, ``sum_G w_i`` and summed
    telemetry, and goes on with their means: a group bears its lowest client id and the weight
    ``sum_G w_i``. Counts are cut to ``[0, max_count]``, 1 each when not ``weighted``. A group of
    which fewer than 3 answer is not opened. One row that is not finite spoils its group; nobody in
    it can be named. Each group is an ideal secure sum: no masks, no cryptography.

    A group with one hostile hospital is hostile: the rule behind keeps its f, among
    ``floor(n / size)`` rows. What it says of a group it says of all in it; what remembers single
    hospitals is refused behind it. A group hides a hospital among few: two colluders in a group of
    3 are enough, and random groups let a server that sends the same model again and again solve
    for single hospitals (attack ``cohort-difference``).

    Raises ConfigError for a cohort of fewer than ``size``, and where the colluders of a curious
    server, all in one group, could leave fewer than ``fewest`` honest hospitals in it (1 allows
    that, to demonstrate it).

    Source: Velicheti, Xia and Koyejo, Secure Byzantine-Robust Distributed Learning via Clustering
    (arXiv 2110.02940): secure averages of random clusters, a robust rule over them; weights,
    dropouts and fixed groups are ours

    Fidelity: abstract

    Example:
        >>> sent = Individual((0, 1, 2), Rows(torch.tensor([[1.0], [2.0], [6.0]])), torch.ones(3))
        >>> carried = GroupedSecureSum().deliver(sent, Channel.of(sent)).delivery
        >>> carried.members, carried.rows.dense()
        ({0: (0, 1, 2)}, tensor([[3.]]))
    """

    delivers: ClassVar[type] = Individual
    ideal: ClassVar[bool] = True
    merges: ClassVar[bool] = True

    size: Annotated[int, Field(ge=FEWEST)] = FEWEST
    regroup: bool = True
    weighted: bool = True
    max_count: Annotated[float, Field(gt=0)] = 1e6
    fewest: Annotated[int, Field(ge=1)] = FEWEST

    def check_cohort(self, n: int) -> None:
        """Refuse a cohort that is not even one group.

        Raises:
            ConfigError: fewer than ``size`` hospitals.
        """
        if n < self.size:
            raise ConfigError(
                f"a group has at least {self.size} hospitals",
                got=n,
                fix=f"draw {self.size} hospitals a round or more",
            )

    def check_colluders(self, n: int, colluders: int) -> None:
        """Refuse a cohort in which colluders leave too few honest hospitals.

        Raises:
            ConfigError: fewer than ``fewest`` in a group that all of them are in.
        """
        check_honest(self.size, colluders, self.fewest)

    def rows_left(self, rows: int) -> int:
        """Return how many groups so many hospitals make."""
        return rows // self.size

    def deliver(self, updates: Individual, channel: Channel) -> Carried:
        """Carry every group's sum to the server."""
        begun = tuple(sorted({*channel.drawn, *updates.clients}))
        answered = [
            tuple(client for client in group if client in updates.clients)
            for group in self._dealt(begun, channel)
        ]
        opened = sorted(group for group in answered if len(group) >= FEWEST)
        measured = {"groups_unopened": float(len(answered) - len(opened))}
        if not opened:
            return Carried(None, measurements=measured, aborted=self._few(begun, updates))
        weights = updates.weights.nan_to_num(nan=0.0).clamp(min=0.0, max=self.max_count)
        weights = weights if self.weighted else torch.ones_like(weights)
        place = {client: i for i, client in enumerate(updates.clients)}
        members = [torch.tensor([place[client] for client in group]) for group in opened]
        grouped = Grouped(
            clients=tuple(group[0] for group in opened),
            rows=Rows(torch.stack([_mean(updates.rows, weights, where) for where in members])),
            weights=torch.stack([weights[where].sum() for where in members]),
            side={
                name: torch.stack([values[where].mean() for where in members])
                for name, values in updates.side.items()
            },
            members={group[0]: group for group in opened},
        )
        return Carried(grouped, measurements=measured)

    def _dealt(self, begun: tuple[int, ...], channel: Channel) -> list[list[int]]:
        count = len(begun) // self.size
        if not count:
            return []
        order = channel.rng.permutation(len(begun)) if self.regroup else range(len(begun))
        ids = [begun[int(i)] for i in order]
        cuts = [round(k * len(ids) / count) for k in range(count + 1)]
        return [sorted(ids[a:b]) for a, b in pairwise(cuts)]

    def _few(self, begun: tuple[int, ...], updates: Individual) -> str:
        if len(begun) < self.size:
            return f"{len(begun)} hospitals began, and a group has at least {self.size}"
        return f"no group has {FEWEST} hospitals left: {len(updates.clients)} answered"


def _mean(rows: Rows, weights: Tensor, where: Tensor) -> Tensor:
    """Return the weighted mean of a group; NaN where nobody in it has any weight."""
    own = weights[where]
    total = robust_math.weighted_sum(rows.select(where), own)
    return (total.double() / own.sum()).to(rows.dtype)
