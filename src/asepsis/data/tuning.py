"""Choosing without looking at test data: validation patients take the place of test patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asepsis.core.errors import DataError
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import Hospital, Samples


def for_tuning(hospitals: tuple[Hospital, ...], streams: Streams) -> tuple[Hospital, ...]:
    """Return the hospitals with validation patients as test patients; test patients are gone.

    Two thirds of every hospital's validation patients are scored on, the others remain for
    defenses that need root data and for attackers who know public samples.

    Args:
        hospitals: with their true splits.
        streams: of the partition's seed, so that all runs on one partition share the choice.

    Raises:
        DataError: no hospital has validation patients.
    """
    made = tuple(_retold(hospital, streams) for hospital in hospitals)
    if not any(len(hospital.test) for hospital in made):
        raise DataError(
            "there are no validation patients to choose on",
            place="evaluation.on",
            fix="use data with more patients, or on = 'test'",
        )
    return made


def _retold(hospital: Hospital, streams: Streams) -> Hospital:
    held = hospital.validation
    patients = np.unique(held.groups)
    order = streams.at(Draw.TUNING, hospital.id).permutation(len(patients))
    chosen = patients[order[: -(-2 * len(patients) // 3)]]
    scored = np.isin(held.groups, chosen)
    return replace(hospital, validation=_part(held, ~scored), test=_part(held, scored))


def _part(samples: Samples, where: NDArray[np.bool_]) -> Samples:
    return samples.take(np.flatnonzero(where))
