"""The gradient penalty of Wasserstein critics: their slope between real and fake is held at 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asepsis.training.gan_losses import judged


def gradient_penalty(
    critic: nn.Module, real: Tensor, fake: Tensor, labels: Tensor | None, draws: torch.Generator
) -> Tensor:
    """Return ``mean (||grad_x critic(x)||_2 - 1)^2`` at points ``x`` between real and fake.

    ``x_i = e_i real_i + (1 - e_i) fake_i`` with one ``e_i`` a sample, uniform in [0, 1). Samples
    pair up in order, as many as there are of both. Differentiable in the critic's weights.

    A critic must judge every image by itself: batch normalization would make one image's gradient
    depend on the others.

    Source: Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017, algorithm 1

    Args:
        critic: judges images: ``[n, c, h, w]`` to ``[n, k]``.
        real: real images ``[n, c, h, w]``.
        fake: generated images ``[m, c, h, w]``, of the same classes.
        labels: classes of the real images ``[n]``, for a critic that knows classes.
        draws: where ``e`` comes from, on the CPU, so that devices agree.

    Example:
        >>> doubled = nn.Sequential(nn.Flatten(), nn.Linear(1, 1))
        >>> _ = nn.init.constant_(doubled[1].weight, 2.0)
        >>> image = torch.zeros(1, 1, 1, 1)
        >>> gradient_penalty(doubled, image, image, None, torch.Generator()).item()
        1.0
    """
    n = min(len(real), len(fake))
    share = torch.rand(n, 1, 1, 1, generator=draws).to(real)
    points = torch.lerp(fake[:n].detach(), real[:n].detach(), share).requires_grad_()
    told = judged(critic(points), None if labels is None else labels[:n])
    # Autocast is for forward passes; inside it this backward pass would be rounded once more.
    with torch.autocast(points.device.type, enabled=False):
        (slope,) = torch.autograd.grad(told.sum(), points, create_graph=True)
        steepness: Tensor = slope.flatten(1).norm(dim=1)
        return (steepness - 1).square().mean()
