"""Aggregation as a function, through the same front door as a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray

from asepsis.core.channel import Channel
from asepsis.core.desk import Desk, Network, Root
from asepsis.core.errors import ConfigError, QuorumError
from asepsis.core.layout import Layout
from asepsis.core.matrices import GiveBack, M, take_matrix
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Shard
from asepsis.core.updates import Individual, Rows, State
from asepsis.defenses.handed import check_state
from asepsis.defenses.pipeline import Pipeline
from asepsis.defenses.reports import StageReport
from asepsis.defenses.stack import build_pipeline

Stage = str | Mapping[str, Any] | object
Row = torch.Tensor | NDArray[Any]
Weights = Sequence[float] | NDArray[Any] | torch.Tensor


@dataclass(frozen=True, eq=False)
class Explained:
    """An aggregate with what led to it.

    ``verdicts`` maps a client to the share of its row that the rule let through; what it says of
    a bucket it says of all in it. ``dropped`` names those whose rows were not finite,
    ``measurements`` and ``state`` are the stages', ``stages`` all that each of them reported.
    """

    value: Any
    verdicts: Mapping[int, float]
    measurements: Mapping[str, Mapping[str, float]]
    state: State
    dropped: tuple[int, ...]
    stages: tuple[StageReport, ...] = ()


@overload
def aggregate(
    matrix: M,
    rule: Stage | Sequence[Stage] = ...,
    *,
    weights: Weights | None = ...,
    clients: Sequence[int] | None = ...,
    side: Mapping[str, Weights] | None = ...,
    received: Row | None = ...,
    root_update: Row | None = ...,
    layout: Layout | None = ...,
    network: Network | None = ...,
    root: Root | None = ...,
    state: State | None = ...,
    round: int = ...,
    seed: int = ...,
    explain: Literal[False] = ...,
    **options: Any,
) -> M: ...


@overload
def aggregate(
    matrix: Rows,
    rule: Stage | Sequence[Stage] = ...,
    *,
    weights: Weights | None = ...,
    clients: Sequence[int] | None = ...,
    side: Mapping[str, Weights] | None = ...,
    received: Row | None = ...,
    root_update: Row | None = ...,
    layout: Layout | None = ...,
    network: Network | None = ...,
    root: Root | None = ...,
    state: State | None = ...,
    round: int = ...,
    seed: int = ...,
    explain: Literal[False] = ...,
    **options: Any,
) -> NDArray[Any]: ...


@overload
def aggregate(
    matrix: M | Rows,
    rule: Stage | Sequence[Stage] = ...,
    *,
    weights: Weights | None = ...,
    clients: Sequence[int] | None = ...,
    side: Mapping[str, Weights] | None = ...,
    received: Row | None = ...,
    root_update: Row | None = ...,
    layout: Layout | None = ...,
    network: Network | None = ...,
    root: Root | None = ...,
    state: State | None = ...,
    round: int = ...,
    seed: int = ...,
    explain: Literal[True],
    **options: Any,
) -> Explained: ...


def aggregate(
    matrix: M | Rows,
    rule: Stage | Sequence[Stage] = "mean",
    *,
    weights: Weights | None = None,
    clients: Sequence[int] | None = None,
    side: Mapping[str, Weights] | None = None,
    received: Row | None = None,
    root_update: Row | None = None,
    layout: Layout | None = None,
    network: Network | None = None,
    root: Root | None = None,
    state: State | None = None,
    round: int = 0,  # noqa: A002
    seed: int = 0,
    explain: bool = False,
    **options: Any,
) -> M | NDArray[Any] | Explained:
    """Aggregate updates ``[n, d]`` into one row ``[d]``.

    Args:
        matrix: PyTorch tensor or NumPy array; the result is of the same kind, dtype and device.
            Or rows in a file (:func:`asepsis.stored_rows`); the result is NumPy's.
        rule: a rule's name, or a list of stages ending in one:
            ``["norm-clip", "mean"]``, with options as ``{"name": "norm-clip", "max_norm": 3.0}``.
        weights: claimed sample counts, one a row; 1 each when left out.
        clients: whose rows they are, ascending; 0, 1, ... when left out. What a stage remembers
            it remembers of a client.
        side: telemetry by name, one number a row: ``{"loss": [0.4, 0.5]}``.
        received: the model ``[d]`` that the rows were trained from.
        root_update: the server's own row ``[d]``, trained on its root data (for ``fltrust``).
        layout: where the network's tensors lie in a row.
        network: the network as functions, for defenses that try out models.
        root: the server's own data.
        state: state of the stages from an earlier call (``explain=True`` returns it).
        round: which round it is, from 0.
        seed: seed of the stages' generators.
        explain: return value, verdicts, measurements and state instead of the value alone.
        options: the rule's options, when it is given by name.

    Raises:
        ConfigError: an unknown rule, a wrong option or matrix, or a stage needs what was not
            given.
        QuorumError: too few finite rows for the rule, or a result that is not finite.

    Example:
        >>> aggregate(torch.tensor([[0.0], [1.0], [1e9]]), "trimmed-mean", f=1)
        tensor([1.])
    """
    rows, give_back = _taken(matrix)
    count, dim = rows.shape
    pipeline = _pipeline(rule, options)
    delivery = Individual(
        _clients(clients, count),
        rows,
        _numbers(weights, count, "weights"),
        {name: _numbers(values, count, f"side.{name}") for name, values in (side or {}).items()},
    )
    model = _row(received, rows, "received")
    own = _row(root_update, rows, "root_update")
    desk = Desk(model, layout, network, root if own is None else _root(own, rows))
    pipeline.check_needs(desk.offers() | {f"side:{name}" for name in delivery.side})
    if not count:
        raise QuorumError("nothing to aggregate", place="matrix", got=rows.shape)
    before = pipeline.init(dim) if state is None else check_state(state, pipeline, dim)
    streams = Streams(seed)
    channel = Channel(round, streams.at(Draw.CHANNEL, round), delivery.clients)
    carried = pipeline.transport.deliver(delivery, channel)
    if carried.delivery is None:
        raise QuorumError(str(carried.aborted), place="matrix")
    after, outcome = pipeline.receive(before, carried.delivery, round, streams, desk)
    if outcome.aggregate is None:
        raise QuorumError(_reason(str(outcome.void)), place="matrix")
    value = cast(M, _given_back(outcome.aggregate.delta.to(rows.device, rows.dtype), give_back))
    if not explain:
        return value
    measured = {stage.name: stage.measurements for stage in outcome.stages}
    verdicts = next(stage.verdicts for stage in outcome.stages if stage.room == "aggregator")
    return Explained(value, verdicts, measured, after, outcome.dropped, outcome.stages)


def _taken(matrix: object) -> tuple[Rows, GiveBack]:
    if not isinstance(matrix, Rows):
        given, give_back = take_matrix(matrix, "matrix")
        return Rows(given), give_back
    if not hasattr(matrix.source, "panels"):
        take_matrix(matrix.source, "matrix")
    if matrix.dtype not in (torch.float32, torch.float64):
        raise ConfigError(
            "rows are a tensor or a file of float32 or float64",
            place="matrix",
            got=str(matrix.dtype),
        )
    return matrix, lambda result: result.cpu().numpy()


def _given_back(delta: torch.Tensor, give_back: GiveBack) -> Row:
    with np.errstate(over="ignore"):
        value = give_back(delta)
    finite = torch.isfinite(value) if isinstance(value, torch.Tensor) else np.isfinite(value)
    if not finite.all():
        raise QuorumError(_reason("overflow"), place="matrix", got=str(value.dtype))
    return value


def _pipeline(rule: Stage | Sequence[Stage], options: Mapping[str, Any]) -> Pipeline:
    if isinstance(rule, str):
        return build_pipeline([{"name": rule, **options}], "rule")
    if options:
        raise ConfigError(
            "options go with a rule's name",
            place="rule",
            got=dict(options),
            fix='write them into the stage: {"name": "krum", "f": 2}',
        )
    made = build_pipeline(rule if isinstance(rule, list | tuple) else [rule], "rule")
    if made.audit is not None:
        raise ConfigError(
            "an audit such as the ledger writes down a run, and this is a single call",
            place="rule",
            fix="leave it out, or run an experiment",
        )
    return made


def _numbers(given: Weights | None, rows: int, place: str) -> torch.Tensor:
    if given is None:
        return torch.ones(rows, dtype=torch.float64)
    try:
        made = torch.as_tensor(given, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(
            f"{place} are numbers", place=place, got=given, fix=f"give {rows}, one a row"
        ) from None
    if made.shape != (rows,):
        raise ConfigError(
            "one number a row", place=place, got=tuple(made.shape), fix=f"give {rows}"
        )
    return made


def _clients(clients: Sequence[int] | None, rows: int) -> tuple[int, ...]:
    ids = tuple(range(rows)) if clients is None else tuple(clients)
    whole = all(isinstance(i, int) and not isinstance(i, bool) for i in ids)
    if not whole or len(ids) != rows or list(ids) != sorted(set(ids)):
        raise ConfigError(
            "one client id a row, each once, in ascending order",
            place="clients",
            got=ids,
            fix=f"give {rows} integers",
        )
    return ids


def _row(given: Row | None, rows: Rows, place: str) -> torch.Tensor | None:
    if given is None:
        return None
    made = torch.as_tensor(given) if isinstance(given, torch.Tensor | np.ndarray) else None
    if made is None or made.shape != rows.shape[1:] or not bool(torch.isfinite(made).all()):
        raise ConfigError(
            "it is a finite row as long as the others",
            place=place,
            got=type(given).__name__ if made is None else tuple(made.shape),
            fix=f"give {(rows.shape[1],)}",
        )
    return made.detach().to(rows.device, rows.dtype, copy=True)


def _root(update: torch.Tensor, rows: Rows) -> Root:
    """Root data of which only the update is known."""
    nothing = Shard(torch.zeros(0, rows.shape[1]), torch.zeros(0, dtype=torch.long))
    return Root(nothing, "the caller's", update.clone)


def _reason(void: str) -> str:
    if void == "overflow":
        return "the result is too large for its dtype"
    return void.removeprefix("no-quorum: ")
