"""Who watches a federation over Flower sees what really crossed, and what one process shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("flwr")

from flower_bench import federation, over, played
from flwr.app import Message

from asepsis.core.threat import Evidence, ServerView, When
from asepsis.core.updates import Individual, State, Summed
from asepsis.defenses.masking.home import MASK
from asepsis.engines import make_engine
from asepsis.engines.flower.messages import FACTS
from asepsis.federation.federation import Federation, Watch
from asepsis.federation.round import play_round

MASKS = ["secure-aggregation", "mean"]
EXACT = {"trainer": {"name": "sgd", "steps": 1, "batch_size": 1, "lr": 0.1}}


@pytest.mark.parametrize("name", ["dlg", "analytic"])
def test_a_curious_server_has_the_same_evidence_as_in_one_process(name: str) -> None:
    made = federation(attack=name, **EXACT)
    serial = make_engine("serial")
    serial.start(made.plan)
    _, here = played(made, serial, 1)
    _, there = played(made, over(made), 1)
    (one,), (two,) = here.seen, there.seen
    assert (one.by, one.evidence.kind, one.evidence.about) == (
        two.by,
        two.evidence.kind,
        two.evidence.about,
    )
    assert one.evidence.measurements == two.evidence.measurements
    mine, theirs = one.evidence.guesses, two.evidence.guesses
    assert mine.keys() == theirs.keys() != set()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


class Looking:
    """Keeps what it was shown, and claims nothing."""

    def __init__(self) -> None:
        self.views: list[ServerView] = []

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        self.views.append(view)
        return state, None


def watched(made: Federation, sees: Any) -> tuple[Federation, Looking]:
    looking = Looking()
    return replace(made, observers={"it": Watch(looking, When(), sees)}), looking


def test_an_eavesdropper_under_masks_sees_the_masked_vectors_that_crossed() -> None:
    made, looking = watched(federation(defenses=MASKS), "messages")
    crossed: dict[int, bytes] = {}

    def hear(message: Message, reply: Message) -> Iterable[Message]:
        about = message.metadata
        if about.message_type == "query.mask" and message.content[FACTS]["step"] == MASK:
            crossed[about.dst_node_id - 100] = bytes(reply.content[FACTS]["sent"])
        return [reply]

    play_round(made, over(made, hear), made.begin())
    (view,) = looking.views
    assert isinstance(view.delivery, Individual)
    assert view.delivery.clients == tuple(sorted(crossed)) == tuple(range(6))
    assert view.wire is not None
    transport: Any = made.pipeline.transport
    grid = transport.grid(6)
    dtype, dim = np.dtype(f"<u{grid.modulus_bits // 8}"), made.plan.layout.dim
    for i, client in enumerate(view.delivery.clients):
        words = np.frombuffer(crossed[client], dtype)[:dim]
        want = torch.from_numpy(grid.row(words)).float()
        assert torch.equal(view.delivery.rows.row(i), want)
        assert torch.equal(view.wire[client], want)
    rows = view.delivery.rows.dense()
    assert float(rows.abs().median()) > 1000  # of updates that are smaller than 1


def test_a_curious_server_under_masks_has_the_sum_and_of_telemetry_only_sums() -> None:
    made, looking = watched(federation(defenses=MASKS), "delivery")
    _, outcome = play_round(made, over(made, bench=False), made.begin())
    (view,) = looking.views
    assert isinstance(view.delivery, Summed)
    assert view.delivery.count == 6
    assert set(view.delivery.side) == {"loss"}
    assert (view.colluders, view.counts) == ({}, {})
    assert (outcome.sent, outcome.train_loss, outcome.told_loss) == (None, {}, {})
