"""Every random number has an address.

A draw is named by its purpose and its coordinates (round, client), never by who happens to run
it, so that worker count, order of execution and resuming cannot change a result, and an attacked
run shares cohorts, batches and noise with its attack-free twin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch

_VERSION = "asepsis-streams-1"


class Draw(StrEnum):
    """What a random number is for. Attacks have purposes of their own: see the module."""

    SPLIT = "split"
    PARTITION = "partition"
    MODEL = "model"
    COHORT = "cohort"
    DROPOUT = "dropout"
    STRAGGLER = "straggler"
    THREAT = "threat"
    BATCH = "batch"
    CLIENT = "client"
    CHANNEL = "channel"
    CANDIDATES = "candidates"
    RULE = "rule"
    MONITOR = "monitor"
    ROOT = "root"
    INSPECT = "inspect"
    ATTACK_DATA = "attack-data"
    ATTACK_TRAIN = "attack-train"
    ATTACK_UPDATE = "attack-update"
    ATTACK_OBSERVE = "attack-observe"
    ATTACK_BROADCAST = "attack-broadcast"
    ATTACK_INFER = "attack-infer"
    ATTACK_CHANNEL = "attack-channel"
    TRIGGER = "trigger"
    BOOTSTRAP = "bootstrap"
    GENERATE = "generate"
    WORTH = "worth"
    DATASET = "dataset"
    TUNING = "tuning"


@dataclass(frozen=True)
class Streams:
    """A family of independent generators, addressed by purpose and coordinates.

    ``at(draw, *coordinates)`` is Philox keyed by BLAKE2b(version | seed | draw | coordinates):
    the same address always gives the same numbers, on every machine.

    Example:
        >>> one = Streams(7).at(Draw.BATCH, 3, 0).integers(100, size=3)
        >>> two = Streams(7).at(Draw.BATCH, 3, 0).integers(100, size=3)
        >>> bool((one == two).all())
        True
    """

    seed: int

    def at(self, draw: Draw, *coordinates: int) -> np.random.Generator:
        """Return a fresh NumPy generator for this address."""
        key = np.frombuffer(self._digest(draw, coordinates), dtype="<u8")
        return np.random.Generator(np.random.Philox(key=key))

    def integer(self, draw: Draw, *coordinates: int) -> int:
        """Return a 63-bit integer for this address, a seed for other generators."""
        return int.from_bytes(self._digest(draw, coordinates)[:8], "little") >> 1

    def _digest(self, draw: Draw, coordinates: tuple[int, ...]) -> bytes:
        text = "|".join([_VERSION, str(self.seed), draw.value, *map(str, coordinates)])
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


@contextmanager
def building_modules(seed: int) -> Iterator[None]:
    """Seed PyTorch's global generator while a module is built, and restore it afterwards.

    PyTorch's initializers accept no generator, so this is the one place where the global one is
    touched. Use it from one thread only.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
