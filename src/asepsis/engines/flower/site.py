"""One hospital's process: it trains, attacks with what it alone sees, and protects its update.

It plays what its own copy of the experiment says, and refuses whatever else a server orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from torch import Tensor

from asepsis.core.contracts import TrainAttack, UpdateAttack
from asepsis.core.engine import Job
from asepsis.core.updates import Reply, State
from asepsis.engines.flower.messages import Order, WireError
from asepsis.engines.worker import Worker
from asepsis.federation import hostile as hooks
from asepsis.federation.federation import Federation, part_of, with_part
from asepsis.federation.protecting import protect
from asepsis.federation.remote import MIND
from asepsis.federation.sending import saying, unbound


class Site:
    """A federation as one hospital's process has it: it plays only that hospital's part."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self._worker = Worker(federation.plan)
        self._orders = lru_cache(maxsize=2)(self._made_orders)

    @property
    def dim(self) -> int:
        """Values in a row."""
        return self.federation.plan.layout.dim

    @property
    def apart(self) -> bool:
        """Whether updates stay here until they are masked."""
        return bool(getattr(self.federation.pipeline.transport, "apart", False))

    def check(self, order: Order) -> None:
        """Refuse an order that the experiment does not give: a server may ask for anything.

        Raises:
            WireError: it is of no round, for a hospital that was not drawn, on other data, or asks
                for an update without its masks, or without what hospitals do to theirs.
        """
        federation, job = self.federation, order.job
        if not 0 <= job.round < federation.schedule.rounds:
            raise WireError("an order for a round that there is not", place="wire", got=job.round)
        given, hostile = self._orders(job.round)
        if given.get(job.client) != (job.shard, job.work):
            got = f"{job.shard[:20]}, work {job.work:g}"
            raise WireError("an order that the experiment does not give", place="wire", got=got)
        if order.keep != self.apart:
            raise WireError("an order to send an update as it is", place="wire")
        if order.hostile != (self.apart and job.client in hostile):
            raise WireError("an order to attack, or not to", place="wire", got=order.hostile)
        if job.told is None and (self.apart or job.client not in unbound(federation, hostile)):
            raise WireError("an order to leave an update unprotected", place="wire")

    def _made_orders(self, round_: int) -> tuple[Mapping[int, tuple[str, float]], tuple[int, ...]]:
        """What each hospital trains in a round, and which are hostile."""
        federation = self.federation
        cohort = federation.cohort(round_)
        hostile = federation.hostile(cohort, round_)
        jobs = federation.jobs(cohort, hostile, round_, apart=self.apart)
        return {job.client: (job.shard, job.work) for job in jobs}, hostile

    def turn(self, order: Order) -> Reply:
        """Return what the hospital makes of the model it received.

        Where it is hostile it attacks as it would where no other hospital's update is to be seen.
        """
        device = next(self.federation.plan.module.parameters()).device
        received, job = order.received.to(device), order.job
        home = {name: kept.to(device) for name, kept in job.home.items()}
        play = self._attack if order.hostile else self._worker.run
        return play(received, replace(job, home=home))

    def _attack(self, received: Tensor, job: Job) -> Reply:
        federation, me = self.federation, job.client
        cohort = federation.cohort(job.round)
        facts = federation.facts_of(job.round, cohort, received)
        minds = with_part({}, me, _named(job.home, MIND))
        home = {key: value for key, value in job.home.items() if not key.startswith(MIND)}
        if isinstance(federation.attack, TrainAttack):
            minds, (reply,), notes = hooks.train(federation, minds, cohort, (me,), facts, {})
            reply = replace(reply, home=home)
        else:
            reply, notes = self._worker.run(received, replace(job, home=home, told=None)), {}
        minds, (reply,), crafted = hooks.craft(federation, minds, [reply], (me,), facts, {})
        reply = self._protected(reply, received, job)
        kept = {f"{MIND}{key}": value for key, value in part_of(minds, me).items()}
        return replace(reply, home={**reply.home, **kept}, notes={**notes, **crafted})

    def _protected(self, reply: Reply, received: Tensor, job: Job) -> Reply:
        """Protect a hostile update where that is attested; else only say what is asked."""
        told: Mapping[str, float] = job.told or {}
        plan, streams = self.federation.plan, self.federation.streams
        after = protect(plan, streams, reply, received, job.round, told)
        if not self.federation.threat.attested:
            (after,) = saying([reply], [after])
        # What the record says of stages is of those who passed them by themselves.
        crafts = isinstance(self.federation.attack, UpdateAttack)
        return replace(after, steps=()) if crafts else after


def _named(home: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in home.items() if k.startswith(prefix)}
