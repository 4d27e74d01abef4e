"""Whom membership attacks are asked about: members and others, by patient, in no order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Array, Hospital, Prepare, Samples, Shard
from asepsis.federation.desk import joined


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Samples that a curious party wonders about, and what is true of each.

    Attributes:
        shard: prepared, which is all that attacks see.
        raw: the same samples as they lie at hospitals.
        home: the id of the hospital where each lies ``[n]``.
        member: whether it was trained on ``[n]``.
    """

    shard: Shard
    raw: Samples
    home: Array
    member: Array

    @property
    def groups(self) -> Array:
        """The patient of each ``[n]``."""
        return self.raw.groups


def draw_candidates(
    hospitals: tuple[Hospital, ...], count: int, prepare: Prepare, streams: Streams
) -> Candidates:
    """Draw up to ``count`` training patients of every hospital, and as many of its test patients.

    One sample a patient. Both were drawn from the hospital's patients at random when it was split
    (unless the data set has an official split), so that nothing but training tells them apart.
    """
    parts, home, member = [], [], []
    for hospital in hospitals:
        rng = streams.at(Draw.CANDIDATES, hospital.id)
        chosen = [one_each(part, rng) for part in (hospital.train, hospital.test)]
        size = min(count, *(len(where) for where in chosen))
        for is_member, (part, where) in enumerate(
            zip((hospital.test, hospital.train), reversed(chosen), strict=True)
        ):
            parts.append(part.take(where[:size]))
            home += [hospital.id] * size
            member += [bool(is_member)] * size
    order = streams.at(Draw.CANDIDATES).permutation(len(home))
    raw = joined(parts).take(order)
    return Candidates(prepare(raw), raw, np.array(home)[order], np.array(member)[order])


def one_each(samples: Samples, rng: np.random.Generator) -> Array:
    """Return the positions of one sample of every patient, in random order."""
    order = rng.permutation(len(samples))
    _, first = np.unique(samples.groups[order], return_index=True)
    return np.asarray(order[np.sort(first)])
