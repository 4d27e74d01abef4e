"""The server's stages in order: front door, screens, one rule; and what each of them changed.

The round and :func:`asepsis.aggregate` go through the same front door: rows with NaN or Inf are
dropped first, and each spends one of the rule's ``f``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.contracts import Rule, Screen, ServerContext, Transport
from asepsis.core.errors import ConfigError, QuorumError
from asepsis.core.registry import DEFENSES, build, entries, find, lookup, options_of, split_spec
from asepsis.core.rng import Draw, Streams
from asepsis.core.updates import Aggregate, Delivery, Individual, State, Summed
from asepsis.defenses.quorum import require, require_rows

LARGEST_SUM = 1e30
"""A secure sum beyond this is out of range: no honest update comes near it."""

LARGEST_COUNT = 1e9
"""No hospital has more samples; a claim beyond it, or below zero, counts as one."""


@dataclass(frozen=True, eq=False)
class StageReport:
    """What one stage did in one round: ``changed`` is its activation proof.

    For a channel the share of rows it withheld; for a screen the share of rows it changed or
    dropped; for a rule the distance of its result
    from the nearer of the weighted and the plain mean of what it received, relative to that
    mean's norm.
    """

    name: str
    room: str
    changed: float
    measurements: Mapping[str, float]
    verdicts: Mapping[int, float]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a delivery: an aggregate, or the reason why the round is void."""

    aggregate: Aggregate | None
    void: str | None = None
    dropped: tuple[int, ...] = ()
    stages: tuple[StageReport, ...] = ()

    def record(self) -> list[dict[str, Any]]:
        """Return the stages' reports for the record."""
        return [
            {
                "name": stage.name,
                "room": stage.room,
                "changed": stage.changed,
                "measurements": dict(stage.measurements),
                "verdicts": {str(client): share for client, share in stage.verdicts.items()},
            }
            for stage in self.stages
        ]


@dataclass(frozen=True, eq=False)
class Named:
    """A stage with its name and room."""

    name: str
    room: str
    stage: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class Pipeline:
    """A transport, any number of screens, exactly one rule."""

    transport: Transport
    rule: Rule[Any]
    screens: tuple[Screen, ...] = ()
    names: tuple[Named, ...] = field(default=())

    def check_cohort(self, size: int) -> None:
        """Refuse a cohort that is too small for the rule.

        Raises:
            QuorumError: naming the rule, the smallest cohort and the largest f that fits.
        """
        require_rows(self.rule, self._name_of(self.rule), size)

    def describe(self) -> list[dict[str, Any]]:
        """Return every stage with its resolved options, for the record."""
        ideal = {"ideal": self.transport.ideal}
        return [
            {
                "name": named.name,
                "room": named.room,
                **options_of(named.stage),
                **(ideal if named.stage is self.transport else {}),
            }
            for named in self.names
        ]

    def init(self, dim: int) -> State:
        """Return the state of all stages, keys prefixed by the stage's place."""
        return _joined([stage.init(dim) for stage in self._stages])

    @property
    def _stages(self) -> tuple[Any, ...]:
        return (*self.screens, self.rule)

    def _name_of(self, stage: object) -> str:
        return next(named.name for named in self.names if named.stage is stage)

    def receive(
        self, state: State, delivery: Delivery, round_: int, streams: Streams
    ) -> tuple[State, Outcome]:
        """Take one round's delivery through all stages."""
        if isinstance(delivery, Summed):
            return self._receive_sum(state, delivery, round_, streams)
        admitted, dropped = admit(delivery)
        context = _contexts(round_, streams, spent=len(dropped))
        reports: list[StageReport] = []
        try:
            return self._receive_rows(state, admitted, dropped, context, reports)
        except QuorumError as error:
            return state, Outcome(None, f"no-quorum: {error}", dropped, tuple(reports))

    def _receive_sum(
        self, state: State, delivery: Summed, round_: int, streams: Streams
    ) -> tuple[State, Outcome]:
        # The channel's proof: it withheld every single row.
        withheld = {"rows_withheld": float(delivery.count)}
        channel = StageReport(self._name_of(self.transport), "transport", 1.0, withheld, {})
        in_range = bool((delivery.total.abs() <= LARGEST_SUM).all())
        if not in_range or not 0 < delivery.weight < math.inf:
            return state, Outcome(None, "non-finite or out-of-range sum", stages=(channel,))
        states = _split(state, len(self._stages))
        context = _contexts(round_, streams, spent=0)[0]
        after, aggregate = self.rule.apply(states[-1], delivery, context)
        if not bool(torch.isfinite(aggregate.delta).all()):
            return state, Outcome(None, "overflow", stages=(channel,))
        report = StageReport(
            self._name_of(self.rule), "aggregator", 0.0, aggregate.measurements, {}
        )
        return _joined([*states[:-1], after]), Outcome(aggregate, stages=(channel, report))

    def _receive_rows(
        self,
        state: State,
        delivery: Individual,
        dropped: tuple[int, ...],
        contexts: _Contexts,
        reports: list[StageReport],
    ) -> tuple[State, Outcome]:
        states = _split(state, len(self._stages))
        for place, screen in enumerate(self.screens):
            require(self._name_of(screen), len(delivery.clients), 0, lambda _: 1)
            states[place], screened = screen.apply(states[place], delivery, contexts[place])
            changed = share_changed(delivery, screened.delivery)
            reports.append(
                StageReport(
                    self._name_of(screen),
                    "screen",
                    changed,
                    screened.measurements,
                    screened.verdicts,
                )
            )
            delivery = screened.delivery
        context = contexts[len(self.screens)]
        require_rows(self.rule, self._name_of(self.rule), len(delivery.clients), context.spent)
        states[-1], aggregate = self.rule.apply(states[-1], delivery, context)
        if not bool(torch.isfinite(aggregate.delta).all()):
            return state, Outcome(None, "overflow", dropped, tuple(reports))
        reports.append(
            StageReport(
                self._name_of(self.rule),
                "aggregator",
                distance_to_mean(delivery, aggregate.delta),
                aggregate.measurements,
                aggregate.verdicts,
            )
        )
        return _joined(states), Outcome(aggregate, None, dropped, tuple(reports))


@dataclass(frozen=True)
class _Contexts:
    """Every stage's context: a generator of its own, the same spent rows."""

    round: int
    streams: Streams
    spent: int

    def __getitem__(self, place: int) -> ServerContext:
        rng = self.streams.at(Draw.RULE, self.round, place)
        return ServerContext(self.round, rng, self.spent)


def _contexts(round_: int, streams: Streams, spent: int) -> _Contexts:
    return _Contexts(round_, streams, spent)


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


def share_changed(before: Individual, after: Individual) -> float:
    """Return the share of rows that a screen dropped or changed."""
    kept = dict(zip(after.clients, after.rows.dense(), strict=True))
    same = [
        client in kept and torch.equal(kept[client], row)
        for client, row in zip(before.clients, before.rows.dense(), strict=True)
    ]
    return 1.0 - sum(same) / len(same) if same else 0.0


def distance_to_mean(delivery: Individual, delta: Tensor) -> float:
    """Return how far a result is from the nearer of the two means, relative to that mean.

    Both the plain and the weighted mean are baselines: a rule that only ignores claimed counts
    has changed nothing that matters under attack.
    """
    rows = delivery.rows
    weights = delivery.weights
    total = float(weights.sum())
    means = [robust_math.mean(rows)]
    if total > 0:
        means.append(robust_math.weighted_sum(rows, weights / total))
    return min(_relative(delta.double() - mean.double(), mean.double()) for mean in means)


def _relative(difference: Tensor, base: Tensor) -> float:
    norm = float(base.norm())
    return float(difference.norm()) / norm if norm > 0 else float(difference.norm() > 0)


def _joined(states: list[State]) -> State:
    return {f"{place}/{key}": value for place, s in enumerate(states) for key, value in s.items()}


def _split(state: State, count: int) -> list[State]:
    parts: list[State] = [{} for _ in range(count)]
    for key, value in state.items():
        place, _, name = key.partition("/")
        parts[int(place)][name] = value
    return parts


def build_pipeline(
    specs: Sequence[str | Mapping[str, Any] | object], place: str = "defenses"
) -> Pipeline:
    """Build a stack of defenses: names, tables with options, or components.

    Raises:
        ConfigError: an unknown name, a wrong option, two rules or two transports, a stage after
            the rule, or a stage that needs rows behind a secure sum.

    Example:
        >>> [named.name for named in build_pipeline(["norm-clip", "median"]).names]
        ['plain', 'norm-clip', 'median']
    """
    named = [_named(spec, f"{place}[{i}]") for i, spec in enumerate(specs)]
    rules = [item for item in named if item.room == "aggregator"]
    transports = [item for item in named if item.room == "transport"]
    if not rules:
        rules = [_named("mean", place)]
        named.append(rules[0])
    if not transports:
        transports = [_named("plain", place)]
        named.insert(0, transports[0])
    _check_order(named, rules, transports, place)
    screens = [item for item in named if item.room == "screen"]
    _check_rows(transports[0], screens, rules[0], place)
    return Pipeline(
        transport=transports[0].stage,
        screens=tuple(item.stage for item in screens),
        rule=rules[0].stage,
        names=tuple(named),
    )


def _named(spec: str | Mapping[str, Any] | object, place: str) -> Named:
    if isinstance(spec, str | Mapping):
        name, _ = split_spec(spec, place)
        entry = find(DEFENSES, name, place)
        return Named(name, entry.kind, build(DEFENSES, spec, place))
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


def _check_order(
    named: list[Named], rules: list[Named], transports: list[Named], place: str
) -> None:
    for found, label in ((rules, "rule"), (transports, "transport")):
        if len(found) > 1:
            raise ConfigError(
                f"a stack has one {label}",
                place=place,
                got=[item.name for item in found],
                fix="keep one of them",
            )
    order = ["transport", "screen", "aggregator"]
    rooms = [item.room for item in named]
    if rooms != sorted(rooms, key=order.index):
        raise ConfigError(
            "stages are out of order",
            place=place,
            got=[item.name for item in named],
            fix="first the transport, then screens, then the rule",
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


def _accepts(rule: str) -> frozenset[type]:
    accepts: frozenset[type] = lookup("aggregator", rule).accepts  # type: ignore[attr-defined]
    return accepts
