"""The names of figures, and which of them a claim may be about."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from asepsis.core.errors import ConfigError, did_you_mean
from asepsis.core.registry import catalog
from asepsis.core.stages import Inspection
from asepsis.experiments.naming import label_of, watcher_label
from asepsis.experiments.spec import Study
from asepsis.federation.generating.downstream import FIGURES as WORTH
from asepsis.federation.generating.memory import NAMES
from asepsis.metrics.hospitals import UNSEEN
from asepsis.metrics.inspection import Planted, inspection_metrics
from asepsis.metrics.multilabel import finding_backdoor
from asepsis.metrics.translation import FUSED
from asepsis.metrics.translation import figures as translated
from asepsis.metrics.utility import classification_metrics, multilabel_metrics

CHANGE = "utility change"
EXCESS = "excess"
RECOVERY = "recovery"
"""Share of the loss under another stack that this one does not have."""
TIMES = ("lifespan", "half_life", "area")
AFTERMATH = ("asr_at_departure", "excess_at_departure", *TIMES)
"""Figures of a backdoor whose attacker left."""

OBSERVE = "observe/"
"""What figures of observers begin with: ``observe/OBSERVER/FIGURE``."""
ATTACK = "attack"
"""The name of an observer that is the run's own attack."""
DOWNSTREAM = "downstream/"
"""``downstream/SOURCE/FIGURE`` is a fresh classifier trained on images of that source."""
SOURCES = ("real", "synthetic", "both")
MEMORIZATION = "memorization/"
"""What figures begin with of how close generated images are to those trained on."""
INSPECT = "inspect/"
"""What figures of inspectors begin with: ``inspect/INSPECTOR/FIGURE``."""
OF_GENERATED = (
    "kernel_distance",
    "kernel_floor",
    "frechet_distance",
    "frechet_floor",
    "precision",
    "recall",
    "diversity",
    "class_diversity",
    "collapsed",
    "backdoor/seen",
    "backdoor/false_positives",
    "backdoor/true_positives",
)
"""Figures of a set of generated images beside real ones."""
OF_STRANGERS = "floor/"
"""``memorization/floor/FIGURE`` is the same of real images that nobody trained on."""
CLEAN = "floor:"
"""``inspect/INSPECTOR/floor:FIGURE`` is the same of the model that nobody attacked."""


def check_figures(study: Study) -> None:
    """Refuse claims about figures that no task has; tasks of plugins may have any.

    Raises:
        ConfigError: the names are unknown; every such claim is reported.
    """
    shipped = {entry.name for entry in catalog() if entry.kind == "task"}
    tasks = [scenario.experiment.task for scenario in study.scenarios]
    if not all(task is None or task.get("name") in shipped for task in tasks):
        return
    known = figures() | _inspected(study)
    found = [
        str(
            ConfigError(
                "no such figure",
                place=f"claims[{number}].metric",
                got=claim.metric,
                fix=did_you_mean(claim.metric, known),
            )
        )
        for number, claim in enumerate(study.claims)
        if claim.metric not in known and not _observed(claim.metric, study)
    ]
    if found:
        raise ConfigError("\n".join(found))


def _observed(metric: str, study: Study) -> bool:
    """Whether a figure is one of an observer that a study asks for."""
    asked = [part for one in study.scenarios for part in (*one.experiment.observe, *one.watch)]
    names = [*(watcher_label(part) for part in asked), ATTACK]
    return any(metric.startswith(f"{OBSERVE}{name}/") for name in names)


@cache
def figures() -> frozenset[str]:
    """Return the names of all figures; the tasks' own are asked of what computes them."""
    answers, classes = np.eye(2), np.arange(2)
    beside = finding_backdoor(answers, answers, np.eye(2), target=0)
    image = np.zeros((1, 1, 1))
    images = translated(image, image, image)
    utility = {
        *classification_metrics(answers, classes),
        *multilabel_metrics(answers, np.eye(2)),
        *images,
        *(f"{FUSED}{name}" for name in images),
    }
    return frozenset(
        {
            *utility,
            *(f"{UNSEEN}{name}" for name in utility),
            *generated(),
            "asr",
            *(f"backdoor/{name}" for name in beside if name != "asr"),
            *AFTERMATH,
            CHANGE,
            EXCESS,
            RECOVERY,
        }
    )


def generated() -> frozenset[str]:
    """Return the names of the figures of generated images."""
    return frozenset(
        {
            *OF_GENERATED,
            *(f"{DOWNSTREAM}{source}/{name}" for source in SOURCES for name in WORTH),
            *(f"{MEMORIZATION}{beside}{name}" for beside in ("", OF_STRANGERS) for name in NAMES),
        }
    )


def _inspected(study: Study) -> frozenset[str]:
    """Return the names of what the inspectors find that a study asks for."""
    asked = [part for scenario in study.scenarios for part in scenario.experiment.inspect]
    names = dict.fromkeys(label_of(part, options=True) for part in asked)
    return frozenset(f"{INSPECT}{name}/{figure}" for name in names for figure in findings())


@cache
def findings() -> frozenset[str]:
    """Return the names of what any inspector may find, attacked or not."""
    two, maps = torch.arange(2.0), torch.ones(2, 2, 2)
    truth = Planted(np.eye(2)[0] == 1, np.ones((2, 2, 2)), np.eye(2)[0] == 1, target=0)
    names = inspection_metrics(Inspection(two, two, two, maps), truth)
    return frozenset(f"{beside}{name}" for name in names for beside in ("", CLEAN))
