"""``asepsis``: every command by name, and what happens to errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from asepsis.cli import (
    assess,
    compare,
    compose,
    data,
    deploy,
    doctor,
    export,
    frame,
    init,
    leaderboard,
    ledger,
    model,
    privacy,
    purge,
    results,
    shelf,
    track,
    view,
)
from asepsis.core.errors import AsepsisError, shown

app = typer.Typer(
    name="asepsis",
    help="A security test bench for federated learning in healthcare.\n\n"
    "Attacks a federation of hospitals in simulation, on data that you hold, defends it, and "
    "measures both.",
    epilog="Start with: asepsis run quickstart. With data of your own: asepsis init DATA, then "
    "asepsis assess federation.toml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(ledger.app, name="ledger")

COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("init", init.init, "patients.csv"),
    ("assess", assess.assess, "federation.toml --minutes 10"),
    ("run", results.run, "quickstart --seeds 5 --out results/mine"),
    ("sweep", results.sweep, "mine.toml --over attack=none,ipm --over partition.alpha=0.1,1"),
    ("deploy", deploy.deploy, "quickstart --set federation.hospitals=3 --local 3"),
    ("certificates", deploy.certificates, "keys --host superlink.example.org"),
    ("report", results.report, "results/quickstart/20260101-120000"),
    ("compare", compare.compare, "results/mine/monday results/mine/tuesday"),
    ("leaderboard", leaderboard.leaderboard, "results --metric excess"),
    ("view", view.view, "results"),
    ("export", export.export, "results/mine/monday --out figures"),
    ("frame", frame.frame, "results/mine/monday --out runs.parquet"),
    ("track", track.track, "results/mine/monday --to mlflow"),
    ("purge", purge.purge, "results/mine/20260101-120000"),
    ("list", shelf.list_, "attacks --json"),
    ("show", shelf.show, "attack alie"),
    ("model", model.model, "net.onnx --json"),
    ("compose", compose.compose, "--rule krum"),
    ("epsilon", privacy.epsilon_, "--noise-multiplier 4 --sample-rate 0.01 --steps 10000"),
    ("audit-dp", privacy.audit_dp, "private.toml --trials 2000"),
    ("doctor", doctor.doctor, "--json"),
)
"""Every command with what follows its name in an example, in the order of ``asepsis --help``."""


def flowing(text: str) -> str:
    r"""Join the lines of each paragraph, so that help breaks where the screen ends.

    Example:
        >>> flowing("One\nline.\n\n    Two.")
        'One line.\n\nTwo.'
    """
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


for name, command, words in COMMANDS:
    told = flowing(command.__doc__ or "")
    app.command(name, help=told, epilog=f"Example: asepsis {name} {words}")(command)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"asepsis {version('asepsis')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; an error the user can mend is one message and exit code 2."""
    try:
        app()
    except AsepsisError as error:
        sys.stderr.write(f"asepsis: {shown(error)}\n")
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        words = f"{error.filename or 'system'}: {error.strerror or error}"
        sys.stderr.write(f"asepsis: {shown(words)}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
