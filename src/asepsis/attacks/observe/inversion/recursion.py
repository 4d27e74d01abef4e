"""Layer by layer from the end: what each layer was given, in closed form, for one sample."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asepsis.attacks.observe.inversion.linear import only_sample
from asepsis.attacks.observe.inversion.targets import Target, first_batch
from asepsis.core.errors import ConfigError
from asepsis.core.threat import Learner
from asepsis.core.workshop import Recipe

LARGEST = 4096
"""Unknowns of one layer that are still solved for at once."""
TINY = 1e-12
INVERTIBLE = nn.Sigmoid | nn.Tanh | nn.LeakyReLU
KNOWN = nn.Linear | nn.Conv2d | nn.Flatten | nn.Identity | INVERTIBLE


def solve(learner: Learner, target: Target) -> Tensor:
    """Return the one sample ``[inputs]`` behind a gradient, float64.

    From the last layer on: a linear layer's input is ``dW / db``; activations are inverted, and
    the gradient of the loss is carried back through them; a convolution's input solves
    ``conv(x, W) = z - b`` and ``x * g = dW`` together.

    Raises:
        ConfigError: the network is no such chain, or the update is not one gradient of one sample.
    """
    if target.about is None or not solvable(target.samples, target.recipe):
        raise mixed()
    chain = layers(learner, target.sent)
    gradient = {name: part.double() for name, part in learner.layout.views(_padded(target)).items()}
    output = back = torch.empty(0, dtype=torch.float64)
    for name, layer, shape in reversed(chain):
        if isinstance(layer, nn.Linear):
            back = gradient[f"{name}.bias"]
            output, back = only_sample(gradient[f"{name}.weight"], back), back @ layer.weight
        elif isinstance(layer, nn.Conv2d):
            output = _before(layer, output, back, gradient[f"{name}.weight"], shape)
            back = _through(layer, back, shape)
        elif isinstance(layer, INVERTIBLE):
            output, back = _inverted(layer, output, back)
        output, back = output.reshape(shape), back.reshape(shape)
    return output.flatten()


def solvable(samples: int, recipe: Recipe) -> bool:
    """Whether a hospital with so many samples sends the gradient of one of them."""
    return recipe.steps == 1 and first_batch(samples, recipe.batch) == 1


def mixed() -> ConfigError:
    """Say that an update is not the gradient of one sample."""
    return _unfit("it takes the gradient of one sample", "local steps 1 and batches of 1")


Layers = list[tuple[str, nn.Module, tuple[int, ...]]]
"""Names and layers of a chain in float64, with the shape of what each is given."""


def layers(learner: Learner, row: Tensor) -> Layers:
    """Return the chain of layers.

    Raises:
        ConfigError: the network is no chain that can be gone back through.
    """
    chain = list(_chain(learner, row))
    if not chain or not isinstance(chain[-1][1], nn.Linear):
        raise _unfit("the network does not end in a linear layer", "the model lenet-sigmoid")
    given = torch.zeros(1, *learner.input_shape, dtype=torch.float64)
    made = []
    for name, layer in chain:
        shape = tuple(given.shape[1:])
        if isinstance(layer, nn.Conv2d) and prod(shape) > LARGEST:
            what = f"a convolution reads {prod(shape)} values"
            raise _unfit(what, f"smaller images (up to {LARGEST})")
        made.append((name, layer, shape))
        given = layer(given)
    return made


def _padded(target: Target) -> Tensor:
    return torch.cat(
        [target.gradient, target.delta.new_zeros(len(target.delta) - target.parameters)]
    )


def _chain(learner: Learner, row: Tensor) -> Iterator[tuple[str, nn.Module]]:
    module = learner.copy(row).requires_grad_(False).double()
    for name, part in module.named_modules():
        if isinstance(part, nn.Sequential):
            continue
        if not _reversible(part):
            raise _unfit(
                f"it cannot go back through {type(part).__name__}", "the model lenet-sigmoid"
            )
        yield name, part


def _reversible(part: nn.Module) -> bool:
    if isinstance(part, nn.Conv2d):
        return part.groups == 1 and part.padding_mode == "zeros"
    return isinstance(part, KNOWN) and (not isinstance(part, nn.Linear) or part.bias is not None)


def _unfit(what: str, fix: str) -> ConfigError:
    message = f"the recursive method does not fit: {what}"
    return ConfigError(message, place="attack", fix=f"use {fix}")


def _inverted(layer: nn.Module, output: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """Return an activation's input, and the gradient carried back through it."""
    if isinstance(layer, nn.Sigmoid):
        inside = output.clamp(TINY, 1 - TINY)
        return torch.logit(inside), back * inside * (1 - inside)
    if isinstance(layer, nn.Tanh):
        inside = output.clamp(TINY - 1, 1 - TINY)
        return torch.atanh(inside), back * (1 - inside.square())
    assert isinstance(layer, nn.LeakyReLU)
    slope = torch.where(output < 0, layer.negative_slope, 1.0).double()
    return output / slope, back * slope


def _before(
    layer: nn.Conv2d, output: Tensor, back: Tensor, gradient: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """Solve for a convolution's input by normal equations with a trace of a ridge."""
    size = prod(shape)
    units = torch.eye(size, dtype=torch.float64).view(size, *shape)
    bias = 0.0 if layer.bias is None else layer.bias[:, None, None]
    by_weight = F.conv2d(units, layer.weight, None, layer.stride, layer.padding, layer.dilation)
    by_gradient = _gradient_equations(layer, back, shape)
    return _least_squares(
        by_weight.flatten(1), (output - bias).flatten(), by_gradient, gradient, shape
    )


def _gradient_equations(layer: nn.Conv2d, back: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return ``[h w, out * kernel]``: how each pixel of one channel enters ``dW``."""
    pixels = shape[1] * shape[2]
    units = torch.eye(pixels, dtype=torch.float64).view(pixels, 1, *shape[1:])
    padding = layer.padding if not isinstance(layer.padding, str) else 0
    patches = F.unfold(units, layer.kernel_size, layer.dilation, padding, layer.stride)
    return torch.einsum("pkl,ol->pok", patches, back.reshape(layer.out_channels, -1)).flatten(1)


def _least_squares(
    by_weight: Tensor, values: Tensor, by_gradient: Tensor, gradient: Tensor, shape: tuple[int, ...]
) -> Tensor:
    channels = shape[0]
    # Both sets of equations count alike, whatever the size of the gradient.
    scale = by_weight.norm() / (by_gradient.norm() * channels**0.5).clamp_min(TINY)
    each = by_gradient * scale
    wanted = gradient.transpose(0, 1).flatten(1) * scale
    same = torch.eye(channels, dtype=torch.float64)  # every channel has the same equations
    normal = by_weight @ by_weight.T + torch.kron(same, each @ each.T)
    right = by_weight @ values + (wanted @ each.T).flatten()
    ridge = normal.diagonal().mean() * TINY
    made: Tensor = torch.linalg.solve(
        normal + ridge * torch.eye(len(normal), dtype=normal.dtype), right
    )
    return made


def _through(layer: nn.Conv2d, back: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Carry the gradient of the loss back through a convolution."""
    given = torch.zeros(1, *shape, dtype=torch.float64, requires_grad=True)
    made = F.conv2d(given, layer.weight, None, layer.stride, layer.padding, layer.dilation)
    return torch.autograd.grad(made, given, back[None])[0][0]
