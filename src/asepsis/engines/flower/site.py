"""One hospital's process: it trains, attacks with what it alone sees, and protects its update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from asepsis.core.contracts import TrainAttack, UpdateAttack
from asepsis.core.engine import Job
from asepsis.core.updates import Reply, State
from asepsis.engines.worker import Worker
from asepsis.federation import hostile as hooks
from asepsis.federation.federation import Federation, part_of, with_part
from asepsis.federation.protecting import protect
from asepsis.federation.sending import saying

MIND = "mind/"
"""What a hostile hospital remembers, among what it keeps."""


class Site:
    """A federation as one hospital's process has it: it plays only that hospital's part."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self._worker = Worker(federation.plan)

    @property
    def dim(self) -> int:
        """Values in a row."""
        return self.federation.plan.layout.dim

    def turn(self, received: Tensor, job: Job, *, hostile: bool) -> Reply:
        """Return what the hospital makes of the model it received.

        ``hostile``: it attacks as it would where no other hospital's update is to be seen.
        """
        return self._attack(received, job) if hostile else self._worker.run(received, job)

    def _attack(self, received: Tensor, job: Job) -> Reply:
        federation, me = self.federation, job.client
        cohort = federation.cohort(job.round)
        facts = federation.facts_of(job.round, cohort, received)
        minds = with_part({}, me, _named(job.home, MIND))
        home = {key: value for key, value in job.home.items() if not key.startswith(MIND)}
        if isinstance(federation.attack, TrainAttack):
            minds, (reply,), _ = hooks.train(federation, minds, cohort, (me,), facts, {})
            reply = replace(reply, home=home)
        else:
            reply = self._worker.run(received, replace(job, home=home, told=None))
        minds, (reply,), _ = hooks.craft(federation, minds, [reply], (me,), facts, {})
        reply = self._protected(reply, received, job)
        kept = {f"{MIND}{key}": value for key, value in part_of(minds, me).items()}
        return replace(reply, home={**reply.home, **kept})

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
