"""``asepsis deploy`` and ``asepsis certificates``: a federation between machines, on Flower."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asepsis.cli.results import (
    Json,
    Name,
    Profile,
    Pseudonyms,
    Resume,
    Seeds,
    Settings,
    again,
    assignments,
    folder_of,
    shown_name,
    tell,
)
from asepsis.core.errors import ConfigError, shown

if TYPE_CHECKING:
    from asepsis.deploy.app import App
    from asepsis.experiments.plan import Plan
    from asepsis.experiments.run import RunOptions

ENGINE = "flower"


def deploy(
    name: Name,
    profile: Profile = None,
    seeds: Seeds = None,
    settings: Settings = None,
    app: Annotated[
        Path | None,
        typer.Option(help="App folder to write; NAME-app by default, none with --local."),
    ] = None,
    local: Annotated[
        int | None,
        typer.Option(min=1, help="Play it here: a server and so many hospitals, on loopback."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --local: results folder, as for asepsis run.")
    ] = None,
    resume: Resume = False,
    pseudonyms: Pseudonyms = False,
    json_: Json = False,
) -> None:
    """Write a Flower app that plays an experiment between machines, or rehearse it here.

    The app needs the extra \\[flower] on every machine. docs/deploy.md says what each side starts,
    opens and trusts.
    """
    from asepsis.experiments.run import RunOptions

    plan = planned(name, profile, seeds, assignments(settings))
    if local is None and (out or resume or pseudonyms or json_):
        raise ConfigError(
            "results are written with --local", place="deploy", fix="name the app folder with --app"
        )
    if local is None:
        folder = app or Path(f"{shown_name(plan.study)}-app")
        typer.echo(f"{write(plan, folder).folder}: read README.md there")
        return
    how = RunOptions(engine=ENGINE, resume=resume, pseudonyms=pseudonyms)
    _rehearse(plan, local, app, out, how, json_)


def certificates(
    folder: Annotated[Path, typer.Argument(help="Where keys are written; never over others.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="At the server: a name or address of it; may be repeated."),
    ] = None,
    node: Annotated[
        list[str] | None, typer.Option(help="At a hospital: the name of its node; may be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long the certificates last.")] = 365,
) -> None:
    """Make an authority and a server's certificate (--host), or a node's key pair (--node)."""
    from asepsis.deploy.certificates import make_node, make_secret, make_server

    if not host and not node:
        raise ConfigError(
            "neither a server nor a node", place="certificates", fix="give --host, or --node"
        )
    if host:
        files = make_server(folder, host, days)
        typer.echo(f"{files.authority}: give every hospital a copy, and nothing else of this")
    for one in node or ():
        made = make_node(folder, one)
        typer.echo(f"{made.public}: give it to the server; {made.key.name} never leaves this side")
    make_secret(folder)


def planned(name: str, profile: str | None, seeds: int | None, settings: dict[str, Any]) -> Plan:
    """Return the plan of a study as it is asked for on the command line."""
    from asepsis.experiments.plan import load_study, plan_study
    from asepsis.experiments.sifting import sifted

    if seeds is not None:
        settings["seeds"] = list(range(seeds))
    return sifted(plan_study(load_study(name, settings, profile)), ENGINE)


def write(plan: Plan, folder: Path) -> App:
    """Write a plan's app folder."""
    from asepsis.deploy.app import write_app
    from asepsis.report.toml_text import study_toml

    return write_app(study_toml(plan.study), plan, folder)


@contextmanager
def written(plan: Plan, folder: Path | None) -> Iterator[App]:
    """Write a plan's app folder, a temporary one where none is named."""
    if folder is not None:
        yield write(plan, folder)
        return
    with tempfile.TemporaryDirectory(prefix="asepsis-app-") as made:
        yield write(plan, Path(made) / "app")


def elsewhere(
    name: str,
    profile: str | None,
    seeds: int | None,
    chosen: dict[str, Any],
    link: Link,
    out: Path | None,
    *,
    resume: bool = False,
    pseudonyms: bool = False,
    json_: bool = False,
) -> None:
    """Play a study on a SuperLink that is up; show its results where they are on this machine."""
    from asepsis.deploy.remote import connection, is_here, submit
    from asepsis.deploy.texts import Settings

    superlink = connection(link.address, link.authority, insecure=link.insecure)
    plan = planned(name, profile, seeds, chosen)
    here = is_here(link.address)
    place = (out or folder_of(shown_name(plan.study), resume)).absolute() if here else out
    settings = Settings("" if place is None else str(place), resume, pseudonyms)
    with written(plan, None) as app, _going_on(out, place):
        submit(superlink, app, settings, _say)
    if place is None or not (here and (place / "study.json").exists()):
        typer.echo("The records are on the SuperLink's machine: asepsis report FOLDER there.")
        return
    _show(place, json_)


@dataclass(frozen=True)
class Link:
    """A SuperLink as it is named on the command line."""

    address: str
    authority: Path | None
    insecure: bool


def _rehearse(
    plan: Plan, sites: int, app: Path | None, out: Path | None, how: RunOptions, json_: bool
) -> None:
    from asepsis.api import prepare
    from asepsis.deploy.app import sites_of
    from asepsis.deploy.local import local
    from asepsis.deploy.texts import Settings
    from asepsis.experiments.patients import screened

    count = sites_of(plan)
    if sites != count:
        raise ConfigError(
            f"the experiment has {count} hospitals",
            place="--local",
            got=sites,
            fix=f"use --local {count}, or --set federation.hospitals={sites}",
        )
    place = out or folder_of(shown_name(plan.study), how.resume)
    prepare(screened(plan, pseudonyms=how.pseudonyms), place, how)
    settings = Settings(str(place.resolve()), how.resume, how.pseudonyms)
    with _going_on(out, place), written(plan, app) as made, local(sites, _say) as up:
        up.play(made, settings, _say)
    _show(place, json_)


@contextmanager
def _going_on(out: Path | None, place: Path | None) -> Iterator[None]:
    """Say how to go on after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"asepsis: stopped; go on with: {again(out, place)}", err=True)
        raise typer.Exit(130) from None


def _show(place: Path, json_: bool) -> None:
    from asepsis.experiments.results import load_results

    results = load_results(place)
    tell(results, place, json_)
    if all(run.footer["status"] in ("error", "missing") for run in results.runs):
        raise ConfigError("no run ended with figures", place=str(place))


def _say(line: str) -> None:
    typer.echo(shown(line), err=True)
