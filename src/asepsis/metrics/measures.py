"""What kind of number every figure is: its direction, its unit, and which change of it matters.

A figure is known by the last part of its name (``unseen/mae`` is an ``mae``). Whatever is not in
the table is a share: within [0, 1], more is better, written in percent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from asepsis.metrics.intervals import POINT

MATERIAL: Final = 0.05
"""A change of 5 points is material."""
MATERIAL_SHARE: Final = 0.1
"""Of a figure without natural bounds, a change by 10 % of the clean run's value is material."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One kind of number.

    Attributes:
        lower: less of it is better.
        unit: ``%`` for shares, ``rounds``, or nothing.
        digits: how many are written after the point, of a share in percent.
        relative: it has no natural bounds, so that a change is judged beside the clean run's value.
    """

    lower: bool = False
    unit: str = "%"
    digits: int = 1
    relative: bool = False

    @property
    def share(self) -> bool:
        """Whether it lies in [0, 1] and is written in percent."""
        return self.unit == "%"

    def material(self, clean: float = math.nan, floor: float = math.nan) -> float:
        """Return the least change that matters, beside the ``clean`` run's value.

        5 points; of a relative figure 10 % of ``clean``, or of its ``floor`` (what real images
        have beside other real ones) where that is more: below the floor nothing is told apart.
        NaN when neither is positive: a distance that is not told from zero is nothing that
        another could be judged by.

        Example:
            >>> measure("accuracy").material(), measure("kernel_distance").material(2.0)
            (0.05, 0.2)
            >>> measure("kernel_distance").material(0.001, floor=0.5)
            0.05
        """
        return self._of(clean, floor, MATERIAL_SHARE) if self.relative else MATERIAL

    def grain(self, clean: float = math.nan, floor: float = math.nan) -> float:
        """Return by how much two values are told apart: a point, or 1 % of ``clean``.

        Of its ``floor`` where that is more.
        """
        return self._of(clean, floor, POINT) if self.relative else POINT

    def _of(self, clean: float, floor: float, share: float) -> float:
        if not math.isfinite(clean):
            return math.nan
        most = max(clean, floor) if math.isfinite(floor) else clean
        return share * most if most > 0 else math.nan


SHARE: Final = Measure()
LOWER_SHARE: Final = Measure(lower=True)
DISTANCE: Final = Measure(lower=True, unit="", digits=3, relative=True)
IMAGE: Final = Measure(unit="", digits=3)
IMAGE_ERROR: Final = Measure(lower=True, unit="", digits=3)
PLAIN: Final = Measure(unit="", digits=2)
LOSS: Final = Measure(lower=True, unit="", digits=2)
ROUNDS: Final = Measure(unit="rounds", digits=1)

MEASURES: Final = {
    "calibration_error": LOWER_SHARE,
    "collapsed": LOWER_SHARE,
    "loss": LOSS,
    "critic_loss": LOSS,
    "kernel_distance": DISTANCE,
    "kernel_floor": DISTANCE,
    "frechet_distance": DISTANCE,
    "frechet_floor": DISTANCE,
    "diversity": PLAIN,
    "class_diversity": PLAIN,
    "nn_ratio": PLAIN,
    "nn_ratio_pixels": PLAIN,
    "memorized": LOWER_SHARE,
    "memorized_pixels": LOWER_SHARE,
    "mae": IMAGE_ERROR,
    "mse": IMAGE_ERROR,
    "fused_mae": IMAGE_ERROR,
    "ssim": IMAGE,
    "fused_ssim": IMAGE,
    "psnr": PLAIN,
    "fused_psnr": PLAIN,
    "labels": PLAIN,
    "target_rank": PLAIN,
    "target_anomaly": PLAIN,
    "highest_anomaly": PLAIN,
    "median_rank": PLAIN,
    "lifespan": ROUNDS,
    "half_life": ROUNDS,
    "area": ROUNDS,
}
"""Every figure that is no share of which more is better."""


def measure(name: str) -> Measure:
    """Return what kind of number a figure is.

    Example:
        >>> measure("downstream/real/accuracy").share, measure("unseen/mae").share
        (True, False)
    """
    return MEASURES.get(name.rpartition("/")[2].removeprefix("floor:"), SHARE)


def floor_name(name: str) -> str:
    """Return under which name the same of real and other real images stands; "" without one.

    Example:
        >>> floor_name("kernel_distance"), floor_name("accuracy")
        ('kernel_floor', '')
    """
    found = name.replace("_distance", "_floor")
    return found if found != name and found in MEASURES else ""


def lower_is_better(name: str) -> bool:
    """Whether less of a figure is better, at the unseen hospital too.

    Example:
        >>> lower_is_better("unseen/mae"), lower_is_better("ssim")
        (True, False)
    """
    return measure(name).lower
