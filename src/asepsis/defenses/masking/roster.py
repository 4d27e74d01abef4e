"""Round 0's outcome: who advertised which keys, and the graph that follows from all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import pack

from asepsis.defenses.masking import graph
from asepsis.defenses.masking.keys import digest, signed
from asepsis.defenses.masking.messages import Advertisement
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.terms import Terms


@dataclass(frozen=True, slots=True, eq=False)
class Roster:
    """Advertisements by hospital, and their hash, which whatever follows is bound to."""

    terms: Terms
    advertisements: Mapping[int, Advertisement]
    digest: bytes

    def neighbors(self, client: int) -> tuple[int, ...]:
        """Return whom a hospital masks and shares with."""
        members = tuple(self.advertisements)
        return graph.neighbors(members, client, self.terms.graph.degree, self.digest)

    def check_signature(self, client: int) -> None:
        """Refuse keys that their hospital did not sign."""
        sent = self.advertisements[client]
        if not signed(self.terms.registry[client], sent.signature, advertised(self.terms, sent)):
            raise RefusedError("advertised keys are not signed by their hospital", got=client)


def make_roster(terms: Terms, advertisements: Sequence[Advertisement]) -> Roster:
    """Put advertisements together.

    Raises:
        RefusedError: too few, a stranger, a hospital twice, or one key twice.
    """
    if len(advertisements) < terms.graph.quorum:
        raise RefusedError(
            "too few hospitals began",
            got=len(advertisements),
            fix=f"the threshold is {terms.graph.quorum}",
        )
    by_client = {sent.client: sent for sent in sorted(advertisements, key=lambda it: it.client)}
    keys = [key for sent in advertisements for key in (sent.mask_key, sent.share_key)]
    if len(by_client) < len(advertisements) or len(set(keys)) < len(keys):
        raise RefusedError("a hospital or a key was advertised twice")
    if not by_client.keys() <= terms.registry.keys():
        raise RefusedError("a stranger advertised keys")
    packed = [sent.pack() for sent in by_client.values()]
    return Roster(terms, by_client, digest(terms.digest, *packed))


def advertised(terms: Terms, sent: Advertisement) -> bytes:
    """Return what a hospital signs in round 0."""
    about = sent.client.to_bytes(4, "little")
    keys = (sent.mask_key, sent.share_key, sent.seed_hash)
    return digest(b"advertise", terms.digest, about, *keys)


def agreed(survivors: Sequence[int]) -> bytes:
    """Return the hash of a set of survivors."""
    return digest(pack(f"<{len(survivors)}I", *sorted(survivors)))


def consented(roster: Roster, client: int, survivors: bytes, broadcast: bytes) -> bytes:
    """Return what a hospital signs in round 3."""
    return digest(b"consent", roster.digest, client.to_bytes(4, "little"), survivors, broadcast)


def masked(roster: Roster, client: int, words: bytes) -> bytes:
    """Return what a hospital signs of its masked vector, where vectors are signed."""
    return digest(b"masked", roster.digest, client.to_bytes(4, "little"), words)


def mask_label(roster: Roster, one: int, other: int, broadcast: bytes) -> bytes:
    """Return what a pair's mask is derived under: both sides know it, in one order."""
    pair = b"".join(client.to_bytes(4, "little") for client in sorted((one, other)))
    return digest(b"mask", roster.digest, pair, broadcast)


def own_mask(roster: Roster, client: int) -> bytes:
    """Return what a hospital's own mask is derived under."""
    return digest(b"own mask", roster.digest, client.to_bytes(4, "little"))


def box_label(roster: Roster, sender: int, receiver: int) -> bytes:
    """Return what the key of an encrypted share is derived under: one key a direction."""
    ends = sender.to_bytes(4, "little") + receiver.to_bytes(4, "little")
    return digest(b"box", roster.digest, ends)


def seed_hash(terms: Terms, client: int, seed: bytes) -> bytes:
    """Return what a hospital commits its own mask's seed with."""
    return digest(b"seed", terms.digest, client.to_bytes(4, "little"), seed)


def bound(terms: Terms, broadcast: bytes) -> bytes:
    """Return the hash of the model as masks and signatures use it."""
    return broadcast if terms.bind_broadcast else bytes(32)
