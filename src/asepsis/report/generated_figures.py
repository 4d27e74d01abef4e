"""Pictures of generators: what they make round by round, and the losses of every hospital."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from torch import Tensor

from asepsis.core.errors import AsepsisError
from asepsis.core.samples import Array
from asepsis.experiments.identity import record_name
from asepsis.experiments.penalties import Block, blocks, hostile, named
from asepsis.experiments.results import Results, Run
from asepsis.experiments.run import gallery_rounds
from asepsis.experiments.store import Store, read_tensors
from asepsis.report import plots
from asepsis.report.findings import Finding, Scenario
from asepsis.report.pictures import IN_A_ROW, REAL, Picture, picture
from asepsis.report.plots import INK, SERIES, Plot
from asepsis.report.wording import counted, listed
from asepsis.tasks.generation import pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
"""So many rounds stand side by side: the first that was kept, one in between, the last."""
LARGEST_TILE, SMALLEST_TILE = 64, 24
BUDGET = 2_400_000
"""Characters of pictures of generated images that a page has room for."""
CODED = 4 / 3
GAP = 128
MUTED = 0.4
FAR = 20.0
"""Losses so many times the usual ones are shown on a logarithmic scale."""
DIGITS = re.compile(r"(\d+\.\d\d)\d+")
DRAWN = re.compile(r'(?<=\s)(?:d|points)="[^"]*"')
"""Where a figure says where its lines run; anything else in it may be a name."""


@dataclass(frozen=True)
class Row:
    """One generator, or real images: a picture of eight images for each of the rounds."""

    name: str
    shown: list[Picture | None]


@dataclass(frozen=True)
class Board:
    """Images by round: heads are the rounds, rows what made the images; real ones apart."""

    heads: list[str]
    real: list[tuple[str, Picture]]
    rows: list[Row]


@dataclass(frozen=True, eq=False)
class _Kept:
    """What one run kept: real images by name, generated ones by round."""

    run: Run
    real: dict[str, Tensor]
    made: dict[int, Tensor]


def board(results: Results, scenario: Scenario, share: float = 1.0) -> Board | None:
    """Show real images, and what every cell's first seed generates, round by round.

    Args:
        results: where pictures are kept.
        scenario: whose.
        share: of the page's room for pictures.

    Returns:
        Nothing when no run kept any picture.
    """
    found = [(f, kept) for f in scenario.findings if (kept := _kept(results, f))]
    if not found:
        return None
    rounds = _columns(sorted({round_ for _, kept in found for round_ in kept.made}))
    real = _real(found)
    side = _side(BUDGET * share, len(real) + len(found) * len(rounds), _channels(found[0][1]))
    return Board(
        heads=[f"round {round_ + 1}" for round_ in rounds],
        real=[(name, montage(batch, side, name)) for name, batch in real],
        rows=[_row(scenario, finding, kept, rounds, side) for finding, kept in found],
    )


def _real(found: Sequence[tuple[Finding, _Kept]]) -> list[tuple[str, Tensor]]:
    """Return real images once, and behind them those with each trigger, named by its attacks."""
    clean = [kept.real["real"] for _, kept in found if "real" in kept.real][:1]
    stamped: list[tuple[list[str], Tensor]] = []
    for finding, kept in found:
        if not finding.attacked or "stamped" not in kept.real:
            continue
        same = (names for names, batch in stamped if _alike(batch, kept.real["stamped"]))
        names = next(same, None)
        if names is None:
            stamped.append(([finding.attack], kept.real["stamped"]))
        elif finding.attack not in names:
            names.append(finding.attack)
    triggers = [(f"{REAL['stamped']} of {listed(names)}", batch) for names, batch in stamped]
    return [*((REAL["real"], batch) for batch in clean), *triggers]


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one == other).all())


def _row(scenario: Scenario, finding: Finding, kept: _Kept, rounds: list[int], side: int) -> Row:
    name = _title(scenario, finding)
    shown = [
        montage(kept.made[r], side, f"{name}, round {r + 1}") if r in kept.made else None
        for r in rounds
    ]
    return Row(name, shown)


def _title(scenario: Scenario, finding: Finding) -> str:
    """Name a cell by what happens in it."""
    if not finding.attacked:
        return f"clean: {finding.attack} under {finding.defense}".replace(
            ": none", ": nobody attacks"
        )
    word = "attacked" if finding.defense == scenario.baseline else "defended"
    word = "oracle" if finding.oracle else word
    return f"{word}: {finding.attack} under {finding.defense}"


def _columns(rounds: list[int]) -> list[int]:
    """Pick the first, the last, and those evenly between."""
    if len(rounds) <= COLUMNS:
        return rounds
    where = [round(i * (len(rounds) - 1) / (COLUMNS - 1)) for i in range(COLUMNS)]
    return [rounds[i] for i in where]


def _kept(results: Results, finding: Finding) -> _Kept | None:
    """Read the pictures of a finding's first run that kept any."""
    if results.root is None:
        return None
    store = Store(results.root)
    for run in finding.group.runs:
        made = dict(_by_round(store, run, results.engine))
        if made:
            whole = _read(store.pictures(record_name(run.cell, results.engine)))
            real = {name: batch for name, batch in whole.items() if name in REAL}
            return _Kept(run, real, made)
    return None


def _by_round(store: Store, run: Run, engine: str) -> Iterator[tuple[int, Tensor]]:
    name, watching = record_name(run.cell, engine), len(run.resolved.get("observe", []))
    for round_ in gallery_rounds(run.cell.spec.federation.rounds):
        for number in (watching, watching + 1):  # behind all observers, the attack among them
            tensors = _read(store.artifact(name, round_, number))
            if "generated" in tensors:
                yield round_, tensors["generated"]
                break


def _read(path: Any) -> dict[str, Tensor]:
    """Read images by name; a damaged file shows nothing."""
    try:
        found = read_tensors(path) or {}
    except AsepsisError:
        return {}
    return {name: batch for name, batch in found.items() if _images(batch)}


def _images(batch: Tensor) -> bool:
    return batch.ndim == 4 and batch.shape[1] in (1, 3) and min(batch.shape) > 0


def _channels(kept: _Kept) -> int:
    return int(next(iter(kept.made.values())).shape[1])


def _side(budget: float, count: int, channels: int) -> int:
    """Return how many pixels an image may be wide so that all pictures fit."""
    side = math.isqrt(max(0, int(budget / (CODED * max(1, count) * IN_A_ROW * channels))))
    return min(LARGEST_TILE, max(SMALLEST_TILE, side))


def montage(batch: Tensor, side: int, caption: str) -> Picture:
    """Put up to eight images ``[n, c, h, w]`` in [-1, 1] beside each other as one picture.

    Larger ones are averaged down to at most ``side`` pixels, so that a small trigger fades and is
    not lost.
    """
    tiles = [_small(image, side) for image in pixels(batch[:IN_A_ROW].float())]
    gap = np.full_like(tiles[0][:, :1], GAP)
    parts = [part for tile in tiles for part in (tile, gap)][:-1]
    made = np.concatenate(parts, axis=1)
    return picture(made, caption, most=max(made.shape))


def _small(image: Array, side: int) -> Array:
    step = -(-max(image.shape[:2]) // side)
    high, wide = (extent // step for extent in image.shape[:2])
    if step == 1 or not high or not wide:
        return image
    blocks_ = image[: high * step, : wide * step].reshape(high, step, wide, step, -1)
    small: Array = np.rint(blocks_.mean(axis=(1, 3), dtype=np.float64)).astype(np.uint8)
    return small if image.ndim == 3 else small[..., 0]


def loss_plots(scenario: Scenario, name: str) -> list[Plot]:
    """Draw every cell's losses by hospital, of the first seed, and mark who was blocked when.

    Losses are those that hospitals measured; where they say others, these are dashed.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    made = []
    for number, finding in enumerate(scenario.findings):
        run = next((run for run, _ in finding.group.good), None)
        if run is not None and any(item.get("critic_loss") for item in run.rounds):
            made.append(_losses(run, finding, f"{name}-loss-{number}"))
    return made


def _losses(run: Run, finding: Finding, name: str) -> Plot:
    bad, caught = hostile(run), blocks(run)
    highlighted = [*sorted(bad), *(b.hospital for b in caught if not b.hostile)]
    figure, (above, below) = plots.panels(len(highlighted) + len(_told(run)) + 2, 2)
    for axes, key, label in (
        (above, "train_loss", "generator's loss"),
        (below, "critic_loss", "critic's loss"),
    ):
        _panel(axes, run, key, highlighted, caught, labeled=axes is above)
        plots.dress(axes, "round" if axes is below else "", label)
    _draw_told(above, run)
    start = finding.group.runs[0].cell.spec.threat.starts_at
    if finding.attacked and start > 0:
        for axes in (above, below):
            axes.axvline(start + 0.5, color=INK, lw=1, ls=(0, (2, 2)))
    plots.legend(figure)
    made = plots.finished(figure, name, _said(run, finding, caught))
    return replace(made, svg=Markup(shortened(made.svg)))


def shortened(svg: str) -> str:
    """Cut the digits of coordinates that nobody sees, and leave every name as it is.

    Example:
        >>> shortened('<path d="M 1.2345 6.789"/><text>site 10.12345</text>')
        '<path d="M 1.23 6.78"/><text>site 10.12345</text>'
    """
    return DRAWN.sub(lambda found: DIGITS.sub(r"\1", found[0]), svg)


def _said(run: Run, finding: Finding, caught: Sequence[Block]) -> str:
    said = [f"{named(run, b.hospital)} in round {b.round + 1}" for b in caught]
    outcome = f"blocked: {listed(said)}" if said else "nobody blocked"
    attack = finding.attack if finding.attacked else "no attack"
    return f"{attack} under {finding.defense}, seed {run.cell.seed}; {outcome}"


def _panel(
    axes: Axes,
    run: Run,
    key: str,
    highlighted: Sequence[int],
    caught: Sequence[Block],
    *,
    labeled: bool,
) -> None:
    """Draw one loss of all hospitals: honest ones muted, the others in front."""
    series = _series(run, key)
    others = [client for client in series if client not in highlighted]
    for i, client in enumerate(others):
        label = f"{counted(len(others), 'honest hospital')}" if i == 0 and labeled else "_"
        axes.plot(*series[client], color=INK, alpha=MUTED, lw=1, label=label)
    bad = hostile(run)
    for i, client in enumerate(client for client in highlighted if client in series):
        word = "hostile" if client in bad else "honest, blocked"
        color = SERIES[1] if client in bad else SERIES[3]
        style = "-" if client in bad else "--"
        label = plots.safe(f"{word}: {named(run, client)}") if labeled else "_"
        axes.plot(*series[client], color=color, lw=1.9, ls=style, label=label, zorder=3 + i)
        _mark(axes, series[client], [b for b in caught if b.hospital == client], color)
    _scale(axes, series)


def _told(run: Run) -> dict[int, tuple[Array, Array]]:
    """Return the losses that hospitals say they had, where they had others."""
    told = _series(run, "told_loss")
    return {client: line for client, line in told.items() if np.isfinite(line[1]).any()}


def _draw_told(axes: Axes, run: Run) -> None:
    """Draw what hospitals say beside what they measured: it is all that a defense sees."""
    bad = hostile(run)
    for client, line in _told(run).items():
        label = plots.safe(f"what {named(run, client)} says")
        color = SERIES[1] if client in bad else INK
        axes.plot(*line, color=color, lw=1.2, ls=(0, (4, 2)), label=label, zorder=8)


def _mark(axes: Axes, line: tuple[Array, Array], caught: Sequence[Block], color: str) -> None:
    """Mark the round in which a hospital was blocked, on its line and across the panel."""
    for block in caught[:1]:
        axes.axvline(block.round + 1, color=color, lw=1, alpha=0.7)
        height = np.interp(block.round + 1, *_finite(*line)) if len(_finite(*line)[0]) else 0.0
        axes.plot(
            [block.round + 1], [height], marker="X", ms=8, color=color, mec=INK, ls="", zorder=9
        )


def _finite(across: Array, up: Array) -> tuple[Array, Array]:
    known = np.isfinite(up)
    return across[known], up[known]


def _series(run: Run, key: str) -> dict[int, tuple[Array, Array]]:
    """Return rounds and losses of each hospital; gaps where a loss is no number."""
    found: dict[int, list[tuple[float, float]]] = {}
    for item in run.rounds:
        for client, loss in (item.get(key) or {}).items():
            value = float(loss) if math.isfinite(float(loss)) else math.nan
            found.setdefault(int(client), []).append((float(item["round"]) + 1, value))
    tables = {client: np.array(points) for client, points in sorted(found.items())}
    return {client: (table[:, 0], table[:, 1]) for client, table in tables.items()}


def _scale(axes: Axes, series: dict[int, tuple[Array, Array]]) -> None:
    """Let a hospital that diverged not flatten all the others."""
    sizes = np.concatenate([np.abs(up) for _, up in series.values()]) if series else np.empty(0)
    sizes = sizes[np.isfinite(sizes)]
    usual = float(np.quantile(sizes, 0.9)) if sizes.size else 0.0
    if usual > 0 and sizes.max() > FAR * usual:
        axes.set_yscale("symlog", linthresh=2 * usual)
