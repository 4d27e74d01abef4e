"""Whether an image carries the trigger: a detector trained on held-out real images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.rng import Draw, Streams, building_modules
from asepsis.core.samples import Array, Shard
from asepsis.federation.generating.classifier import fit, outputs, parted

STEPS = 400
WIDTH = 16
NEARBY = 9
"""Side of the window whose mean is taken away from a weight."""
POOL = 2048
"""So many varied images of each kind are trained on."""
VALUES = 1 << 27
"""And at most so many pixels of each kind."""
WORKS = 0.8
"""A detector finds a trigger when its two rates are at least so far apart."""


class TriggerFinder(nn.Module):
    """Looks for a pattern at any place, prefers some places, and weighs what is faint everywhere.

    ``logit = max_p (c(x)_p + b_p) + (w - mean of the 9×9 weights around) . x`` with a small
    convolutional network c. The maximum finds a patch; b learns where patches lie, if that helps; w
    finds what is spread over the image, and does not see how bright a region is. Outputs
    ``[n, 2]``: without, with.
    """

    def __init__(self, image: tuple[int, ...]) -> None:
        super().__init__()
        channels, *extents = image
        self.local = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, 1, 1),
        )
        self.place = nn.Parameter(torch.zeros([-(-extent // 2) for extent in extents]))
        self.whole = nn.Parameter(torch.zeros(channels, *extents))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[n, 2]``."""
        somewhere = (self.local(images)[:, 0] + self.place).flatten(1).amax(dim=1)
        fine = self.whole - _nearby(self.whole)
        logit = somewhere + images.flatten(1) @ fine.flatten()
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """A trained detector, and how good it is on real images that it was not trained on.

    Attributes:
        module: the network, frozen.
        true_positives: share of stamped images that it finds.
        false_positives: share of clean images that it calls stamped.
        tested: how many of each that was.
    """

    module: nn.Module
    true_positives: float
    false_positives: float
    tested: int

    @property
    def works(self) -> bool:
        """Whether it tells stamped images from clean ones."""
        return self.true_positives - self.false_positives >= WORKS

    @property
    def about(self) -> str:
        """What it is and how good: what tables say under a trigger rate."""
        rates = f"finds {self.true_positives:.1%}, false alarms {self.false_positives:.1%}"
        verdict = "" if self.works else "; it does not tell them apart: rates mean nothing"
        return f"trigger detector trained on held-out real images ({rates}){verdict}"

    def carriers(self, images: Tensor) -> Tensor:
        """Return which prepared images ``[n, c, h, w]`` carry the trigger (bool ``[n]``, CPU).

        An image that is no number carries none.
        """
        return (outputs(self.module, images.float())[:, 1] > 0).cpu()

    def share(self, images: Tensor) -> float:
        """Return the share of images that carry the trigger; NaN without images."""
        return float(self.carriers(images).double().mean()) if len(images) else float("nan")


def trained_detector(
    clean: Tensor, stamped: Tensor, seed: int, groups: Array | None = None
) -> Detector:
    """Train a detector on the images of one half of the patients and measure it on the others.

    Images of both kinds are blurred, coarsened, mixed, dimmed and made noisy at random in the same
    way, so that what generators do to images is no sign of a trigger. 400 steps of Adam, batches
    of 64.

    Args:
        clean: prepared real images ``[n, c, h, w]`` that no hospital trained on.
        stamped: the same images with the trigger, in the same order; or others.
        seed: of the halves, the variations, the initial weights and the batches.
        groups: the patient of every image ``[n]``, of both kinds in the same order. Left out: every
            image is a patient of its own.

    Raises:
        ConfigError: fewer than two images of a kind, images of two shapes, or patients of others.
    """
    if min(len(clean), len(stamped)) < 2 or clean.shape[1:] != stamped.shape[1:]:
        raise ConfigError(
            "the trigger detector needs held-out images, clean and stamped ones of one shape",
            place="trigger",
            got=f"{list(clean.shape)} clean, {list(stamped.shape)} stamped",
            fix="give at least two of each",
        )
    if groups is not None and not len(groups) == len(clean) == len(stamped):
        raise ConfigError(
            "the trigger detector needs the patients of its images",
            place="trigger",
            got=f"{len(groups)} for {len(clean)} clean and {len(stamped)} stamped images",
            fix="give the patient of each, or none",
        )
    halves = [_halved(images.float(), seed, groups) for images in (clean, stamped)]
    rng = Streams(seed).at(Draw.INSPECT)
    pool = torch.cat([varied(_pool(half[0], rng), rng) for half in halves])
    targets = torch.arange(2, device=pool.device).repeat_interleave(len(pool) // 2)
    with building_modules(Streams(seed).integer(Draw.MODEL)):
        module = TriggerFinder(tuple(pool.shape[1:]))
    fit(module, Shard(pool, targets), 2, seed, steps=STEPS)
    missed, found = (outputs(module, half[1])[:, 1] > 0 for half in halves)
    return Detector(
        module, float(found.double().mean()), float(missed.double().mean()), len(halves[0][1])
    )


def blurred(images: Tensor) -> Tensor:
    """Return images smoothed by the binomial filter (1, 2, 1) / 4 along both axes."""
    edged = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = (edged[:, :, :-2] + 2 * edged[:, :, 1:-1] + edged[:, :, 2:]) / 4
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4


def varied(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Return images as a generator might make them: softer, coarser, mixed, dimmed, noisy.

    Every image draws how much of each; a quarter stays as it is.
    """

    def shares(*odds: float) -> list[Tensor]:
        drawn = (rng.random(len(images)) * (rng.random(len(images)) < odd) for odd in odds)
        return [_column(values, images) for values in drawn]

    blur, coarse, mix, dim, noise = shares(0.5, 0.3, 0.3, 0.5, 0.5)
    made = images.lerp(blurred(blurred(blurred(images))), blur)
    made = made.lerp(_coarse(made), coarse)
    made = made.lerp(made.roll(1, dims=0), 0.5 * mix)
    made = made * (1 - 0.3 * dim) + 0.1 * dim * _column(rng.standard_normal(len(images)), images)
    drawn = rng.standard_normal(tuple(images.shape), dtype=np.float32)
    made = (made + 0.08 * noise * torch.from_numpy(drawn).to(images)).clamp(-1, 1)
    untouched = torch.from_numpy(rng.random(len(images)) < 0.25).to(images.device)
    return torch.where(untouched.view(-1, 1, 1, 1), images, made)


def _column(values: Array, images: Tensor) -> Tensor:
    return torch.from_numpy(values).to(images).view(-1, 1, 1, 1)


def _nearby(weights: Tensor) -> Tensor:
    edge = NEARBY // 2
    return F.avg_pool2d(F.pad(weights, (edge, edge, edge, edge), mode="replicate"), NEARBY, 1)


def _coarse(images: Tensor) -> Tensor:
    extents = [max(1, extent // 2) for extent in images.shape[2:]]
    small = F.interpolate(images, extents, mode="bilinear", align_corners=False, antialias=True)
    return F.interpolate(small, images.shape[2:], mode="bilinear", align_corners=False)


def _halved(images: Tensor, seed: int, groups: Array | None) -> tuple[Tensor, Tensor]:
    one, two = (where.to(images.device) for where in parted(len(images), 0.5, seed, groups))
    return images[one], images[two]


def _pool(images: Tensor, rng: np.random.Generator) -> Tensor:
    size = max(2, min(POOL, VALUES // images[0].numel()))
    where = np.resize(rng.permutation(len(images)), size)
    return images[torch.from_numpy(where).to(images.device)]
