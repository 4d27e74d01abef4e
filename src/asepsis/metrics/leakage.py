"""How close reconstructed inputs come to the true ones.

Images are ``[h, w]`` or ``[channels, h, w]``. ``data_range`` is the width of the value range of
the images as given (255 for raw pixels, 2 for pixels in [-1, 1]); every figure depends on it.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

from asepsis.core.errors import ConfigError
from asepsis.core.samples import Array

RADIUS = 5
SIGMA = 1.5
HOPELESS = 1e300


def mse(guess: Array, truth: Array) -> float:
    """Mean squared error."""
    return float(np.mean((_wide(guess) - _wide(truth)) ** 2))


def psnr(guess: Array, truth: Array, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(data_range² / mse)``; infinite when equal.

    Example:
        >>> psnr(np.full((4, 4), 0.1), np.zeros((4, 4)), data_range=1.0)
        20.0
    """
    error = mse(guess, truth)
    return float(10 * np.log10(data_range**2 / error)) if error != 0 else float("inf")


def ssim(guess: Array, truth: Array, data_range: float) -> float:
    """Structural similarity: Gaussian window of 11 pixels, sigma 1.5, k1 0.01, k2 0.03.

    Windows that do not fit inside the image are left out; channels are averaged (Wang et al.,
    Image Quality Assessment, IEEE Transactions on Image Processing 2004).

    Raises:
        ConfigError: the image is smaller than the window.

    Example:
        >>> ssim(np.eye(16), np.eye(16), data_range=1.0)
        1.0
    """
    if min(guess.shape[-2:]) <= 2 * RADIUS:
        raise ConfigError(
            "SSIM needs images of at least 11×11 pixels", got=guess.shape, fix="report PSNR instead"
        )
    pairs = zip(_channels(guess), _channels(truth), strict=True)
    return float(np.mean([ssim_map(x, y, data_range).mean() for x, y in pairs]))


def match(guesses: Array, truths: Array) -> tuple[Array, Array]:
    """Pair reconstructions with true inputs so that the summed squared error is smallest.

    A batch is reconstructed in any order, so the best assignment decides, one to one.

    Returns:
        Indices into ``guesses`` and ``truths``, ``[min(b, m)]`` each.

    Example:
        >>> match(np.array([[0.0], [5.0]]), np.array([[5.1], [0.2]]))[1].tolist()
        [1, 0]
    """
    flat, true = (_wide(array).reshape(len(array), -1) for array in (guesses, truths))
    cost = np.array([[np.mean((guess - truth) ** 2) for truth in true] for guess in flat])
    rows, columns = linear_sum_assignment(np.nan_to_num(cost, nan=HOPELESS, posinf=HOPELESS))
    return rows, columns


def reconstruction_metrics(guesses: Array, truths: Array, data_range: float) -> dict[str, float]:
    """Score reconstructions against the true inputs they match best, averaged over the pairs.

    Returns ``mse``, ``psnr`` (dB) and ``ssim``; SSIM is NaN for what is not an image of at least
    11×11 pixels.
    """
    pairs = [(guesses[i], truths[j]) for i, j in zip(*match(guesses, truths), strict=True)]
    fits = truths.ndim in (3, 4) and min(truths.shape[-2:]) > 2 * RADIUS
    return {
        "mse": float(np.mean([mse(*pair) for pair in pairs])),
        "psnr": float(np.mean([psnr(*pair, data_range) for pair in pairs])),
        "ssim": float(np.mean([ssim(*pair, data_range) for pair in pairs])) if fits else np.nan,
    }


def _wide(array: Array) -> Array:
    return np.asarray(array, dtype=np.float64)


def _channels(image: Array) -> Array:
    return _wide(image).reshape(-1, *image.shape[-2:])


def ssim_map(x: Array, y: Array, data_range: float) -> Array:
    """Structural similarity around every pixel whose window fits inside the image.

    ``[..., h, w] -> [..., h - 10, w - 10]``: see :func:`ssim`.
    """
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    cov = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * cov + c2) / (var_x + var_y + c2)
    return np.asarray(luminance * structure)


def _blur(image: Array) -> Array:
    smooth = gaussian_filter(image, SIGMA, radius=RADIUS, axes=(-2, -1))
    return np.asarray(smooth[..., RADIUS:-RADIUS, RADIUS:-RADIUS])
