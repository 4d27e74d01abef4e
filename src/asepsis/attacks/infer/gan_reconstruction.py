"""GAN-based reconstruction: a generator learns what the released model takes for a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.registry import register
from asepsis.core.rng import building_modules
from asepsis.core.samples import Kind, Shard
from asepsis.core.threat import Evidence, ReleaseView, Setting
from asepsis.models.generators import Generator, with_fake_class
from asepsis.training.batches import batches
from asepsis.training.gan import alternate, any_class
from asepsis.training.gan_losses import classifying_critic_loss, escape_loss, mode_seeking_loss

SHOWN = 64
"""So many images of each class are generated in the end; the surest is claimed."""


@register("attack", "gan-reconstruction")
class GanReconstruction:
    """Train a generator against the released model until it makes what the model calls a class.

    The released model is the discriminator: a copy with one class more, "fake". For ``steps``
    batches it learns to tell public images from generated ones, ``CE(public -> y) + CE(G -> fake)``
    (with ``critic_lr``), and the conditional generator minimizes ``CE(model(G(z, y)), y) -
    log(1 - p(fake)) + diversity · (mode seeking)``, where ``model`` is the released one, left as
    it is. Without public images the critic is left out: the generator then only pleases the model.
    Adam, rate ``lr``.

    The paper's attacker is a hospital that trains its generator on every round's model and sends
    back fakes as another class, to make the others reveal more. This is its passive half, on the
    last model: anyone who holds it can do this. What public images alone give away is the scorer's
    baseline.

    Returns evidence ``classes``: ``inputs`` ``[classes, c, h, w]`` (of 64 a class, the one that the
    model is surest of) and ``confidence`` ``[classes]``. None when the model has blown up.

    Source: Hitaj et al., Deep Models Under the GAN: Information Leakage from Collaborative Deep
    Learning, CCS 2017, section 5

    Fidelity: own

    Tasks: image

    Example:
        >>> GanReconstruction(steps=50).batch
        32
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE})

    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    batch: Annotated[int, Field(ge=2, le=4096)] = 32
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-3
    critic_lr: Annotated[float, Field(gt=0, le=1)] = 1e-4
    diversity: Annotated[float, Field(ge=0)] = 0.1
    z_dim: Annotated[int, Field(ge=1, le=4096)] = 64
    width: Annotated[int, Field(ge=8, le=1024)] = 32

    def check(self, setting: Setting) -> None:
        """Refuse networks to whose classes no "fake" can be added."""
        with_fake_class(setting.learner.copy(setting.row))

    def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence | None:
        """Train the generator and return what it makes of every class."""
        learner = view.learner
        if not bool(view.row.isfinite().all()):
            return None
        with building_modules(int(rng.integers(2**62))):
            made = Generator(learner.input_shape, learner.classes, self.z_dim, self.width)
        generator = made.to(view.row.device)
        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        model = learner.copy(view.row).requires_grad_(False)
        last = self._train(generator, model, view, draws, rng)
        shown, sure = _surest(generator, model, draws)
        return Evidence(
            kind="classes", guesses={"inputs": shown, "confidence": sure}, measurements=last
        )

    def _train(
        self,
        generator: Generator,
        model: nn.Module,
        view: ReleaseView,
        draws: torch.Generator,
        rng: np.random.Generator,
    ) -> dict[str, float]:
        public = None if view.public is None or not len(view.public) else view.public
        critic = _Idle() if public is None else with_fake_class(view.learner.copy(view.row))
        return alternate(
            generator,
            critic,
            Reconstruction(model=model, diversity=self.diversity, judged=public is not None),
            self._batches(public, view, rng),
            any_class(generator, draws),
            lr=self.lr,
            critic_lr=self.critic_lr,
        )

    def _batches(
        self, public: Shard | None, view: ReleaseView, rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        if public is not None:
            yield from batches(public, self.batch, self.steps, rng)
            return
        nothing = view.row.new_zeros((self.batch, *view.learner.input_shape))
        label = torch.zeros(self.batch, dtype=torch.long, device=view.row.device)
        for _ in range(self.steps):
            yield nothing, label


@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """The attack's game: please the released model, pass for real, differ."""

    model: nn.Module
    diversity: float
    judged: bool

    def critic(
        self, critic: nn.Module, real: Tensor, labels: Tensor, fake: Tensor, asked: Tensor | None
    ) -> Tensor:
        """Return the critic's loss; a game without public images has none to speak of."""
        if not self.judged:
            return torch.as_tensor(critic(fake)).sum()
        return classifying_critic_loss(critic(real), labels, critic(fake))

    def generator(
        self, critic: nn.Module, fake: Tensor, z: Tensor, asked: Tensor | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the generator's loss and its parts, unweighted."""
        assert asked is not None  # a conditional generator is always asked for a class
        parts = {
            "guidance": F.cross_entropy(self.model(fake), asked),
            "diversity": mode_seeking_loss(fake, z),
        }
        if self.judged:
            parts["escape"] = escape_loss(critic(fake))
        weights = {"diversity": self.diversity}
        terms = [weights.get(name, 1.0) * part for name, part in parts.items()]
        return torch.stack(terms).sum(), parts


class _Idle(nn.Module):
    """A critic that has nothing to compare with: one weight that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        """Return nothing of interest."""
        return 0 * self.weight * images.new_ones(len(images))


@torch.no_grad()
def _surest(
    generator: Generator, model: nn.Module, draws: torch.Generator
) -> tuple[Tensor, Tensor]:
    images, sure = [], []
    for label in range(generator.classes):
        z = generator.noise(SHOWN, draws)
        made = generator(z, torch.full((SHOWN,), label, device=z.device))
        trust = torch.softmax(model(made), dim=1)[:, label]
        best = int(trust.argmax())
        images.append(made[best])
        sure.append(trust[best])
    return torch.stack(images), torch.stack(sure)
