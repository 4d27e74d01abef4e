"""The convolutional GAN."""

from __future__ import annotations

from asepsis.core.registry import register
from asepsis.models.gan import GanOptions, Synthesizer, Width
from asepsis.models.generators import Generator


@register("model", "dcgan")
class Dcgan(GanOptions):
    """Convolutional generator and critic: 278,497 and 167,073 parameters at 32×32 in gray.

    Asked for outputs, the critic answers: ``[n, c, h, w] -> [n, classes]``, high for real and,
    when ``conditional``, for real of that class; ``[n, 1]`` when not. Images have any channels and
    at least 8 pixels a side. The generator is
    :class:`~asepsis.models.generators.Generator` (noise ``z_dim``, channels ``width``: at 64×64
    and above, take 64 or more), the critic :class:`~asepsis.models.critics.Critic` (channels
    ``critic_width``, 64 in the study; ``norm``: ``instance`` or ``none`` for a gradient penalty,
    which is one of single samples). ``travels``: with ``generator``, the critic stays at its
    hospital, running statistics included.

    Raises ConfigError for samples that are not images.

    Source: Radford et al., Unsupervised Representation Learning with Deep Convolutional GANs,
    ICLR 2016, section 3; classes: Miyato and Koyama, cGANs with Projection Discriminator, ICLR
    2018

    Fidelity: own

    Tasks: image

    Example:
        >>> gan = Dcgan().build((1, 32, 32), 2)
        >>> [sum(p.numel() for p in part.parameters()) for part in (gan.generator, gan.critic)]
        [278497, 167073]
    """

    width: Width = 32

    def _generator(self, image: tuple[int, ...], classes: int) -> Synthesizer:
        return Generator(image, classes, self.z_dim, self.width)
