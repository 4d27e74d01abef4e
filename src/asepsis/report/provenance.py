"""Whose data a figure was made with, and so what a report may show of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from asepsis.core.errors import AsepsisError
from asepsis.core.registry import lookup
from asepsis.data.cards import Card
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Experiment

HIDDEN = "[a file of the user]"


@dataclass(frozen=True)
class Provenance:
    """What the card of a data set says; a set without a card counts as a patient's own."""

    name: str
    title: str
    public: bool = False
    synthetic: bool = False
    licence: str = ""
    source: str = ""


def provenance(spec: Experiment) -> Provenance:
    """Look up the card of an experiment's data set, without loading any data."""
    name = str(spec.dataset.get("name", ""))
    try:
        card = vars(lookup("dataset", name)).get("card")
    except (AsepsisError, ImportError):
        card = None
    if not isinstance(card, Card):
        return Provenance(name, name)
    return Provenance(name, card.title, card.public, card.synthetic, card.licence, card.source)


def all_public(results: Results) -> bool:
    """Whether every data set of a study is public."""
    return public(results.runs)


def public(runs: Iterable[Run]) -> bool:
    """Whether every data set of some runs is public: a scenario may have several."""
    return all(source.public for source in sources(runs))


def sources(runs: Iterable[Run]) -> list[Provenance]:
    """Return where the data of some runs come from, each data set once."""
    specs = {str(run.cell.spec.dataset): run.cell.spec for run in runs}
    return [provenance(spec) for spec in specs.values()]


def without_files(table: Any) -> Any:
    """Hide places on the machine in a specification's options.

    Example:
        >>> without_files({"name": "npz", "path": "/data/x.npz", "size": 28})
        {'name': 'npz', 'path': '[a file of the user]', 'size': 28}
    """
    if isinstance(table, dict):
        return {key: without_files(value) for key, value in table.items()}
    if isinstance(table, list | tuple):
        return [without_files(value) for value in table]
    looks_like_path = isinstance(table, str) and ("/" in table or "\\" in table)
    return HIDDEN if looks_like_path else table
