"""Gradients of single samples through Opacus, clipped and summed without ever being averaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from asepsis.core.contracts import Task
from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.core.layout import Layout

MOST_VALUES = 1 << 26
"""So many values of single gradients are held at a time: 256 MiB."""


def check_model(module: nn.Module, layout: Layout) -> None:
    """Refuse a network whose samples cannot be told apart, or that sends more than parameters.

    Raises:
        ConfigError: naming the layers, why they do not fit, and what would.
        MissingExtraError: Opacus is not installed.
    """
    unfit = _unfit(module)
    buffers = [slot.name for slot in layout.slots if not slot.parameter]
    if not (unfit or buffers):
        return
    why = "buffers would be sent without noise"
    named = buffers
    if unfit:
        named = [f"{name} ({type(module.get_submodule(name)).__name__})" for name in unfit]
        why = next(iter(unfit.values())).split(". ")[0]
    raise ConfigError(
        f"dp-sgd cannot protect this network: {why}",
        place="model",
        got=f"{len(named)} such: {', '.join(named[:3])}",
        fix='use group normalization (norm = "group" on densenet121, resnet18 and unet), or a '
        "network without BatchNorm (small-cnn, lenet, mlp, cnn1d)",
    )


def _unfit(module: nn.Module) -> dict[str, str]:
    """Return what Opacus says against each layer, by the layer's name; trained or not."""
    known = _opacus().validators.ModuleValidator.VALIDATORS
    found = {
        name: known[type(part)](part)
        for name, part in module.named_modules()
        if type(part) in known
    }
    return {name: str(errors[0]) for name, errors in found.items() if errors}


@contextmanager
def watched(module: nn.Module) -> Iterator[nn.Module]:
    """Let every parameter of a module receive the gradients of single samples."""
    wrapped = _opacus().GradSampleModule(module, loss_reduction="sum")
    try:
        yield wrapped
    finally:
        wrapped.to_standard_module()
        for parameter in module.parameters():
            parameter.grad = None


def clipped_sum(
    module: nn.Module, task: Task, inputs: Tensor, targets: Tensor, clip: float
) -> list[Tensor]:
    """Return ``sum_i g_i min(1, clip / |g_i|)`` over samples, one tensor a trainable parameter.

    ``|g_i|`` is the norm over all parameters together. A gradient that is not finite counts as 0.
    """
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    total = [torch.zeros_like(weight) for weight in weights]
    size = max(1, MOST_VALUES // max(1, sum(weight.numel() for weight in weights)))
    for start in range(0, len(inputs), size):
        part = slice(start, start + size)
        for made, found in zip(
            total, _one_part(module, task, weights, inputs[part], targets[part], clip), strict=True
        ):
            made += found
    return total


def _one_part(
    module: nn.Module,
    task: Task,
    weights: list[nn.Parameter],
    inputs: Tensor,
    targets: Tensor,
    clip: float,
) -> list[Tensor]:
    for weight in weights:
        weight.grad_sample = None  # type: ignore[attr-defined]
    # Layers watch what flows back through them, and the first has nothing to watch otherwise.
    outputs = module(inputs.detach().requires_grad_())
    torch.autograd.backward(task.loss(outputs, targets).sum())
    single = [_single(weight, len(inputs)) for weight in weights]
    flat = [
        each.reshape(len(inputs), weight.numel())
        for each, weight in zip(single, weights, strict=True)
    ]
    norms = torch.stack([each.square().sum(dim=1) for each in flat]).sum(dim=0).sqrt()
    finite = torch.isfinite(norms)
    if not bool(finite.all()):
        single = [each[finite] for each in single]
        norms = norms[finite]
    factors = (clip / norms).clamp(max=1.0)
    return [torch.tensordot(factors, each, dims=1) for each in single]


def _single(weight: nn.Parameter, samples: int) -> Tensor:
    """Return a parameter's gradients by sample; zeros where the loss does not depend on it."""
    found = getattr(weight, "grad_sample", None)
    return weight.new_zeros(samples, *weight.shape) if found is None else found.detach()


def _opacus() -> Any:
    try:
        import opacus
        import opacus.validators
    except ImportError:
        raise MissingExtraError("opacus", "privacy") from None
    return opacus
