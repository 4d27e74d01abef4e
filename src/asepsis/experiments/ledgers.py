"""A run's ledger beside its record: written while it runs, checked afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asepsis.core.errors import StoreError
from asepsis.core.registry import entries
from asepsis.defenses.audit.findings import Finding
from asepsis.defenses.audit.reading import LARGEST_LEDGER, HeadLine
from asepsis.defenses.audit.verify import Verdict, verify_ledger
from asepsis.experiments.spec import digest
from asepsis.experiments.store import (
    Line,
    Store,
    append_lines,
    contents,
    encode,
    footer_of,
    record_lines,
    rounds_of,
    write_lines,
)
from asepsis.federation.federation import Federation, RoundState

ENDED = ("success", "diverged")
"""How a run ends that has played all of its rounds."""


class Book:
    """The file that a run's audit writes to; nothing without an audit, or without a store."""

    def __init__(self, federation: Federation, path: Path | None) -> None:
        self.audit, self.name = federation.pipeline.audit, federation.name
        self.path = path if self.audit else None

    def begin(self, state: RoundState) -> None:
        """Keep what the run left before this state; a run that starts over starts a new file.

        Raises:
            StoreError: the file does not lead to this state.
        """
        if self.audit is None or self.path is None:
            return
        lines = (contents(self.path, LARGEST_LEDGER) or b"").split(b"\n")
        try:
            kept = self.audit.kept(state.audit, lines)
        except StoreError as error:
            raise StoreError(error.message, place=str(self.path), fix=error.fix) from None
        write_lines(self.path, kept)

    def add(self, lines: tuple[bytes, ...]) -> None:
        """Write a round's lines."""
        if self.path is not None:
            append_lines(self.path, lines)

    def close(
        self, state: RoundState, record: list[Line], result: dict[str, Any]
    ) -> tuple[RoundState, dict[str, Any]]:
        """Write the last entry over a record and its footer's result; return the note for it."""
        if self.audit is None:
            return state, {}
        told = record_hash([*record, {"type": "footer", "result": result}])
        after, lines, note = self.audit.close(state.audit, self.name, state.round, told)
        self.add(lines)
        return replace(state, audit=after), {"ledger": note}


def record_hash(lines: list[Line]) -> str:
    """Hash a record: every line but what was observed, and but the footer's note of the ledger."""
    return hashlib.sha256("".join(encode(_lasting(line)) for line in lines).encode()).hexdigest()


def _lasting(line: Line) -> Line:
    kept = {name: value for name, value in line.items() if name != "observed"}
    if line.get("type") == "footer":
        kept["result"] = {
            name: value for name, value in _table(line.get("result")).items() if name != "ledger"
        }
    return kept


@dataclass(frozen=True, slots=True)
class _Told:
    """What a run's record says; ``wrong`` is what makes it no record of that run."""

    lines: list[Line]
    wrong: str = ""

    @classmethod
    def read(cls, path: Path) -> _Told:
        try:
            lines = record_lines(path) if path.is_file() else []
        except StoreError:
            lines = []
        if not lines or lines[0].get("type") != "header":
            return cls([], "the run's record cannot be read: it is damaged")
        header = _table(lines[0].get("result"))
        spec = _table(header.get("spec"))
        if header.get("screened") is True:  # not all of it was written: its hash was
            named = header.get("digest") == path.stem
            return cls(lines, "" if named else "the run's record is of another run")
        try:
            own = digest({name: value for name, value in spec.items() if name != "name"})
        except ValueError:
            own = "no specification holds NaN"
        if not path.stem.startswith(own):
            return cls(lines, "the run's record holds another specification than its name says")
        return cls(lines)

    @property
    def footer(self) -> dict[str, Any]:
        """The footer's result, nothing where the run has not ended."""
        return _table((footer_of(self.lines) or {}).get("result"))

    @property
    def note(self) -> dict[str, Any]:
        """What the footer says of the ledger."""
        return _table(self.footer.get("ledger"))

    @property
    def ended(self) -> bool:
        """Whether the run ended, and so closed its ledger."""
        return self.footer.get("status") in ENDED or bool(self.note)

    @property
    def rounds(self) -> int:
        """How many rounds it tells of."""
        return len(rounds_of(self.lines))

    @property
    def audited(self) -> bool:
        """Whether a ledger must be there; a run that failed before its first round left none."""
        if self.note or self.wrong:
            return True
        failed = self.footer.get("status") == "error" and not self.rounds
        return not failed and any(map(_names_audit, self.lines))


def _names_audit(line: Line) -> bool:
    """Whether a record's header names an audit among the defenses."""
    result = _table(line.get("result")) if line.get("type") == "header" else {}
    stages = [
        _table(stage)
        for told in (result.get("spec"), result.get("resolved"))
        for stage in _list(_table(told).get("defenses"))
    ]
    audits = [entry.name for entry in entries("audit")]
    return any(stage.get("room") == "audit" or stage.get("name") in audits for stage in stages)


def verify_run(
    store: Store, *, public: bytes | None = None, kept: tuple[HeadLine, ...] = ()
) -> dict[Path, Verdict]:
    """Check every ledger of a results folder, and that ledgers and records agree.

    Heads that were kept elsewhere must each fit a ledger; those that fit none are told of under
    the folder of ledgers.

    Raises:
        StoreError: there is none.
    """
    records = {path.stem: _Told.read(path) for path in (store.root / "runs").glob("*.jsonl")}
    audited = {name for name, told in records.items() if told.audited} | _ledgers(store)
    if not audited and not (kept and records):
        raise StoreError(
            "no ledgers here",
            place=str(store.root),
            fix='add "ledger" to the experiment\'s defenses and run it again',
        )
    found = {
        store.ledger(name): _verified(store.ledger(name), records.get(name), public, kept)
        for name in sorted(audited)
    }
    logs = {verdict.log for verdict in found.values()}
    lost = [head.log for head in kept if head.log not in logs]
    if lost:
        found[store.root / "ledgers"] = _nothing(
            "no-ledger", f"the head that was kept is of ledger {lost[0][:16]}, which is not here"
        )
    return found


def _ledgers(store: Store) -> set[str]:
    return {path.stem for path in (store.root / "ledgers").glob("*.jsonl")}


def _verified(
    path: Path, told: _Told | None, public: bytes | None, kept: tuple[HeadLine, ...]
) -> Verdict:
    verdict = _alone(path, told, public, kept)
    more = _disagreements(verdict, path.stem, told)
    return replace(verdict, findings=(*verdict.findings, *more))


def _alone(
    path: Path, told: _Told | None, public: bytes | None, kept: tuple[HeadLine, ...]
) -> Verdict:
    """Check the ledger itself."""
    if not path.exists():
        return _nothing("no-ledger", "the record says that a ledger was kept; it is gone")
    ended = told is not None and told.ended
    if not ended and path.is_file() and not path.stat().st_size:
        return Verdict("", None, 0, 0, None, ())  # the run's first round has not ended
    try:
        verdict = verify_ledger(path, public=public, ended=ended)
        named = [head for head in kept if head.log == verdict.log]
        return verify_ledger(path, public=public, kept=named, ended=ended) if named else verdict
    except StoreError as error:
        return _nothing("unreadable", error.message)


def _nothing(kind: str, message: str) -> Verdict:
    return Verdict("", None, 0, 0, None, (Finding(kind, 0, None, message),))


def _disagreements(verdict: Verdict, name: str, told: _Told | None) -> list[Finding]:
    """Return where the ledger of a run and its record say different things."""
    found: list[Finding] = []

    def say(kind: str, message: str) -> None:
        found.append(Finding(kind, 0, None, message))

    opening, closed = verdict.opening, verdict.closed or bool(verdict.record)
    if opening and opening.experiment != name:
        say("other-log", f"the ledger is of run {opening.experiment!a}, not of this one")
    if told is None:
        if verdict.entries:
            say("no-record", "the run's record is missing")
    elif told.wrong:
        say("other-record", told.wrong)
    elif closed and not told.ended:
        say("other-record", "the ledger is closed, but the record's end is missing")
    elif closed and verdict.record != record_hash(told.lines):
        say("other-record", "the run's record was changed after the ledger was closed")
    elif told.ended and not verdict.findings and told.note != _note(verdict, told):
        say("other-log", "the run's record names no ledger, or another, or another end of it")
    elif verdict.rounds < told.rounds and not verdict.findings:
        message = f"the record tells of {told.rounds} rounds, the ledger of {verdict.rounds}"
        say("truncated", message)
    return found


def _note(verdict: Verdict, told: _Told) -> dict[str, Any]:
    """Return the note that belongs to a ledger; a chain's contract is not in the ledger."""
    head, opening = verdict.head, verdict.opening
    if head is None or opening is None:
        return {}
    contract = {key: value for key, value in told.note.items() if key == "contract"}
    return {
        "log": verdict.log,
        "entries": verdict.entries,
        "root": head.root.hex(),
        "public": opening.public.hex(),
        "key": opening.origin,
        **contract,
    }


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
