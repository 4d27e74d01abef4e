"""Curves by round as SVG: no global state, the same bytes every time, legible in dark and light.

Figures are drawn in stand-in colors that :func:`inline` turns into CSS variables, so that a page
decides what they look like. Series differ in line style and marker too, never in color alone.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from asepsis.core.errors import MissingExtraError
from asepsis.core.samples import Array
from asepsis.experiments.results import Run
from asepsis.metrics.intervals import t_interval
from asepsis.report.again import Recipe

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
LEGEND_COLUMNS = 2
LEGEND_LINE = 0.17
MORE_PANELS = 1.7


@dataclass(frozen=True, eq=False)
class Curve:
    """One line with its band: mean and 95 % t-interval by round."""

    label: str
    rounds: Array
    mean: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Plot:
    """A figure that a page shows as it is, and how to make it again; ``name`` is that of its files.

    The drawing itself is kept for files in other formats.
    """

    title: str
    svg: Markup
    name: str = ""
    drawing: Figure | None = field(default=None, repr=False, compare=False)
    recipe: Recipe | None = None


def finished(figure: Figure, name: str, title: str) -> Plot:
    """Make a figure ready for a page, under ids of its own."""
    shown = Markup(inline(svg(figure), name, title))
    figure.set_layout_engine("none")  # laid out once: files look like the page
    return Plot(title, shown, name, figure)


def curve(label: str, runs: Sequence[Run], metric: str) -> Curve:
    """Average a metric over runs, round by round; rounds nobody scored are left out."""
    return averaged(label, [run.curve(metric) for run in runs])


def averaged(label: str, rows: Sequence[Sequence[float]]) -> Curve:
    """Average curves of several runs, round by round.

    Rounds known of fewer runs than others are left out: a mean over other runs is another curve.
    """
    length = max((len(row) for row in rows), default=0)
    found = [t_interval([row[i] for row in rows if i < len(row)]) for i in range(length)]
    most = max((item.n for item in found), default=0)
    points = [
        (number, item.mean, item.low, item.high)
        for number, item in enumerate(found, start=1)
        if item.n == most > 0
    ]
    table = np.array(points, dtype=np.float64).reshape(-1, 4)
    return Curve(label, table[:, 0], table[:, 1], table[:, 2], table[:, 3])


def draw(
    curves: Sequence[Curve],
    *,
    ylabel: str,
    starts_at: int | None = None,
    attacked: Sequence[int] = (),
    share: bool = True,
    lowest: float = 0.0,
    rounds: float = math.nan,
    references: Sequence[Curve] = (),
) -> Figure:
    """Draw curves by round into one panel.

    Args:
        curves: the series, in the order of the legend.
        ylabel: what the vertical axis shows.
        starts_at: first attacked round (0-based); a vertical line stands before it.
        attacked: rounds (0-based) of an attacker who left: they are shaded.
        share: the values lie in [0, 1] and are shown in percent.
        lowest: where the vertical axis of a share begins.
        rounds: where the horizontal axis ends, when panels share it.
        references: what nobody attacked (a floor, a twin), drawn thin; several of them take the
            colors of the series in their order.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure, (axes,) = panels(len(curves) + len(references))
    factor = 100.0 if share else 1.0
    for number, item in enumerate(curves):
        _line(axes, item, number, factor)
    for number, item in enumerate(item for item in references if len(item.mean)):
        color = SERIES[number % len(SERIES)] if len(references) > 1 else INK
        label = safe(item.label)
        axes.plot(item.rounds, factor * item.mean, color=color, lw=1, ls=":", label=label)
    if starts_at is not None:
        axes.axvline(starts_at + 0.5, color=INK, lw=1, ls=(0, (2, 2)))
    if attacked:
        _shade(axes, attacked)
    dress(axes, "round", ylabel)
    if math.isfinite(rounds):
        axes.set_xlim(0, rounds + 1)
    if share:
        axes.set_ylim(factor * lowest - 2, 102)
    if curves:
        legend(figure)
    return figure


def steps(
    curves: Sequence[tuple[str, Array, Array]], end: float, xlabel: str, ylabel: str
) -> Figure:
    """Draw step functions that start at 1: label, where they fall, and to what share.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure, (axes,) = panels(len(curves))
    for number, (label, where, share) in enumerate(curves):
        shown = where <= end
        across = np.concatenate([[0.0], where[shown], [end]])
        held = np.concatenate([[1.0], share[shown]])
        style = _style(number)
        # Lines that fall together lie beside each other.
        up = 100 * np.append(held, held[-1]) + 0.5 * number
        axes.step(across, up, where="post", lw=1.8, label=safe(label), **style)
    dress(axes, xlabel, ylabel)
    axes.set_xlim(0, max(end, 1))
    axes.set_ylim(-2, 102 + len(curves))
    legend(figure)
    return figure


def roc(curves: Sequence[tuple[str, Array, Array]]) -> Figure:
    """Draw true against false positive rates, both on logarithmic axes, above what chance has.

    Args:
        curves: label, false and true positive rates of each; zeros are left out.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure, (axes,) = panels(len(curves))
    low = 1e-3
    axes.plot([low, 1], [low, 1], color=INK, lw=1, ls=":")
    for number, (label, false, true) in enumerate(curves):
        shown = (false > 0) & (true > 0)
        style = {**_style(number), "marker": ""}
        axes.plot(false[shown], true[shown], lw=1.8, label=safe(label), **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    dress(axes, "false positive rate", "true positive rate")
    axes.set_xlim(low, 1.1)
    axes.set_ylim(low, 1.1)
    legend(figure)
    return figure


def panels(series: int, count: int = 1) -> tuple[Figure, list[Axes]]:
    """Return empty panels below each other; a long legend gets room of its own.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure as NewFigure
    except ImportError:
        raise MissingExtraError("matplotlib", "plots") from None
    width, height = SIZE
    rows = -(-series // LEGEND_COLUMNS)
    taller = height + MORE_PANELS * (count - 1) + LEGEND_LINE * max(0, rows - 2)
    figure = NewFigure(figsize=(width, taller), layout="constrained")
    made = figure.subplots(count, 1, sharex=True, squeeze=False)
    return figure, list(made[:, 0])


def legend(figure: Figure) -> None:
    """Put one legend below all panels."""
    figure.legend(
        loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False, fontsize=8, labelcolor=INK
    )


def _shade(axes: Axes, attacked: Sequence[int]) -> None:
    """Shade the attacked rounds and mark the attacker's departure."""
    last = max(attacked)
    starts = [round_ for round_ in attacked if round_ - 1 not in attacked]
    ends = [round_ for round_ in attacked if round_ + 1 not in attacked]
    for first, end in zip(starts, ends, strict=True):
        axes.axvspan(first + 0.5, end + 1.5, color=INK, alpha=0.09, lw=0)
    axes.axvline(last + 1.5, color=INK, lw=1)
    axes.annotate(
        "attacker left",
        (last + 1.5, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(3, 2),
        textcoords="offset points",
        fontsize=7.5,
        color=INK,
    )


def _style(number: int) -> dict[str, Any]:
    """Style of a series: color, dash and marker; beyond the colors, other pairs of them."""
    turn, place = divmod(number, len(SERIES))
    return {
        "color": SERIES[place],
        "ls": DASHES[(place + 2 * turn) % len(DASHES)],
    }


def _line(axes: Axes, item: Curve, number: int, factor: float) -> None:
    style = _style(number)
    axes.plot(
        item.rounds,
        factor * item.mean,
        lw=1.8,
        marker=MARKERS[(number + number // len(SERIES)) % len(MARKERS)],
        ms=3.5,
        markevery=(number, max(5, len(item.rounds) // 10)),
        label=safe(item.label),
        **style,
    )
    if np.isfinite(item.low).any():
        axes.fill_between(
            item.rounds,
            factor * item.low,
            factor * item.high,
            color=style["color"],
            alpha=0.16,
            lw=0,
        )


def dress(axes: Axes, xlabel: str, ylabel: str) -> None:
    """Name the axes, and take away what draws the eye from the curves."""
    axes.set_xlabel(xlabel, fontsize=9, color=INK)
    axes.set_ylabel(safe(ylabel), fontsize=9, color=INK)
    axes.tick_params(colors=INK, labelsize=8, length=3)
    axes.grid(True, color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)


def safe(text: str) -> str:
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
    """Return where an axis may begin that several panels share: the tenth below all they show."""
    shown = [np.concatenate([item.mean, item.low]) for item in curves]
    values = np.concatenate(shown) if shown else np.empty(0)
    known = values[np.isfinite(values)]
    return math.floor(10 * float(known.min())) / 10 if known.size else 0.0


def last_round(curves: Sequence[Curve]) -> float:
    """Return the last round of some curves, NaN when there is none."""
    return max((float(item.rounds[-1]) for item in curves if len(item.rounds)), default=math.nan)
