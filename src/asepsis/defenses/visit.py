"""One delivery on its way through the stages: front door, screens, rule, releases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from asepsis.core import robust_math
from asepsis.core.desk import Desk
from asepsis.core.rng import Draw, Streams
from asepsis.core.stages import ServerContext
from asepsis.core.updates import (
    Aggregate,
    Delivery,
    Grouped,
    Individual,
    Screened,
    State,
    Summed,
)
from asepsis.defenses.activation import distance_to_mean, relative, share_changed
from asepsis.defenses.quorum import require, require_rows
from asepsis.defenses.reports import Outcome, StageReport

if TYPE_CHECKING:
    from asepsis.defenses.pipeline import Pipeline

LARGEST_SUM = 1e30
"""A secure sum beyond this is out of range: no honest update comes near it."""

LARGEST_COUNT = 1e9
"""No hospital has more samples; a claim beyond it, or below zero, counts as one."""


class Contexts:
    """Every stage's context: a generator of its own, and how many rows were dropped before it."""

    def __init__(self, round_: int, streams: Streams, desk: Desk) -> None:
        self._round, self._streams, self._desk = round_, streams, desk
        self.spent = self.caught = 0

    def at(self, place: int, stage: object, rows: int) -> ServerContext:
        """Return the context of the stage at this place, for so many rows.

        Rows that a screen dropped spend f only as far as the stage would be without a quorum:
        what a screen drops may be honest, and then f is still needed.
        """
        desk = self._desk
        return ServerContext(
            round=self._round,
            rng=self._streams.at(_draw(stage), self._round, place),
            spent=self._spent(stage, rows),
            received=desk.received,
            layout=desk.layout,
            network=desk.network,
            root=desk.root,
            expected=desk.expected,
        )

    def _spent(self, stage: object, rows: int) -> int:
        if not hasattr(stage, "smallest"):
            return self.spent
        tried = range(self.spent, self.spent + self.caught + 1)
        return next((spent for spent in tried if rows >= stage.smallest(spent)), self.spent)


class Visit:
    """One delivery on its way through the stages."""

    def __init__(self, pipeline: Pipeline, states: list[State], contexts: Contexts) -> None:
        self.pipeline, self.states, self.contexts = pipeline, states, contexts
        self.reports: list[StageReport] = []
        self.dropped: tuple[int, ...] = ()
        self.merged: dict[int, tuple[int, ...]] = {}

    def play(self, delivery: Delivery) -> Outcome:
        """Go through all stages; what they said is in ``reports`` even where one refuses."""
        if isinstance(delivery, Summed):
            void = self._withheld(delivery)
            if void is not None:
                return self._void(void)
            aggregate = self._rule(delivery)
        else:
            opened = self._opened(delivery) if isinstance(delivery, Grouped) else delivery
            admitted, self.dropped = admit(opened)
            self.contexts.spent += len(self.dropped)
            aggregate = self._rule(self._left(admitted))
        if bool(torch.isfinite(aggregate.delta).all()):
            aggregate = self._released(aggregate)
        if not bool(torch.isfinite(aggregate.delta).all()):
            return self._void("overflow")
        return Outcome(aggregate, None, self.dropped, tuple(self.reports))

    def _void(self, reason: str) -> Outcome:
        return Outcome(None, reason, self.dropped, tuple(self.reports))

    def _withheld(self, delivery: Summed) -> str | None:
        if delivery.count:  # the channel's proof: it withheld every single row
            rows = {"rows_withheld": float(delivery.count)}
            self._report(self.pipeline.transport, 1.0, rows)
        in_range = bool((delivery.total.abs() <= LARGEST_SUM).all())
        if not in_range or not 0 < delivery.weight < math.inf:
            return "non-finite or out-of-range sum"
        return None

    def _opened(self, delivery: Grouped) -> Individual:
        """Take the groups whose sums are in range; who spoiled another nobody can say."""
        self._merge(delivery.members)
        fit = robust_math.usable_rows(delivery.rows)
        fit &= (delivery.weights > 0) & delivery.weights.isfinite()
        self.contexts.spent = int((~fit).sum())
        figures = {
            "rows_withheld": float(sum(map(len, delivery.members.values()))),
            "groups": float(len(delivery.clients)),
            "groups_unusable": float(self.contexts.spent),
        }
        lost = {c: 0.0 for c, kept in zip(delivery.clients, fit.tolist(), strict=True) if not kept}
        self._report(self.pipeline.transport, 1.0, figures, lost)
        return delivery.select(fit.nonzero().flatten())

    def _left(self, admitted: Individual) -> Delivery:
        """Return what the rule is given: nothing at all where it answers even then.

        A rule that hides who is there with noise would tell of a hospital whose row is unusable,
        were the round void or without noise.
        """
        if admitted.clients or not getattr(self.pipeline.rule, "answers_nobody", False):
            return self._screened(admitted)
        rows = admitted.rows
        return Summed(0, torch.zeros(rows.shape[1], dtype=rows.dtype, device=rows.device), 1.0)

    def _screened(self, delivery: Individual) -> Individual:
        for place, screen in enumerate(self.pipeline.screens):
            context = self.contexts.at(self._address(place), screen, len(delivery.clients))
            self._require(screen, len(delivery.clients), context.spent)
            self.states[place], made = screen.apply(self.states[place], delivery, context)
            changed = share_changed(delivery, made.delivery)
            self._report(
                screen, changed, made.measurements, made.verdicts, made.scores, made.monitors
            )
            self._merge(made.merged)
            self.contexts.caught += _dropped(delivery, made)
            delivery = made.delivery
        return delivery

    def _rule(self, delivery: Delivery) -> Aggregate:
        rule, place = self.pipeline.rule, len(self.pipeline.screens)
        count = len(delivery.clients) if isinstance(delivery, Individual) else delivery.count
        context = self.contexts.at(self._address(place), rule, count)
        if isinstance(delivery, Individual):
            self._require(rule, len(delivery.clients), context.spent)
        self.states[place], made = rule.apply(self.states[place], delivery, context)
        if context.received is not None:  # a sum may come in more digits than the model has
            made = replace(made, delta=made.delta.to(context.received.dtype))
        changed = 0.0
        if isinstance(delivery, Individual) and bool(torch.isfinite(made.delta).all()):
            changed = distance_to_mean(delivery, made.delta)
        self._report(rule, changed, made.measurements, made.verdicts, made.scores)
        return made

    def _released(self, aggregate: Aggregate) -> Aggregate:
        for place, release in enumerate(self.pipeline.releases, len(self.pipeline.screens) + 1):
            context = self.contexts.at(self._address(place), release, 1)
            before = aggregate.delta.double()
            self.states[place], aggregate = release.apply(self.states[place], aggregate, context)
            changed = relative(aggregate.delta.double() - before, before)
            self._report(release, changed, aggregate.measurements)
        return aggregate

    def _address(self, place: int) -> int:
        """Return a stage's place among those that do something: a monitor moves nobody's."""
        return place - sum(
            _draw(screen) is Draw.MONITOR for screen in self.pipeline.screens[:place]
        )

    def _merge(self, merged: Mapping[int, tuple[int, ...]]) -> None:
        """Remember who is behind a row: what is said of it is said of all of them."""
        before = self.merged
        for client, members in merged.items():
            behind = (one for member in members for one in before.get(member, (member,)))
            self.merged = {**self.merged, client: tuple(behind)}

    def _spread(self, said: Mapping[int, float]) -> dict[int, float]:
        pairs = ((self.merged.get(client, (client,)), value) for client, value in said.items())
        return {member: value for members, value in pairs for member in members}

    def _require(self, stage: Any, rows: int, spent: int) -> None:
        name = self.pipeline.name_of(stage)
        if hasattr(stage, "smallest"):
            require_rows(stage, name, rows, spent)
        else:
            require(name, rows, 0, lambda _: 1)

    def _report(
        self,
        stage: object,
        changed: float,
        measurements: Mapping[str, float],
        verdicts: Mapping[int, float] | None = None,
        scores: Mapping[int, float] | None = None,
        monitors: Mapping[str, Mapping[int, float]] | None = None,
    ) -> None:
        named = next(item for item in self.pipeline.names if item.stage is stage)
        self.reports.append(
            StageReport(
                named.name,
                named.room,
                changed,
                measurements,
                self._spread(verdicts or {}),
                self._spread(scores or {}),
                {name: self._spread(said) for name, said in (monitors or {}).items()},
            )
        )


def _draw(stage: object) -> Draw:
    return Draw.MONITOR if getattr(stage, "watches", False) else Draw.RULE


def _dropped(before: Individual, made: Screened) -> int:
    """Return how many rows a screen dropped; one that lives on in a merged row was not."""
    living = {*made.delivery.clients, *(one for members in made.merged.values() for one in members)}
    return sum(client not in living for client in before.clients)


def admit(delivery: Individual) -> tuple[Individual, tuple[int, ...]]:
    """Let finite rows in and name the clients whose rows are not.

    Claimed counts that are negative, no number or absurd count as one sample.
    """
    usable = robust_math.usable_rows(delivery.rows)
    dropped = tuple(c for c, ok in zip(delivery.clients, usable.tolist(), strict=True) if not ok)
    sane = (delivery.weights >= 0) & (delivery.weights <= LARGEST_COUNT)
    weights = torch.where(sane, delivery.weights, torch.ones_like(delivery.weights))
    admitted = replace(delivery, weights=weights)
    return (admitted.select(usable.nonzero().flatten()) if dropped else admitted), dropped
