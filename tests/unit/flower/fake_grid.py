"""A federation of Flower's without its servers: messages handed to client apps in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

SETTINGS = {"hospitals": 7, "hostile": 0, "attack": "sign-flip", "rounds": 5, "defended": True}
NODES = (2**64 - 5, 40, 10, 2**63 + 9, 30, 20, 70)
"""Numbers of nodes as Flower draws them, of which some do not fit an int64."""


class FakeGrid:
    """Asks client apps in this process; ``order`` is how their replies arrive."""

    def __init__(
        self,
        client: Callable[[Any, Any], Any],
        settings: dict[str, Any] | None = None,
        *,
        nodes: tuple[int, ...] = NODES,
        order: Callable[[list[Any]], list[Any]] = list,
    ) -> None:
        self.client, self.settings = client, SETTINGS | (settings or {})
        self.nodes, self.order = nodes, order

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float) -> list[Any]:
        asked = sorted(messages, key=lambda message: self.nodes.index(message.metadata.dst_node_id))
        return self.order([self.client(message, self.context(message)) for message in asked])

    def context(self, message: Any) -> Any:
        return self.context_of(message.metadata.dst_node_id)

    def context_of(self, node: int) -> Any:
        from flwr.app import Context, RecordDict

        place = {"partition-id": self.nodes.index(node), "num-partitions": len(self.nodes)}
        return Context(
            run_id=1,
            node_id=node,
            node_config=place,
            state=RecordDict(),
            run_config=self.settings,
        )
