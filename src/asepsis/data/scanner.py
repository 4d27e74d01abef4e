"""A scanner's handwriting: gain, contrast, blur and noise, as they differ between hospitals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as strict_dataclass

from asepsis.core.samples import Array

Factor = Annotated[float, Field(gt=0, le=10)]
_BLOCK = 2**22


@dataclass(frozen=True)
class Look:
    """The look of several scanners at once: one value per image ``[n]`` of each."""

    gain: NDArray[np.float32]
    contrast: NDArray[np.float32]
    blur: NDArray[np.float32]
    noise: NDArray[np.float32]


@strict_dataclass(
    frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
)
class Scanner:
    """``blurred(gain · x ^ contrast) + noise · N(0, 1)`` for intensities x in [0, 1].

    ``blur`` is the weight of the two neighbors in every direction (0 to 1/3), ``noise`` a
    standard deviation on the same scale.
    """

    gain: Factor = 1.0
    contrast: Factor = 1.0
    blur: Annotated[float, Field(ge=0, le=1 / 3)] = 0.0
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0

    def apply(self, images: Array, rng: np.random.Generator) -> Array:
        """Return uint8 images ``[n, h, w, ...]`` as this scanner would have taken them.

        Example:
            >>> Scanner(gain=0.5).apply(np.full((1, 2, 2), 100, np.uint8), np.random.default_rng(0))
            array([[[50, 50],
                    [50, 50]]], dtype=uint8)
        """
        made = np.empty_like(images)
        step = max(1, _BLOCK // max(1, images[:1].size))
        for start in range(0, len(images), step):
            block = images[start : start + step]
            look = Look(
                *(
                    np.full(len(block), value, np.float32)
                    for value in (self.gain, self.contrast, self.blur, self.noise)
                )
            )
            made[start : start + step] = expose(
                block.astype(np.float32) / np.float32(255), look, rng
            )
        return made


def expose(scene: NDArray[np.float32], look: Look, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn intensities ``[n, h, w, ...]`` in [0, 1] into uint8 images."""

    def each(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values.reshape(-1, *[1] * (scene.ndim - 1))

    seen = each(look.gain) * np.power(np.clip(scene, 0, 1), each(look.contrast))
    for axis in (1, 2):
        seen = _blurred(seen, each(look.blur), axis)
    if look.noise.any():
        seen = seen + each(look.noise) * rng.standard_normal(seen.shape, dtype=np.float32)
    return (np.clip(seen, 0, 1) * 255 + 0.5).astype(np.uint8)


def _blurred(
    images: NDArray[np.float32], weight: NDArray[np.float32], axis: int
) -> NDArray[np.float32]:
    if not weight.any():
        return images
    edges = [(1, 1) if dim == axis else (0, 0) for dim in range(images.ndim)]
    padded = np.pad(images, edges, mode="edge")
    size = images.shape[axis]
    before = np.take(padded, range(size), axis=axis)
    after = np.take(padded, range(2, size + 2), axis=axis)
    return np.asarray((1 - 2 * weight) * images + weight * (before + after), np.float32)
