"""What model builders share: checks of a prepared sample's shape, counting, initialization."""

from __future__ import annotations

from torch import nn

from asepsis.core.errors import ConfigError


def demand(name: str, shape: tuple[int, ...], axes: tuple[int, ...], smallest: int = 1) -> None:
    """Check a prepared sample's shape: its number of axes, and each extent after the first.

    Raises:
        ConfigError: the model cannot take such a sample.

    Example:
        >>> demand("small-cnn", (1, 28, 28), axes=(3, 4), smallest=8)
    """
    if len(shape) not in axes:
        wanted = " or ".join(map(str, axes))
        raise ConfigError(
            f"{name} cannot take this sample",
            place="model",
            got=shape,
            fix=f"it needs a prepared sample with {wanted} axes; choose another model",
        )
    if min(shape[1:], default=smallest) < smallest:
        raise ConfigError(
            f"the sample is too small for {name}",
            place="model",
            got=shape,
            fix=f"every axis after the channels needs at least {smallest}; choose a smaller model",
        )


def halved(size: int, times: int) -> int:
    """Return an extent after ``times`` convolutions of stride 2 with "same" padding.

    Example:
        >>> halved(28, 2), halved(15, 1)
        (7, 8)
    """
    for _ in range(times):
        size = (size + 1) // 2
    return size


def he(module: nn.Sequential) -> nn.Sequential:
    """Initialize the convolutions for ReLU: with PyTorch's default the first rounds stand still."""
    for layer in module:
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module
