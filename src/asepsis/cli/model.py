"""``asepsis model``: look into an exported network without running any of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asepsis.core.errors import ConfigError

if TYPE_CHECKING:
    from asepsis.models.exported.reading import Reading

NEEDED = (
    "An export can be looked at, not trained or attacked: for that asepsis needs the class, "
    'model = { name = "module", at = "net.py:Class", weights = "net.safetensors" }, '
    "and --trust-code."
)
READERS = {
    ".onnx": ("onnx", "read_onnx"),
    ".safetensors": ("weights", "read_weights"),
    ".pt": ("torchscript", "read_torchscript"),
    ".pth": ("torchscript", "read_torchscript"),
    ".ts": ("torchscript", "read_torchscript"),
    ".torchscript": ("torchscript", "read_torchscript"),
}


def model(
    file: Annotated[Path, typer.Argument(help="A TorchScript, ONNX or safetensors file.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look into an exported network without running it: layers, sizes, what they leak."""
    found = read(file)
    if json_:
        typer.echo(json.dumps(_told(found), indent=1))
        return
    _print(found)


def read(file: Path) -> Reading:
    """Return what a file describes.

    Raises:
        ConfigError: it is of no known kind, missing, or damaged.
    """
    from importlib import import_module

    if not file.is_file():
        raise ConfigError("there is no such file", place="model", got=file.name)
    if file.suffix.lower() not in READERS:
        fix = f"one of: {', '.join(READERS)}"
        raise ConfigError("not a kind of file that is read", place="model", got=file.name, fix=fix)
    module, name = READERS[file.suffix.lower()]
    reader = getattr(import_module(f"asepsis.models.exported.{module}"), name)
    found: Reading = reader(file)
    return found


def _told(found: Reading) -> dict[str, object]:
    counts = {"parameters": found.parameters, "buffers": found.buffers}
    return {**asdict(found), **counts, "findings": found.findings(), "needed": NEEDED}


def _print(found: Reading) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{found.format}, not run", title_justify="left", box=None, pad_edge=False)
    for column in ("layer", "what", "tensors", "numbers"):
        table.add_column(column, justify="right" if column == "numbers" else "left")
    for layer in found.layers:
        shapes = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in layer.tensors)
        count = layer.count(learned=True) + layer.count(learned=False)
        table.add_row(escape(layer.name), escape(layer.what), escape(shapes), f"{count:,}")
    console = Console()
    console.print(table)
    for title, values in (("in", found.inputs), ("out", found.outputs)):
        for name, shape in values:
            console.print(escape(f"{title}: {name} {'×'.join(map(str, shape))}"))
    if not found.inputs:
        console.print("The file says nothing of the shapes of inputs and outputs.")
    for line in (*found.findings(), NEEDED):
        console.print(f"- {escape(line)}")
