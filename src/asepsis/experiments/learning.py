"""Whether a model that nobody attacked has learned anything: one that has not supports no claim."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asepsis.experiments.results import Run

UNDERTRAINED = 0.1
"""A twin that gains less balanced accuracy than this share of what chance leaves is untrained."""
COLLAPSED = 0.5
"""A generator that had collapsed in more of the last rounds than this has learned nothing."""
ERROR = "mae"
"""What an image-to-image model must make less of than who never looks at the input."""
DISTANCE = "kernel_distance"
"""How far a generator's images are from real ones: which less is better than an untrained one's."""


def gain(twin: Run) -> float | None:
    """How much more than the least a model knows, between chance (0) and everything (1).

    By balanced accuracy where a sample has one class, by macro AUROC where it has several labels;
    by the error of images, which must be less than that of the mean training image; by the kernel
    distance of generated images, which must be less than that of an untrained generator, and which
    means nothing once the generator makes one image only. NaN where that is not estimable,
    ``None`` where the task has none of them.
    """
    classes, tail = len(twin.resolved["classes"]), twin.footer.get("tail", {})
    if "balanced_accuracy" in tail and classes > 1:
        return (twin.tail("balanced_accuracy") - 1 / classes) / (1 - 1 / classes) - UNDERTRAINED
    if "macro_auroc" in tail:
        return (twin.tail("macro_auroc") - 0.5) / 0.5 - UNDERTRAINED
    prior = twin.footer.get("prior", {})
    if DISTANCE in tail:
        return _gain_of_generator(twin, prior.get(DISTANCE))
    return prior[ERROR] - twin.tail(ERROR) if ERROR in prior else None


def _gain_of_generator(twin: Run, untrained: float | None) -> float | None:
    if twin.tail("collapsed") > COLLAPSED:
        return -UNDERTRAINED
    if untrained is None:
        return None
    return 1 - twin.tail(DISTANCE) / untrained - UNDERTRAINED if untrained > 0 else math.nan
