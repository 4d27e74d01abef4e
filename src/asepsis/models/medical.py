"""Networks of the radiology literature, as MONAI builds them; MONAI loads only when one is built.

Their batch normalization keeps running statistics, which are part of the row that travels.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import ClassVar, Literal, cast

from torch import Tensor, nn

from asepsis.core.errors import MissingExtraError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.models.building import demand

KINDS = frozenset({Kind.IMAGE, Kind.MULTILABEL_IMAGE, Kind.VOLUME})
SMALLEST = 32
Norm = Literal["batch", "group"]
GROUPS = 8
"""The width of every layer of these networks is a multiple."""


@register("model", "densenet121")
class DenseNet121:
    """DenseNet-121 without pretrained weights, the network of chest X-ray classification.

    ``[n, c, h, w] -> [n, classes]`` (or ``[n, c, d, h, w]``), at least 32 pixels a side. ReLUs do
    not work in place, so that hooks and per-sample gradients see every activation.
    ``norm``: ``batch`` as published, or ``group``, which tells the samples of a batch apart and is
    what ``dp-sgd`` needs.

    Raises ConfigError for smaller samples, MissingExtraError without the extra ``medical``.

    Source: Huang et al., Densely Connected Convolutional Networks, CVPR 2017, table 1 (MONAI's
    implementation)

    Fidelity: own

    Tasks: image, multilabel-image, volume

    Example:
        >>> DenseNet121().kinds == KINDS
        True
    """

    kinds: ClassVar[frozenset[Kind]] = KINDS

    norm: Norm = "batch"

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network."""
        demand("densenet121", input_shape, axes=(3, 4), smallest=SMALLEST)
        make = _monai("monai.networks.nets.densenet", "DenseNet121")
        return _finished(
            make(
                spatial_dims=len(input_shape) - 1,
                in_channels=input_shape[0],
                out_channels=classes,
                pretrained=False,
            ),
            self.norm,
        )


@register("model", "resnet18")
class ResNet18:
    """ResNet-18 without pretrained weights.

    ``[n, c, h, w] -> [n, classes]`` (or ``[n, c, d, h, w]``), at least 32 pixels a side. ReLUs do
    not work in place, so that hooks and per-sample gradients see every activation.
    ``norm``: ``batch`` as published, or ``group``, which tells the samples of a batch apart and is
    what ``dp-sgd`` needs.

    Raises ConfigError for smaller samples, MissingExtraError without the extra ``medical``.

    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, table 1 (MONAI's
    implementation)

    Fidelity: own

    Tasks: image, multilabel-image, volume

    Example:
        >>> ResNet18().kinds == KINDS
        True
    """

    kinds: ClassVar[frozenset[Kind]] = KINDS

    norm: Norm = "batch"

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network."""
        demand("resnet18", input_shape, axes=(3, 4), smallest=SMALLEST)
        make = _monai("monai.networks.nets.resnet", "resnet18")
        return _finished(
            make(
                pretrained=False,
                spatial_dims=len(input_shape) - 1,
                n_input_channels=input_shape[0],
                num_classes=classes,
            ),
            self.norm,
        )


def _monai(module: str, name: str) -> Callable[..., nn.Module]:
    try:
        return cast("Callable[..., nn.Module]", vars(import_module(module))[name])
    except ImportError:
        raise MissingExtraError("monai", "medical") from None


class _Copied(nn.Module):
    """Hands its input on as a tensor of its own: blocks add to it in place, where hooks forbid."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def _finished(module: nn.Module, norm: Norm) -> nn.Module:
    """Take ReLUs out of place, and put the normalization in; MONAI's option misses some layers."""
    for name, part in list(module.named_modules()):
        if isinstance(part, nn.ReLU):
            part.inplace = False
        if norm == "group" and isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            at, _, last = name.rpartition(".")
            grouped = nn.Sequential(nn.GroupNorm(GROUPS, part.num_features), _Copied())
            setattr(module.get_submodule(at), last, grouped)
    return module
