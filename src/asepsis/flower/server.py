"""A server's rounds without Flower: updates in, the next model and a report out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import Tensor

from asepsis.core.contracts import Trainer
from asepsis.core.desk import Desk, Network
from asepsis.core.rng import Streams
from asepsis.core.stages import RoundEvent
from asepsis.core.updates import Individual, State, individual
from asepsis.defenses.handed import check_state
from asepsis.defenses.pipeline import Pipeline
from asepsis.defenses.reports import Outcome, StageReport
from asepsis.flower.arrays import Array, Sent
from asepsis.flower.keeping import LedgerFile
from asepsis.flower.network import root_of
from asepsis.flower.replies import Usable
from asepsis.flower.reports import Refusal, RoundReport, shares

Whole = Literal["keep", "median"]
NOBODY = "no-quorum: nobody sent a usable update"
OVERFLOW = "overflow"


@dataclass(slots=True, eq=False)
class Server:
    """The stack of defenses, and what it remembers from round to round.

    ``whole`` says what becomes of arrays of whole numbers: ``keep`` the server's own, or take the
    lower ``median`` of the hospitals whose updates got through. ``told`` is a chain of hashes over
    the reports of all rounds, which a ledger's last entry commits to.
    """

    stack: Pipeline
    seed: int
    name: str
    whole: Whole = "keep"
    network: Network | None = None
    root: tuple[Tensor, Tensor] | None = None
    trainer: Trainer | None = None
    ledger: LedgerFile | None = None
    round: int = 0
    state: State | None = None
    told: str = ""

    @property
    def unweighted(self) -> bool:
        """Whether the rule weighs all hospitals the same."""
        return bool(getattr(self.stack.rule, "unweighted", False))

    def play(
        self, sent: Sent, usable: list[Usable], refused: tuple[Refusal, ...], asked: int
    ) -> tuple[dict[str, Array] | None, RoundReport]:
        """Play a round; ``None`` where the model stays as it was."""
        shown = {one.client: one.client % 2**64 for one in usable}
        before = self._before(sent)
        delivery, outcome = None, Outcome(None, NOBODY)
        after = before
        if usable:
            replies = [one.reply(unweighted=self.unweighted) for one in usable]
            delivery = individual(replies)
            desk = self._desk(sent, asked)
            after, outcome = self.stack.receive(
                before, delivery, self.round, Streams(self.seed), desk
            )
        verdicts = shares({one.client: one.node for one in usable}, outcome.dropped, outcome.stages)
        model, void = self._step(sent, outcome, usable, verdicts)
        self._write_down(sent, model, delivery, outcome, void)
        self.state = before if model is None else after
        report = RoundReport(
            round=self.round,
            asked=asked,
            hospitals={shown[one.client]: one.node for one in usable},
            refused=refused,
            dropped=tuple(shown[one] for one in outcome.dropped),
            stages=tuple(_renamed(stage, shown) for stage in outcome.stages),
            void=void,
            verdicts=_named(verdicts, shown),
        )
        line = json.dumps(report.record(), sort_keys=True)
        self.told = hashlib.sha256(f"{self.told}\n{line}".encode()).hexdigest()
        self.round += 1
        return model, report

    def _before(self, sent: Sent) -> State:
        dim = sent.layout.dim
        if self.state is None:
            return self.stack.init(dim)
        return check_state(self.state, self.stack, dim)

    def _desk(self, sent: Sent, asked: int) -> Desk:
        root = None
        if self.root is not None and self.network is not None and self.trainer is not None:
            root = root_of(
                self.root, self.network, self.trainer, sent.row, self.round, Streams(self.seed)
            )
        return Desk(sent.row.clone(), sent.layout, self.network, root, float(asked))

    def _step(
        self, sent: Sent, outcome: Outcome, usable: list[Usable], verdicts: Mapping[int, float]
    ) -> tuple[dict[str, Array] | None, str | None]:
        if outcome.aggregate is None:
            return None, outcome.void
        row = sent.row + outcome.aggregate.delta
        through = [one for one in usable if verdicts[one.client] > 0]
        whole = _medians(sent, through) if self.whole == "median" and through else {}
        model = sent.next(row, whole)
        finite = all(bool(np.isfinite(model[slot.name]).all()) for slot in sent.layout.slots)
        return (model, None) if finite else (None, OVERFLOW)

    def _write_down(
        self,
        sent: Sent,
        model: Mapping[str, Array] | None,
        delivery: Individual | None,
        outcome: Outcome,
        void: str | None,
    ) -> None:
        if self.ledger is None:
            return
        applied = outcome.aggregate if void is None else None
        event = RoundEvent(
            experiment=self.name,
            round=self.round,
            sent=sent.row,
            delivery=delivery,
            aggregate=None if applied is None else applied.delta,
            model=sent.row if model is None else sent.flat(model),
            void=void,
            dropped=outcome.dropped,
            stages=outcome.record(),
        )
        state, lines = self.ledger.audit.record(self.ledger.state, event)
        self.ledger.write(lines)
        self.ledger.state = state

    def close(self) -> None:
        """Write the ledger's last entry."""
        if self.ledger is not None:
            book = self.ledger
            book.state, lines, _ = book.audit.close(book.state, self.name, self.round, self.told)
            book.write(lines)


def _medians(sent: Sent, through: list[Usable]) -> dict[str, Array]:
    middle = (len(through) - 1) // 2
    return {
        name: np.asarray(np.sort(np.stack([one.whole[name] for one in through]), axis=0)[middle])
        for name in sent.whole
    }


def _named(said: Mapping[int, float], shown: Mapping[int, int]) -> dict[int, float]:
    return {shown.get(client, client): value for client, value in said.items()}


def _renamed(stage: StageReport, shown: Mapping[int, int]) -> StageReport:
    return replace(
        stage,
        verdicts=_named(stage.verdicts, shown),
        scores=_named(stage.scores, shown),
        monitors={name: _named(said, shown) for name, said in stage.monitors.items()},
    )
