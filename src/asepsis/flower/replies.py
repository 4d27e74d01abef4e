"""Replies of hospitals to a training round: those that can be used, and why the others cannot.

What a reply claims is never believed before it is checked: arrays as :mod:`asepsis.flower.arrays`
reads them, a weight in range, a hospital that nobody else is. Order of arrival decides nothing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from asepsis.core.errors import shown
from asepsis.core.updates import Reply
from asepsis.defenses.visit import LARGEST_COUNT
from asepsis.flower.arrays import Array, Refused, Sent
from asepsis.flower.reports import Refusal

LARGEST_ID = 2**63 - 1
_NODES = 2**64


def as_client(node: int) -> int:
    """Return a node's number as what fits an int64: from 2**63 on, less 2**64.

    Example:
        >>> as_client(7), as_client(2**64 - 1)
        (7, -1)
    """
    return node if node <= LARGEST_ID else node - _NODES


@dataclass(frozen=True, slots=True)
class Keys:
    """What an app calls the metrics that matter here.

    ``hospital`` is ``None`` where nodes are the hospitals. ``demanded``: the loss must be there.
    """

    weight: str
    loss: str
    hospital: str | None = None
    demanded: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Usable:
    """A reply that became a row; ``content`` is Flower's record of it."""

    node: int
    client: int
    delta: Tensor
    weight: float
    loss: float | None
    whole: Mapping[str, Array]
    content: Any

    def reply(self, *, unweighted: bool) -> Reply:
        """Return it as the defenses take it."""
        side = {} if self.loss is None else {"loss": self.loss}
        return Reply(self.client, self.delta, 1.0 if unweighted else self.weight, side)


@dataclass(slots=True)
class Roster:
    """Which node speaks for which hospital: fixed by the first round in which it did."""

    nodes: dict[int, int] = field(default_factory=dict)

    def admit(self, usable: list[Usable]) -> Iterator[Usable | Refusal]:
        """Yield those who are who they say; of two who claim one hospital none who is new."""
        claims = Counter(one.client for one in usable)
        spoken = {node: client for client, node in self.nodes.items()}
        for one in usable:
            owner, before = self.nodes.get(one.client), spoken.get(one.node)
            if before not in (None, one.client):
                yield Refusal(one.node, "other-hospital", f"it was hospital {before} before")
            elif owner not in (None, one.node) or (owner is None and claims[one.client] > 1):
                yield Refusal(one.node, "taken-hospital", f"hospital {one.client} is another's")
            else:
                self.nodes[one.client] = one.node
                yield one


def take(
    replies: Iterable[Any], asked: Collection[int], sent: Sent, keys: Keys, roster: Roster
) -> tuple[list[Usable], tuple[Refusal, ...]]:
    """Sort replies into usable ones, by hospital, and refusals, by node."""
    by_node: dict[int, list[Any]] = defaultdict(list)
    for message in replies:
        by_node[message.metadata.src_node_id].append(message)
    usable: list[Usable] = []
    refused: list[Refusal] = []
    for node, messages in sorted(by_node.items()):
        try:
            usable.append(_one(node, messages, asked, sent, keys))
        except Refused as why:
            refused.append(Refusal(node, why.reason, why.detail))
    kept: list[Usable] = []
    for item in roster.admit(usable):
        if isinstance(item, Refusal):
            refused.append(item)
        else:
            kept.append(item)
    by_client = sorted(kept, key=lambda one: one.client)
    return by_client, tuple(sorted(refused, key=lambda one: one.node))


def _one(node: int, messages: list[Any], asked: Collection[int], sent: Sent, keys: Keys) -> Usable:
    if node not in asked:
        raise Refused("not-asked", "it was not asked in this round")
    if len(messages) > 1:
        raise Refused("duplicate", f"{len(messages)} replies, and none is better than another")
    content = content_of(messages[0])
    metrics = metrics_of(content)
    weight = number(metrics, keys.weight, "bad-weight")
    if not 0 <= weight <= LARGEST_COUNT:
        raise Refused("bad-weight", f"{keys.weight!a} is {weight}")
    loss = number(metrics, keys.loss, "no-loss") if keys.demanded else _told(metrics, keys.loss)
    client = as_client(node) if keys.hospital is None else _hospital(metrics, keys.hospital)
    records = list(content.array_records.values())
    if len(records) != 1:
        raise Refused("no-arrays", f"{len(records)} records of arrays, one is expected")
    arrays = sent.read(records[0])
    whole = {name: arrays[name] for name in sent.whole}
    return Usable(node, client, sent.delta(arrays), weight, loss, whole, content)


def content_of(message: Any) -> Any:
    """Return what a message carries.

    Raises:
        Refused: it carries an error, or nothing.
    """
    if message.has_error():
        told = shown(str(message.error.reason)).replace("\n", " ")[:200]
        raise Refused("error", f"code {message.error.code}: {told}")
    if not message.has_content():
        raise Refused("empty", "it carries nothing")
    return message.content


def metrics_of(content: Any) -> Mapping[str, Any]:
    """Return the metrics that a reply carries.

    Raises:
        Refused: there are none, or two records of them.
    """
    records = list(content.metric_records.values())
    if len(records) != 1:
        raise Refused("no-metrics", f"{len(records)} records of metrics, one is expected")
    found: Mapping[str, Any] = records[0]
    return found


def number(metrics: Mapping[str, Any], key: str, reason: str) -> float:
    """Return a metric that is one number, NaN included.

    Raises:
        Refused: it is not there, or a list, or too large for a float.
    """
    value = metrics.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(reason, f"{key!a} is missing, or not one number")
    try:
        return float(value)
    except OverflowError:
        raise Refused(reason, f"{key!a} is too large for a number") from None


def _told(metrics: Mapping[str, Any], key: str) -> float | None:
    try:
        return number(metrics, key, "no-loss")
    except Refused:
        return None


def _hospital(metrics: Mapping[str, Any], key: str) -> int:
    value = metrics.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_ID:
        raise Refused("no-hospital", f"{key!a} is missing, or not a number from 0 on")
    return value


def alike(records: Sequence[Mapping[str, Any]], weight: str) -> list[int]:
    """Return which metrics can be averaged: finite, and shaped as most hospitals shape theirs.

    Ties go to the shape that comes first in the alphabet: never to who answered first.

    Example:
        >>> alike([{"n": 3, "loss": 0.5}, {"n": 1}, {"n": 2, "loss": 1.0}], "n")
        [0, 2]
    """
    shapes = {
        place: tuple(sorted((key, _length(value)) for key, value in record.items()))
        for place, record in enumerate(records)
        if _fine(record, weight)
    }
    counts = Counter(shapes.values())
    if not counts:
        return []
    usual = min(counts, key=lambda shape: (-counts[shape], shape))
    return [place for place, shape in shapes.items() if shape == usual]


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else -1


def _fine(record: Mapping[str, Any], weight: str) -> bool:
    values = [
        v for value in record.values() for v in (value if isinstance(value, list) else [value])
    ]
    try:
        finite = all(math.isfinite(value) for value in values)
        claimed = number(record, weight, "bad-weight")
    except (Refused, OverflowError, TypeError):
        return False
    return finite and 0 <= claimed <= LARGEST_COUNT
