"""Nodes that are there and slow: their apps start anew for every message."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

pytest.importorskip("flwr")

from flower_bench import Nodes, federation
from flwr.app import Message

from asepsis.engines.flower import engine as engine_module
from asepsis.engines.flower.engine import Flower


def test_nodes_that_take_their_time_to_say_who_they_are_get_more_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(Nodes):
        """Its answers to a hello take a second, and nobody waits for those of an earlier one."""

        def send_and_receive(
            self, messages: Iterable[Message], *, timeout: float | None = None
        ) -> list[Message]:
            waits.append(timeout or 0)
            return super().send_and_receive(messages) if timeout and timeout > 1 else []

    waits: list[float] = []
    monkeypatch.setattr(engine_module, "GREETING", 0.2)
    monkeypatch.setattr(engine_module, "LOOK", 0)
    made = federation()
    engine = Flower(grid=Slow(made), patience=60)
    engine.host(made)
    engine.start(made.plan)
    assert [round(wait, 1) for wait in waits] == [0.2, 0.4, 0.8, 1.6]
