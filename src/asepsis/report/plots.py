"""Curves by round as SVG: no global state, the same bytes every time, legible in dark and light.

Figures are drawn in stand-in colors that :func:`inline` turns into CSS variables, so that a page
decides what they look like. Series differ in line style and marker too, never in color alone.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asepsis.core.errors import MissingExtraError
from asepsis.core.samples import Array
from asepsis.experiments.results import Run
from asepsis.metrics.intervals import t_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"
LINE = "#010204"
SERIES = ("#010211", "#010212", "#010213", "#010214", "#010215", "#010216")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
SALT = "asepsis"
SIZE = (3.9, 2.8)


@dataclass(frozen=True, eq=False)
class Curve:
    """One line with its band: mean and 95 % t-interval by round."""

    label: str
    rounds: Array
    mean: Array
    low: Array
    high: Array


def curve(label: str, runs: Sequence[Run], metric: str) -> Curve:
    """Average a metric over runs, round by round; rounds nobody scored are left out."""
    rows = [run.curve(metric) for run in runs]
    length = max((len(row) for row in rows), default=0)
    points = []
    for round_ in range(length):
        found = t_interval([row[round_] for row in rows if round_ < len(row)])
        if found.n:
            points.append((round_ + 1, found.mean, found.low, found.high))
    table = np.array(points, dtype=np.float64).reshape(-1, 4)
    return Curve(label, table[:, 0], table[:, 1], table[:, 2], table[:, 3])


def draw(
    curves: Sequence[Curve],
    *,
    ylabel: str,
    starts_at: int | None = None,
    share: bool = True,
    lowest: float = 0.0,
    rounds: float = math.nan,
    reference: Curve | None = None,
) -> Figure:
    """Draw curves by round into one panel.

    Args:
        curves: the series, in the order of the legend.
        ylabel: what the vertical axis shows.
        starts_at: first attacked round (0-based); a vertical line stands before it.
        share: the values lie in [0, 1] and are shown in percent.
        lowest: where the vertical axis of a share begins.
        rounds: where the horizontal axis ends, when panels share it.
        reference: a floor or chance level, drawn thin.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure as NewFigure
    except ImportError:
        raise MissingExtraError("matplotlib", "plots") from None
    figure = NewFigure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    factor = 100.0 if share else 1.0
    for number, item in enumerate(curves):
        _line(axes, item, number, factor)
    if reference is not None and len(reference.mean):
        axes.plot(
            reference.rounds,
            factor * reference.mean,
            color=INK,
            lw=1,
            ls=":",
            label=reference.label,
        )
    if starts_at is not None:
        axes.axvline(starts_at + 0.5, color=INK, lw=1, ls=(0, (2, 2)))
    _dress(axes, ylabel)
    if math.isfinite(rounds):
        axes.set_xlim(0, rounds + 1)
    if share:
        axes.set_ylim(factor * lowest - 2, 102)
    if curves:
        figure.legend(
            loc="outside lower center", ncols=2, frameon=False, fontsize=8, labelcolor=INK
        )
    return figure


def _line(axes: Axes, item: Curve, number: int, factor: float) -> None:
    color = SERIES[number % len(SERIES)]
    axes.plot(
        item.rounds,
        factor * item.mean,
        color=color,
        lw=1.8,
        ls=DASHES[number % len(DASHES)],
        marker=MARKERS[number % len(MARKERS)],
        ms=3.5,
        markevery=(number, 5),
        label=_safe(item.label),
    )
    if np.isfinite(item.low).any():
        axes.fill_between(
            item.rounds, factor * item.low, factor * item.high, color=color, alpha=0.16, lw=0
        )


def _dress(axes: Axes, ylabel: str) -> None:
    axes.set_xlabel("round", fontsize=9, color=INK)
    axes.set_ylabel(_safe(ylabel), fontsize=9, color=INK)
    axes.tick_params(colors=INK, labelsize=8, length=3)
    axes.grid(True, color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)


def _safe(text: str) -> str:
    """Keep text from being read as a formula."""
    return text.replace("$", r"\$").lstrip("_")


def svg(figure: Figure) -> str:
    """Render a figure as a standalone SVG document, without date or generator."""
    import matplotlib

    out = io.StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": SALT, "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return out.getvalue()


def inline(document: str, name: str, title: str) -> str:
    """Make a standalone SVG fit into a page: own ids, CSS colors, a title for screen readers.

    Args:
        document: what :func:`svg` returned.
        name: prefix that keeps the ids of two figures of a page apart.
        title: what the figure shows; it is escaped.
    """
    from markupsafe import escape

    body = document[document.index("<svg") :].strip()
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\s+xmlns(?::\w+)?="[^"]*"', "", body)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    head, rest = body.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    label = f'role="img" aria-labelledby="{name}-title"'
    made = f'{head} {label}><title id="{name}-title">{escape(title)}</title>{rest}'
    for number, color in enumerate(SERIES):
        made = made.replace(color, f"var(--series-{number})")
    return made.replace(INK, "currentColor").replace(LINE, "var(--grid)")


def lowest_share(curves: Sequence[Curve]) -> float:
    """Return where an axis may begin that several panels share: a tenth below all they show."""
    shown = [np.concatenate([item.mean, item.low]) for item in curves]
    values = np.concatenate(shown) if shown else np.empty(0)
    known = values[np.isfinite(values)]
    return max(0.0, math.floor(10 * float(known.min())) / 10) if known.size else 0.0


def last_round(curves: Sequence[Curve]) -> float:
    """Return the last round of some curves, NaN when there is none."""
    return max((float(item.rounds[-1]) for item in curves if len(item.rounds)), default=math.nan)
