"""Tables whose columns do not fit side by side become several."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

GUTTER = 3
"""What a column needs beside its text: padding and a border."""
BORDERS = 4
"""What a table needs beside its first column's text and the other columns."""
WIDEST_COLUMN = 24


def printable(text: str, style: str = "") -> Text:
    """Make text of what may come from a file: no markup, no escape codes."""
    return Text("".join(c if c.isprintable() else "?" for c in text), style=style)


def split_tables(
    corner: str, rows: list[str], columns: list[str], cells: Sequence[Sequence[str]], width: int
) -> list[Table]:
    """Lay texts ``[rows][columns]`` out in as many tables as it takes that no word is broken."""
    first = max(_longest_word(text) for text in [corner, *rows])
    first = max(first, min(WIDEST_COLUMN, max(len(text) for text in rows)))
    needs = [_need([head, *(row[i] for row in cells)]) for i, head in enumerate(columns)]
    made = []
    for part in parted(needs, width - first - BORDERS):
        table = Table(header_style="bold")
        table.add_column(corner, width=first, overflow="fold")
        for i in part:
            table.add_column(printable(columns[i]), width=needs[i], overflow="fold")
        for head, row in zip(rows, cells, strict=True):
            table.add_row(printable(head), *(printable(row[i]) for i in part))
        made.append(table)
    return made


def _need(texts: list[str]) -> int:
    """Return a width in which figures stay on one line, and no word is broken."""
    whole = [len(text) for text in texts[1:] if len(text) <= WIDEST_COLUMN]
    return max([*whole, *(_longest_word(text) for text in texts)])


def _longest_word(text: str) -> int:
    return max((len(word) for word in text.split()), default=0)


def parted(needs: list[int], room: int) -> list[list[int]]:
    """Put columns of these widths into as few tables as fit, in their order.

    Example:
        >>> parted([10, 10, 10, 40], room=26)
        [[0, 1], [2], [3]]
    """
    made: list[list[int]] = [[]]
    used = 0
    for i, need in enumerate(needs):
        if made[-1] and used + need + GUTTER > room:
            made.append([])
            used = 0
        made[-1].append(i)
        used += need + GUTTER
    return made
