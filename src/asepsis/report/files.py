"""Plots as files: SVG and PDF that can be opened, printed and cited by themselves."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from asepsis.report import plots
from asepsis.report.plots import Plot

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

PAPER = {
    plots.INK: "#1b2530",
    plots.LINE: "#d8dfe6",
    **dict(
        zip(
            plots.SERIES,
            ("#0067a5", "#c04f00", "#00795a", "#a3478a", "#8a6d00", "#4d5b66"),
            strict=True,
        )
    ),
}
"""What stands in for a page's colors on paper: those of the light page."""
COLORED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


def svg_file(plot: Plot) -> bytes:
    """Return a plot as an SVG document of its own, title included."""
    if plot.drawing is None:
        raise ValueError(f"{plot.name} was not drawn here")
    return plots.svg(_on_paper(plot.drawing)).encode()


def pdf_file(plot: Plot) -> bytes:
    """Return a plot as PDF with embedded fonts; the same plot gives the same bytes."""
    import matplotlib

    if plot.drawing is None:
        raise ValueError(f"{plot.name} was not drawn here")
    out = io.BytesIO()
    about = {"CreationDate": None, "Title": plot.title}
    settings: Any = {"pdf.fonttype": 42}
    with matplotlib.rc_context(settings):
        _on_paper(plot.drawing).savefig(out, format="pdf", metadata=about)
    return out.getvalue()


def _on_paper(figure: Figure) -> Figure:
    """Replace the stand-in colors of a drawing by those of paper; doing it twice does no harm."""
    for artist in figure.findobj():
        for what in COLORED:
            _recolor(artist, what)
    return figure


def _recolor(artist: Artist, what: str) -> None:
    from matplotlib.colors import to_hex

    read: Callable[[], Any] | None = getattr(artist, f"get_{what}", None)
    write: Callable[[Any], None] | None = getattr(artist, f"set_{what}", None)
    if read is None or write is None:
        return
    color = read()
    several = hasattr(color, "ndim") and color.ndim == 2
    if several and not len(color):
        return
    try:
        old = to_hex(color[0] if several else color)
    except ValueError:  # "auto", "none"
        return
    if old in PAPER:
        write(PAPER[old])
