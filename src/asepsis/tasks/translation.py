"""From one image to another: MR to CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Array, DataFacts, Kind, Prepare, Samples, Shard
from asepsis.metrics.leakage import RADIUS
from asepsis.metrics.translation import (
    FUSED,
    SHARES,
    Figures,
    averaged,
    figures,
    fused_figures,
    mean_images,
    span,
)

SMALLEST = 2 * RADIUS + 1
"""SSIM needs a window of so many pixels."""


@register("task", "translation")
class Translation:
    """An image made from another one: CT from MR.

    Inputs ``[n, 1, h, w]`` in [-1, 1], targets ``[n, 2, h, w]``: the true image, its ``window``
    scaled to [-1, 1], and the mask of the body in {0, 1} (1 everywhere without one). With ``size``
    both are resized to ``size`` × ``size`` pixels, each the mean of its area, and the mask is
    where at least half of a pixel's area is inside. Outside the mask both images are -1.

    Loss ``[n]``: mean absolute (``l1``) or squared (``mse``) error of the whole image.

    Inside the mask, averaged over samples: ``ssim``, ``mae`` in the data's own ``unit`` (shares
    of the window where that is "normalized"), ``psnr`` in dB for the range of the window: see
    :mod:`asepsis.metrics.translation`. Where slices are those of whole volumes and have their own
    size, ``fused_ssim``, ``fused_mae`` and ``fused_psnr`` are those of volumes: the voxel-wise
    median of what the three planes say. ``unit`` and ``window`` are the data's when left out.

    Raises ConfigError for images smaller than 11×11 pixels, whose SSIM is not known.

    Source: FedSynthCT-Brain, arXiv 2412.06690 (scaling, mask, planes, metrics)

    Fidelity: abstract

    Tasks: paired-image

    Example:
        >>> Translation(objective="mse").primary
        'ssim'
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.PAIRED_IMAGE})
    model: ClassVar[str] = "unet"
    primary: ClassVar[str] = "ssim"

    size: Annotated[int, Field(ge=SMALLEST, le=4096)] | None = None
    objective: Literal["l1", "mse"] = "l1"
    unit: str | None = None
    window: tuple[float, float] | None = None

    def fitted(self, train: Sequence[Samples], facts: DataFacts) -> Translation:
        """Return the task with unit and window of the data."""
        return replace(
            self,
            unit=facts.unit if self.unit is None else self.unit,
            window=facts.window if self.window is None else self.window,
        )

    def fit(self, train: Sequence[Samples], facts: DataFacts) -> Prepare:
        """Return the preparation; pixels need no statistics."""
        window = facts.window if self.window is None else self.window
        if not window[0] < window[1]:
            raise ConfigError("a window goes from low to high", place="task.window", got=window)
        return partial(prepare_pairs, size=self.size, window=window)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every sample ``[n]``; targets ``[n, 1, h, w]`` need no mask."""
        gap = outputs - targets[:, :1]
        return (gap.abs() if self.objective == "l1" else gap.square()).flatten(1).mean(dim=1)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the images ``[n, 1, h, w]``, kept within [-1, 1]."""
        return outputs.clamp(-1, 1)

    def per_sample(self, probabilities: Array, targets: Array) -> Figures:
        """Return every sample's own figures ``[n]``, NaN where nothing is inside the mask."""
        return figures(*_planes(probabilities, targets), self._span)

    def metrics(self, probabilities: Array, targets: Array) -> dict[str, float]:
        """Return SSIM, mean absolute error and PSNR inside the mask, averaged over samples."""
        return averaged(self.per_sample(probabilities, targets))

    def whole(
        self, probabilities: Array, targets: Array, ids: Array, volume: int
    ) -> dict[str, float]:
        """Return the same of volumes, put together from slices; nothing for resized slices."""
        if probabilities.shape[-2:] != (volume, volume):
            return {}
        found = fused_figures(*_planes(probabilities, targets), ids, volume, self._span)
        return {f"{FUSED}{name}": value for name, value in averaged(found).items()}

    def prior(self, train: Array, keys: Array, wanted: Array) -> Array:
        """Return what one says who has never seen the input: the mean of the training targets."""
        return mean_images(train[:, :1], keys, wanted)

    def backdoor_metrics(
        self, clean: Array, stamped: Array, targets: Array, target: int, *, erased: bool = False
    ) -> dict[str, float]:
        """Refuse: an image is no class that a trigger could lead to."""
        raise ConfigError("a backdoor has no target class in images", place="attack")

    @property
    def _span(self) -> float:
        return span(self.unit or SHARES, self.window or (0.0, 255.0))


def prepare_pairs(samples: Samples, *, size: int | None, window: tuple[float, float]) -> Shard:
    """Resize, scale to [-1, 1], and set what lies outside the mask to -1."""
    inputs = _resized(_scaled(samples.inputs, window), size)
    targets = _resized(_scaled(samples.targets, window), size)
    if min(inputs.shape[-2:]) < SMALLEST:
        raise ConfigError(
            f"images need at least {SMALLEST}×{SMALLEST} pixels",
            place="task.size",
            got=tuple(inputs.shape[-2:]),
        )
    mask = torch.ones_like(targets)
    if samples.mask is not None:
        mask = (_resized(samples.mask.astype(np.float32), size) >= 0.5).float()
        inputs = torch.where(mask > 0, inputs, -1.0)
        targets = torch.where(mask > 0, targets, -1.0)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    return Shard(inputs, torch.cat([targets, mask], dim=1))


def _scaled(pixels: Array, window: tuple[float, float]) -> Array:
    """Scale 8 bits, or values in the data's own unit, to [-1, 1]."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32) / 127.5 - 1.0
    low, high = window
    scaled = (pixels.astype(np.float32) - low) / (high - low) * 2.0 - 1.0
    return np.asarray(np.clip(scaled, -1.0, 1.0), np.float32)


def _resized(images: Array, size: int | None) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(images))[:, None]
    if size is None or tuple(tensor.shape[-2:]) == (size, size):
        return tensor
    return F.interpolate(tensor, size=(size, size), mode="area")


def _planes(guess: Array, targets: Array) -> tuple[Array, Array, Array]:
    """Return the guess, the truth and the mask, ``[n, h, w]`` each."""
    return guess[:, 0], targets[:, 0], targets[:, 1] > 0.5
