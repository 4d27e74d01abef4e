"""``asepsis list`` and ``asepsis show``: what is on the shelf, without importing it."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Annotated, Any

import typer

from asepsis.core.errors import ConfigError, did_you_mean

SHELVES = {
    "studies": ("study",),
    "attacks": ("attack",),
    "defenses": (
        "client",
        "transport",
        "screen",
        "aggregator",
        "release",
        "audit",
        "inspect",
        "recipe",
    ),
    "datasets": ("dataset",),
    "tasks": ("task",),
    "models": ("model",),
    "partitions": ("partition",),
    "trainers": ("trainer",),
    "triggers": ("trigger",),
    "server-optimizers": ("server-optimizer",),
}
TASKED = ("attacks", "triggers", "tasks", "models")
"""Shelves whose components work on some kinds of sample only; without a list, on all."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_(
    what: Annotated[str, typer.Argument(help=f"One of: {', '.join(SHELVES)}; or all.")] = "all",
    json_: Json = False,
) -> None:
    """List studies, attacks, defenses, data sets and tasks."""
    if what != "all" and what not in SHELVES:
        raise ConfigError("unknown shelf", place="list", got=what, fix=did_you_mean(what, SHELVES))
    found = {name: shelf(name) for name in SHELVES if what in ("all", name)}
    if json_:
        typer.echo(json.dumps(found if what == "all" else found[what], indent=1))
        return
    _print(found)


def shelf(name: str) -> list[dict[str, str]]:
    """Return what is on one shelf: name, summary, paper, fidelity, and the room of a defense."""
    if name == "studies":
        return _studies()
    from asepsis.core import registry

    kinds = SHELVES[name]
    return [
        {
            "name": entry.name,
            "summary": entry.summary,
            "paper": entry.paper,
            "fidelity": entry.fidelity,
            **({"tasks": entry.tasks} if entry.tasks else {}),
            **({"room": entry.kind} if len(kinds) > 1 else {}),
            **({"origin": entry.origin} if entry.origin != "asepsis" else {}),
        }
        for entry in registry.entries(*kinds)
    ]


def _studies() -> list[dict[str, str]]:
    """Describe the built-in studies by their first profile."""
    from asepsis.experiments.library import profiles, read_toml, studies

    found = []
    for name in studies():
        data = read_toml(name)
        said = {key: str(data.get(key, "")) for key in ("title", "summary", "paper", "fidelity")}
        found.append({"name": name, **said, "profiles": ", ".join(profiles(name))})
    return found


def _print(found: dict[str, list[dict[str, str]]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, rows in found.items():
        table = Table(title=name, title_justify="left", box=None, pad_edge=False)
        table.add_column("name", no_wrap=True, style="bold")
        if any("room" in row for row in rows):
            table.add_column("room")
        table.add_column("what it does")
        if name in TASKED:
            table.add_column("tasks")
        table.add_column("fidelity")
        if name == "studies":
            table.add_column("profiles")
        for row in rows:
            room = [row["room"]] if "room" in row else []
            tasks = [row.get("tasks") or "all"] if name in TASKED else []
            files = [row["profiles"]] if name == "studies" else []
            told = row.get("title") or row["summary"]
            table.add_row(row["name"], *room, told, *tasks, row["fidelity"], *files)
        console.print(table)
        console.print()


def show(
    kind: Annotated[str, typer.Argument(help="attack, aggregator, screen, dataset, study, ...")],
    name: Annotated[str, typer.Argument(help="Its name.")],
    profile: Annotated[
        str | None, typer.Option(help="Which of a study's files: quick (default), full, ...")
    ] = None,
    json_: Json = False,
) -> None:
    """Show one component: formula, source, fidelity, options; or a study's TOML."""
    if kind in ("study", "studies"):
        study = _study(name, profile)
        typer.echo(json.dumps(study, indent=1) if json_ else study["toml"])
        return
    if profile is not None:
        raise ConfigError("only a study has profiles", place="show", got=f"{kind} {name}")
    about = describe(kind, name)
    if json_:
        typer.echo(json.dumps(about, indent=1))
        return
    typer.echo(f"{about['kind']} {about['name']}\n\n{about['doc']}\n\nOptions:")
    for option in about["options"]:
        typer.echo(f"  {option['name']} = {option['default']}  ({option['type']})")
    if not about["options"]:
        typer.echo("  none")


def _study(name: str, profile: str | None) -> dict[str, str]:
    """Return a built-in study and what it says about itself."""
    from asepsis.experiments.library import study_text

    known = {study["name"]: study for study in _studies()}
    if name not in known:
        raise ConfigError(
            "unknown study", place="show", got=name, fix=did_you_mean(name, list(known))
        )
    return {**known[name], "toml": study_text(name, profile)[0]}


def describe(kind: str, name: str) -> dict[str, Any]:
    """Return a component's documentation and options."""
    from asepsis.core import registry

    single = {shelf_: kinds for shelf_, kinds in SHELVES.items() if shelf_ != "studies"}
    known = {kind_: (kind_,) for kind_ in registry.KINDS} | single
    known |= {"defense": registry.DEFENSES}
    if kind not in known:
        raise ConfigError("unknown kind", place="show", got=kind, fix=did_you_mean(kind, known))
    entry = registry.find(known[kind], name, "show")
    cls = registry.lookup(entry.kind, entry.name)
    options = [
        {"name": field.name, "type": _type(field.type), "default": _default(field)}
        for field in dataclasses.fields(cls)
    ]
    return {
        "kind": entry.kind,
        "name": entry.name,
        "doc": inspect.cleandoc(cls.__doc__ or ""),
        "summary": entry.summary,
        "paper": entry.paper,
        "fidelity": entry.fidelity,
        "options": options,
    }


def _type(annotation: object) -> str:
    return str(getattr(annotation, "__name__", annotation)).replace("typing.", "")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    inner = getattr(value, "default", value)
    return repr(inner)
