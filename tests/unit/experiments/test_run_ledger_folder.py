"""A folder's records are checked against their ledgers: whatever was changed is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_runs import kinds, path_of, serial, spec, whole_run

from asepsis.core.errors import StoreError
from asepsis.defenses.audit.verify import verify_ledger
from asepsis.experiments.ledgers import verify_run
from asepsis.experiments.run import run_experiment
from asepsis.experiments.store import Store, read_record


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Any]]:
    return whole_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def copied(tmp_path: Path, whole: tuple[Store, list[Any]]) -> Store:
    """Return a folder with a run and its ledger that a test may do anything to."""
    shutil.copytree(whole[0].root, tmp_path / "copy")
    return Store(tmp_path / "copy")


def edited(store: Store, change: Callable[[list[Any]], Any]) -> list[str]:
    """Change the record's lines; return what is found then."""
    record = store.record(spec().digest())
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    change(lines)
    record.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    return kinds(store)


def last(lines: list[Any]) -> dict[str, Any]:
    result: dict[str, Any] = lines[-1]["result"]
    return result


EDITS: dict[str, Callable[[list[Any]], Any]] = {
    "a round": lambda lines: lines[2]["result"].update(void="overflow"),
    "a round's own field": lambda lines: lines[2].update(more=1),
    "a round left out": lambda lines: lines.pop(2),
    "a round again": lambda lines: lines.insert(2, lines[2]),
    "a line of no kind": lambda lines: lines.insert(2, {"type": "x", "result": {}}),
    "the specification's name": lambda lines: lines[0]["result"]["spec"].update(name="x"),
    "who is hostile": lambda lines: lines[0]["result"]["resolved"].update(hostile=[]),
    "the mean": lambda lines: last(lines)["tail"].update(accuracy=1.0),
    "the last round": lambda lines: last(lines)["last"].update(accuracy=1.0),
    "the detection": lambda lines: last(lines).update(detection={"recall": 1.0}),
    "the status": lambda lines: last(lines).update(status="diverged"),
    "the model": lambda lines: last(lines).update(row="0" * 16),
    "a figure more": lambda lines: last(lines).update(more=1.0),
    "the result": lambda lines: lines[-1].update(result=[]),
    "the status that ends": lambda lines: last(lines).update(status="cancelled"),
    "the end": lambda lines: lines.pop(),
    "all but the header": lambda lines: lines.__delitem__(slice(1, None)),
    "no end and no note": lambda lines: lines[-1].update(result={"status": "cancelled"}),
    "an error": lambda lines: lines[-1].update(result={"status": "error", "message": "x"}),
    "everything": lambda lines: lines.clear(),
    "the header": lambda lines: lines.pop(0),
}


@pytest.mark.parametrize("edit", EDITS)
def test_whatever_of_a_record_is_changed_is_found(copied: Store, edit: str) -> None:
    assert kinds(copied) == []
    assert edited(copied, EDITS[edit]) == ["other-record"]


@pytest.mark.parametrize("edit", EDITS)
def test_taking_the_note_away_hides_nothing(copied: Store, edit: str) -> None:
    def change(lines: list[Any]) -> None:
        last(lines).pop("ledger")
        EDITS[edit](lines)

    assert edited(copied, change) == ["other-record"]


@pytest.mark.parametrize(
    "note",
    [None, {}, [], {"log": "0" * 64}, {"entries": 1}, {"key": "file"}, {"public": "0" * 64}],
)
def test_a_note_that_is_not_the_ledgers_is_found(copied: Store, note: Any) -> None:
    def change(lines: list[Any]) -> None:
        if note:
            last(lines)["ledger"].update(note)
        else:
            last(lines)["ledger"] = note

    assert edited(copied, change) == ["other-log"]


NESTED: dict[str, Any] = {}
for _ in range(400):
    NESTED = {"a": NESTED}


@pytest.mark.parametrize("what", [float("nan"), None, 1, "x", [1], {"a": [[]]}, NESTED])
@pytest.mark.parametrize("place", ["header", "spec", "defenses", "resolved", "round", "footer"])
def test_a_record_of_nonsense_is_a_finding(copied: Store, what: Any, place: str) -> None:
    def change(lines: list[Any]) -> None:
        header = lines[0]["result"]
        tables = {
            "header": (lines[0], "result"),
            "spec": (header, "spec"),
            "defenses": (header["spec"], "defenses"),
            "resolved": (header, "resolved"),
            "round": (lines[1], "result"),
            "footer": (lines[-1], "result"),
        }
        table, name = tables[place]
        table[name] = what

    assert edited(copied, change) == ["other-record"]


def lasting(record: Path) -> list[str]:
    """Return a record's lines without what was observed; none where it cannot be read."""
    try:
        return [json.dumps(dict(line, observed=None)) for line in read_record(record)]
    except StoreError:
        return []


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.data())
def test_a_damaged_record_is_a_finding(copied: Store, data: st.DataObject) -> None:
    record = copied.record(spec().digest())
    whole = record.with_suffix(".whole")
    if not whole.exists():
        whole.write_bytes(record.read_bytes())
    changed = bytearray(whole.read_bytes())
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place : place + data.draw(st.integers(1, 9))] = data.draw(st.binary(max_size=9))
    record.write_bytes(changed)
    found = kinds(copied)
    assert found in ([], ["other-record"], ["other-log"])
    assert (lasting(record) == lasting(whole)) == (found == [])


def test_what_was_observed_may_change(copied: Store) -> None:
    def change(lines: list[Any]) -> None:
        for line in lines:
            line["observed"] = {"device": "another"}

    assert edited(copied, change) == []


def test_a_record_that_is_gone_or_damaged_is_found(copied: Store) -> None:
    record = copied.record(spec().digest())
    text = record.read_text()
    record.unlink()
    assert kinds(copied) == ["no-record"]
    record.write_text("{\n" + text)
    assert kinds(copied) == ["other-record"]
    record.unlink()
    record.mkdir()
    assert kinds(copied) == ["other-record"]


def test_a_ledger_that_is_gone_or_damaged_is_found(copied: Store) -> None:
    path = path_of(copied, spec())
    path.unlink()
    assert kinds(copied) == ["no-ledger"]
    assert edited(copied, lambda lines: last(lines).pop("ledger")) == ["no-ledger"]
    assert edited(copied, lambda lines: lines.pop()) == ["no-ledger"]
    resolved = [lambda lines: lines[0]["result"].pop("resolved")]
    assert edited(copied, resolved[0]) == ["no-ledger"]
    path.write_bytes(b"garbage\n")
    assert kinds(copied) == ["unreadable"]
    path.write_bytes(b"")
    assert edited(copied, lambda lines: lines.__delitem__(slice(2, None))) == ["truncated"]

    def without(lines: list[Any]) -> None:
        lines[0]["result"]["spec"]["defenses"].pop()

    path.unlink()
    assert set(edited(copied, without)) == {"no-ledger", "other-record"}


def test_a_ledger_that_was_not_closed_does_not_belong_to_a_run_that_ended(copied: Store) -> None:
    path = path_of(copied, spec())
    lines = path.read_bytes().splitlines(keepends=True)
    heads = [i for i, line in enumerate(lines) if line.startswith(b'{"head"')]
    path.write_bytes(b"".join(lines[: heads[-2] + 1]))
    assert kinds(copied) == ["open"]
    assert edited(copied, lambda lines: last(lines).pop("ledger")) == ["open"]
    assert edited(copied, lambda lines: lines.pop()) == []  # as if it were still running
    path.write_bytes(b"".join(lines[: heads[-3] + 1]))
    assert kinds(copied) == ["truncated"]


def test_a_run_under_the_name_of_another_is_found(copied: Store) -> None:
    name, other = spec().digest(), "0" * 16
    copied.record(name).rename(copied.record(other))
    copied.ledger(name).rename(copied.ledger(other))
    assert kinds(copied) == ["other-log", "other-record"]


def test_a_kept_head_that_fits_no_ledger_is_found(copied: Store, tmp_path: Path) -> None:
    head = verify_ledger(path_of(copied, spec())).head
    assert head is not None
    assert kinds(copied, kept=(head,)) == []
    other = replace(head, log="0" * 64)
    assert kinds(copied, kept=(other,)) == ["no-ledger"]
    assert kinds(copied, kept=(head, other)) == ["no-ledger"]
    bare = Store(tmp_path / "bare").open()
    run_experiment(spec(defenses=["krum"]), bare, serial())
    with pytest.raises(StoreError, match="no ledgers here"):
        verify_run(bare)
    assert kinds(bare, kept=(head,)) == ["no-ledger"]


def test_a_run_that_failed_before_its_first_round_needs_no_ledger(copied: Store) -> None:
    header = {"digest": spec().digest(), "spec": spec().model_dump(mode="json")}
    lines = [
        {"type": "header", "result": header},
        {"type": "footer", "result": {"status": "error", "message": "x"}},
    ]
    copied.record(spec().digest()).write_text("".join(json.dumps(line) + "\n" for line in lines))
    path_of(copied, spec()).unlink()
    with pytest.raises(StoreError, match="no ledgers here"):
        verify_run(copied)


def test_a_run_in_its_first_round_has_nothing_to_check_yet(copied: Store) -> None:
    path_of(copied, spec()).write_bytes(b"")
    assert edited(copied, lambda lines: lines.__delitem__(slice(1, None))) == []
