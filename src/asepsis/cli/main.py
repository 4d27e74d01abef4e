"""``asepsis``: run, sweep, report, list, show, compose, data, epsilon, audit-dp, ledger, doctor."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from asepsis.cli import (
    assess,
    compare,
    compose,
    data,
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
from asepsis.core.errors import AsepsisError

app = typer.Typer(
    name="asepsis",
    help="A security test bench for federated learning in healthcare.\n\n"
    "Attacks a federation of hospitals in simulation, on data that you hold, defends it, and "
    "measures both.",
    epilog="Start with: asepsis run quickstart",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data.app, name="data")
app.add_typer(ledger.app, name="ledger")
app.command("init", epilog="Example: asepsis init patients.csv")(init.init)
app.command("run", epilog="Example: asepsis run quickstart --seeds 5 --out results/mine")(
    results.run
)
app.command(
    "sweep",
    epilog="Example: asepsis sweep mine.toml --over attack=none,ipm --over partition.alpha=0.1,1",
)(results.sweep)
app.command("assess", epilog="Example: asepsis assess federation.toml --minutes 10")(assess.assess)
app.command("report", epilog="Example: asepsis report results/quickstart/20260101-120000")(
    results.report
)
app.command("compare", epilog="Example: asepsis compare results/mine/monday results/mine/tuesday")(
    compare.compare
)
app.command("leaderboard", epilog="Example: asepsis leaderboard results --metric excess")(
    leaderboard.leaderboard
)
app.command("view", epilog="Example: asepsis view results")(view.view)
app.command("export", epilog="Example: asepsis export results/mine/monday --out figures")(
    export.export
)
app.command("frame", epilog="Example: asepsis frame results/mine/monday --out runs.parquet")(
    frame.frame
)
app.command("track", epilog="Example: asepsis track results/mine/monday --to mlflow")(track.track)
app.command("list", epilog="Example: asepsis list attacks --json")(shelf.list_)
app.command("show", epilog="Example: asepsis show attack alie")(shelf.show)
app.command("model", epilog="Example: asepsis model net.onnx --json")(model.model)
app.command("compose", epilog="Example: asepsis compose --rule krum")(compose.compose)
app.command(
    "epsilon",
    epilog="Example: asepsis epsilon --noise-multiplier 4 --sample-rate 0.01 --steps 10000",
)(privacy.epsilon_)
app.command("audit-dp", epilog="Example: asepsis audit-dp private.toml --trials 2000")(
    privacy.audit_dp
)
app.command("purge", epilog="Example: asepsis purge results/mine/20260101-120000")(purge.purge)
app.command("doctor", epilog="Example: asepsis doctor --json")(doctor.doctor)


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
        sys.stderr.write(f"asepsis: {error}\n")
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        sys.stderr.write(f"asepsis: {error.filename or 'system'}: {error.strerror or error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
