"""``asepsis init``: write ``federation.toml`` with the questions answered from the data."""

from __future__ import annotations

import ast
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asepsis.core.errors import AsepsisError, ConfigError, did_you_mean, shown

if TYPE_CHECKING:
    from asepsis.cli.finding import Found

NONE = "none"
SHOWN = 40
FEARED = ("poisoning", "backdoor", "membership-inference", "gradient-inversion")
ROLES = {
    "target": "Which column is to be predicted?",
    "site": "Which one names the site? (none: sites are made up)",
    "patient": "Which one names the patient? (none: every row is another one)",
}
FILLED = {
    "{classes}": ("classes", "num_classes", "n_classes", "num_labels", "out_features"),
    "{channels}": ("channels", "in_channels", "n_channels", "in_chans"),
    "{features}": ("features", "in_features", "n_features", "num_features", "input_dim"),
    "{input_shape}": ("input_shape", "shape"),
}
"""Arguments of a constructor that are filled in, by what they are usually called."""


def init(
    path: Annotated[
        Path, typer.Argument(help="A .csv or .npz file, or a folder of images, DICOM or NIfTI.")
    ] = Path(),
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("federation.toml"),
    model: Annotated[
        str | None, typer.Option(help="Your network, as path/to/net.py:Class; it is not run.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Take the guesses; ask nothing.")
    ] = False,
) -> None:
    """Look at your data and write a federation.toml for asepsis assess."""
    from asepsis.cli.finding import find

    if out.is_dir():
        raise ConfigError("this is a folder", place="--out", got=out.name, fix="name a file")
    if out.exists() and yes:
        raise ConfigError(
            "the file is there already", place="--out", got=out.name, fix="name another with --out"
        )
    found = find(path)
    if not yes:
        typer.echo(f"Found {found.says}.")
        found = _asked(found)
    _check(found)
    text = render(found, **(_defaults() if yes else _wishes()), model=model)
    if out.exists():
        typer.confirm(f"{out.name} is there already. Write over it?", abort=True)
    out.write_text(text, encoding="utf-8")
    typer.echo(f"\n{text}\nFound {found.says}. Wrote {out}: read it, then: asepsis assess {out}")


def _asked(found: Found) -> Found:
    if found.columns:
        more = f", and {len(found.columns) - SHOWN} more" if len(found.columns) > SHOWN else ""
        typer.echo(f"It names: {shown(', '.join(found.columns[:SHOWN]))}{more}.")
    for role, question in ROLES.items():
        if role in found.asks and found.columns:
            guess = found.options.get(found.asks[role], NONE)
            answer = typer.prompt(question, default=guess, value_proc=_one_of(found.columns, role))
            found = found.answered(role, None if answer == NONE else answer)
    return found


def _one_of(columns: tuple[str, ...], role: str) -> Callable[[str], str]:
    def checked(answer: str) -> str:
        if answer in columns or (answer == NONE and role != "target"):
            return answer
        raise typer.BadParameter(f"no such column; {did_you_mean(answer, columns)}")

    return checked


def _check(found: Found) -> None:
    """Refuse what is not known yet, and options that contradict each other."""
    from asepsis.core.registry import build

    if found.asks and found.asks["target"] not in found.options:
        raise ConfigError(
            "cannot tell which column is to be predicted",
            place="init",
            fix="run it without --yes and say so",
        )
    build("dataset", {"name": found.name, **found.options}, "data")


def _defaults() -> dict[str, Any]:
    return {"threats": FEARED, "hostile": 1, "minutes": 10}


def _wishes() -> dict[str, Any]:
    usual = ", ".join(FEARED)
    return {
        "threats": typer.prompt("Which threats? (all, or a list)", usual, value_proc=_threats),
        "hostile": typer.prompt("How many hospitals may be hostile?", 1, type=int),
        "minutes": typer.prompt("Minutes it may take", 10, type=int),
    }


def _threats(answer: str) -> tuple[str, ...]:
    from asepsis.assess.spec import assessment_of

    words = tuple(word.strip() for word in answer.split(",") if word.strip())
    try:
        assessment_of({"data": "csv", "threats": list(words) or "all"})
    except AsepsisError as error:
        raise typer.BadParameter(str(error)) from None
    return words or ("all",)


def render(
    found: Found, *, threats: tuple[str, ...], hostile: int, minutes: int, model: str | None = None
) -> str:
    """Return the text of an assessment that parses.

    Raises:
        ConfigError: it would not be a sound assessment.
    """
    from asepsis.assess.spec import assessment_of
    from asepsis.report.toml_text import value_toml

    top = {"name": "our-federation", "threats": list(threats), "hostile": hostile}
    lines = [f"{key} = {value_toml(value)}" for key, value in top.items()]
    lines.append(f"minutes = {minutes}")
    data = {"name": found.name, **found.options}
    lines += ["[data]", *(f"{key} = {value_toml(_plain(value))}" for key, value in data.items())]
    if model is not None:
        lines += ["[model]", *(f"{k} = {value_toml(v)}" for k, v in model_of(model).items())]
    lines += ["[limits]", "utility = 2.0     # points of clean utility that a defense may cost"]
    text = "\n".join(lines) + "\n"
    assessment_of(tomllib.loads(text))
    return text


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def model_of(at: str) -> dict[str, Any]:
    """Return the table of a user's network: options that can be filled in are read off its source.

    Raises:
        ConfigError: there is no such file or class.
    """
    from asepsis.models.user_code import content_of, source_file, split_at

    where, name = split_at(at)
    file = source_file(where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the user's own source
            tree = ast.parse(content_of(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ConfigError("not a Python source file", place="--model", got=file.name) from None
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    if name not in classes:
        raise ConfigError(
            "there is no such class", place="--model", got=name, fix=did_you_mean(name, classes)
        )
    options = {
        argument: word
        for argument in _arguments(classes[name])
        for word, names in FILLED.items()
        if argument in names
    }
    return {"name": "module", "at": at, **({"options": options} if options else {})}


def _arguments(node: ast.ClassDef) -> list[str]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            named = [*item.args.posonlyargs, *item.args.args, *item.args.kwonlyargs]
            return [argument.arg for argument in named[1:]]
    return []
