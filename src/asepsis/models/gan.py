"""A generator and its critic as one module, what every generator offers, and shared options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.registry import options
from asepsis.core.samples import Kind
from asepsis.models.building import demand
from asepsis.models.critics import SMALLEST, Critic, Norm

Width = Annotated[int, Field(ge=1, le=1024)]
Travels = Literal["generator", "both"]


class Synthesizer(nn.Module, ABC):
    """What makes images from noise: the base of generators.

    ``G(z, y)``: noise ``[n, z_dim]`` and, when there are classes, labels int64 ``[n]`` become
    ``[n, channels, h, w]`` in [-1, 1].

    Args:
        image: channels, height and width of one image.
        classes: how many classes; 0 makes an unconditional generator, which takes no labels.
        z_dim: length of the noise.

    Raises:
        ConfigError: the image is not ``(channels, height, width)``.
    """

    def __init__(self, image: tuple[int, ...], classes: int, z_dim: int) -> None:
        super().__init__()
        if len(image) != 3 or min(image) < 1:
            raise ConfigError(
                "a generator makes images",
                place="generator",
                got=image,
                fix="give channels, height and width",
            )
        self.image, self.classes, self.z_dim = image, classes, z_dim

    @abstractmethod
    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images ``[n, channels, h, w]``."""

    def noise(self, n: int, draws: torch.Generator) -> Tensor:
        """Draw ``z`` ``[n, z_dim]``, standard normal: on the CPU, so that devices agree."""
        return torch.randn(n, self.z_dim, generator=draws).to(next(self.parameters()))

    def check(self, labels: Tensor | None) -> None:
        """Refuse labels that are missing, and labels that nobody asked for.

        Raises:
            ConfigError: a conditional generator got no labels, or another one did.
        """
        if (labels is None) == bool(self.classes):
            raise ConfigError(
                "labels belong to a conditional generator and to no other",
                place="generator",
                got=f"{self.classes} classes, labels {'missing' if labels is None else 'given'}",
            )


class Gan(nn.Module):
    """A generator and its critic; asked for outputs, the critic answers.

    Example:
        >>> from asepsis.models.generators import Generator
        >>> gan = Gan(Generator((1, 8, 8), classes=2), Critic((1, 8, 8), classes=2))
        >>> gan(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 2])
    """

    def __init__(self, generator: Synthesizer, critic: nn.Module) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic

    def forward(self, images: Tensor) -> Tensor:
        """Return the critic's logits ``[n, max(1, classes)]``, high for real."""
        logits: Tensor = self.critic(images)
        return logits


@options
class GanOptions(ABC):
    """What all GANs are asked.

    ``conditional``: generator and critic know the class. ``travels``: the critic stays at its
    hospital, or is averaged with the generator. ``critic_width`` and ``norm`` are the critic's.
    """

    generates: ClassVar[bool] = True
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.IMAGE})

    conditional: bool = True
    z_dim: Width = 64
    critic_width: Width = 32
    norm: Norm = "batch"
    travels: Travels = "generator"

    @property
    def local(self) -> tuple[str, ...]:
        """Names of what stays at its hospital begin like this."""
        return ("critic.",) if self.travels == "generator" else ()

    def build(self, input_shape: tuple[int, ...], classes: int) -> Gan:
        """Build generator and critic."""
        demand("a GAN", input_shape, axes=(3,), smallest=SMALLEST)
        known = classes if self.conditional else 0
        generator = self._generator(input_shape, known)
        return Gan(generator, Critic(input_shape, known, self.critic_width, self.norm))

    @abstractmethod
    def _generator(self, image: tuple[int, ...], classes: int) -> Synthesizer:
        """Return the generator."""
