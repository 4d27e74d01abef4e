"""``asepsis data``: list, fetch and check data sets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from asepsis.data.dataset import Dataset

app = typer.Typer(
    name="data",
    help="List, fetch and check data sets.\n\nExample: asepsis data check pneumoniamnist",
    no_args_is_help=True,
    rich_markup_mode=None,
)
OWN = ("csv", "image-folder", "isic-folder", "nifti-pairs", "nih-cxr14-folder", "npz")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Options = Annotated[
    list[str] | None, typer.Option("--set", help="Option of the data set, as key=value.")
]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the data sets by name.

    Example: asepsis data list
    """
    from asepsis.core.registry import entries

    keys = ("name", "summary", "tasks", "paper", "fidelity")
    rows = [{key: getattr(entry, key) for key in keys} for entry in entries("dataset")]
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        _table(rows, ("name", "summary", "tasks"))


@app.command()
def card(name: str, as_json: Json = False) -> None:
    """Print a data set's card: source, licence, size, sites, honest expectation.

    Example: asepsis data card heart-disease
    """
    from asepsis.core.registry import lookup

    rows = dict(lookup("dataset", name).card.rows())  # type: ignore[attr-defined]
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        _table([{"": key, " ": value} for key, value in rows.items()], ("", " "))


@app.command()
def fetch(
    name: str,
    options: Options = None,
    timeout: Annotated[
        float | None, typer.Option(min=1, help="Give up after this many seconds.")
    ] = None,
) -> None:
    """Download a data set from its official place, check its MD5, print where it lies.

    Example: asepsis data fetch pneumoniamnist --timeout 60
    """
    from asepsis.data.download import fetch_limit
    from asepsis.data.files import locate

    component = _built(name, options)
    if not hasattr(component, "source"):
        typer.echo(f"{name} needs no download")
        return
    with fetch_limit(timeout):
        place = locate(component.source(), component.path)
    typer.echo(place)


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="A data set, or --all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All sets found here.")] = False,
    options: Options = None,
    as_json: Json = False,
) -> None:
    """Load a data set that is on this machine; print its size, classes, sites and MD5.

    Units are patients, lesions or stays, samples where nobody knows. Nothing is downloaded.
    Exits with code 2 when a file is damaged or not the official one.

    Example: asepsis data check --all
    """
    from asepsis.core.errors import AsepsisError, ConfigError, DataError
    from asepsis.core.registry import entries

    if (name is None) != everything:
        raise ConfigError("name one data set, or give --all", fix="asepsis data check --all")
    rows = []
    names = [entry.name for entry in entries("dataset") if entry.name not in OWN]
    for each in names if name is None else [name]:
        try:
            rows.append(_checked(each, options))
            if name is not None and rows[0]["status"] == "absent":
                raise DataError("not on this machine", place=name, fix=f"asepsis data fetch {name}")
        except AsepsisError as error:
            if name is not None:
                raise
            rows.append({"name": each, "status": "FAILED", "problem": str(error)})
    if as_json:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        columns = ("name", "status", "samples", "classes", "sites", "units", "split", "problem")
        shown = columns if any("problem" in row for row in rows) else columns[:-1]
        _table(rows, shown)
    if any(row["status"] == "FAILED" for row in rows):
        raise typer.Exit(2)


def _built(name: str, options: list[str] | None) -> Any:
    import tomllib

    from asepsis.core.errors import ConfigError
    from asepsis.core.registry import build

    spec: dict[str, Any] = {"name": name}
    for item in options or []:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise ConfigError("not key=value", place="--set", got=item)
        try:
            spec[key] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # no TOML, or an endless number
            spec[key] = text
    return build("dataset", spec)


def _checked(name: str, options: list[str] | None) -> dict[str, Any]:
    """Load one data set and describe it; ``absent`` where its file is nowhere."""
    from asepsis.core.errors import DataError
    from asepsis.data.files import find, md5_of
    from asepsis.data.guarded import load_guarded

    component = _built(name, options)
    status = "ok"
    if hasattr(component, "source"):
        source = component.source()
        place = find(source, component.path)
        if place is None:
            return {"name": name, "status": "absent"}
        if source.md5 is not None and (got := md5_of(place)) != source.md5:
            raise DataError(
                f"not the official file: its MD5 should be {source.md5}",
                place=str(place),
                got=got,
                fix=f"delete it, then: asepsis data fetch {name}",
            )
        status = "ok, official MD5" if source.md5 else "ok, no official MD5"
    data: Dataset = load_guarded(component)
    return {"name": name, "status": status, **_described(data)}


def _described(data: Dataset) -> dict[str, Any]:
    import numpy as np

    split = "by hospital 70/10/20"
    if data.split is not None:
        split = "/".join(str(count) for count in np.bincount(data.split, minlength=3))
    return {
        "samples": len(data),
        "shape": list(data.inputs.shape[1:]),
        "classes": len(data.classes),
        "sites": 0 if data.sites is None else len(np.unique(data.sites)),
        "units": len(np.unique(data.groups)),
        "split": split,
        "synthetic": data.synthetic,
        "digest": data.digest(),
    }


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    Console().print(table, markup=False)
