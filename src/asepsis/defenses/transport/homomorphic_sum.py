"""A homomorphic sum: the server adds ciphertexts, and hospitals open the total."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from asepsis.core.blocks import array
from asepsis.core.channel import Carried, Channel
from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.core.registry import register
from asepsis.core.updates import Individual, Summed
from asepsis.defenses.masking.quantize import Grid, vector_length, whole
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.transport.honest import FEWEST, check_counts, check_honest

DEGREE = 8192
SLOTS = DEGREE // 2
MODULI = (60, 40, 60)
"""Bits of the coefficient modulus: 160, of which 218 are allowed at 128 bits of security."""
SCALE = 2.0**40
CIPHERTEXT = 2 * 2 * DEGREE * 8
"""Bytes: two polynomials, two primes each (the third is for keys), 8 bytes a coefficient."""
LARGEST = 1 << 44
"""Sums in steps up to this are decrypted to within a twentieth of a step."""

Numbers = NDArray[np.int64]


@register("transport", "homomorphic-sum")
class HomomorphicSum:
    """Deliver only the weighted sum of the rows, added up under CKKS encryption.

    Hospital u encrypts ``w_u q(x_u)``, w and telemetry for its row x ``[d]`` in fixed point q, 4096
    numbers a ciphertext; the server, which has the public key only, adds ciphertexts. Hospitals
    share the secret key: they open the sum, round it to whole steps, so that the approximation
    errors by which CKKS could betray the key go to nobody, and tell the server. Rows are rounded
    towards zero, so that none grows: the sum errs by less than a step, ``clip / (2^(bits-1) - 1)``,
    a sample. It is delivered in float64, and what a rule makes of it has the model's dtype. Whoever
    answers is in it: dropouts cost nothing.

    Trust is another than with masks. One hospital that colludes with the server opens every row, a
    lying one may return any sum, and nobody checks who was added. At least 3 hospitals must answer.
    A hospital with more samples than ``max_count`` is refused beforehand; one that claims more in a
    round, or no whole number of at least 1, or sends what is not finite, is left out (``unfit``).

    Bytes are ciphertexts before the library compresses them (by a tenth), without the model's
    broadcast and the keys. The library draws its own random numbers: ciphertexts differ from run
    to run, sums do not. It needs the extra ``he``.

    Source: Cheon et al., Homomorphic Encryption for Arithmetic of Approximate Numbers (ASIACRYPT
    2017), as TenSEAL implements it.

    Fidelity: paper

    Example:
        >>> HomomorphicSum(bits=16).grid(10).step == 8.0 / 32767
        True
    """

    delivers: ClassVar[type] = Summed
    ideal: ClassVar[bool] = False

    clip: Annotated[float, Field(gt=0)] = 8.0
    bits: Annotated[int, Field(ge=2, le=32)] = 20
    max_count: Annotated[int, Field(ge=1)] = 100_000
    weighted: bool = True

    def check_cohort(self, n: int) -> None:
        """Refuse a cohort too small to hide anybody, or too large for the scheme's precision.

        Raises:
            ConfigError: fewer than 3 hospitals, or sums too large.
            MissingExtraError: TenSEAL is not installed.
        """
        _tenseal()
        check_honest(n, 0)
        self.grid(n)

    def check_colluders(self, n: int, colluders: int) -> None:
        """Refuse a cohort in which colluders leave too few honest hospitals.

        Raises:
            ConfigError: fewer than 3.
        """
        check_honest(n, colluders)

    def check_weights(self, weights: Mapping[int, float]) -> None:
        """Refuse a hospital whose count the precision was not chosen for.

        Raises:
            ConfigError: naming the hospital.
        """
        if self.weighted:
            check_counts(weights, self.max_count, otherwise="sums would lose their precision")

    def grid(self, n: int) -> Grid:
        """Return the fixed-point grid of a cohort of ``n``.

        Raises:
            ConfigError: CKKS cannot tell its largest sums apart.
        """
        made = Grid(self.clip, self.bits, n, self.max_count if self.weighted else 1)
        if made.largest_sum > LARGEST:
            raise ConfigError(
                "sums would be larger than the encryption is precise",
                got=f"{n} hospitals x {made.max_count} samples x {made.levels} levels",
                fix="ask for a smaller max_count or fewer bits",
            )
        return made

    def deliver(self, updates: Individual, channel: Channel) -> Carried:
        """Carry encrypted rows to the server, and the opened sum after them."""
        cohort = len({*channel.drawn, *updates.clients})
        try:
            self.check_cohort(cohort)
        except ConfigError as error:
            return Carried(None, aborted=str(error))
        grid, names = self.grid(cohort), sorted(updates.side)
        vectors, cut = self._vectors(updates, grid, names)
        d, sent = updates.rows.shape[1], len(vectors)
        size = float(-(-vector_length(d, len(names)) // SLOTS) * CIPHERTEXT)
        measured = {
            "bytes_up_mean": size * sent / cohort,
            "bytes_up_max": size,
            "bytes_down_max": size,
            "dropped": float(cohort - sent),
            "unfit": float(len(updates.clients) - sent),
            "clipped": cut / max(1, sent * (d + len(names))),
        }
        if sent < FEWEST:
            return Carried(None, None, measured, f"only {sent} hospitals sent an update")
        row, weight, side = grid.decode(grid.words(opened(vectors)), d, sent)
        told = dict(zip(names, side, strict=True))
        summed = Summed(sent, torch.from_numpy(row), float(weight), told)
        return Carried(summed, None, measured)

    def _vectors(
        self, updates: Individual, grid: Grid, names: Sequence[str]
    ) -> tuple[list[Numbers], int]:
        """Return what every fit hospital encrypts, and how many figures were cut."""
        vectors, cut = [], 0
        for i in range(len(updates.clients)):
            weight = float(updates.weights[i]) if self.weighted else 1.0
            count = whole(weight)
            if count is None or count > grid.max_count:
                continue
            row = array(updates.rows.row(i).detach().cpu())
            side = [float(updates.side[name][i]) for name in names]
            try:
                words, outside = grid.encode(row, count, side)
            except RefusedError:
                continue
            vectors.append(grid.numbers(words))
            cut += outside
        return vectors, cut


def opened(vectors: Sequence[Numbers]) -> Numbers:
    """Encrypt, add, decrypt: hospitals have ``own``, the server has ``public`` and bytes."""
    tenseal = _tenseal()
    own = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=DEGREE, coeff_mod_bit_sizes=list(MODULI)
    )
    own.global_scale = SCALE
    public = tenseal.context_from(own.serialize(save_secret_key=False))
    total = np.empty_like(vectors[0])
    for at in range(0, len(total), SLOTS):
        parts = [vector[at : at + SLOTS].astype(np.float64).tolist() for vector in vectors]
        sent = [tenseal.ckks_vector(own, part).serialize() for part in parts]
        added = tenseal.ckks_vector_from(own, _added(tenseal, public, sent))
        opened = np.array(added.decrypt())
        total[at : at + SLOTS] = np.rint(opened).astype(np.int64)
    return total


def _added(tenseal: Any, public: Any, sent: Sequence[bytes]) -> bytes:
    """Add ciphertexts as the server does, without the secret key."""
    first, *rest = (tenseal.ckks_vector_from(public, data) for data in sent)
    for other in rest:
        first += other
    return bytes(first.serialize())


def _tenseal() -> Any:
    try:
        return importlib.import_module("tenseal")
    except ImportError:
        raise MissingExtraError("tenseal", "he") from None
