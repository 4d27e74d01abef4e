"""Results as tables: a row a run, or a row a run and round; kept as Parquet or CSV.

NaN (not estimable) and nothing (the run has no such figure) are two things: Parquet keeps both, as
NaN and null. CSV has ``nan`` and an empty field.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.experiments.store import SCHEMA, rounds_of, write_atomic

if TYPE_CHECKING:
    from asepsis.experiments.results import Run

Row = Mapping[str, Any]
EXTRA = "parquet"
KINDS = (".parquet", ".csv")
KEY = "asepsis"
"""Under this name Parquet's metadata holds ours, as JSON."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for the start of a formula."""


def run_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return a row a run: labels, status, means over the last rounds, the last round, cost."""
    return [_run_row(run) for run in runs]


def round_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return a row a run and round: labels, who attacked, figures, cost."""
    return [row for run in runs for row in _round_rows(run)]


def _labels(run: Run) -> dict[str, Any]:
    cell = run.cell
    return {
        "scenario": cell.scenario,
        "attack": cell.attack,
        "defense": cell.defense,
        **dict(cell.labels),
        "seed": cell.seed,
    }


def _run_row(run: Run) -> dict[str, Any]:
    footer = run.footer
    last = {f"{name}_last": value for name, value in _own(footer.get("last", {})).items()}
    return {
        **_labels(run),
        "status": footer["status"],
        "message": footer.get("message", ""),
        **_own(footer.get("tail", {})),
        **last,
        "void_rounds": footer.get("void_rounds", math.nan),
        "seconds_per_round": math.fsum(run.seconds().values()),
        "protocol": run.resolved.get("protocol", ""),
    }


def _round_rows(run: Run) -> list[dict[str, Any]]:
    labels = _labels(run)
    return [
        {
            **labels,
            "round": int(line["result"]["round"]),
            "hostile": len(line["result"].get("hostile", [])),
            "present": len(line["result"].get("present", [])),
            "void": line["result"].get("void"),
            **_own(line["result"].get("metrics", {})),
            "seconds": math.fsum(line.get("observed", {}).get("seconds", {}).values()),
            "protocol": run.resolved.get("protocol", ""),
        }
        for line in rounds_of(run.lines)
    ]


def _own(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave out a twin's figures about attacks that nobody made."""
    return {n: v for n, v in metrics.items() if not (n.startswith("floor") and "/" in n)}


def columns(rows: Iterable[Row]) -> list[str]:
    """Return the columns of some rows, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write_table(rows: Sequence[Row], path: Path, about: Mapping[str, Any]) -> None:
    """Write rows as Parquet or CSV, as the path's ending says: whole or not at all, 0600.

    Args:
        rows: names to values; a name may be missing.
        path: where to, ending in ``.parquet`` or ``.csv``.
        about: metadata, such as protocol hashes; CSV has no place for it.

    Raises:
        ConfigError: the path ends otherwise.
        MissingExtraError: Parquet without pyarrow.
        StoreError: the file cannot be written.
    """
    if path.suffix not in KINDS:
        raise ConfigError(
            "not a kind of table", place=str(path), got=path.suffix, fix=f"use {' or '.join(KINDS)}"
        )
    made = parquet(rows, about) if path.suffix == ".parquet" else comma_separated(rows)
    write_atomic(path, made)


def parquet(rows: Sequence[Row], about: Mapping[str, Any]) -> bytes:
    """Return rows as a Parquet file.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet as files
    except ImportError:
        raise MissingExtraError("pyarrow", EXTRA) from None
    arrays = {name: _array(pyarrow, [row.get(name) for row in rows]) for name in columns(rows)}
    told = json.dumps({"schema": SCHEMA, **about}, sort_keys=True)
    table = pyarrow.table(arrays).replace_schema_metadata({KEY: told})
    sink = pyarrow.BufferOutputStream()
    files.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


def _array(pyarrow: Any, values: list[Any]) -> Any:
    """Return a column of one type; numbers that are not all whole are all floating."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in known):
        kind = pyarrow.bool_() if known else pyarrow.null()
    elif all(isinstance(value, int) and not isinstance(value, bool) for value in known):
        kind = pyarrow.int64()
    elif all(isinstance(value, int | float) for value in known):
        kind, values = pyarrow.float64(), [None if v is None else float(v) for v in values]
    else:
        kind, values = pyarrow.string(), [None if v is None else str(v) for v in values]
    return pyarrow.array(values, kind, from_pandas=False)


def comma_separated(rows: Sequence[Row]) -> bytes:
    """Return rows as CSV.

    Example:
        >>> comma_separated([{"a": 1, "b": math.nan}, {"a": "x"}])
        b'a,b\\n1,nan\\nx,\\n'
    """
    out = io.StringIO()
    names = columns(rows)
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(map(_field, names))
    lines.writerows([_field(row.get(name)) for name in names] for row in rows)
    return out.getvalue().encode()


def _field(value: Any) -> Any:
    """Return a field that no spreadsheet runs; names come from data, too."""
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
