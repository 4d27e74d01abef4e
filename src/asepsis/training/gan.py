"""How a generator and its critic train against each other: alternating steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from asepsis.models.gan import Synthesizer
from asepsis.training.gan_losses import Kind, critic_loss, generator_loss, judged
from asepsis.training.gradient_penalty import gradient_penalty
from asepsis.training.moments import AdamAfresh, Optimizer

Draws = Callable[[int, Tensor], tuple[Tensor, Tensor | None]]
"""``n, real labels -> (z [n, z_dim], labels [n] or None)``: what the generator is asked for."""

Precision = Literal["float32", "bf16"]


class Game(Protocol):
    """What the two players want; scalars to minimize, each a mean over samples."""

    def critic(
        self, critic: nn.Module, real: Tensor, labels: Tensor, fake: Tensor, asked: Tensor | None
    ) -> Tensor:
        """Return the critic's loss; ``fake`` carries no gradient."""
        ...

    def generator(
        self, critic: nn.Module, fake: Tensor, z: Tensor, asked: Tensor | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the generator's loss and its parts, to be recorded."""
        ...


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """The plain game: a critic that says how real an image is, or how real as one of its class.

    Losses as :func:`~asepsis.training.gan_losses.critic_loss` and ``generator_loss``, plus, where
    it is not 0, ``penalty`` times :func:`~asepsis.training.gradient_penalty.gradient_penalty`.

    Source: bce: Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014, algorithm 1; hinge:
    Lim and Ye, Geometric GAN, arXiv 1705.02894; wgan-gp: Gulrajani et al., Improved Training of
    Wasserstein GANs, NeurIPS 2017, algorithm 1
    """

    kind: Kind = "bce"
    penalty: float = 0.0
    draws: torch.Generator = field(default_factory=torch.Generator)

    def critic(
        self, critic: nn.Module, real: Tensor, labels: Tensor, fake: Tensor, asked: Tensor | None
    ) -> Tensor:
        """Return the critic's loss; real and fake images pass through it apart."""
        told = judged(critic(real), labels), judged(critic(fake), asked)
        loss = critic_loss(self.kind, *told)
        if not self.penalty:
            return loss
        return loss + self.penalty * gradient_penalty(critic, real, fake, labels, self.draws)

    def generator(
        self, critic: nn.Module, fake: Tensor, z: Tensor, asked: Tensor | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the generator's loss; it has no parts."""
        return generator_loss(self.kind, judged(critic(fake), asked)), {}


def any_class(generator: Synthesizer, draws: torch.Generator) -> Draws:
    """Draw noise, and classes in equal shares where the generator has any.

    The second half asks for the classes of the first again, so that sample ``i`` and sample
    ``i + n // 2`` differ in their noise alone.

    Example:
        >>> from asepsis.models.generators import Generator
        >>> ask = any_class(Generator((1, 8, 8), classes=3), torch.Generator().manual_seed(0))
        >>> z, labels = ask(6)
        >>> bool((labels[:3] == labels[3:]).all()), sorted(labels[:3].tolist())
        (True, [0, 1, 2])
    """

    def ask(n: int, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        z = generator.noise(n, draws)
        if not generator.classes:
            return z, None
        half = torch.arange((n + 1) // 2) % generator.classes
        half = (half + torch.randint(generator.classes, (1,), generator=draws)) % generator.classes
        return z, torch.cat([half, half])[:n].to(z.device)

    return ask


def same_classes(generator: Synthesizer, draws: torch.Generator) -> Draws:
    """Draw noise, and ask for the classes of the real batch where the generator has any.

    Fakes then have the hospital's own share of every class. A critic that sees classes among
    fakes alone learns that these classes are fake, and teaches the generator nothing about them.

    Example:
        >>> from asepsis.models.generators import Generator
        >>> ask = same_classes(Generator((1, 8, 8), classes=3), torch.Generator().manual_seed(0))
        >>> ask(2, torch.tensor([2, 0]))[1].tolist()
        [2, 0]
    """

    def ask(n: int, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        z = generator.noise(n, draws)
        if not generator.classes:
            return z, None
        return z, labels.repeat(-(-n // len(labels)))[:n]

    return ask


def unchanged(images: Tensor) -> Tensor:
    """Return the images: the augmentation that does nothing."""
    return images


def alternate(
    generator: Synthesizer,
    critic: nn.Module,
    game: Game,
    batches: Iterable[tuple[Tensor, Tensor]],
    ask: Draws,
    *,
    lr: float = 2e-4,
    critic_lr: float | None = None,
    betas: tuple[float, float] = (0.5, 0.999),
    optimizers: tuple[Optimizer, Optimizer] | None = None,
    critic_steps: int = 1,
    augment: Callable[[Tensor], Tensor] = unchanged,
    precision: Precision = "float32",
) -> dict[str, float]:
    """Train both in place: a step of the critic for each real batch, then one of the generator.

    Every step of the critic draws as many fake samples as the batch holds (at least 2); the
    generator's step uses those of the last one. Losses that are no numbers are returned as such.

    Args:
        generator: makes the images.
        critic: judges them.
        game: the losses.
        batches: real images and labels, one pair for each step of the critic.
        ask: noise and labels for ``n`` fakes.
        lr: the generator's learning rate.
        critic_lr: the critic's; the same when left out.
        betas: of Adam; those of the DCGAN paper.
        optimizers: the generator's and the critic's, instead of Adam, which starts afresh.
        critic_steps: the generator steps after so many of the critic's, and after the last batch.
        augment: what happens to all images before the critic sees them.
        precision: ``bf16`` computes forward passes in mixed precision; weights stay float32.

    Returns:
        ``critic`` and ``generator``, the last step's losses, and its parts; empty when there was
        no batch.
    """
    makers, judges = optimizers or (
        AdamAfresh(generator, lr, betas),
        AdamAfresh(critic, critic_lr or lr, betas),
    )
    mixed = _mixed(precision, makers.weights[0].device)
    last: dict[str, Tensor] = {}
    for real, labels, due in _turns(batches, critic_steps):
        z, asked = ask(max(2, len(real)), labels)
        with torch.set_grad_enabled(due), mixed():
            fake = generator(z, asked).to(z.dtype)
        with mixed():
            doubt = game.critic(critic, augment(real), labels, augment(fake.detach()), asked)
        _step(judges, doubt)
        last["critic"] = doubt.detach()
        if due:
            with mixed():
                wanted, parts = game.generator(critic, augment(fake), z, asked)
            _step(makers, wanted)
            last |= {name: part.detach() for name, part in {"generator": wanted, **parts}.items()}
    return {name: float(value) for name, value in last.items()}


def _turns(
    batches: Iterable[tuple[Tensor, Tensor]], critic_steps: int
) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Yield the batches, and whether the generator is due after each."""
    ahead = iter(batches)
    batch = next(ahead, None)
    number = 0
    while batch is not None:
        number += 1
        following = next(ahead, None)
        yield *batch, following is None or number % critic_steps == 0
        batch = following


def _mixed(
    precision: Precision, device: torch.device
) -> Callable[[], AbstractContextManager[None]]:
    if precision == "float32":
        return nullcontext
    return partial(torch.autocast, device.type, dtype=torch.bfloat16)


def _step(optimizer: Optimizer, loss: Tensor) -> None:
    # autograd.grad, not backward: the loss of one player must leave no gradients with the other.
    optimizer.step(torch.autograd.grad(loss, optimizer.weights, allow_unused=True))
