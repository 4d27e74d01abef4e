"""The server's side of secure aggregation: it passes messages on, adds, and takes masks off."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from asepsis.defenses.masking import roster as bind
from asepsis.defenses.masking import shamir
from asepsis.defenses.masking.client import seed_bytes
from asepsis.defenses.masking.keys import Agreement, derive, signed
from asepsis.defenses.masking.messages import (
    KEY_SHARE,
    SEED_SHARE,
    Advertisement,
    Consent,
    Sealed,
    Share,
    Survivor,
)
from asepsis.defenses.masking.prg import Mask, Words, add_masks
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.roster import Roster, make_roster
from asepsis.defenses.masking.terms import Terms


class Server:
    """An honest server in one round: ``broadcast`` is SHA-256 of the model that it sent to all."""

    def __init__(self, terms: Terms, broadcast: bytes) -> None:
        self.terms = terms
        self._broadcast = bind.bound(terms, broadcast)
        self._roster: Roster | None = None
        self._neighbors: dict[int, tuple[int, ...]] = {}
        self._shared: frozenset[int] = frozenset()
        self._survivors: set[int] = set()
        self._signers: frozenset[int] = frozenset()
        self._sum = np.zeros(terms.words, dtype=terms.dtype)

    def check_keys(self, sent: Advertisement) -> None:
        """In round 0: refuse keys of a stranger, or that their hospital did not sign."""
        registered = self.terms.registry.get(sent.client)
        if registered is None:
            raise RefusedError("a stranger advertised keys", got=sent.client)
        if not signed(registered, sent.signature, bind.advertised(self.terms, sent)):
            raise RefusedError("advertised keys are not signed by their hospital", got=sent.client)

    def check_boxes(self, client: int, boxes: Sequence[Sealed]) -> None:
        """In round 1: refuse shares for others than all of a hospital's neighbors."""
        named = sorted(box.receiver for box in boxes)
        if named != sorted(self._neighbors.get(client, ())):
            raise RefusedError("shares for others than a hospital's neighbors", got=client)
        if any(box.sender != client for box in boxes):
            raise RefusedError("a hospital speaks for another", got=client)

    def check_consent(self, sent: Consent) -> None:
        """In round 3: refuse a signature that is none; what it says is for hospitals to judge."""
        text = bind.consented(self._known, sent.client, sent.survivors, sent.broadcast)
        if not signed(self.terms.registry[sent.client], sent.signature, text):
            raise RefusedError("a signature over the survivors is not valid", got=sent.client)

    def roster(self, advertisements: Sequence[Advertisement]) -> list[Advertisement]:
        """After round 0: return what every hospital that began is told."""
        self._roster = roster = make_roster(self.terms, advertisements)
        for client in roster.advertisements:
            roster.check_signature(client)
        self._neighbors = {client: roster.neighbors(client) for client in roster.advertisements}
        return list(roster.advertisements.values())

    def route(self, boxes: Mapping[int, Sequence[Sealed]]) -> dict[int, list[Sealed]]:
        """After round 1: return the boxes that every hospital that shared is handed."""
        self._shared = frozenset(boxes)
        self._check_quorum(len(boxes))
        passed: dict[int, list[Sealed]] = {client: [] for client in boxes}
        for client in sorted(boxes):
            for box in boxes[client]:
                if box.sender != client:
                    raise RefusedError("a hospital speaks for another", got=client)
                if box.receiver in passed:
                    passed[box.receiver].append(box)
        return passed

    def collect(self, client: int, masked: Words) -> None:
        """In round 2: add a masked vector."""
        if client not in self._shared or client in self._survivors:
            raise RefusedError("a vector that nobody waits for", got=client)
        self._survivors.add(client)
        self._sum += masked

    def check_masked(self, client: int, masked: Words, signature: bytes) -> None:
        """In round 2, where vectors are signed: refuse one that its hospital did not sign."""
        assert self._roster is not None
        words = hashlib.sha256(masked.tobytes()).digest()
        text = bind.masked(self._roster, client, words)
        if not signed(self.terms.registry[client], signature, text):
            raise RefusedError("a masked vector is not signed by its hospital", got=client)

    def survivors(self) -> list[Survivor]:
        """After round 2: return who is left."""
        self._check_quorum(len(self._survivors))
        return [Survivor(client) for client in sorted(self._survivors)]

    def consents(self, consents: Sequence[Consent]) -> list[Consent]:
        """After round 3: return the signatures that every hospital that signed is handed."""
        self._signers = frozenset(consent.client for consent in consents)
        self._check_quorum(len(self._signers))
        return list(consents)

    def finish(self, revealed: Mapping[int, Sequence[Share]]) -> Words:
        """After round 4: open the masks and return the sum.

        Raises:
            RefusedError: too few shares of a secret, the wrong kind, or shares that do not give the
                seed or key that was advertised.
        """
        shares = self._sorted(revealed)
        masks: list[Mask] = []
        for client in sorted(self._shared):
            value = self._secret(client, shares[client])
            masks += (
                self._own(client, value) if client in self._survivors else self._left(client, value)
            )
        add_masks(self._sum, masks)
        return self._sum

    @property
    def _known(self) -> Roster:
        assert self._roster is not None
        return self._roster

    def _check_quorum(self, count: int) -> None:
        if count < self.terms.graph.quorum:
            raise RefusedError(
                "too few hospitals are left for a sum",
                got=count,
                fix=f"the threshold is {self.terms.graph.quorum}",
            )

    def _sorted(self, revealed: Mapping[int, Sequence[Share]]) -> dict[int, dict[int, int]]:
        """Return the shares by whom they are about, by the point they were taken at."""
        shares: dict[int, dict[int, int]] = defaultdict(dict)
        for client in sorted(revealed):
            near = {client, *self._neighbors[client]}
            for share in revealed[client]:
                asked = SEED_SHARE if share.about in self._survivors else KEY_SHARE
                if share.kind != asked or share.about not in near or client not in self._signers:
                    raise RefusedError("a share that was not asked for", got=client)
                value = int.from_bytes(share.value, "big")
                shares[share.about][self.terms.point(client)] = value
        return shares

    def _secret(self, client: int, shares: Mapping[int, int]) -> int:
        threshold = self.terms.graph.threshold
        if len(shares) < threshold:
            raise RefusedError(
                f"too few shares to open hospital {client}'s mask",
                got=len(shares),
                fix=f"the threshold is {threshold}",
            )
        return shamir.combine(dict(list(shares.items())[:threshold]))

    def _own(self, client: int, value: int) -> list[Mask]:
        """Return a survivor's own mask, to be taken off."""
        seed = seed_bytes(value)
        told = self._known.advertisements[client].seed_hash
        if bind.seed_hash(self.terms, client, seed) != told:
            raise RefusedError(f"a share of hospital {client}'s seed was tampered with")
        return [(derive(seed, bind.own_mask(self._known, client)), -1)]

    def _left(self, client: int, value: int) -> list[Mask]:
        """Return the masks that a dropout left in its neighbors' vectors, to be taken off."""
        pair = Agreement(seed_bytes(value))
        if pair.public != self._known.advertisements[client].mask_key:
            raise RefusedError(f"a share of hospital {client}'s key was tampered with")
        masks = []
        for other in self._neighbors[client]:
            if other in self._survivors:
                label = bind.mask_label(self._known, client, other, self._broadcast)
                key = pair.with_peer(self._known.advertisements[other].mask_key, label)
                masks.append((key, 1 if client < other else -1))
        return masks
