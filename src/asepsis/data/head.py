"""A made-up head of ellipsoids, and what an MR scanner and a CT scanner see of it.

Positions are shares of half the field of view, (z, y, x), with -1 up, in front, on the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Field32 = NDArray[np.float32]
Triple = tuple[float, float, float]

AIR_HU = -1000.0
_GRID = 6
_HEAD, _SKULL = 0, 1
"""Places of the head and the skull among an anatomy's parts."""


class Tissue(NamedTuple):
    """Brightness in MR (T1-weighted, 0 to 1) and in CT (Hounsfield units)."""

    mr: float
    hu: float


AIR = Tissue(0.02, AIR_HU)
FAT = Tissue(0.8, -80)
CORTICAL = Tissue(0.06, 1350)
MARROW = Tissue(0.3, 650)
FLUID = Tissue(0.16, 8)
GRAY = Tissue(0.46, 38)
WHITE = Tissue(0.62, 28)
EDEMA = Tissue(0.36, 16)
BLOOD = Tissue(0.74, 70)
CALCIUM = Tissue(0.12, 480)


@dataclass(frozen=True)
class Part:
    """An ellipsoid of one tissue; what is ``bony`` lies inside the skull's outer table."""

    center: Triple
    axes: Triple
    tissue: Tissue
    bony: bool = False


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One patient's head: parts in the order in which they are painted, and its texture.

    ``drift`` is the direction in which the patient lies off the coil's center.
    """

    parts: tuple[Part, ...]
    tilt: float
    texture: Field32
    drift: Field32
    lesion: bool
    calcified: bool


@dataclass(frozen=True)
class Coil:
    """An MR scanner's handwriting: ``gain · x^contrast``, shading, Rician noise."""

    gain: float
    contrast: float
    shading: float
    noise: float


def grow(rng: np.random.Generator) -> Anatomy:
    """Draw a patient's head."""
    shell = rng.uniform((0.80, 0.80, 0.64), (0.92, 0.92, 0.76))
    depths = np.cumsum(rng.uniform((0, 0.05, 0.03, 0.03, 0.025), (0, 0.08, 0.045, 0.05, 0.04)))
    tissues = (FAT, CORTICAL, MARROW, CORTICAL, FLUID)
    layers = [Part((0, 0, 0), _axes(shell - d), t) for d, t in zip(depths, tissues, strict=True)]
    brain = shell - depths[-1] - rng.uniform(0.02, 0.05)
    matter = [Part((0, 0, 0), _axes(brain), GRAY), Part((0, 0, 0), _axes(brain * 0.82), WHITE)]
    lesion, calcified = (bool(chance < 0.3) for chance in rng.random(2))
    odd = [_lesion(brain, rng)] if lesion else []
    odd += [_spot(brain, rng.uniform(0.03, 0.07), CALCIUM, rng)] if calcified else []
    return Anatomy(
        parts=(*layers, *matter, *_ventricles(rng), *odd, *_cavities(shell - depths[1], rng)),
        tilt=float(rng.uniform(-0.15, 0.15)),
        texture=rng.standard_normal((_GRID, _GRID, _GRID), dtype=np.float32),
        drift=rng.uniform(-1, 1, 3).astype(np.float32),
        lesion=lesion,
        calcified=calcified,
    )


def _axes(values: NDArray[np.float64]) -> Triple:
    z, y, x = values.tolist()
    return z, y, x


def _ventricles(rng: np.random.Generator) -> list[Part]:
    up, back, apart = rng.uniform((-0.12, -0.1, 0.08), (0.02, 0.1, 0.14))
    axes = _axes(rng.uniform((0.14, 0.24, 0.04), (0.22, 0.36, 0.08)))
    return [Part((up, back, side * apart), axes, FLUID) for side in (-1, 1)]


def _lesion(brain: NDArray[np.float64], rng: np.random.Generator) -> Part:
    tissue = EDEMA if rng.random() < 0.5 else BLOOD
    return _spot(brain, rng.uniform(0.08, 0.18), tissue, rng)


def _spot(
    brain: NDArray[np.float64], radius: float, tissue: Tissue, rng: np.random.Generator
) -> Part:
    """Place something round within the inner half of the brain."""
    return Part(_axes(brain * rng.uniform(-0.5, 0.5, 3)), (radius, radius, radius), tissue)


def _cavities(skull: NDArray[np.float64], rng: np.random.Generator) -> list[Part]:
    """Return the frontal sinus and both mastoids: air in bone, as dark as bone in MR."""
    up, wide = rng.uniform((-0.1, 0.16), (0.25, 0.3))
    deep, tall = rng.uniform((0.07, 0.14), (0.13, 0.26))
    front = (up, -skull[1] + 1.1 * deep, 0.0)
    low, behind, small = rng.uniform((0.3, 0.1, 0.06), (0.45, 0.3, 0.1))
    sides = [(low, behind, side * (skull[2] - 1.6 * small)) for side in (-1, 1)]
    cells: list[tuple[Triple, Triple]] = [(front, (tall, deep, wide))]
    cells += [(center, (small, small, small)) for center in sides]
    walls = [Part(at, _axes(np.array(axes) + 0.06), CORTICAL, bony=True) for at, axes in cells]
    return [*walls, *(Part(at, axes, AIR, bony=True) for at, axes in cells)]


def scan(anatomy: Anatomy, z: Field32, y: Field32, x: Field32, step: float) -> tuple[Field32, ...]:
    """Return MR (0 to 1), CT (HU) and how much of each voxel is head, at these coordinates.

    Args:
        anatomy: whose head.
        z: coordinates that broadcast with the other two; a voxel is ``step`` wide.
        y: likewise.
        x: likewise.
        step: width of a voxel; edges are that soft.
    """
    turn = np.float32(np.cos(anatomy.tilt)), np.float32(np.sin(anatomy.tilt))
    place = (turn[0] * z - turn[1] * y, turn[1] * z + turn[0] * y, x)
    shape = np.broadcast_shapes(z.shape, y.shape, x.shape)
    mr, hu = np.zeros(shape, np.float32), np.full(shape, AIR_HU, np.float32)
    shares = {}
    for number, part in enumerate(anatomy.parts):
        share = _share(part, place, step)
        if number in (_HEAD, _SKULL):
            shares[number] = share
        if part.bony:
            share = share * shares[_SKULL]
        mr += share * (np.float32(part.tissue.mr) - mr)
        hu += share * (np.float32(part.tissue.hu) - hu)
    uneven = _uneven(anatomy.texture, z, y, x)
    mr *= 1 + np.float32(0.06) * uneven
    hu += uneven * np.where(hu > 200, np.float32(90), np.float32(4))
    return mr, hu, shares[_HEAD]


def _share(part: Part, place: tuple[Field32, ...], step: float) -> Field32:
    """How much of each voxel lies inside: 0 to 1 over about one voxel's width."""
    scaled = [
        ((along - np.float32(middle)) / np.float32(axis)) ** 2
        for along, middle, axis in zip(place, part.center, part.axes, strict=True)
    ]
    outside = np.sqrt(scaled[0] + scaled[1] + scaled[2]) - 1
    soft = np.clip(0.5 - outside * np.float32(min(part.axes) / step), 0, 1)
    return np.asarray(soft, np.float32)


def _uneven(texture: Field32, z: Field32, y: Field32, x: Field32) -> Field32:
    """Smooth noise: a coarse grid of numbers, interpolated along each axis."""
    knots = np.linspace(-1, 1, _GRID, dtype=np.float32)
    spread = np.float32((_GRID - 1) / 2)
    weights = [np.maximum(0, 1 - np.abs(c.reshape(-1, 1) - knots) * spread) for c in (z, y, x)]
    rows = np.tensordot(weights[0], texture, axes=1)
    planes = np.einsum("yb,zbc->zyc", weights[1], rows)
    return np.asarray(planes @ weights[2].T, np.float32)


def receive(mr: Field32, coil: Coil, lean: Field32, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return what a scanner makes of MR intensities, as 8 bits.

    ``lean`` is the place of each voxel along the patient's ``drift``, which shades the image.
    """
    seen = np.float32(coil.gain) * np.maximum(mr, 0) ** np.float32(coil.contrast)
    seen = seen * np.exp(np.float32(coil.shading) * lean)
    real, imaginary = np.float32(coil.noise) * rng.standard_normal((2, *mr.shape), np.float32)
    shown = np.clip(np.hypot(seen + real, imaginary), 0, 1)
    return np.asarray(shown * 255 + 0.5, np.uint8)
