"""A Flower app folder: an experiment, asepsis's own apps by reference, a file for every site."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from asepsis.core.errors import ConfigError, StoreError
from asepsis.deploy import texts
from asepsis.deploy.guide import guide
from asepsis.experiments.library import read_toml
from asepsis.experiments.plan import Plan, load_study, plan_study
from asepsis.experiments.resolve import hospitals_of
from asepsis.experiments.sifting import sifted

LONGEST_NAME = 30


@dataclass(frozen=True)
class App:
    """An app folder."""

    folder: Path

    @property
    def experiment(self) -> Path:
        """The experiment's file."""
        return self.folder / texts.EXPERIMENT

    def site(self, number: int) -> Path:
        """Return a hospital's node configuration."""
        return self.folder / texts.SITES / f"site-{number}.toml"


def write_app(text: str, plan: Plan, folder: Path) -> App:
    """Write an app folder for a study given as TOML and planned.

    Raises:
        ConfigError: the study cannot be deployed, or its text is another one.
        StoreError: the folder is there already, or cannot be written.
    """
    count, app = sites_of(plan), App(folder)
    _refuse_used(folder)
    try:
        (folder / texts.SITES).mkdir(parents=True, exist_ok=True)
        for name, content in _files(text, plan, count).items():
            (folder / name).write_text(content, encoding="utf-8")
        _check_same(app, plan)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise StoreError(f"cannot write: {error.strerror}", place=str(folder)) from None
        raise
    return app


def _refuse_used(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        used = True
    else:
        used = folder.is_dir() and any(folder.iterdir())
    if used:
        raise StoreError(
            "something is there already", place=str(folder), fix="name another app folder"
        )


def _files(text: str, plan: Plan, count: int) -> dict[str, str]:
    name = app_name(plan.study.name)
    sites = {f"{texts.SITES}/site-{k}.toml": texts.site(k, count) for k in range(count)}
    return {
        texts.EXPERIMENT: text,
        "pyproject.toml": texts.project(name, version("asepsis")),
        "README.md": guide(name, count),
        **sites,
    }


def _check_same(app: App, plan: Plan) -> None:
    """Refuse a text that does not say what was planned."""
    found = {cell.digest for cell in plan_of(app.experiment).cells}
    if found != {cell.digest for cell in plan.cells}:
        raise ConfigError("the written experiment is another one", place=str(app.experiment))


def plan_of(experiment: Path) -> Plan:
    """Read and plan an app's experiment.

    Raises:
        AsepsisError: it is none, or does not fit together.
    """
    return sifted(plan_study(load_study(str(experiment))), "serial")


def sites_of(plan: Plan) -> int:
    """Return how many hospitals take part, the same number in every run.

    Raises:
        ConfigError: runs differ, or need a file of the user's own code.
    """
    counts = set()
    for cell in plan.cells:
        if cell.spec.model is not None and cell.spec.model["name"] == "module":
            raise ConfigError(
                "a network of yours is not sent to other machines",
                place="model",
                fix="use one that asepsis has, or run it here with --engine pool",
            )
        counts.add(len(hospitals_of(cell.spec)[1]))
    if len(counts) > 1:
        raise ConfigError(
            "the study's runs have different numbers of hospitals",
            place="federation.hospitals",
            got=sorted(counts),
            fix="deploy one of its experiments: --set federation.hospitals=N",
        )
    return counts.pop()


def app_name(study: str) -> str:
    """Return a name that Flower takes: letters, digits and hyphens, not too many.

    Example:
        >>> app_name("Threat matrix, 2nd")
        'asepsis-threat-matrix-2nd'
    """
    words = re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-") or "federation"
    return f"asepsis-{words}"[:LONGEST_NAME].rstrip("-")


def folder_of_app(places: list[str]) -> Path:
    """Return the folder of the app that Flower is running: it puts it on Python's path.

    Raises:
        ConfigError: none of the places holds an app of asepsis.
    """
    for place in places:
        folder = Path(place)
        if (folder / texts.EXPERIMENT).is_file() and (folder / "pyproject.toml").is_file():
            table = read_toml(str(folder / "pyproject.toml"))
            parts = table.get("tool", {}).get("flwr", {}).get("app", {}).get("components", {})
            if parts.get("serverapp") == "asepsis.deploy.server:app":
                return folder
    raise ConfigError(
        "no experiment beside the app", place=texts.EXPERIMENT, fix="run it with: flwr run FOLDER"
    )
