"""The Flower engine: the same round loop, with Flower's Message API as the wire."""

from __future__ import annotations

import pickle
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from asepsis.core.channel import Apart
from asepsis.core.engine import Job, Plan
from asepsis.core.errors import AsepsisError
from asepsis.core.updates import Reply
from asepsis.engines.flower.client import HELLO, MASK
from asepsis.engines.flower.messages import (
    LONGEST,
    VERSION,
    Order,
    WireError,
    content,
    packed_order,
    plain,
    read_reply,
)
from asepsis.engines.flower.simulated import set_up
from asepsis.engines.flower.simulation import Simulation
from asepsis.engines.worker import cores
from asepsis.federation.federation import Federation
from asepsis.federation.remote import check_remote
from asepsis.models.user_code import loaded

APP = "asepsis.engines.flower.simulated:app"
LOOK = 0.5
"""Seconds between two looks for nodes that are not there yet."""
GREETING = 30.0
"""Seconds that a node has to say which hospital it is, before it is asked again: at first."""
SIDE = "side:"
WORD = 8
"""Most bytes of a masked value."""


class Flower:
    """Runs jobs on Flower nodes: of a simulation of its own, or behind a ``grid`` it is handed.

    ``patience`` are the seconds that hospitals have for an answer; who has none by then is lost
    in this round. ``quorum`` is the share that must answer, or the round is void.
    """

    name: ClassVar[str] = "flower"
    numerics: ClassVar[str] = "reference"

    def __init__(
        self,
        jobs: int | None = None,
        *,
        grid: Any = None,
        patience: float = 600.0,
        quorum: float = 0.5,
    ) -> None:
        self._count = jobs or cores()
        self._given, self._grid = grid, grid
        self._patience, self.quorum = patience, quorum
        self._federation: Federation | None = None
        self._simulation: Simulation | None = None
        self._nodes: dict[int, int] = {}
        self._keys: dict[int, bytes] = {}
        self._round = 0
        self._lost: dict[int, str] = {}
        self._strange: dict[int, str] = {}
        self._greeting = GREETING
        self._most_home = 0

    def host(self, federation: Federation) -> None:
        """Take the federation.

        Raises:
            ConfigError: something in it cannot be played between processes.
        """
        check_remote(federation)
        self._federation = federation
        self._most_home = _most_home(federation.plan)

    @property
    def apart(self) -> Apart | None:
        """Hospitals that mask their updates themselves, where the channel asks for masks."""
        hosted = self._federation
        masks = hosted is not None and getattr(hosted.pipeline.transport, "apart", False)
        return self if masks else None

    @property
    def lost(self) -> Mapping[int, str]:
        """Who did not answer as asked in the last call, and why."""
        return self._lost

    @property
    def _here(self) -> Federation:
        assert self._federation is not None, "host a federation first"
        return self._federation

    def start(self, plan: Plan) -> None:
        """Find a node for every hospital, in a simulation that is started unless a grid is given.

        Raises:
            AsepsisError: not all hospitals are there in time, or two say that they are the same.
        """
        if self._given is None:
            self.close()
            setup = (set_up, (pickle.dumps(self._here), loaded()))
            self._simulation = Simulation(APP, len(plan.weights), self._count, setup)
            self._grid = self._simulation.start()
        self._meet(sorted(plan.weights))

    def train(self, received: Tensor, jobs: Sequence[Job]) -> list[Reply]:
        """Run the jobs; replies are sorted by client id, and who is :attr:`lost` has none."""
        self._lost = {}
        if not jobs:
            return []
        federation, keep = self._here, self.apart is not None
        self._round = round_ = jobs[0].round
        self._find_again([job.client for job in jobs])
        hostile = federation.hostile(federation.cohort(round_), round_) if keep else ()
        orders = {
            job.client: packed_order(Order(job, received, keep, job.client in hostile))
            for job in jobs
        }
        replies = []
        for client, record in self._ask("train", orders):
            try:
                reply = self._read(record, client, keep=keep)
            except WireError as error:
                self._lost[client] = str(error)
                continue
            replies.append(_weighed(reply, federation, received, keep=keep))
        self._note_silence(orders, {reply.client for reply in replies})
        return sorted(replies, key=lambda reply: reply.client)

    def _read(self, record: Any, client: int, *, keep: bool) -> Reply:
        plan, pipeline = self._here.plan, self._here.pipeline
        reply = read_reply(
            record,
            client=client,
            round_=self._round,
            dim=plan.layout.dim,
            keep=keep,
            stages=len(plan.stages),
            most_home=self._most_home,
        )
        needed = {need.removeprefix(SIDE) for need in pipeline.needs if need.startswith(SIDE)}
        if missing := sorted(needed - reply.side.keys()):
            raise WireError("without what the defense asks for", place="wire", got=missing)
        return reply

    def keys(self) -> Mapping[int, bytes]:
        """Return the identity keys that hospitals registered when they were met."""
        return self._keys

    def ask(self, step: int, told: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        """Send each hospital its bytes of a step of secure aggregation, and yield the answers."""
        asked = {
            client: content({"version": VERSION, "round": self._round, "step": step, "told": data})
            for client, data in told.items()
        }
        answers = dict(self._ask(f"query.{MASK}", asked))
        self._note_silence(told, answers)
        most = WORD * self._here.plan.layout.dim + LONGEST
        for client, record in sorted(answers.items()):
            try:
                found = plain(record, {"version": int, "sent": bytes, "refused": str}, most)
            except WireError as error:
                self._lost[client] = str(error)
                continue
            if found["refused"]:
                self._lost[client] = f"refused: {found['refused'][:200]}"
            else:
                yield client, found["sent"]

    def close(self) -> None:
        """Stop the simulation, where one was started."""
        if self._simulation is not None:
            self._simulation.close()
            self._simulation = None

    def _meet(self, wanted: list[int]) -> None:
        """Ask every node which hospital it is, those that do not say again and again."""
        until = time.monotonic() + self._patience
        self._nodes, self._keys, self._strange = {}, {}, {}
        while missing := sorted(set(wanted) - self._nodes.keys()):
            there = set(self._grid.get_node_ids()) - set(self._nodes.values())
            for node, client, key in self._greeted(there, until):
                if client in self._nodes:
                    raise AsepsisError(
                        "two nodes say that they are the same hospital",
                        place="engine flower",
                        got=f"hospital {client}",
                        fix="give every node its own partition-id, from 0 on",
                    )
                self._nodes[client], self._keys[client] = node, key
            missing = sorted(set(wanted) - self._nodes.keys())
            if missing and time.monotonic() > until:
                raise self._nobody(missing)
            if missing:
                time.sleep(LOOK)

    def _nobody(self, missing: Sequence[int]) -> AsepsisError:
        others = [f"node {node}: {why}" for node, why in sorted(self._strange.items())]
        return AsepsisError(
            "; ".join(["not all hospitals are there", *others[:5]]),
            place="engine flower",
            got=f"without {', '.join(map(str, missing[:10]))}",
            fix="start their nodes, or wait longer",
        )

    def _find_again(self, wanted: Collection[int]) -> None:
        """Look for hospitals whose node is gone among those that are new: a node that restarts may
        come back as another one. Its key stays the one that was registered.
        """
        there = set(self._grid.get_node_ids())
        gone = {client for client in wanted if self._nodes[client] not in there}
        if not gone:
            return
        new = there - set(self._nodes.values())
        for node, client, _ in self._greeted(new, time.monotonic() + self._patience):
            if client in gone:
                self._nodes[client] = node

    def _greeted(self, nodes: set[int], until: float) -> Iterator[tuple[int, int, bytes]]:
        """Ask nodes who they are, and yield those that are hospitals: node, hospital, key."""
        until = min(until, time.monotonic() + self._greeting)
        asked = {node: content({"version": VERSION}) for node in sorted(nodes)}
        silent = set(asked)
        for node, record in self._exchange(f"query.{HELLO}", asked, until):
            silent.discard(node)
            try:
                said = plain(record, {"version": int, "client": int, "key": bytes})
            except WireError as error:
                self._strange[node] = f"does not speak our protocol: {error}"
                continue
            if said["client"] not in self._here.plan.weights or len(said["key"]) != 32:
                self._strange[node] = f"says that it is hospital {said['client']}"
                continue
            self._strange.pop(node, None)
            yield node, said["client"], said["key"]
        if silent:
            self._greeting *= 2  # they may only be slow: whoever is asked anew starts anew

    def _ask(self, kind: str, asked: Mapping[int, Any]) -> Iterator[tuple[int, Any]]:
        """Send hospitals their records, and yield who answers, with what."""
        hospitals = {node: client for client, node in self._nodes.items()}
        records = {self._nodes[client]: record for client, record in asked.items()}
        until = time.monotonic() + self._patience
        for node, record in self._exchange(kind, records, until):
            yield hospitals[node], record

    def _exchange(
        self, kind: str, records: Mapping[int, Any], until: float
    ) -> Iterator[tuple[int, Any]]:
        """Send records to nodes; an answer counts once, in time, and from whom it was asked."""
        from flwr.app import Message

        messages = [
            Message(record, dst_node_id=node, message_type=kind) for node, record in records.items()
        ]
        if not messages:
            return
        left = max(until - time.monotonic(), 0.1)
        answered: set[int] = set()
        replies = self._grid.send_and_receive(messages, timeout=left)
        asked = {one.metadata.message_id: one.metadata.dst_node_id for one in messages}
        for reply in replies:
            node, speaker = (
                asked.get(reply.metadata.reply_to_message_id),
                reply.metadata.src_node_id,
            )
            if node is None or node in answered or (speaker != node and not reply.has_error()):
                continue
            answered.add(node)
            if reply.has_error():  # of a node that is gone, the SuperLink says so
                what = "its app failed" if speaker == node else "no answer"
                self._failed(node, f"{what}: {str(reply.error.reason)[:200]}")
            else:
                yield node, reply.content

    def _failed(self, node: int, why: str) -> None:
        clients = {at: client for client, at in self._nodes.items()}
        if node in clients:
            self._lost[clients[node]] = why
        else:
            self._strange[node] = why

    def _note_silence(self, asked: Collection[int], answered: Collection[int]) -> None:
        for client in asked:
            if client not in answered:
                self._lost.setdefault(client, f"no answer in {self._patience:g} s")


def _most_home(plan: Plan) -> int:
    """Return how many bytes a hospital may keep for itself: far more than trainers remember."""
    module = plan.module
    size = sum(one.nbytes for one in (*module.parameters(), *module.buffers()))
    return 64 * size + (64 << 20)


def _weighed(reply: Reply, federation: Federation, received: Tensor, *, keep: bool) -> Reply:
    """Put a reply's row where the model is; a weight that stayed at home is the registered one."""
    if keep:
        return replace(reply, weight=federation.plan.weights[reply.client])
    return replace(reply, row=reply.row.to(received))
