"""Keys: X25519 agreements, HKDF-SHA256, Ed25519 signatures, ChaCha20-Poly1305 boxes.

Primitives are those of ``cryptography``; nothing here is our own but the labels that keep one
key's uses apart.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from asepsis.defenses.masking.prg import KEY, keystream
from asepsis.defenses.masking.refused import RefusedError

SEED = 32
BOX_OVERHEAD = 16
_NONCE = bytes(12)


def derive(secret: bytes, info: bytes, size: int = KEY) -> bytes:
    """Return HKDF-SHA256 of a secret under a label."""
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=None, info=info).derive(secret)


def digest(*parts: bytes) -> bytes:
    """Return SHA-256 over the parts, each after its length, so that no two lists agree."""
    made = hashlib.sha256()
    for part in parts:
        made.update(len(part).to_bytes(8, "little"))
        made.update(part)
    return made.digest()


class Secrets:
    """A hospital's own randomness: one secret a label, from 32 bytes that nobody else knows.

    Example:
        >>> own = Secrets(bytes(32))
        >>> own.named(b"seed", 4) == own.named(b"seed", 4), own.named(b"key", 4).hex()
        (True, '3f8a062a')
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed

    def named(self, label: bytes, size: int = SEED) -> bytes:
        """Return the secret of this label."""
        return keystream(derive(self._seed, b"own|" + label), size)


class Agreement:
    """An X25519 key pair."""

    def __init__(self, private: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private)
        self.private = private
        self.public = self._key.public_key().public_bytes_raw()
        self._agreed: dict[bytes, bytes] = {}

    def with_peer(self, public: bytes, info: bytes, size: int = KEY) -> bytes:
        """Return the key that this pair and a peer's share under a label.

        Raises:
            RefusedError: the peer's key has a small order, so that the secret would be known.
        """
        if public not in self._agreed:
            try:
                secret = self._key.exchange(X25519PublicKey.from_public_bytes(public))
            except ValueError:
                raise RefusedError("a public key is of no use", got=public.hex()) from None
            self._agreed[public] = secret
        return derive(self._agreed[public], info, size)


class Identity:
    """An Ed25519 key pair, whose public half was registered before the federation began."""

    def __init__(self, private: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return self._key.sign(message)


def signed(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a registered key signed this message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def seal(key: bytes, message: bytes, about: bytes) -> bytes:
    """Encrypt and authenticate; a key seals one message only, so that the nonce is fixed."""
    return ChaCha20Poly1305(key).encrypt(_NONCE, message, about)


def unseal(key: bytes, box: bytes, about: bytes) -> bytes:
    """Decrypt what :func:`seal` made.

    Raises:
        RefusedError: it was changed on the way, or belongs to another round, sender or receiver.
    """
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, box, about)
    except InvalidTag:
        raise RefusedError("an encrypted share was tampered with or belongs elsewhere") from None
