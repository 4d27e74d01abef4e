"""A hospital's side of secure aggregation (Bonawitz et al., 2017, figure 4)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from asepsis.defenses.masking import roster as bind
from asepsis.defenses.masking import shamir
from asepsis.defenses.masking.keys import (
    SEED,
    Agreement,
    Identity,
    Secrets,
    derive,
    seal,
    signed,
    unseal,
)
from asepsis.defenses.masking.messages import (
    KEY_SHARE,
    SEED_SHARE,
    Advertisement,
    Consent,
    Sealed,
    Share,
    Survivor,
    packed,
)
from asepsis.defenses.masking.prg import Words, add_masks
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.roster import Roster, make_roster
from asepsis.defenses.masking.terms import Terms

_BOX_KEY = 32
_STOPPED = -1


class Client:
    """One hospital in one round; every step happens once and in order.

    ``broadcast`` is SHA-256 of the model that it received. It trusts the registry of identity keys
    and nothing that the server says.
    """

    def __init__(
        self, terms: Terms, me: int, identity: Identity, secrets: Secrets, broadcast: bytes
    ) -> None:
        self.terms, self.me = terms, me
        self._identity, self._secrets = identity, secrets
        self._broadcast = bind.bound(terms, broadcast)
        self._seed = secrets.named(b"seed")
        self._mask_pair = Agreement(secrets.named(b"mask key"))
        self._share_pair = Agreement(secrets.named(b"share key"))
        self._roster: Roster | None = None
        self._neighbors: tuple[int, ...] = ()
        self._shares: dict[int, tuple[bytes, bytes]] = {}
        self._survivors: frozenset[int] = frozenset()
        self._step = 0

    def saved(self) -> dict[str, bytes]:
        """Return what it knows between two messages: all of it secret, for :meth:`take_up`."""
        begun = () if self._roster is None else self._roster.advertisements.values()
        shares = [Share(about, SEED_SHARE, one) for about, (one, _) in self._shares.items()]
        shares += [Share(about, KEY_SHARE, other) for about, (_, other) in self._shares.items()]
        return {
            "step": bytes([self._step]) if self._step >= 0 else b"",
            "roster": packed(begun),
            "shares": packed(shares),
            "survivors": packed(Survivor(one) for one in sorted(self._survivors)),
        }

    def take_up(self, state: Mapping[str, bytes]) -> None:
        """Go on from what another process of this hospital has :meth:`saved`.

        Raises:
            RefusedError: it is not what this hospital saved.
        """
        if self._step or not state["step"]:
            raise RefusedError("this hospital has stopped, or has begun already")
        most = len(self.terms.registry)
        begun = Advertisement.unpack(state["roster"], most)
        if begun:
            self._roster = make_roster(self.terms, begun)
            self._neighbors = self._roster.neighbors(self.me)
        shares = Share.unpack(state["shares"], 2 * most)
        keys = {share.about: share.value for share in shares if share.kind == KEY_SHARE}
        seeds = {share.about: share.value for share in shares if share.kind == SEED_SHARE}
        self._shares = {about: (seeds[about], keys[about]) for about in seeds}
        named = Survivor.unpack(state["survivors"], most)
        self._survivors = frozenset(record.client for record in named)
        self._step = state["step"][0]

    def advertise(self) -> Advertisement:
        """Round 0: return this round's public keys, signed."""
        with self._turn(0):
            hashed = bind.seed_hash(self.terms, self.me, self._seed)
            keys = (self._mask_pair.public, self._share_pair.public)
            bare = Advertisement(self.me, *keys, hashed, b"")
            signature = self._identity.sign(bind.advertised(self.terms, bare))
            return Advertisement(self.me, *keys, hashed, signature)

    def share(self, advertisements: Sequence[Advertisement]) -> list[Sealed]:
        """Round 1: return shares of seed and mask key, one box a neighbor."""
        with self._turn(1):
            self._roster = roster = make_roster(self.terms, advertisements)
            mine = roster.advertisements.get(self.me)
            if mine is None or mine.mask_key != self._mask_pair.public:
                raise RefusedError("the server passed on other keys than this hospital's")
            self._neighbors = roster.neighbors(self.me)
            self._check_enough(len(self._neighbors) + 1)
            for neighbor in self._neighbors:
                roster.check_signature(neighbor)
            holders = (self.me, *self._neighbors)
            pairs = zip(
                self._split(self._seed, b"seed shares", holders),
                self._split(self._mask_pair.private, b"key shares", holders),
                strict=True,
            )
            shares = dict(zip(holders, pairs, strict=True))
            self._shares = {self.me: shares[self.me]}
            return [self._box(to, b"".join(shares[to])) for to in self._neighbors]

    def mask(self, boxes: Sequence[Sealed], words: Words) -> Words:
        """Round 2: keep the shares that arrived, mask ``words`` in place and return them."""
        with self._turn(2):
            for box in boxes:
                self._check_sender(box)
                self._shares[box.sender] = self._opened(box)
            self._check_enough(len(self._shares))
            if words.shape != (self.terms.words,) or words.dtype != self.terms.dtype:
                raise RefusedError(
                    "a vector of another shape or modulus", got=(words.shape, words.dtype)
                )
            own = derive(self._seed, bind.own_mask(self._known, self.me))
            masks = [(own, 1)]
            for other in sorted(self._shares.keys() - {self.me}):
                label = bind.mask_label(self._known, self.me, other, self._broadcast)
                key = self._mask_pair.with_peer(self._known.advertisements[other].mask_key, label)
                masks.append((key, 1 if self.me < other else -1))
            add_masks(words, masks)
            return words

    def signature(self, masked: Words) -> bytes:
        """Sign a masked vector: it is this hospital's, of this round and these keys."""
        words = hashlib.sha256(masked.tobytes()).digest()
        return self._identity.sign(bind.masked(self._known, self.me, words))

    def consent(self, survivors: Sequence[int]) -> Consent:
        """Round 3: sign whose vectors the server says it has, and the model received."""
        with self._turn(3):
            named = frozenset(survivors)
            near = named & {self.me, *self._neighbors}
            if len(named) < len(survivors) or not named <= self._known.advertisements.keys():
                raise RefusedError("survivors that never began, or named twice")
            if self.me not in named or not near <= self._shares.keys():
                raise RefusedError("the server lies about who sent a vector")
            if len(named) < self.terms.graph.quorum:
                raise RefusedError("too few hospitals are left for a sum", got=len(named))
            self._check_enough(len(near))
            self._survivors = named
            hashed = bind.agreed(sorted(named))
            text = bind.consented(self._known, self.me, hashed, self._broadcast)
            return Consent(self.me, hashed, self._broadcast, self._identity.sign(text))

    def reveal(self, consents: Sequence[Consent]) -> list[Share]:
        """Round 4: return shares of survivors' seeds and of dropouts' mask keys.

        Raises:
            RefusedError: others were told of other survivors or received another model, a
                signature is wrong, or too few signed.
        """
        with self._turn(4):
            signers = {consent.client for consent in consents}
            if len(signers) < len(consents) or not signers <= self._survivors:
                raise RefusedError("a survivor signed twice, or one signed that did not survive")
            told = bind.agreed(sorted(self._survivors))
            for consent in consents:
                self._check_consent(consent, told)
            if len(signers) < self.terms.graph.quorum:
                raise RefusedError("too few hospitals signed who survived", got=len(signers))
            return [self._revealed(about) for about in sorted(self._shares)]

    @property
    def _known(self) -> Roster:
        assert self._roster is not None
        return self._roster

    @contextmanager
    def _turn(self, step: int) -> Iterator[None]:
        """Refuse a step that is repeated, skipped, or follows a refusal."""
        if step != self._step:
            raise RefusedError(f"step {step} of the protocol is out of order", got=self._step)
        self._step = _STOPPED
        yield
        self._step = step + 1

    def _check_enough(self, count: int) -> None:
        if count < self.terms.graph.threshold:
            raise RefusedError(
                "too few hospitals around this one",
                got=count,
                fix=f"the threshold is {self.terms.graph.threshold}",
            )

    def _split(self, secret: bytes, label: bytes, holders: Sequence[int]) -> list[bytes]:
        threshold = self.terms.graph.threshold
        randomness = self._secrets.named(label, (threshold - 1) * shamir.COEFFICIENT)
        points = [self.terms.point(holder) for holder in holders]
        values = shamir.split(int.from_bytes(secret, "big"), threshold, points, randomness)
        return [value.to_bytes(shamir.SHARE, "big") for value in values]

    def _box(self, to: int, message: bytes) -> Sealed:
        label = bind.box_label(self._known, self.me, to)
        key = self._share_pair.with_peer(self._known.advertisements[to].share_key, label, _BOX_KEY)
        return Sealed(self.me, to, seal(key, message, label))

    def _check_sender(self, box: Sealed) -> None:
        if box.receiver != self.me or box.sender not in self._neighbors:
            raise RefusedError("a share from no neighbor, or for another hospital", got=box.sender)
        if box.sender in self._shares:
            raise RefusedError("two shares of one neighbor", got=box.sender)

    def _opened(self, box: Sealed) -> tuple[bytes, bytes]:
        label = bind.box_label(self._known, box.sender, self.me)
        sender = self._known.advertisements[box.sender]
        key = self._share_pair.with_peer(sender.share_key, label, _BOX_KEY)
        message = unseal(key, box.box, label)
        return message[: shamir.SHARE], message[shamir.SHARE :]

    def _check_consent(self, consent: Consent, told: bytes) -> None:
        text = bind.consented(self._known, consent.client, consent.survivors, consent.broadcast)
        if not signed(self.terms.registry[consent.client], consent.signature, text):
            raise RefusedError("a signature over the survivors is not valid", got=consent.client)
        if consent.survivors != told:
            raise RefusedError("the server lies about who sent a vector: signatures differ")
        if consent.broadcast != self._broadcast:
            raise RefusedError("inconsistent broadcast: hospitals received different models")

    def _revealed(self, about: int) -> Share:
        """Return one kind of share: which one depends on the signed survivors alone."""
        seed, key = self._shares[about]
        alive = about in self._survivors
        return Share(about, SEED_SHARE if alive else KEY_SHARE, seed if alive else key)


def seed_bytes(value: int) -> bytes:
    """Return a reconstructed secret as the 32 bytes that it was.

    Raises:
        RefusedError: it cannot have been.
    """
    if value >> (8 * SEED):
        raise RefusedError("shares do not fit together")
    return value.to_bytes(SEED, "big")
