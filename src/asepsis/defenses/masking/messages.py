"""What hospitals and server send each other, and its bytes.

A message is packed records of one fixed size, or a masked vector. Receivers say how many records
they take at most; whatever has another size is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from struct import Struct
from typing import ClassVar, Self

import numpy as np

from asepsis.defenses.masking.keys import BOX_OVERHEAD
from asepsis.defenses.masking.prg import Words
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.shamir import SHARE

BOX = 2 * SHARE + BOX_OVERHEAD


class Record:
    """A record of fixed size: its fields in order, little-endian."""

    layout: ClassVar[Struct]
    _fields: ClassVar[attrgetter[tuple[object, ...]]]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return self.layout.pack(*type(self)._fields(self))

    @classmethod
    def unpack(cls, data: bytes | memoryview, most: int) -> list[Self]:
        """Return the records that these bytes hold.

        Raises:
            RefusedError: they hold more than ``most``, or part of one.
        """
        count, rest = divmod(len(data), cls.layout.size)
        if rest or count > most:
            raise RefusedError(f"no message of at most {most} records", got=f"{len(data)} bytes")
        return [cls(*fields) for fields in cls.layout.iter_unpack(data)]


def packed(records: Iterable[Record]) -> bytes:
    """Return the bytes of a message of records."""
    return b"".join(record.pack() for record in records)


@dataclass(frozen=True, slots=True)
class Advertisement(Record):
    """Round 0: a hospital's public keys of this round, and what its own mask's seed hashes to."""

    client: int
    mask_key: bytes
    share_key: bytes
    seed_hash: bytes
    signature: bytes

    layout: ClassVar[Struct] = Struct("<I32s32s32s64s")
    _fields: ClassVar[attrgetter[tuple[object, ...]]] = attrgetter(
        "client", "mask_key", "share_key", "seed_hash", "signature"
    )


@dataclass(frozen=True, slots=True)
class Sealed(Record):
    """Round 1: shares of a sender's two secrets that only one neighbor can read."""

    sender: int
    receiver: int
    box: bytes

    layout: ClassVar[Struct] = Struct(f"<II{BOX}s")
    _fields: ClassVar[attrgetter[tuple[object, ...]]] = attrgetter("sender", "receiver", "box")


@dataclass(frozen=True, slots=True)
class Survivor(Record):
    """Round 3, down: one whose masked vector the server says it has."""

    client: int

    layout: ClassVar[Struct] = Struct("<I")

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return self.layout.pack(self.client)


@dataclass(frozen=True, slots=True)
class Consent(Record):
    """Round 3: a hospital signs who survived and which model it received, as it was told."""

    client: int
    survivors: bytes
    broadcast: bytes
    signature: bytes

    layout: ClassVar[Struct] = Struct("<I32s32s64s")
    _fields: ClassVar[attrgetter[tuple[object, ...]]] = attrgetter(
        "client", "survivors", "broadcast", "signature"
    )


SEED_SHARE, KEY_SHARE = 0, 1


@dataclass(frozen=True, slots=True)
class Share(Record):
    """Round 4: a share of a survivor's seed or of a dropout's mask key, never of both."""

    about: int
    kind: int
    value: bytes

    layout: ClassVar[Struct] = Struct(f"<IB{SHARE}s")
    _fields: ClassVar[attrgetter[tuple[object, ...]]] = attrgetter("about", "kind", "value")


def unpack_words(
    data: bytes | memoryview, count: int, dtype: np.dtype[np.unsignedinteger]
) -> Words:
    """Return round 2's masked vector, without copying; do not write to it.

    Raises:
        RefusedError: it has another length.
    """
    if len(data) != count * dtype.itemsize:
        raise RefusedError(f"no vector of {count} words", got=f"{len(data)} bytes")
    return np.frombuffer(data, dtype=dtype)
