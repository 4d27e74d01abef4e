"""Run one experiment: resume it, reuse its prefix, play its rounds, record everything."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from asepsis.core.contracts import Pictured, Stamps
from asepsis.core.engine import Engine
from asepsis.engines import NUMERICS, Wire, make_engine
from asepsis.experiments.fitting import recorded
from asepsis.experiments.identity import fresh, identity, row_digest
from asepsis.experiments.kept import Kept, Taken
from asepsis.experiments.ledgers import Book
from asepsis.experiments.locks import run_locked
from asepsis.experiments.patients import (
    SMALLEST_GROUP,
    few,
    pseudonyms_of,
    renamed,
    specified,
    told,
)
from asepsis.experiments.resolve import brought, hospitals_of, resolve
from asepsis.experiments.spec import Experiment
from asepsis.experiments.store import (
    SCHEMA,
    Line,
    Record,
    Store,
    footer_of,
    read_record,
    write_tensors,
)
from asepsis.experiments.summary import round_line, summarize
from asepsis.experiments.trace import Trace, complete
from asepsis.experiments.version import code_version, packages
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation
from asepsis.federation.generating.oracle import GenerativeOracle
from asepsis.federation.observing import Seen, inferred
from asepsis.federation.private import claims_of
from asepsis.federation.remote import Remote
from asepsis.federation.round import RoundOutcome, play_round
from asepsis.federation.scoring.truth import Truth
from asepsis.metrics.backdoor import model_pixels

CHECKPOINT_SECONDS = 2.0
WRITING = 0.05
"""At most this share of the time goes into checkpoints: what hospitals keep may be large."""
TAIL = 5
PICTURES = 6
SHOWN = 8
"""So many images of a trigger that changes are kept."""


class Cancelled(Exception):  # noqa: N818 (not an error: the user asked for it)
    """The run was asked to stop; its checkpoint is written."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run, as opposed to what: none of this changes a result of one numerics class.

    ``wire`` is for the engine ``flower`` alone: which hospitals, and how long they may take.
    """

    engine: str = "threads"
    device: str = "cpu"
    jobs: int | None = None
    resume: bool = False
    pseudonyms: bool = False
    wire: Wire | None = None
    on_round: Callable[[int], None] = field(default=lambda _: None)
    stop: Callable[[], bool] = field(default=lambda: False)


def run_experiment(
    spec: Experiment, store: Store | None = None, options: RunOptions | None = None
) -> list[Line]:
    """Run an experiment and return its record: header, rounds, footer.

    With a store the record is also written, a checkpoint is kept, and rounds before the attack
    are taken from a prefix that an earlier run left.

    Raises:
        AsepsisError: the experiment cannot be built or stored.
        Cancelled: it was stopped; ``resume`` goes on.
    """
    options = options or RunOptions()
    if store is None:
        return _Run(spec, None, options).play()
    name = identity(spec, options.engine)
    with run_locked(store.root, name):
        done = _done(spec, store, options) if options.resume else None
        if done is None:
            return _Run(spec, store, options).play()
        store.forget(name)  # a kill right after the end leaves it behind
        return done


def _done(spec: Experiment, store: Store, options: RunOptions) -> list[Line] | None:
    """Return the record of a run that ended and that this code would make again."""
    lines = read_record(store.record(identity(spec, options.engine)))
    footer = footer_of(lines)
    if (
        footer
        and fresh(lines, hospitals_of(spec)[2], options.device, brought(spec))
        and footer["result"]["status"] in ("success", "diverged")
        and complete(spec, store, NUMERICS[options.engine], footer["result"]["last"])
    ):
        return lines
    return None


class _Run:
    def __init__(self, spec: Experiment, store: Store | None, options: RunOptions) -> None:
        self.spec, self.store, self.options = spec, store, options
        self.name = identity(spec, options.engine)
        parts, resolved = resolve(spec)
        self.resolved = told(resolved, spec, parts, pseudonyms=options.pseudonyms)
        self.sites = pseudonyms_of(spec) if options.pseudonyms else {}
        named = [replace(h, name=renamed(h.name, self.sites)) for h in parts.hospitals]
        self.federation, self.oracle = assemble(
            replace(parts, hospitals=tuple(named), device=options.device, name=self.name)
        )
        self.small = _small(self.federation, public=self.resolved["public"])
        if parts.attack is not None and self.federation.attack is not None:
            # Fitted to data by now: the record says which trigger was really stamped.
            fitted = recorded(parts.attack, self.federation.attack, public=self.resolved["public"])
            self.resolved["components"]["attack"].update(fitted)
        if isinstance(self.federation.attack, Stamps):
            self.resolved["trigger_pixels"] = _trigger_size(self.federation)
        self.rounds = spec.federation.rounds
        self.starts_at = self.federation.threat.starts_at
        self.departure = self.federation.departure()
        self.promised = claims_of(self.federation)
        attacks = [parts.attack, *parts.probes.values()]
        self.inspectors = parts.inspectors
        self.trace = Trace(
            spec, store, NUMERICS[options.engine], [item for item in attacks if item is not None]
        )
        self.kept = self._kept()
        taken = self.kept.taken(resume=options.resume) if self.kept else None
        taken = taken or Taken(self.federation.begin().to(options.device), [])
        self.state, played, self.reused = taken
        self.settled = self.state
        """The state that the record tells of: what a checkpoint holds."""
        self.book = Book(self.federation, store.ledger(self.name) if store else None)
        self.book.begin(self.state)
        path = store.record(self.name) if store else None
        self.record = Record(path, [self._header(), *played])
        self._saved, self._writing = time.monotonic(), 0.0

    def _header(self) -> Line:
        return {
            "type": "header",
            "result": {
                "schema": SCHEMA,
                "digest": self.name,
                **specified(self.spec, self.sites),
                "resolved": self.resolved,
                "protocol": self.resolved["protocol"],
                "code": code_version(),
                "numerics": NUMERICS[self.options.engine],
            },
            "observed": {
                "engine": self.options.engine,
                "device": self.options.device,
                "packages": packages(),
                "reused": self.reused,
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        }

    @property
    def _shares(self) -> bool:
        """Whether rounds before the attack are shared: an audit is of rounds really played."""
        return self.starts_at > 0 and self.federation.pipeline.audit is None

    def _kept(self) -> Kept | None:
        if self.store is None:
            return None
        prefix = f"{self.spec.prefix()}-{NUMERICS[self.options.engine]}" if self._shares else None
        return Kept(
            store=self.store,
            name=self.name,
            prefix=prefix,
            starts_at=self.starts_at,
            device=self.options.device,
            fresh=self._fresh,
        )

    def _fresh(self, lines: list[Line]) -> bool:
        return fresh(lines, self.resolved["data"], self.options.device, brought(self.spec))

    def play(self) -> list[Line]:
        try:
            self._rounds()
            self._finish()
        except (KeyboardInterrupt, Cancelled):
            self._stop()
            raise
        return self.record.lines

    def _rounds(self) -> None:
        engine = make_engine(self.options.engine, self.options.jobs, self.options.wire)
        try:
            if isinstance(engine, Remote):
                engine.host(self.federation)
            engine.start(self.federation.plan)
            while self.state.round < self.rounds:
                if self.kept is not None:
                    self.kept.leave_prefix(self.state, self.record.lines)
                self._one_round(engine)
        finally:
            engine.close()

    def _stop(self) -> None:
        """Keep all that was played; a line that was being written is written whole."""
        lines = self.record.lines
        if footer_of(lines) is None:
            self._save()
            lines = [*lines, {"type": "footer", "result": {"status": "cancelled"}}]
        self.record = Record(self.record.path, lines)

    def _one_round(self, engine: Engine) -> None:
        if self.options.stop():
            raise Cancelled
        self.state, outcome = play_round(self.federation, engine, self.state)
        self.book.add(outcome.audited)
        started = time.perf_counter()
        metrics = self._metrics(outcome.round)
        revealed = self._reveal(outcome)
        seconds = {**outcome.seconds, "evaluation": time.perf_counter() - started}
        self.record.append(round_line(outcome, metrics, revealed, seconds, self.small))
        self.settled = self.state
        self._hang(outcome.round)
        self.options.on_round(self.state.round)
        if time.monotonic() - self._saved > max(CHECKPOINT_SECONDS, self._writing / WRITING):
            self._save()

    def _hang(self, round_: int) -> None:
        """Keep what a generator makes, in a few rounds; of data that are not public, nothing."""
        oracle = self.oracle
        if not isinstance(oracle, GenerativeOracle) or self.store is None:
            return
        if self.resolved["public"] and round_ in gallery_rounds(self.rounds):
            path = self.store.artifact(self.name, round_, len(self.federation.observers))
            write_tensors(path, oracle.gallery(self.state.released, SHOWN))

    def _metrics(self, round_: int) -> dict[str, float]:
        every = self.spec.evaluation.every
        wanted = (round_ + 1) % every == 0 or round_ >= self.rounds - TAIL
        wanted = wanted or round_ == self.departure
        if not wanted:
            return {}
        if round_ >= self.starts_at:
            self.trace.keep(round_, self.state.released)
        mind = self.federation.shown_mind(self.state.attack)
        return self.oracle.score(self.state.released, round_, mind, self.trace.at(round_))

    def _reveal(self, outcome: RoundOutcome) -> list[dict[str, Any]]:
        """Score what observers claim of a round."""
        if not outcome.seen or outcome.received is None:
            return []
        truth = Truth(
            federation=self.federation,
            round=outcome.round,
            present=tuple(i for i in outcome.cohort.present if i not in outcome.lost),
            received=outcome.received,
            row=self.state.released,
            sent=outcome.sent,
            candidates=self.federation.candidates,
            public=self.federation.public,
        )
        return [self._judged(seen, truth) for seen in outcome.seen]

    def _judged(self, seen: Seen, truth: Truth) -> dict[str, Any]:
        leak, evidence = self.oracle.judge(seen, truth), seen.evidence
        if self.store is not None and self.resolved["public"] and leak.pictures:
            number = list(self.federation.observers).index(seen.by)
            write_tensors(self.store.artifact(self.name, truth.round, number), leak.pictures)
        return {
            "by": seen.by,
            "round": truth.round,
            "kind": evidence.kind,
            "about": evidence.about,
            "scores": leak.scores,
            "attack": evidence.measurements,
            **({"curves": leak.curves} if leak.curves else {}),
        }

    def _inferred(self) -> list[dict[str, Any]]:
        """Score what those claim who hold the released model."""
        last, row = self.rounds - 1, self.state.released
        cohort = self.federation.cohort(last)
        truth = Truth(
            federation=self.federation,
            round=last,
            present=cohort.present,
            received=row,
            row=row,
            candidates=self.federation.candidates,
            public=self.federation.public,
        )
        facts = self.federation.facts_of(last, cohort, row)
        return [self._judged(seen, truth) for seen in inferred(self.federation, row, facts)]

    def _save(self) -> None:
        began = time.monotonic()
        if self.kept is not None:
            self.kept.save(self.settled)
        self._saved = time.monotonic()
        self._writing = self._saved - began

    def _keep_pictures(self) -> None:
        """Keep what attack and inspectors have to show; of data that are not public, nothing."""
        if self.store is None or not self.resolved["public"]:
            return
        attack = self.federation.attack
        mind = self.federation.shown_mind(self.state.attack)
        shown = self.oracle.shown(mind, SHOWN)
        shown |= attack.pictures(mind) if isinstance(attack, Pictured) else {}
        shown |= self.oracle.maps(self.state.released, self.inspectors, mind, SHOWN)
        if shown:
            write_tensors(self.store.pictures(self.name), shown)

    def _why(self) -> dict[str, str]:
        stages = self.resolved["defenses"]
        return {stage["name"]: stage["why"] for stage in stages if "why" in stage}

    def _finish(self) -> None:
        self._keep_pictures()
        result = summarize(
            self.record.lines, TAIL, self.starts_at, self.resolved["unusual"], self._why()
        )
        result["hospitals"], result["worst"] = self.oracle.hospitals(self.state.released)
        over = self.oracle.over_patients(self.state.released)
        few = not self.resolved["public"] and over["patients"] < SMALLEST_GROUP
        result["over_patients"] = {} if few else over
        result["evidence"] += self._inferred()
        if isinstance(self.oracle, GenerativeOracle):
            figures, result["generator"] = self.oracle.closing(self.state.released)
            result["tail"] |= figures
        prior = self.oracle.prior()
        if prior:
            result["prior"] = prior
        certificates = self.oracle.certificates(self.state)
        if certificates:
            result["certificates"] = certificates
        if self.promised:
            result["privacy"] = [claim.record() for claim in self.promised]
        if self.inspectors:
            mind = self.federation.shown_mind(self.state.attack)
            row = self.state.released
            result["inspections"] = self.oracle.inspect(row, self.inspectors, mind)
        result["row"] = row_digest(self.state)
        self.state, note = self.book.close(self.state, self.record.lines, result)
        result |= note
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        observed = {"peak_memory_mib": peak / 1024, "row_bytes": 4 * self.state.row.numel()}
        self.record.append({"type": "footer", "result": result, "observed": observed})
        if self.store is not None:
            self.store.forget(self.name)


def gallery_rounds(rounds: int) -> tuple[int, ...]:
    """Return the rounds after which a generator's images are kept: six, the last among them.

    Example:
        >>> gallery_rounds(60), gallery_rounds(2)
        ((9, 19, 29, 39, 49, 59), (0, 1))
    """
    return tuple(sorted({max(0, rounds * k // PICTURES - 1) for k in range(1, PICTURES + 1)}))


def _small(federation: Federation, *, public: bool) -> frozenset[int]:
    """Return the hospitals that train on too few patients of a user's own to write figures of."""
    if public:
        return frozenset()
    return frozenset(one.id for one in federation.hospitals if few(one.train))


def _trigger_size(federation: Federation) -> list[int]:
    """Return how many model-input pixels (moments, features) a trigger changes, of how many."""
    attack, raw = federation.attack, federation.hospitals[0].train.inputs
    assert isinstance(attack, Stamps)
    shape = next(iter(federation.plan.shards.values())).inputs.shape
    of = math.prod(shape[2:] or shape[1:])  # a table has no channels
    return [model_pixels(attack.stamp, raw.shape[1:], federation.prepare, raw.dtype), of]
