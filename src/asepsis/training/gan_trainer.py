"""Local training of a generator against the hospital's own critic."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from asepsis.core.contracts import Task
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.registry import register
from asepsis.core.samples import Shard
from asepsis.core.updates import State
from asepsis.core.workshop import Recipe
from asepsis.models.gan import Gan
from asepsis.training.batches import places, step_count, taken
from asepsis.training.diffaugment import DiffAugment, known_policy
from asepsis.training.gan import Adversarial, Precision, alternate, same_classes
from asepsis.training.gan_losses import Kind
from asepsis.training.moments import FusedAdam, Remembering, RmsProp
from asepsis.training.sgd import Count, NonNegative, Positive, Share

PENALTY = 10.0
BETAS = (0.5, 0.999)


@register("trainer", "gan")
class GanTrainer:
    """Train a generator against the hospital's own critic, in alternating steps.

    For every real batch a step of the critic, and after ``critic_steps`` of them, and after the
    last, one of the generator. With ``D(x)`` the critic's output (for the image's class, where
    classes are known) and means over a batch, the critic minimizes and the generator minimizes

    - ``bce``: ``softplus(-D(real)) + softplus(D(fake))``; ``softplus(-D(fake))``
    - ``hinge``: ``max(0, 1 - D(real)) + max(0, 1 + D(fake))``; ``-D(fake)``
    - ``wgan-gp``: ``D(fake) - D(real) + penalty (||grad D(x)||_2 - 1)²`` with ``x`` drawn uniformly
      between real and fake, ``penalty`` positive; ``-D(fake)``. Another loss has none.

    Fakes are asked for in the classes of the real batch: a hospital trains only the classes it
    has. Real and fake images pass through the critic apart, each with its own batch statistics.
    ``augment`` changes both before the critic sees them: any of ``color``, ``translation``,
    ``cutout``, separated by commas (DiffAugment), for hospitals with few images.

    ``optimizer``: ``adam``, or ``rmsprop`` (which smooths by 0.99 and has no use for the betas);
    ``critic_lr`` is ``lr`` when left out. Moments stay at the hospital and are taken up in its next
    round, although the generator's weights have been averaged meanwhile. ``precision`` ``bf16``
    trains with forward passes in mixed precision: faster on GPUs, other numbers. Weights, moments,
    rows and whatever scores the generator are float32 all the same. ``steps`` counts batches and
    takes the place of ``epochs`` when given.

    The same draws give the same row on CPUs. On GPUs the bilinear doubling of ``style-gan`` is
    differentiated by a kernel that adds in no fixed order.

    The row is local minus received, ``[d]``: of the generator, or of both, as the model says what
    travels. Telemetry: ``loss``, the generator's in the last batch, and ``critic_loss``, the last
    batch's; they may be infinite or no numbers, and are sent as they are.

    Raises ConfigError for a ``penalty`` or betas that nothing reads, ``wgan-gp`` without its
    penalty, models that are no GAN, batch normalization in the critic with ``wgan-gp``, a hospital
    without images, and when an attack asks how much of a gradient an update holds.

    Source: the study's protocol: arXiv 2207.00762; DCGAN's rates: Radford et al., Unsupervised
    Representation Learning with Deep Convolutional GANs, ICLR 2016, section 4; wgan-gp: Gulrajani
    et al., Improved Training of Wasserstein GANs, NeurIPS 2017, algorithm 1

    Fidelity: own

    Tasks: image

    Example:
        >>> GanTrainer(loss="hinge", augment="color,cutout").batch
        32
    """

    generates: ClassVar[bool] = True
    telemetry: ClassVar[tuple[str, ...]] = ("loss", "critic_loss")

    loss: Kind = "bce"
    penalty: NonNegative = PENALTY
    lr: Positive = 2e-4
    critic_lr: Positive | None = None
    beta1: Share = BETAS[0]
    beta2: Share = BETAS[1]
    optimizer: Literal["adam", "rmsprop"] = "adam"
    critic_steps: Count = 1
    batch_size: Count = 32
    epochs: Count = 1
    steps: Count | None = None
    augment: Annotated[str, AfterValidator(known_policy)] = ""
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        """Refuse options that nothing would read, and a Wasserstein critic without its penalty."""
        if self.loss != "wgan-gp" and self.penalty != PENALTY:
            raise ConfigError(
                f"the loss {self.loss} has no gradient penalty",
                place="trainer.penalty",
                got=self.penalty,
                fix='leave it out, or set loss = "wgan-gp"',
            )
        if self.loss == "wgan-gp" and not self.penalty:
            raise ConfigError(
                "without its penalty nothing bounds the critic of wgan-gp",
                place="trainer.penalty",
                got=self.penalty,
                fix=f"give a positive one; {PENALTY:g} is the paper's",
            )
        if self.optimizer == "rmsprop" and (self.beta1, self.beta2) != BETAS:
            raise ConfigError(
                "rmsprop has no use for beta1 and beta2",
                place="trainer",
                got=f"beta1 = {self.beta1}, beta2 = {self.beta2}",
                fix='leave them out, or set optimizer = "adam"',
            )

    def train(
        self,
        module: nn.Module,
        layout: Layout,
        received: Tensor,
        shard: Shard,
        task: Task,
        rng: np.random.Generator,
        work: float,
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Train without a memory; return the row and telemetry."""
        row, side, _ = self.train_on(module, layout, received, shard, task, rng, work, {})
        return row, side

    def train_on(
        self,
        module: nn.Module,
        layout: Layout,
        received: Tensor,
        shard: Shard,
        task: Task,
        rng: np.random.Generator,
        work: float,
        home: State,
    ) -> tuple[Tensor, Mapping[str, float], State]:
        """Train with the moments kept at home; return row, telemetry and moments to keep."""
        gan = _gan(module)
        layout.load(gan, received)
        gan.train()
        batches = taken(shard, self.drawn(len(shard), work, rng))
        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        optimizers = self._optimizers(gan, home)
        penalty = self.penalty if self.loss == "wgan-gp" else 0.0
        last = alternate(
            gan.generator,
            gan.critic,
            Adversarial(kind=self.loss, penalty=penalty, draws=draws),
            batches,
            same_classes(gan.generator, draws),
            optimizers=optimizers,
            critic_steps=self.critic_steps,
            augment=DiffAugment(self.augment, draws),
            precision=self.precision,
        )
        side = {name: last.get(of, float("nan")) for name, of in _TOLD.items()}
        kept = optimizers[0].state() | optimizers[1].state()
        return layout.flatten(gan).sub_(received), side, kept

    def _optimizers(self, gan: Gan, home: State) -> tuple[Remembering, Remembering]:
        make = partial(FusedAdam, betas=(self.beta1, self.beta2))
        chosen = make if self.optimizer == "adam" else RmsProp
        name = self.optimizer
        return (
            chosen(gan.generator, f"{name}/generator", home, lr=self.lr),
            chosen(gan.critic, f"{name}/critic", home, lr=self.critic_lr or self.lr),
        )

    def check_model(self, module: nn.Module, layout: Layout) -> None:
        """Refuse models that this trainer cannot train.

        Raises:
            ConfigError: no GAN, or a critic that a gradient penalty does not suit.
        """
        critic = _gan(module).critic
        mixes = any(isinstance(part, _BATCH_NORMS) for part in critic.modules())
        if self.loss == "wgan-gp" and mixes:
            raise ConfigError(
                "a gradient penalty holds each image's own gradient, and batch normalization makes "
                "it depend on the other images",
                place="model",
                got="a critic with batch normalization",
                fix='give the model norm = "instance", or the trainer another loss',
            )

    def gradient_scale(self, samples: int) -> float:
        """Refuse: the update of a generator trained this way is no multiple of a gradient.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            "an update made in a game of two networks tells no gradient",
            place="trainer",
            got="gan",
            fix="attacks that invert gradients need the trainer sgd",
        )

    def recipe(self, samples: int, work: float = 1.0) -> Recipe:
        """Return what a hospital with so many samples is told to do; steps are the critic's."""
        steps = ceil(work * step_count(samples, self.batch_size, self.epochs, self.steps))
        momentum = self.beta1 if self.optimizer == "adam" else 0.0
        return Recipe(self.lr, momentum, 0.0, self.batch_size, steps)

    def drawn(self, samples: int, work: float, rng: np.random.Generator) -> list[Tensor]:
        """Return which samples every local step uses, drawn as training draws them."""
        return places(samples, self.batch_size, self.recipe(samples, work).steps, rng)

    @property
    def batch(self) -> int:
        """Samples in a local batch."""
        return self.batch_size


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

_TOLD = {"loss": "generator", "critic_loss": "critic"}
"""Telemetry, and whose last loss it is."""


def _gan(module: nn.Module) -> Gan:
    if isinstance(module, Gan):
        return module
    raise ConfigError(
        "the trainer gan trains a generator and its critic",
        place="model",
        got=type(module).__name__,
        fix='use model = "dcgan"',
    )
