"""A monitor: several detectors score every update, and nothing is done about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asepsis.core import robust_math
from asepsis.core.errors import QuorumError
from asepsis.core.registry import build, register
from asepsis.core.rng import Draw, Streams
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Rows, Screened, State
from asepsis.defenses.clustering import cosine_distances

Scores = NDArray[np.float64]
Detector = Literal[
    "norm",
    "cosine",
    "distance",
    "neighbors",
    "likeness",
    "three-sigma",
    "dnc",
    "dos",
    "rflbat",
]
NAMES: tuple[str, ...] = get_args(Detector)
USUAL: tuple[Detector, ...] = (
    "norm",
    "cosine",
    "distance",
    "neighbors",
    "likeness",
    "three-sigma",
    "dnc",
    "dos",
)
LARGEST = 1e9
"""What a relative score is cut off at: beside rows that agree, any other is infinitely far."""
TINY = float(np.finfo(np.float64).tiny)


def norm(rows: Rows) -> Scores:
    """Return ``|ln(|x_i| / median |x|)|``: rows that are too long, and rows that are too short.

    Example:
        >>> import torch
        >>> norm(Rows(torch.tensor([[1.0], [1.0], [-1.0], [0.5]]))).round(3).tolist()
        [0.0, 0.0, 0.0, 0.693]
    """
    lengths = np.maximum(robust_math.row_norms(rows).cpu().numpy(), TINY)
    return np.asarray(np.abs(np.log(lengths) - np.log(np.median(lengths))))


def cosine(rows: Rows) -> Scores:
    """Return one minus the cosine to the median row; 1 where either has no direction.

    Example:
        >>> import torch
        >>> cosine(Rows(torch.tensor([[1.0], [2.0], [-3.0], [5.0]]))).tolist()
        [0.0, 0.0, 2.0, 0.0]
    """
    center = robust_math.median(rows)
    lengths = robust_math.row_norms(rows).cpu().numpy()
    size = float(robust_math.row_norms(Rows(center[None]))[0])
    products = robust_math.inner_products(rows, center).cpu().numpy()
    known = lengths * size > 0
    return np.asarray(np.where(known, 1.0 - products / np.where(known, lengths * size, 1.0), 1.0))


def distance(rows: Rows) -> Scores:
    """Return the distance to the median row, relative to the median of these.

    Example:
        >>> import torch
        >>> distance(Rows(torch.tensor([[0.0], [1.0], [2.0], [3.0], [10.0]]))).tolist()
        [2.0, 1.0, 0.0, 1.0, 8.0]
    """
    return _relative(robust_math.row_norms(rows, robust_math.median(rows)).cpu().numpy())


def neighbors(rows: Rows) -> Scores:
    """Return the root mean squared distance to the nearest half of the others, relative alike.

    Example:
        >>> import torch
        >>> neighbors(Rows(torch.tensor([[0.0], [1.0], [2.0], [9.0]]))).tolist()
        [1.0, 1.0, 1.0, 7.0]
    """
    squared = robust_math.squared_distances(rows).numpy()
    count = max(len(squared) // 2 - 1, 1)
    nearest = np.sort(squared, axis=1)[:, 1 : 1 + count]
    return _relative(np.sqrt(nearest.mean(axis=1)) if nearest.size else np.zeros(len(squared)))


def likeness(rows: Rows) -> Scores:
    """Return the highest cosine to another row: copies, and those who agreed beforehand.

    Example:
        >>> import torch
        >>> likeness(Rows(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))).tolist()
        [1.0, 1.0, 0.0]
    """
    alike = 1.0 - cosine_distances(rows).numpy()
    np.fill_diagonal(alike, -1.0)
    return np.asarray(alike.max(axis=1, initial=-1.0))


OWN: dict[str, Callable[[Rows], Scores]] = {
    "norm": norm,
    "cosine": cosine,
    "distance": distance,
    "neighbors": neighbors,
    "likeness": likeness,
}


def _relative(values: Scores) -> Scores:
    middle = float(np.median(values)) if len(values) else 0.0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        made = np.where(values > 0, values / middle, 0.0)
    return np.asarray(np.minimum(made, LARGEST))


def _borrowed(name: str, delivery: Individual, context: ServerContext) -> Scores:
    """Return the scores of a stage that is a defense elsewhere; NaN where it refuses the cohort."""
    stage = build(("screen", "aggregator"), name)
    dim = delivery.rows.shape[1]
    try:
        scores = stage.apply(stage.init(dim), delivery, context)[1].scores
    except QuorumError:
        scores = {}
    return np.array([scores.get(client, math.nan) for client in delivery.clients])


@register("screen", "monitor")
class Monitor:
    """Score every update by several detectors, and pass all of them through unchanged.

    For x ``[n, d]``, medians by coordinate, higher is more suspicious: ``norm`` is
    ``|ln(|x_i| / median |x|)|``; ``cosine`` is ``1 - cos(x_i, median)``; ``distance`` is
    ``|x_i - median|`` and ``neighbors`` the root mean squared distance to the nearest
    ``max(floor(n / 2) - 1, 1)`` others, both relative to their median over the cohort;
    ``likeness`` is the highest cosine to another row, which finds copies. ``three-sigma``, ``dnc``,
    ``dos`` and ``rflbat`` are the scores of these defenses with their default options; one that
    refuses a cohort says nothing in that round (NaN in the record).

    Scores go into the record, by detector, hospital and round; there they stand beside the truth,
    and detectors are compared. They are no verdicts, and the model is bit for bit the one of the
    run without a monitor: it draws random numbers of its own. It judges what reaches it: put it
    first to see all rows. Detectors remember nothing of earlier rounds.

    Source: ours; the borrowed scores are those of the defenses they are named after.

    Fidelity: own

    Example:
        >>> import torch
        >>> from asepsis.defenses.call import aggregate
        >>> rows = torch.tensor([[1.0], [3.0], [80.0]])
        >>> aggregate(rows, [{"name": "monitor", "detectors": ["distance"]}, "mean"])
        tensor([28.])
    """

    claims: ClassVar[frozenset[str]] = frozenset()
    watches: ClassVar[bool] = True

    detectors: Annotated[tuple[Detector, ...], Field(min_length=1)] = USUAL

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Score one round's rows."""
        streams = Streams(int(context.rng.integers(1 << 63)))
        found: dict[str, Mapping[int, float]] = {}
        for name in dict.fromkeys(self.detectors):
            # By name, so that a detector draws the same whoever stands beside it.
            own = replace(context, rng=streams.at(Draw.MONITOR, NAMES.index(name)))
            scores = self._scores(name, delivery, own)
            found[name] = dict(zip(delivery.clients, scores.tolist(), strict=True))
        return state, Screened(delivery, monitors=found)

    def _scores(self, name: str, delivery: Individual, context: ServerContext) -> Scores:
        if name in OWN:
            return OWN[name](delivery.rows)
        return _borrowed(name, delivery, context)
