"""Gradients laid out in memory as their weights are: fused kernels walk memory, not strides."""

from __future__ import annotations

import torch
from torch import Tensor


def aligned(gradients: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    """Return gradients with the strides of their weights, copying only those that differ.

    A convolution whose inputs are channels-last gets channels-last gradients, whatever its
    weights are; a fused step would add them to the wrong weights, silently.
    """
    return [
        gradient if gradient.stride() == weight.stride() else _like(gradient, weight)
        for gradient, weight in zip(gradients, weights, strict=True)
    ]


def _like(gradient: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(weight).copy_(gradient)
