"""Images made from noise, as the hospitals' own are: what a federated generator learns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Array, DataFacts, Kind, Prepare, Samples, Shard
from asepsis.tasks.classification import scale_image
from asepsis.training.gan_losses import judged

CHUNK = 512
"""Images resized at a time, so that full-size floats of a whole data set are never held."""


@register("task", "generation")
class Generation:
    """Synthetic images, of every class or of none: what hospitals train a GAN for.

    uint8 ``[n, h, w]`` or ``[n, h, w, 3]`` become float32 ``[n, 1 or 3, h, w]`` in [-1, 1]
    (``x / 127.5 - 1``: the range of a generator's tanh), channels-last in memory. With ``size``
    they become ``size`` × ``size`` pixels: each the mean of its area where both sides shrink, so
    that every old pixel counts; else by bilinear interpolation, which where a side shrinks is
    widened to cover the area (antialiasing). Sides are scaled apart: an image that is not square
    is stretched. This runs after poisoning: a trigger is stamped on raw pixels.

    The model answers with its critic's outputs ``[n, k]``, high for real: column ``y`` for an
    image of class ``y``, the only column where there are no classes. Loss ``[n]``:
    ``softplus(-output)``; probabilities ``[n, k]``: ``sigmoid(output)``, of being real.

    The primary figure is the kernel distance of generated from real images: lower is better.
    Generated images are scored as a set, never one by one, so ``metrics`` and ``backdoor_metrics``
    refuse with ConfigError: see :mod:`asepsis.metrics.generation`.

    Source: Radford et al., Unsupervised Representation Learning with Deep Convolutional GANs,
    ICLR 2016, section 4 (scaling to the range of tanh)

    Fidelity: own

    Tasks: image

    Example:
        >>> Generation(size=32).primary
        'kernel_distance'
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE})
    model: ClassVar[str] = "dcgan"
    primary: ClassVar[str] = "kernel_distance"
    generates: ClassVar[bool] = True

    size: Annotated[int, Field(ge=4, le=4096)] | None = None

    def fit(self, train: Sequence[Samples], facts: DataFacts) -> Prepare:
        """Return the preparation; pixels need no statistics."""
        return partial(prepare_images, size=self.size)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return how little the critic believes that each image is real ``[n]``."""
        return F.softplus(-judged(outputs, targets))

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the probability of being real ``[n, k]``, given each class."""
        return torch.sigmoid(outputs)

    def metrics(self, probabilities: Array, targets: Array) -> dict[str, float]:
        """Refuse: generated images are scored as a set."""
        raise ConfigError(
            "the outputs of a critic are no score of the images that a generator makes",
            place="task",
            fix="compare generated with real images: see asepsis.metrics.generation",
        )

    def backdoor_metrics(
        self, clean: Array, stamped: Array, targets: Array, target: int, *, erased: bool = False
    ) -> dict[str, float]:
        """Refuse: a generator takes no input that could carry a trigger."""
        raise ConfigError(
            "a generator has no input that a trigger could be stamped on",
            place="attack",
            fix="count the trigger in generated images: use the attack 'trigger-images'",
        )


def prepare_images(samples: Samples, *, size: int | None) -> Shard:
    """Scale to [-1, 1] and resize to ``size`` × ``size`` pixels, if any is given."""
    if size is None or samples.inputs.shape[1:3] == (size, size):
        return scale_image(samples)
    parts = [
        _resized(
            scale_image(samples.take(np.arange(start, min(start + CHUNK, len(samples))))), size
        )
        for start in range(0, max(1, len(samples)), CHUNK)
    ]
    inputs = torch.cat([part.inputs for part in parts])
    return Shard(
        inputs.contiguous(memory_format=torch.channels_last),
        torch.cat([part.targets for part in parts]),
    )


def _resized(part: Shard, size: int) -> Shard:
    if len(part) == 0:
        return Shard(part.inputs.new_zeros(0, part.inputs.shape[1], size, size), part.targets)
    if min(part.inputs.shape[-2:]) >= size:
        made = F.interpolate(part.inputs, size=(size, size), mode="area")
    else:
        made = F.interpolate(part.inputs, size=(size, size), mode="bilinear", antialias=True)
    return Shard(made.clamp(-1, 1), part.targets)


def pixels(prepared: Tensor | Array) -> Array:
    """Turn images ``[n, c, h, w]`` in [-1, 1] into uint8 ``[n, h, w]`` or ``[n, h, w, 3]``.

    The inverse of the preparation, to the nearest gray value. Values outside the range are
    clipped, what is not a number becomes mid-gray; of neither 1 nor 3 channels the first is shown.

    Example:
        >>> pixels(torch.tensor([[[[-1.0, 0.0, 2.0]]]])).tolist()
        [[[0, 128, 255]]]
    """
    values = prepared.detach().cpu().numpy() if isinstance(prepared, Tensor) else prepared
    known = np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=1.0, neginf=-1.0)
    scaled = np.clip(np.rint((known + 1.0) * 127.5), 0, 255).astype(np.uint8)
    return scaled[:, 0] if scaled.shape[1] != 3 else np.moveaxis(scaled, 1, -1)
