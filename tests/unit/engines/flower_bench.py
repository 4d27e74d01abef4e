"""Flower nodes in this process, so that a test can put words into a hospital's mouth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

pytest.importorskip("flwr")

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.supercore.task_identity import TaskIdentity

from asepsis.engines.flower.client import make_app
from asepsis.engines.flower.engine import Flower
from asepsis.engines.flower.messages import ARRAYS, FACTS
from asepsis.engines.flower.site import Site
from asepsis.experiments.resolve import resolve
from asepsis.experiments.spec import Experiment, parse
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation, RoundState
from asepsis.federation.round import RoundOutcome, play_round

TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "partition": {"name": "dirichlet", "alpha": 5.0},
    "model": "logistic",
    "trainer": {"name": "sgd", "steps": 2, "batch_size": 16},
    "federation": {"hospitals": 6, "rounds": 3},
}
Twist = Callable[[Message, Message], Iterable[Message]]
"""What becomes of a reply, given the message that it answers: none, one, several."""


def federation(**changes: Any) -> Federation:
    spec: Experiment = parse(Experiment, {**TABLE, **changes})
    made, _ = assemble(resolve(spec)[0])
    return made


class Nodes:
    """A grid whose nodes answer at once; ``twist`` changes what arrives."""

    def __init__(
        self, made: Federation, twist: Twist = lambda _, reply: [reply], *, bench: bool = True
    ) -> None:
        TaskIdentity.run_id = TaskIdentity.task_id = 1  # messages carry them
        TaskIdentity.node_id = SUPERLINK_NODE_ID
        self.site, self.twist = Site(made), twist
        self.app = make_app(lambda _: self.site, bench=bench)
        self.contexts = {
            100 + i: Context(
                run_id=1,
                node_id=100 + i,
                node_config={"partition-id": i},
                state=RecordDict(),
                run_config={},
            )
            for i in sorted(made.plan.weights)
        }

    def get_node_ids(self) -> list[int]:
        return list(self.contexts)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        came: list[Message] = []
        for message in messages:
            node = message.metadata.dst_node_id
            message.metadata.__dict__["_message_id"] = f"to {node}"
            reply = self.app(message, self.contexts[node])
            came += self.twist(message, reply)
        return came


def over(
    made: Federation,
    twist: Twist = lambda _, reply: [reply],
    *,
    bench: bool = True,
    **options: Any,
) -> Flower:
    engine = Flower(grid=Nodes(made, twist, bench=bench), **options)
    engine.host(made)
    engine.start(made.plan)
    return engine


def played(made: Federation, engine: Any, rounds: int = 3) -> tuple[RoundState, RoundOutcome]:
    state, outcome = made.begin(), None
    for _ in range(rounds):
        state, outcome = play_round(made, engine, state)
    assert outcome is not None
    return state, outcome


def of_client(message: Message, client: int) -> bool:
    about = message.metadata
    return bool(about.dst_node_id == 100 + client and about.message_type == "train")


def twisted(change: Any, client: int = 2) -> Twist:
    def twist(message: Message, reply: Message) -> Iterable[Message]:
        if not of_client(message, client):
            return [reply]
        return list(change(reply))

    return twist


def with_row(reply: Message, array: Array) -> list[Message]:
    reply.content[ARRAYS] = ArrayRecord({"row": array})
    return [reply]


def with_fact(reply: Message, **facts: Any) -> list[Message]:
    reply.content[FACTS] = ConfigRecord({**reply.content[FACTS], **facts})
    return [reply]


def with_part(reply: Message, name: str, part: Any) -> list[Message]:
    reply.content[name] = part
    return [reply]
