"""Masks from keys: AES-128 in counter mode, read as little-endian words.

A mask is as uniform as the key stream, modulo 2^32 or 2^64, because the modulus is the word's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

Words = NDArray[np.unsignedinteger[Any]]
Mask = tuple[bytes, int]
"""A key, and whether its stream is added (1) or subtracted (-1)."""

KEY = 16
_BLOCK = 16
_CHUNK = 1 << 17
"""Bytes made at a time: stream and sum stay in the caches."""
_ZEROS = bytes(_CHUNK)
_WORTH_SHARING = 1 << 22


def keystream(key: bytes, size: int) -> bytes:
    """Return the first ``size`` bytes of a key's stream.

    Example:
        >>> keystream(bytes(16), 4).hex()
        '66e94bd4'
    """
    return bytes(_encryptor(key, 0).update(bytes(size)))


def add_masks(words: Words, masks: Sequence[Mask]) -> None:
    """Add the streams of ``masks`` to ``words`` ``[d]`` in place, modulo the words' size.

    Large vectors are shared by as many threads as PyTorch is told to use; the result is the same.
    """
    threads = torch.get_num_threads()
    if threads == 1 or words.nbytes * len(masks) < _WORTH_SHARING:
        _add(words, masks, 0)
        return
    step = _CHUNK // words.itemsize
    per_thread = -(-len(words) // (threads * step)) * step
    starts = range(0, len(words), per_thread)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda at: _add(words[at : at + per_thread], masks, at), starts))


def _add(words: Words, masks: Sequence[Mask], start: int) -> None:
    """Add streams to the words of a vector that begin at word ``start``."""
    first = start * words.itemsize // _BLOCK
    streams = [(_encryptor(key, first), sign) for key, sign in masks]
    buffer = bytearray(_CHUNK + _BLOCK)
    made = np.frombuffer(buffer, dtype=words.dtype)
    step = _CHUNK // words.itemsize
    for at in range(0, len(words), step):
        part = words[at : at + step]
        zeros = _ZEROS if len(part) == step else memoryview(_ZEROS)[: part.nbytes]
        for stream, sign in streams:
            stream.update_into(zeros, buffer)
            (np.add if sign > 0 else np.subtract)(part, made[: len(part)], out=part)


def _encryptor(key: bytes, block: int) -> Any:
    counter = block.to_bytes(_BLOCK, "big")
    return Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
