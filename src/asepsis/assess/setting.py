"""The consortium's federation, put together: what was left out is filled in from the data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from asepsis.assess.spec import AssessSpec
from asepsis.core.errors import ConfigError, DataError
from asepsis.core.registry import build
from asepsis.core.samples import DataFacts, Kind
from asepsis.data.guarded import load_guarded
from asepsis.experiments.resolve import divided, public
from asepsis.experiments.spec import Component, Experiment, parse

MADE_UP = 10
"""Hospitals are made up where the data name no sites."""
ROUNDS = 24
QUIET = 3
"""A third of the rounds is over when hostile hospitals begin."""
PARTITION_SEED = 0
"""One split for the whole assessment: test patients are the same, and unseen until the end."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What every run of an assessment shares, and a few facts of it."""

    asked: AssessSpec
    base: dict[str, Any]
    facts: DataFacts
    hospitals: int
    samples: int
    public: bool
    notes: tuple[str, ...] = ()

    def experiment(self, **changes: Any) -> Experiment:
        """Return an experiment of this federation."""
        made: Experiment = parse(Experiment, {**json.loads(json.dumps(self.base)), **changes})
        return made


def setting_of(asked: AssessSpec) -> Setting:
    """Load the data, divide them, and fill in what was left out.

    Raises:
        ConfigError: one site only, too many hostile hospitals, or parts that do not fit.
        DataError: the data cannot be had or do not fit.
    """
    data = load_guarded(build("dataset", asked.data, "data"))
    partition, note = _partition(asked, data.sites, data.name)
    federation = asked.federation.model_dump(mode="json") if asked.federation else {}
    given = asked.federation.model_fields_set if asked.federation else set()
    if "hospitals" not in given:
        federation["hospitals"] = "all" if partition["name"] in ("site", "virtual") else MADE_UP
    if "rounds" not in given:
        federation["rounds"] = ROUNDS
    base = {
        "dataset": asked.data,
        "partition": partition,
        "task": asked.task,
        "model": asked.model,
        "trainer": asked.trainer or _trainer(data.kind),
        "federation": federation,
        "root": asked.root.model_dump(mode="json"),
        "partition_seed": PARTITION_SEED,
    }
    found = divided(parse(Experiment, base))
    count = len(found.hospitals)
    _check_counts(asked, count, data.name)
    if len(found.facts.classes) == 1:
        raise DataError("all samples are of one class", place=data.name, fix="use data with two")
    samples = sum(len(h.train) + len(h.validation) + len(h.test) for h in found.hospitals)
    return Setting(
        asked=asked,
        base=base,
        facts=found.facts,
        hospitals=count,
        samples=samples,
        public=public(parse(Experiment, base)),
        notes=(note,) if note else (),
    )


def _partition(asked: AssessSpec, sites: Any, name: str) -> tuple[Component, str]:
    if asked.partition is not None:
        return asked.partition, ""
    if sites is None:
        note = f"{name} names no sites: its patients are dealt to made-up hospitals"
        return {"name": "dirichlet", "alpha": 5.0}, note
    if len(np.unique(sites)) < 2:
        raise ConfigError(
            "all samples come from one site: there is nobody to learn together with",
            place="data",
            got="1 site",
            fix="name the column or folder that tells sites apart, or give a partition such as "
            'partition = { name = "dirichlet" } to simulate hospitals',
        )
    return {"name": "site"}, ""


def _trainer(kind: Kind) -> Component:
    size = 16 if kind is Kind.TABLE else 32
    return {"name": "sgd", "lr": 0.05, "momentum": 0.9, "batch_size": size, "steps": 8}


def _check_counts(asked: AssessSpec, hospitals: int, name: str) -> None:
    if hospitals < 2:
        raise ConfigError(
            "a federation needs two hospitals",
            place=name,
            got=hospitals,
            fix="sites with few samples are left out: partition = { name = 'site', "
            "min_samples = 3 }",
        )
    if asked.hostile and 2 * asked.hostile >= hospitals:
        raise ConfigError(
            "half of the hospitals or more are hostile: no defense knows who is right",
            place="hostile",
            got=asked.hostile,
            fix=f"at most {(hospitals - 1) // 2} of {hospitals}",
        )
