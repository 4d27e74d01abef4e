"""``asepsis view``: browse runs in a local page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer


def view(
    folder: Annotated[
        Path, typer.Argument(help="A results folder, or a folder with several in it.")
    ] = Path("results"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
) -> None:
    """Browse runs in a local page: read-only, on this machine alone; stop with Ctrl-C."""
    from asepsis.report.view import Viewer

    with Viewer(folder, port) as server:
        try:
            typer.echo(server.url)
            if not no_browser:
                webbrowser.open(server.url)
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
