"""Tables as CSV and LaTeX: safe to open, whatever text the data brought along.

Text of a table may come from data: names of hospitals, classes, files. A spreadsheet must not take
it for a formula, and LaTeX must not take it for a command.
"""

from __future__ import annotations

import csv
import io
import math
import re

from asepsis.report.grids import Grid
from asepsis.report.wording import MINUS

FORMULA = ("=", "+", "-", "@")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
VALUE = " [value]"
"""Stands behind the head of a column that holds a figure as it was computed, all digits."""
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "-": "{-}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "[": "{[}",
    "]": "{]}",
    MINUS: "$-$",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "ε": r"$\varepsilon$",
    "δ": r"$\delta$",
    "α": r"$\alpha$",
    "σ": r"$\sigma$",
    "²": r"$^2$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "–": "--",
    "“": "``",
    "”": "''",
    "▼": r"$\downarrow$",
    "▲": r"$\uparrow$",
    "✓": r"$+$",
    "✕": r"$\times$",
    "■": r"$\bullet$",
    "◉": r"$\circ$",
}


def csv_text(grid: Grid) -> str:
    """Write a table as CSV, one column for what is read, one for each exact figure.

    Example:
        >>> from asepsis.report.grids import Cell
        >>> print(csv_text(Grid(["rule", "ASR"], [[Cell("=1+1"), Cell("91.0 ±2.5", 0.91)]])))
        rule,ASR,ASR [value]
        '=1+1,91.0 ±2.5,0.91
        <BLANKLINE>
    """
    exact = [_exact(grid, column) for column in range(len(grid.heads))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [(head, head + VALUE) for head in grid.heads]
    writer.writerow(_chosen(heads, exact))
    for row in grid.rows:
        writer.writerow(_chosen([(cell.text, _figure(cell.order)) for cell in row], exact))
    return out.getvalue()


def _exact(grid: Grid, column: int) -> bool:
    """Whether a column has figures that are read otherwise than they were computed."""
    cells = [row[column] for row in grid.rows]
    return any(_figure(cell.order) not in ("", cell.text) for cell in cells)


def _chosen(pairs: list[tuple[str, str]], exact: list[bool]) -> list[str]:
    return [
        plain(text)
        for pair, both in zip(pairs, exact, strict=True)
        for text in pair[: 2 if both else 1]
    ]


def _figure(order: float | str) -> str:
    """Write what a cell is sorted by, if that is a number."""
    return str(order) if isinstance(order, int | float) and math.isfinite(order) else ""


def plain(text: str) -> str:
    """Keep a spreadsheet from taking text for a formula; numbers stay numbers.

    Control characters, line breaks among them, become a space.

    Example:
        >>> plain("=SUM(A1)"), plain("-0.5"), plain("-0.5 of it"), plain("krum")
        ("'=SUM(A1)", '-0.5', "'-0.5 of it", 'krum')
    """
    shown = CONTROL.sub(" ", text)
    risky = shown.lstrip(" ").startswith(FORMULA) and not NUMBER.fullmatch(shown)
    return "'" + shown if risky else shown


def latex_text(grid: Grid, caption: str, label: str) -> str:
    """Write a table as a LaTeX float that needs no package.

    Args:
        grid: the table.
        caption: what stands above it; escaped like every cell.
        label: what ``\\ref`` names it by; only letters, digits, ``-`` and ``:`` are kept.
    """
    rows = [" & ".join(latex(cell.text) for cell in row) + r" \\" for row in grid.rows]
    lines = [
        r"\begin{table}",
        rf"\caption{{{latex(caption)}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9:-]', '-', label)}}}",
        rf"\begin{{tabular}}{{{'l' * len(grid.heads)}}}",
        r"\hline",
        " & ".join(latex(head) for head in grid.heads) + r" \\",
        r"\hline",
        *rows,
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex(text: str) -> str:
    r"""Write text so that LaTeX sets it and does nothing else; control characters become spaces.

    Example:
        >>> print(latex(r"50% \input{x} a_b"))
        50\% \textbackslash{}input\{x\} a\_b
    """
    return "".join(LATEX.get(letter, letter) for letter in CONTROL.sub(" ", text))
