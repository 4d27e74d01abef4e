"""What a defense can prove of a finished model, beside what is measured of it."""

from __future__ import annotations

import numpy as np

from asepsis.core.rng import Draw
from asepsis.core.samples import Kind, Samples
from asepsis.core.threads import one_thread
from asepsis.federation.desk import desk_in
from asepsis.federation.federation import Federation, RoundState

CERTIFIED = 200
"""So many test samples are certified, where there are enough."""

NO_VOTE = frozenset({Kind.MULTILABEL_IMAGE, Kind.PAIRED_IMAGE})
"""A vote needs one label a sample."""


def certificates(
    federation: Federation, tests: Samples, state: RoundState
) -> dict[str, dict[str, float]]:
    """Return what stages prove on up to 200 test samples, drawn, by the stage's name."""
    able = federation.pipeline.certifying(state.pipeline)
    if not able or federation.plan.task.kinds & NO_VOTE:
        return {}
    drawn = federation.streams.at(Draw.INSPECT, 4).permutation(len(tests))[:CERTIFIED]
    shard = federation.prepare(tests.take(np.sort(drawn)))
    network = desk_in(federation, state.round, state.row).network
    assert network is not None
    with one_thread():
        return {
            name: stage.prove(own, network, shard, federation.streams.at(Draw.INSPECT, 5))
            for name, stage, own in able
        }
