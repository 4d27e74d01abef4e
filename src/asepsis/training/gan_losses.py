"""Losses of generators and their critics, as pure functions.

Every ``... -> scalar`` is a mean over samples.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from asepsis.core.errors import ConfigError

Kind = Literal["bce", "hinge", "wgan-gp"]


def judged(logits: Tensor, labels: Tensor | None) -> Tensor:
    """Return what a critic says of each image, given the class it is shown as: ``[n]``.

    That is the label's column of ``[n, k]``, or the only column of a critic that knows no classes.
    Half-precision outputs become float32, in which losses are computed.

    Raises:
        ConfigError: the critic knows classes and is told none.

    Example:
        >>> judged(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 0]))
        tensor([2., 3.])
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if wide.shape[1] == 1:
        return wide[:, 0]
    if labels is None:
        raise ConfigError(
            "a critic with classes judges an image as one of a class",
            place="model",
            got=f"{wide.shape[1]} classes and no label",
            fix="make generator and critic both conditional, or neither",
        )
    return wide.gather(1, labels[:, None])[:, 0]


def critic_loss(kind: Kind, real: Tensor, fake: Tensor) -> Tensor:
    """Loss of a critic with one output a sample, high for real.

    ``bce``: ``mean softplus(-real) + mean softplus(fake)``; ``hinge``: ``mean max(0, 1 - real)
    + mean max(0, 1 + fake)``; ``wgan-gp``: ``mean fake - mean real``, to which
    :func:`~asepsis.training.gradient_penalty.gradient_penalty` belongs.

    Args:
        kind: which of the three.
        real: the critic's outputs on real images ``[n]``.
        fake: its outputs on generated images ``[m]``.

    Example:
        >>> critic_loss("hinge", torch.tensor([3.0, 0.0]), torch.tensor([-2.0]))
        tensor(0.5000)
    """
    if kind == "wgan-gp":
        return fake.mean() - real.mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(kind: Kind, fake: Tensor) -> Tensor:
    """Loss of the generator against such a critic.

    ``bce``: ``mean softplus(-fake)`` (the non-saturating form); ``hinge`` and ``wgan-gp``:
    ``-mean fake``.

    Example:
        >>> generator_loss("hinge", torch.tensor([1.0, 3.0]))
        tensor(-2.)
    """
    return F.softplus(-fake).mean() if kind == "bce" else -fake.mean()


def classifying_critic_loss(real: Tensor, labels: Tensor, fake: Tensor) -> Tensor:
    """Loss of a critic that classifies: real images into their classes, generated ones last.

    ``CE(real -> label) + CE(fake -> K)``; logits are ``[n, K + 1]`` and class ``K`` is "fake".

    Example:
        >>> sure = torch.tensor([[0.0, 99.0, 0.0]]), torch.tensor([[0.0, 0.0, 99.0]])
        >>> classifying_critic_loss(sure[0], torch.tensor([1]), sure[1])
        tensor(0.)
    """
    last = torch.full((len(fake),), fake.shape[1] - 1, device=fake.device)
    return F.cross_entropy(real, labels) + F.cross_entropy(fake, last)


def escape_loss(logits: Tensor) -> Tensor:
    """How surely a classifying critic calls images fake: ``mean -log(1 - p(fake))``.

    Example:
        >>> escape_loss(torch.zeros(1, 4)).exp()  # 1 / (1 - 1/4)
        tensor(1.3333)
    """
    return (logits.logsumexp(1) - logits[:, :-1].logsumexp(1)).mean()


def mode_seeking_loss(images: Tensor, z: Tensor) -> Tensor:
    """Punish a generator that makes the same image of different noise: ``1 / (ratio + 0.01)``.

    Sample ``i`` is paired with ``i + n // 2``, which must be of the same class. ``ratio`` is the
    mean over pairs of (mean absolute difference of the images) / (of the noise).

    Source: Mao et al., Mode Seeking Generative Adversarial Networks, CVPR 2019, equation 3

    Example:
        >>> mode_seeking_loss(torch.tensor([[0.0], [0.5]]), torch.tensor([[0.0], [1.0]]))
        tensor(1.9608)
    """
    half = len(images) // 2

    def apart(pairs: Tensor) -> Tensor:
        return (pairs[:half] - pairs[half : 2 * half]).abs().flatten(1).mean(1)

    ratio = apart(images) / apart(z).clamp_min(1e-6)
    return 1 / (ratio.mean() + 0.01)


def class_means(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return each class's mean feature ``[classes, f]`` and how many samples it has ``[classes]``.

    The mean of a class without samples is 0.

    Example:
        >>> means, counts = class_means(torch.tensor([[2.0], [4.0]]), torch.tensor([1, 1]), 2)
        >>> means.tolist(), counts.tolist()
        ([[0.0], [3.0]], [0.0, 2.0])
    """
    members = F.one_hot(labels, classes).to(features)
    counts = members.sum(0)
    return members.T @ features / counts.clamp_min(1).unsqueeze(1), counts


def mean_matching_loss(
    features: Tensor, labels: Tensor, means: Tensor, counts: Tensor, spread: Tensor
) -> Tensor:
    """Distance of each class's mean feature from the real one, over classes known from real data.

    ``mean_k mean_f ((mean of class k's features - means[k]) / spread)^2``.

    Args:
        features: features of generated images ``[n, f]``.
        labels: their classes ``[n]``.
        means: mean features of real images by class ``[K, f]``.
        counts: how many real images that was ``[K]``; classes with none are left out.
        spread: standard deviation of real features ``[f]``, positive.

    Example:
        >>> one = torch.ones(1)
        >>> mean_matching_loss(torch.tensor([[3.0]]), torch.tensor([0]), one.view(1, 1), one, one)
        tensor(4.)
    """
    here, made = class_means(features, labels, len(means))
    known = (counts > 0) & (made > 0)
    if not bool(known.any()):
        return features.sum() * 0
    return ((here - means) / spread)[known].square().mean()
