"""What scorers are handed of the truth, and what they return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

from asepsis.core.engine import Job
from asepsis.core.samples import Shard
from asepsis.core.updates import Individual
from asepsis.federation.candidates import Candidates

if TYPE_CHECKING:
    from asepsis.federation.federation import Federation


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What was really so in a round.

    ``sent`` are the rows as they left the hospitals, before the channel; ``received`` is the
    global row that they trained from, ``row`` the one after the round.
    """

    federation: Federation
    round: int
    present: tuple[int, ...]
    received: Tensor
    row: Tensor
    sent: Individual | None = None
    candidates: Candidates | None = None
    public: Shard | None = None

    def jobs(self) -> dict[int, Job]:
        """Return what every present hospital trained in this round, and on which data.

        Hospitals whose training an attack replaced are not there: nobody knows what they used.
        """
        federation = self.federation
        cohort = federation.cohort(self.round)
        hostile = federation.hostile(cohort, self.round)
        return {job.client: job for job in federation.jobs(cohort, hostile, self.round)}


@dataclass(frozen=True, slots=True, eq=False)
class Leak:
    """How right a claim was: figures, named batches of pictures, points of named curves."""

    scores: dict[str, float]
    pictures: dict[str, Tensor] = field(default_factory=dict)
    curves: dict[str, list[list[float]]] = field(default_factory=dict)
