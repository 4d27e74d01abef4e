"""What a server tells hospitals before a round in processes of their own: who, and which round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Self

from asepsis.defenses.masking.keys import SEED
from asepsis.defenses.masking.refused import RefusedError

_MEMBER = Struct("<I32s")
_HEAD = Struct("<32sIH")
LONGEST = 1 << 16
"""Most bytes of the names of telemetry."""


@dataclass(frozen=True)
class Invitation:
    """The cohort with its registered keys, fresh bytes for the session, and names of telemetry.

    Thresholds, graph and modulus are not in it: hospitals work them out from the channel's own
    options, so that a server cannot ask for weaker ones.

    Example:
        >>> sent = Invitation(bytes(32), {3: bytes(32)}, ("loss",))
        >>> Invitation.unpack(sent.pack(), most=1) == sent
        True
    """

    session: bytes
    registry: Mapping[int, bytes]
    names: tuple[str, ...]

    def pack(self) -> bytes:
        """Return its bytes."""
        names = "\n".join(self.names).encode()
        members = [_MEMBER.pack(client, key) for client, key in sorted(self.registry.items())]
        return _HEAD.pack(self.session, len(members), len(names)) + b"".join(members) + names

    @classmethod
    def unpack(cls, data: bytes, most: int) -> Self:
        """Return what these bytes say, of at most so many hospitals.

        Raises:
            RefusedError: they are no invitation.
        """
        if len(data) < _HEAD.size:
            raise RefusedError("no invitation to a round", got=f"{len(data)} bytes")
        session, count, length = _HEAD.unpack_from(data)
        end = _HEAD.size + count * _MEMBER.size
        if count > most or len(data) != end + length or len(session) != SEED:
            raise RefusedError("no invitation to a round", got=f"{len(data)} bytes")
        members = list(_MEMBER.iter_unpack(data[_HEAD.size : end]))
        registry = {int(client): bytes(key) for client, key in members}
        try:
            names = data[end:].decode()
        except UnicodeDecodeError:
            raise RefusedError("names that are no text") from None
        if len(registry) < count or list(registry) != sorted(registry):
            raise RefusedError("a hospital was invited twice, or out of order")
        return cls(session, registry, tuple(names.split("\n")) if names else ())
