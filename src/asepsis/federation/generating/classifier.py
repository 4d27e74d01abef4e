"""Small classifiers that judge generated images: one recipe for all of them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asepsis.core.layout import Layout
from asepsis.core.registry import options
from asepsis.core.rng import Draw, Streams, building_modules
from asepsis.core.samples import Array, Shard
from asepsis.core.threads import one_thread
from asepsis.models.small_cnn import SmallCnn
from asepsis.tasks.classification import Classification
from asepsis.training.adam import Adam

FEATURES = 64
LARGEST = 64
"""Larger images are averaged down to this before they are classified."""
BLOCK = 256


@options
class Balanced(Classification):
    """Classification in which every class that occurs weighs the same."""

    weights: tuple[float, ...] = ()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted cross-entropy of every sample ``[n]``."""
        weights = outputs.new_tensor(self.weights)
        return F.cross_entropy(outputs, targets, weight=weights, reduction="none")


def balanced(targets: Tensor, classes: int) -> Balanced:
    """Return the task that weighs class k by ``n / (classes that occur * n_k)``.

    Example:
        >>> balanced(torch.tensor([0, 0, 0, 1]), 3).weights
        (0.6666666666666666, 2.0, 0.0)
    """
    counts = torch.bincount(targets, minlength=classes).tolist()
    occur = sum(count > 0 for count in counts)
    return Balanced(
        weights=tuple(len(targets) / (occur * count) if count else 0.0 for count in counts)
    )


def small_classifier(image: tuple[int, ...], classes: int, seed: int) -> nn.Sequential:
    """Build small-cnn with a layer of :data:`FEATURES` before its head: body, ReLU, head.

    Raises:
        ConfigError: no image, or one smaller than 8×8.
    """
    with building_modules(Streams(seed).integer(Draw.MODEL)):
        body = SmallCnn().build(image, FEATURES)
        return nn.Sequential(body, nn.ReLU(), nn.Linear(FEATURES, max(1, classes)))


def fit(
    module: nn.Module,
    shard: Shard,
    classes: int,
    seed: int,
    *,
    steps: int,
    batch_size: int = 64,
    lr: float = 1e-3,
) -> None:
    """Train a module in place by Adam and freeze it, in evaluation mode; classes weigh the same.

    The number of steps is fixed: more images do not mean more training.
    """
    module.to(shard.inputs.device)
    layout, trainer = Layout.of(module), Adam(lr=lr, batch_size=batch_size, steps=steps)
    task, rng = balanced(shard.targets, classes), Streams(seed).at(Draw.BATCH)
    with one_thread():
        trainer.train(module, layout, layout.flatten(module), shard, task, rng, 1.0)
    module.eval().requires_grad_(False)


@torch.no_grad()
def outputs(module: nn.Module, images: Tensor) -> Tensor:
    """Return what a module makes of prepared images, block by block."""
    with one_thread():
        return torch.cat([module(block) for block in torch.split(images, BLOCK)])


@torch.no_grad()
def probabilities(module: nn.Module, images: Tensor) -> Array:
    """Return class probabilities ``[n, classes]``."""
    found: Array = torch.softmax(outputs(module, images).double(), dim=1).cpu().numpy()
    return found


def fitting(images: Tensor) -> Tensor:
    """Return prepared images as classifiers see them: float32, at most :data:`LARGEST` wide.

    Example:
        >>> fitting(torch.zeros(1, 3, 256, 128)).shape
        torch.Size([1, 3, 64, 64])
    """
    height, width = (min(extent, LARGEST) for extent in images.shape[2:])
    if images.shape[2:] != (height, width):
        images = F.adaptive_avg_pool2d(images, (height, width))
    return images.float().contiguous(memory_format=torch.channels_last)


def parted(
    count: int, share: float, seed: int, groups: Array | None = None
) -> tuple[Tensor, Tensor]:
    """Return positions to train on and positions to test with, at random, both sorted.

    ``groups``: the patient of each. A share of the patients is set aside, with all their images.
    Left out: every image is a patient of its own.

    Example:
        >>> [len(part) for part in parted(10, 0.2, seed=0)]
        [8, 2]
        >>> [len(part) for part in parted(10, 0.5, 0, np.repeat([7, 8], [9, 1]))]
        [9, 1]
    """
    who = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
    patients = len(np.unique(who))
    order = Streams(seed).at(Draw.SPLIT).permutation(patients)
    aside = np.isin(who, order[patients - round(share * patients) :])
    return torch.from_numpy(np.flatnonzero(~aside)), torch.from_numpy(np.flatnonzero(aside))
