"""A run's ledger: written beside the record, resumed without a seam, checked against it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from ledger_runs import ROUNDS, SIGNED, entries, kinds, path_of, serial, spec, whole_run

from asepsis.core.errors import ConfigError, StoreError
from asepsis.defenses.audit.commit import opens
from asepsis.defenses.audit.keys import new_key, read_key
from asepsis.defenses.audit.log import said
from asepsis.defenses.audit.verify import verify_ledger
from asepsis.experiments.ledgers import verify_run
from asepsis.experiments.resolve import resolve
from asepsis.experiments.run import Cancelled, run_experiment
from asepsis.experiments.store import Store, results_of, rounds_of
from asepsis.federation.build import assemble
from asepsis.federation.federation import RoundState


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Any]]:
    return whole_run(tmp_path_factory.mktemp("whole"))


def test_a_run_leaves_a_ledger_and_a_note_and_is_otherwise_as_without_one(
    whole: tuple[Store, list[Any]],
) -> None:
    store, lines = whole
    path = path_of(store, spec())
    verdict = verify_ledger(path)
    assert verdict.findings == ()
    assert verdict.rounds == ROUNDS
    assert verdict.entries == 1 + ROUNDS * (1 + 5 + 1 + 1) + 1
    assert verdict.head is not None
    note = lines[-1]["result"]["ledger"]
    assert (note["entries"], note["root"]) == (verdict.entries, verdict.head.root.hex())
    assert note["key"] == "simulated"
    bare = run_experiment(spec(defenses=["krum"]), None, serial())
    assert results_of(rounds_of(bare)) == results_of(rounds_of(lines))
    assert lines[-1]["result"]["row"] == bare[-1]["result"]["row"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_verdicts_in_the_ledger_are_those_of_the_record(whole: tuple[Store, list[Any]]) -> None:
    store, lines = whole
    judged = [entry for entry in entries(path_of(store, spec())) if entry["kind"] == "judged"]
    for entry, line in zip(judged, rounds_of(lines), strict=True):
        (stage,) = entry["stages"]
        assert stage["verdicts"] == line["result"]["stages"][0]["verdicts"]
        assert set(stage["verdicts"].values()) == {0.0, 1.0}


def test_a_models_verification_is_logged(tmp_path: Path) -> None:
    """Blockchain and SMPC in one: inference on shares, a threshold, the verdict written down."""
    store = Store(tmp_path / "verified").open()
    verify = {"name": "smpc-verify", "against": "received", "samples": 16}
    made = spec(
        defenses=[verify, "mean", "ledger"],
        attack={"name": "sign-flip", "scale": 20.0},
        trainer={"name": "sgd", "steps": 8, "batch_size": 16},
        federation={"hospitals": 5, "rounds": 4},
    )
    lines = run_experiment(made, store, serial())
    assert verify_ledger(path_of(store, made)).findings == ()
    text = path_of(store, made).read_text(encoding="utf-8")
    assert "smpc-verify" in text
    attacked = [line["result"] for line in rounds_of(lines) if line["result"]["hostile"]]
    verdicts = [item["stages"][0]["verdicts"] for item in attacked]
    caught = [said[str(item["hostile"][0])] for said, item in zip(verdicts, attacked, strict=True)]
    assert 0.0 in caught


@pytest.mark.parametrize("after", range(1, ROUNDS))
def test_a_stopped_run_goes_on_with_the_same_ledger(
    tmp_path: Path, whole: tuple[Store, list[Any]], after: int
) -> None:
    store, played = Store(tmp_path).open(), list[int]()
    stopping = serial(on_round=played.append, stop=lambda: len(played) >= after)
    with pytest.raises(Cancelled):
        run_experiment(spec(), store, stopping)
    path = path_of(store, spec())
    assert [f.kind for f in verify_ledger(path).findings] == ["open"]
    assert verify_run(store)[path].findings == ()
    # Lines of a round that the checkpoint knows nothing of, the last one half written.
    more = path_of(whole[0], spec()).read_bytes()[path.stat().st_size :][:700]
    path.write_bytes(path.read_bytes() + more)
    run_experiment(spec(), store, serial(resume=True))
    assert path.read_bytes() == path_of(whole[0], spec()).read_bytes()


def test_a_run_that_starts_over_starts_a_new_ledger(
    tmp_path: Path, whole: tuple[Store, list[Any]]
) -> None:
    store = Store(tmp_path).open()
    for _ in range(2):
        run_experiment(spec(), store, serial())
        assert path_of(store, spec()).read_bytes() == path_of(whole[0], spec()).read_bytes()
    assert not list((tmp_path / "prefixes").iterdir())


@pytest.mark.parametrize("damage", ["gone", "short", "another"])
def test_a_run_does_not_go_on_with_a_ledger_that_is_not_its_own(
    tmp_path: Path, damage: str
) -> None:
    store, played = Store(tmp_path).open(), list[int]()
    stopping = serial(on_round=played.append, stop=lambda: len(played) >= 2)
    with pytest.raises(Cancelled):
        run_experiment(spec(), store, stopping)
    path = path_of(store, spec())
    lines = path.read_bytes().splitlines(keepends=True)
    changed = {"gone": b"", "short": b"".join(lines[:-1])}
    lines[-2] = lines[-2].replace(b'"leaf":"', b'"leaf":"0')
    path.write_bytes(changed.get(damage, b"".join(lines)))
    before = path.read_bytes()
    with pytest.raises(StoreError, match="does not reach as far as the run's checkpoint"):
        run_experiment(spec(), store, serial(resume=True))
    assert path.read_bytes() == before
    run_experiment(spec(), store, serial())
    assert verify_run(store)[path].findings == ()


def test_a_hospital_can_have_its_commitment_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asepsis.engines import make_engine
    from asepsis.federation.round import play_round

    new_key(str(tmp_path / "key.pem"))
    monkeypatch.setenv("ASEPSIS_LEDGER_KEY", str(tmp_path / "key.pem"))
    made = spec(defenses=["krum", SIGNED], attack=None, threat={})
    federation, _ = assemble(resolve(made)[0])
    engine = make_engine("serial", 1)
    engine.start(federation.plan)
    _, outcome = play_round(federation, engine, federation.begin())
    sent = outcome.sent
    assert sent is not None
    found = [json.loads(line)["entry"] for line in outcome.audited if b'"row"' in line]
    key = read_key(str(tmp_path / "key.pem"))
    for place, entry in enumerate(found):
        salt = key.salt(entry["log"], "0", f"row {entry['client']}")
        row, told = sent.rows.row(place), said(sent, place)
        count, loss = float(sent.weights[place]), float(sent.side["loss"][place])
        assert told == {"count": count, "side/loss": loss}
        assert count > 1
        assert opens(entry["update"], salt, row, told)
        assert not opens(entry["update"], salt, row, {**told, "count": told["count"] + 1})
        assert not opens(entry["update"], salt, row + 1e-7, told)
        assert not opens(entry["update"], bytes(32), row, told)
    assert len({entry["update"] for entry in found}) == len(found) == 5


def test_behind_a_secure_sum_there_is_one_commitment_and_no_hospital(tmp_path: Path) -> None:
    store = Store(tmp_path).open()
    made = spec(defenses=["secure-sum", "mean", "ledger"])
    run_experiment(made, store, serial())
    found = entries(path_of(store, made))
    assert [e["count"] for e in found if e["kind"] == "sum"] == [5] * ROUNDS
    assert not any("client" in entry for entry in found)
    assert verify_ledger(path_of(store, made)).findings == ()


def test_void_rounds_and_rounds_without_answers_are_written_down_too(tmp_path: Path) -> None:
    store = Store(tmp_path).open()
    alone = spec(federation={"hospitals": 5, "rounds": 12, "dropout": 0.7}, attack=None, threat={})
    lines = run_experiment(alone, store, serial())
    judged = [entry for entry in entries(path_of(store, alone)) if entry["kind"] == "judged"]
    voids = [line["result"]["void"] for line in rounds_of(lines)]
    assert [e["void"] for e in judged] == [v and v.split(":")[0] for v in voids]
    assert {"no-quorum", "no hospital answered"} <= {e["void"] for e in judged}
    assert verify_ledger(path_of(store, alone)).findings == ()


def test_the_state_survives_a_checkpoint(tmp_path: Path) -> None:
    from asepsis.experiments.store import read_tensors, write_tensors

    federation, _ = assemble(resolve(spec())[0])
    begin = federation.begin()
    audit = federation.pipeline.audit
    assert audit is not None
    from asepsis.core.stages import RoundEvent

    event = RoundEvent("x", 0, begin.row, None, None, begin.row, "nobody")
    after, _ = audit.record(begin.audit, event)
    write_tensors(tmp_path / "c", RoundState(1, begin.row, audit=after).tensors())
    tensors = read_tensors(tmp_path / "c")
    assert tensors is not None
    again = RoundState.from_tensors(tensors).audit
    assert {k: v.tolist() for k, v in again.items()} == {k: v.tolist() for k, v in after.items()}
    assert audit.record(again, event)[1] == audit.record(after, event)[1]


def test_rows_of_the_ledger_are_no_plain_hashes(whole: tuple[Store, list[Any]]) -> None:
    """Two equal updates do not have equal commitments, though equal models do."""
    from asepsis.defenses.audit.keys import simulated_key
    from asepsis.defenses.audit.log import Tail, Writer

    found = entries(path_of(whole[0], spec()))
    sent = [entry["model"] for entry in found if entry["kind"] == "sent"]
    left = [entry["model"] for entry in found if entry["kind"] == "model"]
    assert sent[1:] == left[:-1]
    writer = Writer(simulated_key("x"), Tail())
    assert writer.salt(0, "row 1") != writer.salt(0, "row 2") != writer.salt(1, "row 2")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"", "not an unencrypted Ed25519 key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not an unencrypted"),
        (b"\xff" * 10_000, "not an unencrypted"),
    ],
)
def test_a_key_that_is_none_is_refused_when_the_stack_is_built(
    tmp_path: Path, content: bytes | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.pem"
    monkeypatch.setenv("ASEPSIS_LEDGER_KEY", str(path))
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(ConfigError, match=says) as raised:
        resolve(spec(defenses=["krum", SIGNED]))
    assert "key.pem" not in str(raised.value)
    assert "$ASEPSIS_LEDGER_KEY" in str(raised.value)


def test_a_key_that_others_may_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key.pem"
    new_key(str(path))
    with pytest.raises(ConfigError, match="cannot write the key"):
        new_key(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read this key"):
        read_key(str(path))
    monkeypatch.setenv("ASEPSIS_LEDGER_KEY", str(path))
    with pytest.raises(ConfigError, match="others may read this key") as raised:
        resolve(spec(defenses=["krum", SIGNED]))
    assert "key.pem" not in str(raised.value)
    monkeypatch.delenv("ASEPSIS_LEDGER_KEY")
    with pytest.raises(ConfigError, match="no key is set"):
        resolve(spec(defenses=["krum", SIGNED]))


def test_a_key_may_move_and_may_not_change_while_a_run_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        new_key(str(tmp_path / name))
    monkeypatch.setenv("ASEPSIS_LEDGER_KEY", str(tmp_path / "one"))
    made, played = spec(defenses=["krum", SIGNED]), list[int]()
    store = Store(tmp_path / "out").open()
    stopping = serial(on_round=played.append, stop=lambda: len(played) >= 2)
    with pytest.raises(Cancelled):
        run_experiment(made, store, stopping)
    before = path_of(store, made).read_bytes()
    monkeypatch.setenv("ASEPSIS_LEDGER_KEY", str(tmp_path / "two"))
    with pytest.raises(StoreError, match="begun with another key"):
        run_experiment(made, store, serial(resume=True))
    assert path_of(store, made).read_bytes() == before
    (tmp_path / "one").rename(tmp_path / "moved")
    monkeypatch.setenv("ASEPSIS_LEDGER_KEY", str(tmp_path / "moved"))
    run_experiment(made, store, serial(resume=True))
    assert kinds(store, public=read_key(str(tmp_path / "moved")).public) == []


@pytest.mark.parametrize("option", ["key_file", "url"])
def test_no_option_takes_a_path(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        resolve(spec(defenses=["krum", {"name": "ledger", option: "ledger.pem"}]))
    with pytest.raises(ConfigError, match="key"):
        resolve(spec(defenses=["krum", {"name": "ledger", "key": "ledger.pem"}]))


def test_a_stack_has_one_audit_after_the_rule() -> None:
    with pytest.raises(ConfigError, match="a stack has one audit"):
        resolve(spec(defenses=["krum", "ledger", "ledger"]))
    with pytest.raises(ConfigError, match="out of order"):
        resolve(spec(defenses=["ledger", "krum"]))


def test_a_function_call_keeps_no_ledger_and_says_so() -> None:
    import asepsis

    with pytest.raises(ConfigError, match="ledger"):
        asepsis.aggregate(torch.zeros(3, 2), ["mean", "ledger"])
