"""Rows become words and back: fixed point with a stated range, and a modulus that cannot wrap.

A coordinate is cut to ``[-clip, clip]`` and rounded towards zero to a whole number of steps, of
which there are ``levels = 2^(bits - 1) - 1`` on each side. So no row grows, whatever its norm is
bounded by, and each coordinate errs by less than a step. A hospital sends its count times these
numbers, so that the weighted sum is the sum of whole numbers: exact but for the rounding of rows.

Counts and telemetry follow as four limbs of 16 bits each, whose sums cannot wrap either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from asepsis.core.errors import ConfigError
from asepsis.defenses.masking.prg import Words
from asepsis.defenses.masking.refused import RefusedError

Floats = NDArray[np.floating]

LIMBS = 4
LARGEST_COHORT = 1 << 16
"""So many limbs of 16 bits fit into a word of 32."""
SIDE_RANGE = 2.0**20
"""Telemetry is cut to plus or minus this."""
SIDE_STEP = 2.0**-24
WHOLE = 1e-9
"""A count is a whole number to within this."""
_LIMB = 1 << 16
_SIDE_OFFSET = round(SIDE_RANGE / SIDE_STEP)
_CHUNK = 1 << 14


@dataclass(frozen=True, slots=True)
class Grid:
    """The fixed-point grid of a cohort, and the modulus that holds any sum of its vectors.

    Raises:
        ConfigError: no modulus of 32 or 64 bits does.
    """

    clip: float
    bits: int
    hospitals: int
    max_count: int

    def __post_init__(self) -> None:
        if self.largest_sum >= 1 << 63 or self.hospitals > LARGEST_COHORT:
            raise ConfigError(
                "a sum of so many hospitals could wrap around",
                got=f"{self.hospitals} hospitals x {self.max_count} samples x {self.levels} levels",
                fix="ask for a smaller max_count, fewer bits, or fewer hospitals",
            )

    @property
    def levels(self) -> int:
        """Steps on each side of 0."""
        return (1 << (self.bits - 1)) - 1

    @property
    def step(self) -> float:
        """The quantization step."""
        return self.clip / self.levels

    @property
    def largest_sum(self) -> int:
        """The largest magnitude that a coordinate of the sum can have, in steps."""
        return self.hospitals * self.max_count * self.levels

    @property
    def modulus_bits(self) -> int:
        """32 where the largest sum, and its sign, fit; else 64."""
        return 32 if self.largest_sum < 1 << 31 else 64

    @property
    def _signed(self) -> np.dtype[np.signedinteger]:
        return np.dtype(f"<i{self.modulus_bits // 8}")

    @property
    def _unsigned(self) -> np.dtype[np.unsignedinteger]:
        return np.dtype(f"<u{self.modulus_bits // 8}")

    def encode(self, row: Floats, count: int, side: Sequence[float]) -> tuple[Words, int]:
        """Return a row ``[d]`` as words, with its count and telemetry, and how many were cut.

        The count is a whole number in ``[0, max_count]``.

        Raises:
            RefusedError: a coordinate or figure is not finite.
        """
        if not all(map(isfinite, side)):
            raise RefusedError("telemetry that is not finite")
        d = len(row)
        words = np.empty(d + LIMBS * (1 + len(side)), dtype=self._signed)
        cut = 0
        for at in range(0, d, _CHUNK):
            part = row[at : at + _CHUNK].astype(np.float64)
            cut += self._keep_in_range(part)
            # Divided by clip first: what is cut to it makes exactly all of its levels.
            steps = np.trunc(part / self.clip * self.levels)
            words[at : at + len(part)] = steps.astype(np.int64) * count
        exact = [min(max(value, -SIDE_RANGE), SIDE_RANGE) for value in side]
        cut += sum(value != kept for value, kept in zip(side, exact, strict=True))
        numbers = [count, *(round(value / SIDE_STEP) + _SIDE_OFFSET for value in exact)]
        words[d:] = [part for number in numbers for part in _limbs(number)]
        return words.view(self._unsigned), cut

    def _keep_in_range(self, part: Floats) -> int:
        """Clip in place and return how many were outside."""
        far = np.abs(part)
        if far.max(initial=0.0) <= self.clip:  # false for NaN
            return 0
        if not np.isfinite(far).all():
            raise RefusedError("a row that is not finite")
        np.clip(part, -self.clip, self.clip, out=part)
        return int(np.count_nonzero(far > self.clip))

    def decode(self, words: Words, d: int, hospitals: int) -> tuple[Floats, int, list[float]]:
        """Return the sum of so many hospitals' vectors: row ``[d]``, count, telemetry."""
        limbs = words[d:].reshape(-1, LIMBS)
        count, *side = [sum(int(limb) << (16 * i) for i, limb in enumerate(four)) for four in limbs]
        telemetry = [(value - hospitals * _SIDE_OFFSET) * SIDE_STEP for value in side]
        return self.row(words[:d]), count, telemetry

    def row(self, words: Words) -> Floats:
        """Return words as numbers around 0, in the units of a row."""
        # Not times step: that would round twice.
        return self.numbers(words).astype(np.float64) * self.clip / self.levels

    def numbers(self, words: Words) -> NDArray[np.int64]:
        """Return words as whole numbers around 0, all of them exact."""
        return words.view(self._signed).astype(np.int64)

    def words(self, numbers: NDArray[np.int64]) -> Words:
        """Return whole numbers as the words that stand for them."""
        return numbers.astype(self._signed).view(self._unsigned)


def whole(claimed: float) -> int | None:
    """Return a claimed count as a whole number of at least 1; ``None`` where it is none.

    Example:
        >>> whole(3.0), whole(0.4), whole(0.0), whole(float("nan"))
        (3, None, None, None)
    """
    if not isfinite(claimed) or claimed < 0.5 or abs(claimed - round(claimed)) > WHOLE:
        return None
    return round(claimed)


def vector_length(d: int, telemetry: int) -> int:
    """Return the words of a vector: a row, its count, so many figures of telemetry."""
    return d + LIMBS * (1 + telemetry)


def _limbs(number: int) -> list[int]:
    return [(number >> (16 * i)) % _LIMB for i in range(LIMBS)]
