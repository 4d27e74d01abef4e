"""Aggregation as a function, through the same front door as a round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, overload

import torch
from numpy.typing import NDArray

from asepsis.core.errors import ConfigError, QuorumError
from asepsis.core.matrices import M, take_matrix
from asepsis.core.rng import Streams
from asepsis.core.updates import Individual, Rows, State
from asepsis.defenses.pipeline import Pipeline, build_pipeline

Stage = str | Mapping[str, Any] | object
Weights = Sequence[float] | NDArray[Any] | torch.Tensor


@dataclass(frozen=True, eq=False)
class Explained:
    """An aggregate with what led to it.

    ``verdicts`` maps a row to the share of it that the rule let through, ``dropped`` names rows
    that were not finite, ``measurements`` and ``state`` are the stages'.
    """

    value: Any
    verdicts: Mapping[int, float]
    measurements: Mapping[str, Mapping[str, float]]
    state: State
    dropped: tuple[int, ...]


@overload
def aggregate(
    matrix: M,
    rule: Stage | Sequence[Stage] = ...,
    *,
    weights: Weights | None = ...,
    state: State | None = ...,
    seed: int = ...,
    explain: Literal[False] = ...,
    **options: Any,
) -> M: ...


@overload
def aggregate(
    matrix: M,
    rule: Stage | Sequence[Stage] = ...,
    *,
    weights: Weights | None = ...,
    state: State | None = ...,
    seed: int = ...,
    explain: Literal[True],
    **options: Any,
) -> Explained: ...


def aggregate(
    matrix: M,
    rule: Stage | Sequence[Stage] = "mean",
    *,
    weights: Weights | None = None,
    state: State | None = None,
    seed: int = 0,
    explain: bool = False,
    **options: Any,
) -> M | Explained:
    """Aggregate updates ``[n, d]`` into one row ``[d]``.

    Args:
        matrix: PyTorch tensor or NumPy array; the result is of the same kind, dtype and device.
        rule: a rule's name, or a list of stages ending in one:
            ``["norm-clip", "mean"]``, with options as ``{"name": "norm-clip", "max_norm": 3.0}``.
        weights: claimed sample counts, one a row; 1 each when left out.
        state: state of the stages from an earlier call (``explain=True`` returns it).
        seed: seed of the stages' generators.
        explain: return value, verdicts, measurements and state instead of the value alone.
        options: the rule's options, when it is given by name.

    Raises:
        ConfigError: an unknown rule, a wrong option or matrix.
        QuorumError: too few finite rows for the rule, or a result that is not finite.

    Example:
        >>> aggregate(torch.tensor([[0.0], [1.0], [1e9]]), "trimmed-mean", f=1)
        tensor([1.])
    """
    rows, give_back = take_matrix(matrix, "matrix")
    pipeline = _pipeline(rule, options)
    delivery = Individual(tuple(range(len(rows))), Rows(rows), _weights(weights, len(rows)))
    if not len(rows):
        raise QuorumError("nothing to aggregate", place="matrix", got=tuple(rows.shape))
    before = _state(state, pipeline, rows.shape[1])
    arrived = pipeline.transport.deliver(delivery)
    after, outcome = pipeline.receive(before, arrived, 0, Streams(seed))
    if outcome.aggregate is None:
        raise QuorumError(_reason(str(outcome.void)), place="matrix")
    value = cast(M, give_back(outcome.aggregate.delta.to(rows)))
    if not explain:
        return value
    measured = {stage.name: stage.measurements for stage in outcome.stages}
    return Explained(value, outcome.aggregate.verdicts, measured, after, outcome.dropped)


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
    return build_pipeline(rule if isinstance(rule, list | tuple) else [rule], "rule")


def _weights(weights: Weights | None, rows: int) -> torch.Tensor:
    if weights is None:
        return torch.ones(rows, dtype=torch.float64)
    try:
        made = torch.as_tensor(weights, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise ConfigError(
            "weights are numbers", place="weights", got=weights, fix=f"give {rows}, one a row"
        ) from None
    if made.shape != (rows,):
        raise ConfigError(
            "one weight a row", place="weights", got=tuple(made.shape), fix=f"give {rows}"
        )
    return made


def _state(state: State | None, pipeline: Pipeline, dim: int) -> State:
    fresh = pipeline.init(dim)
    if state is None:
        return fresh
    places = {str(place) for place in range(len(pipeline.screens) + 1)}
    fits = (
        isinstance(state, dict)
        and state.keys() >= fresh.keys()
        and all(str(key).partition("/")[0] in places for key in state)
        and all(isinstance(value, torch.Tensor) for value in state.values())
        # A stage that remembers a growing number of clients starts with an empty tensor.
        and all(state[k].shape == v.shape for k, v in fresh.items() if v.numel())
    )
    if not fits:
        raise ConfigError(
            "this state belongs to another pipeline or another number of coordinates",
            place="state",
            got=sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__,
            fix="pass on the state that an earlier call with the same stages returned",
        )
    return state


def _reason(void: str) -> str:
    if void == "overflow":
        return "the result is too large for its dtype"
    return void.removeprefix("no-quorum: ")
