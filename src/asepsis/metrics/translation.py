"""How close synthetic images come to the true ones, inside the body.

Images are ``[n, h, w]`` in [-1, 1], so the width of their value range is 2; ``mask`` ``[n, h, w]``
is true inside the body. Figures are per sample ``[n]``, NaN where the mask is empty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asepsis.core.errors import ConfigError
from asepsis.core.samples import Array
from asepsis.metrics.leakage import RADIUS, ssim_map

RANGE = 2.0
PLANES = 3
FUSED = "fused_"
"""What figures begin with of volumes that were put together from slices."""
SHARES = "normalized"

Figures = dict[str, NDArray[np.float64]]


def span(unit: str, window: tuple[float, float]) -> float:
    """Return how much of a unit lies between -1 and 1; "normalized" is a share of the window.

    Example:
        >>> span("HU", (-1024.0, 3071.0)), span("normalized", (0.0, 255.0))
        (4095.0, 1.0)
    """
    return 1.0 if unit == SHARES else window[1] - window[0]


def masked_mae(guess: Array, truth: Array, mask: Array) -> NDArray[np.float64]:
    """Mean absolute error inside the mask, ``[n]``.

    Example:
        >>> inside = np.array([[[True, True, False]]])
        >>> masked_mae(np.array([[[1.0, 0.5, 9.0]]]), np.zeros((1, 1, 3)), inside).tolist()
        [0.75]
    """
    return inside(np.abs(_wide(guess) - _wide(truth)), mask)


def masked_psnr(guess: Array, truth: Array, mask: Array) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio inside the mask in dB, ``10 log10(2² / mse)``, ``[n]``.

    The range is that of the whole window, 2, not of the values that happen to be there; infinite
    where there is no error.

    Example:
        >>> masked_psnr(np.full((1, 2, 2), 0.2), np.zeros((1, 2, 2)), np.ones((1, 2, 2))).round(6)
        array([20.])
    """
    error = inside((_wide(guess) - _wide(truth)) ** 2, mask)
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(RANGE**2 / error))


def masked_ssim(guess: Array, truth: Array, mask: Array) -> NDArray[np.float64]:
    """Mean of the SSIM map over the mask, ``[n]``.

    The windows of :func:`asepsis.metrics.leakage.ssim`, range 2; pixels whose window does not fit
    inside the image are left out, and an image smaller than a window has no figure.

    Example:
        >>> image = np.eye(16)[None]
        >>> masked_ssim(image, image, np.ones((1, 16, 16))).tolist()
        [1.0]
    """
    if min(guess.shape[-2:]) <= 2 * RADIUS:
        return np.full(len(guess), np.nan)
    inner = mask[..., RADIUS:-RADIUS, RADIUS:-RADIUS]
    return inside(ssim_map(_wide(guess), _wide(truth), RANGE), inner)


def figures(guess: Array, truth: Array, mask: Array, width: float = 1.0) -> Figures:
    """Return ``ssim``, ``mae`` (times half of ``width``, the unit's share of 2) and ``psnr``.

    Images may be volumes ``[n, d, h, w]``: SSIM is then that of the slices ``[h, w]``.
    """
    return {
        "ssim": masked_ssim(guess, truth, mask),
        "mae": masked_mae(guess, truth, mask) * width / RANGE,
        "psnr": masked_psnr(guess, truth, mask),
    }


def averaged(per_sample: Figures) -> dict[str, float]:
    """Return the mean of every figure over the samples that have one.

    Example:
        >>> averaged({"mae": np.array([1.0, np.nan, 3.0]), "ssim": np.array([np.nan])})
        {'mae': 2.0, 'ssim': nan}
    """
    known = {name: values[~np.isnan(values)] for name, values in per_sample.items()}
    return {name: float(np.mean(v)) if v.size else float("nan") for name, v in known.items()}


def fuse(slices: Array, ids: Array, size: int) -> tuple[Array, Array]:
    """Put the slices of three planes together: the voxel-wise median of what each plane says.

    Slice ``((v * 3) + plane) * size + position`` belongs to volume v, at ``position`` along axis
    ``plane`` (0 axial, 1 coronal, 2 sagittal). A voxel that some plane does not cover is the median
    of the others, NaN without any.

    Args:
        slices: ``[n, size, size]``, in any order.
        ids: the number of each ``[n]``.
        size: side of the volumes.

    Returns:
        The volumes' numbers ``[m]``, sorted, and the volumes ``[m, size, size, size]``.

    Raises:
        ConfigError: slices of another size.

    Example:
        >>> said = np.array([1.0, 1.0, 2.0, 2.0, 9.0, 9.0])
        >>> numbers, volumes = fuse(np.ones((6, 2, 2)) * said[:, None, None], np.arange(6), 2)
        >>> float(volumes[0].max())
        2.0
    """
    if slices.shape[1:] != (size, size):
        raise ConfigError("slices do not fit the volume", got=slices.shape, fix=f"{size}×{size}")
    numbers, which = np.unique(ids // (PLANES * size), return_inverse=True)
    plane, position = ids // size % PLANES, ids % size
    said = np.full((PLANES, len(numbers), size, size, size), np.nan, dtype=np.float32)
    for axis in range(PLANES):
        mine = plane == axis
        along = np.moveaxis(said[axis], axis + 1, 1)  # a view: [m, position, ...]
        along[which[mine], position[mine]] = slices[mine]
    return numbers, _median_of_three(*said)


def _median_of_three(one: Array, two: Array, three: Array) -> Array:
    """Return the median, by minima and maxima where all three are there: much faster."""
    low, high = np.minimum(one, two), np.maximum(one, two)
    median = np.maximum(low, np.minimum(high, three))
    unsaid = np.isnan(median)
    if unsaid.any():
        said = np.stack([one[unsaid], two[unsaid], three[unsaid]])
        known = ~np.isnan(said).all(axis=0)
        found = np.full(said.shape[1], np.nan, dtype=np.float32)
        found[known] = np.nanmedian(said[:, known], axis=0)
        median[unsaid] = found
    return np.asarray(median)


def fused_figures(
    guess: Array, truth: Array, mask: Array, ids: Array, size: int, width: float = 1.0
) -> Figures:
    """Return :func:`figures` of the fused volumes, one per volume; SSIM is that of axial slices.

    A voxel counts where every plane that covers it has it in the mask at the median.
    """
    (_, guesses), (_, truths), (_, inner) = (
        fuse(part, ids, size) for part in (guess, truth, mask.astype(np.float32))
    )
    there = ~np.isnan(guesses) & (inner > 0.5)
    return figures(np.nan_to_num(guesses), np.nan_to_num(truths), there, width)


def mean_images(images: Array, keys: Array, wanted: Array) -> Array:
    """Return for every wanted key the mean of the images that have it; of all where none has.

    Example:
        >>> images = np.array([[0.0], [2.0], [8.0]])
        >>> mean_images(images, np.array([0, 0, 1]), np.array([1, 0, 5])).round(2).tolist()
        [[8.0], [1.0], [3.33]]
    """
    every = images.mean(axis=0, dtype=np.float64)
    found = {
        key: images[keys == key].mean(axis=0, dtype=np.float64) if (keys == key).any() else every
        for key in np.unique(wanted).tolist()
    }
    return np.stack([found[key] for key in wanted.tolist()]).astype(images.dtype)


def inside(values: Array, mask: Array) -> NDArray[np.float64]:
    """Return the mean over the mask of every sample ``[n]``; NaN where the mask is empty."""
    weights = mask.astype(bool).reshape(len(mask), -1)
    count = weights.sum(axis=1)
    total = np.where(weights, values.reshape(len(values), -1), 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _wide(array: Array) -> NDArray[np.float64]:
    return np.asarray(array, dtype=np.float64)
