"""What a defense costs one hospital: its part of a round, alone, and nothing of anybody else's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import asepsis
from asepsis.core.channel import Channel, fingerprint
from asepsis.core.errors import StoreError
from asepsis.core.rng import Draw
from asepsis.core.updates import individual
from asepsis.defenses.audit.keys import signed
from asepsis.defenses.transport import signed as signatures
from asepsis.engines.serial import Serial
from asepsis.experiments import device_table
from asepsis.experiments.device_child import Part, play
from asepsis.experiments.device_table import Measured, measure_devices, read_devices
from asepsis.experiments.device_wires import IDEAL, Masked, Sending, WithSignature
from asepsis.experiments.devices import (
    DeviceCost,
    device_cost,
    first_cohort,
    median_hospital,
    part_of_round,
)
from asepsis.experiments.plan import plan_study, study_from
from asepsis.experiments.resolve import resolve
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Store
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation
from asepsis.federation.protecting import protected

TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "partition": {"name": "dirichlet", "alpha": 5.0},
    "trainer": {"name": "sgd", "steps": 2, "batch_size": 16},
    "federation": {"hospitals": 6, "rounds": 2},
}
NUMBER, FLOAT = 8, 4


def spec(*defenses: Any) -> Experiment:
    made: Experiment = parse(Experiment, {**TABLE, "defenses": defenses})
    return made


def federation(*defenses: Any) -> Federation:
    return assemble(resolve(spec(*defenses))[0])[0]


def asked(built: Federation) -> tuple[Part, Sending, int]:
    round_, cohort = first_cohort(built)
    return part_of_round(built, round_, cohort, median_hospital(built.plan, cohort))


def dim(part: Part) -> int:
    return part.plan.layout.dim


class Sink:
    """A wire that keeps what is sent."""

    def send(self, row: Tensor, side: Any) -> object:
        self.row, self.side = row, dict(side)
        return None


def sent_by(part: Part) -> Sink:
    sink = Sink()
    play(Part(part.plan, part.job, part.received, part.home, part.stages, sink))
    return sink


def test_a_part_holds_one_hospital_and_no_other() -> None:
    part, _, _ = asked(federation("mean"))
    assert list(part.plan.shards) == [(part.job.client, "clean")]
    assert list(part.plan.weights) == [part.job.client]


def test_the_hospital_is_the_median_one() -> None:
    built = federation("mean")
    _, cohort = first_cohort(built)
    sizes = {i: len(built.plan.shards[i, "clean"].targets) for i in cohort.present}
    chosen = sizes[median_hospital(built.plan, cohort)]
    assert sum(size < chosen for size in sizes.values()) <= 2
    assert sum(size > chosen for size in sizes.values()) <= 3


@pytest.mark.parametrize("rule", ["median", {"name": "krum", "f": 1}, "three-sigma"])
def test_what_a_server_does_costs_a_client_nothing(rule: Any) -> None:
    (mean, plain, told), (part, wire, announced) = (
        asked(federation("mean")),
        asked(federation(rule)),
    )
    assert (wire.up, wire.down, announced) == (plain.up, plain.down, told)
    assert wire.up == dim(part) * FLOAT + NUMBER * (1 + len(sent_by(part).side))
    assert part.stages == mean.stages == ()
    assert torch.equal(sent_by(part).row, sent_by(mean).row)


def test_a_part_sends_what_the_hospital_sends_in_a_real_round() -> None:
    built = federation({"name": "client-clip", "max_norm": 0.1}, {"name": "client-noise"}, "mean")
    part, _, _ = asked(built)
    engine, state = Serial(), built.begin()
    engine.start(built.plan)
    replies = protected(built, engine.train(state.row, [part.job]), state.row, 0, {})
    assert len(part.stages) == 2
    assert torch.equal(sent_by(part).row, replies[0].row)
    assert sent_by(part).side == replies[0].side


@pytest.mark.parametrize("options", [{}, {"signed": True}, {"bind_broadcast": False}])
def test_a_replayed_hospital_masks_exactly_as_in_the_protocol(options: dict[str, Any]) -> None:
    built = federation({"name": "secure-aggregation", **options}, "mean")
    part, wire, _ = asked(built)
    assert isinstance(part.wire, Masked)
    row = sent_by(part)
    said: Any = part.wire.send(row.row, row.side)
    masked, signature, shares = said
    # The whole protocol, by itself, with the same update for everybody.
    _, cohort = first_cohort(built)
    engine = Serial()
    engine.start(built.plan)
    [reply] = engine.train(part.received, [part.job])
    alike = [replace(reply, client=i, weight=built.plan.weights[i]) for i in cohort.present]
    received = dict.fromkeys(cohort.present, fingerprint(part.received))
    rng = built.streams.at(Draw.CHANNEL, 0)
    carried = built.pipeline.transport.deliver(
        individual(alike), Channel(0, rng, cohort.present, received)
    )
    assert carried.wire is not None
    seen = carried.wire[part.job.client].numpy()
    assert np.array_equal(seen, part.wire.grid.row(masked[: dim(part)]).astype(np.float32))
    assert (len(signature), len(shares)) == (64 * bool(options.get("signed")), 6)
    assert wire.up == carried.measurements["bytes_up_max"]
    assert wire.down == carried.measurements["bytes_down_max"]


def test_a_signature_is_one_that_the_server_takes() -> None:
    (part, wire, _), (_, plain, _) = asked(federation("signed", "mean")), asked(federation("mean"))
    assert wire.up - plain.up == signatures.SIGNATURE + signatures.BOUND
    assert isinstance(part.wire, WithSignature)
    sink = sent_by(part)
    signature = part.wire.send(sink.row, sink.side)
    assert isinstance(signature, bytes)
    key = signatures.key_of(part.wire.channel, part.job.client)
    reply = part.wire.message(sink.row, sink.side)
    assert signed(key.public, signature, signatures.told(reply, part.wire.channel))


def test_encryption_costs_what_the_channel_counts() -> None:
    pytest.importorskip("tenseal")
    part, wire, _ = asked(federation("homomorphic-sum", "mean"))
    sink = sent_by(part)
    assert len(part.wire.send(sink.row, sink.side)) == dim(part) + 4 * (1 + len(sink.side))  # type: ignore[arg-type]
    assert wire.up == wire.down > dim(part) * FLOAT


def test_an_ideal_says_that_its_protocol_is_not_in_the_figures() -> None:
    assert asked(federation("secure-sum", "mean"))[1].note == IDEAL
    assert asked(federation("secure-aggregation", "mean"))[1].note == ""


COST = DeviceCost(
    bytes_up=10,
    bytes_down=20,
    seconds=0.5,
    training=0.3,
    protection=0.1,
    sending=0.1,
    memory_mib=3.0,
    imports_mib=200.0,
    hospital=1,
    samples=40,
)
STUDY: dict[str, Any] = {
    **TABLE,
    "devices": True,
    "seeds": [0, 1],
    "attack": "sign-flip",
    "threat": {"hostile": 1},
    "over": {"defenses": ["mean", "median"]},
}


def counting(monkeypatch: pytest.MonkeyPatch) -> list[Experiment]:
    """Count measurements instead of making them."""
    made: list[Experiment] = []

    def one(asked_for: Experiment) -> DeviceCost:
        made.append(asked_for)
        return COST

    monkeypatch.setattr(device_table, "device_cost", one)
    return made


def test_every_defense_is_measured_once_and_never_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = counting(monkeypatch)
    results = asepsis.run(STUDY, out=tmp_path)
    assert [one.defense for one in results.devices] == ["mean", "median"]
    assert len(made) == 2
    assert results.devices[0].cost == COST
    again = asepsis.run(STUDY, out=tmp_path, resume=True)
    assert len(made) == 2
    assert again.devices == results.devices
    monkeypatch.setattr(device_table, "code_version", lambda: "another")
    measure_devices(plan_study(study_from({**STUDY}, "s")), Store(tmp_path))
    assert len(made) == 4
    assert (tmp_path / "devices.json").stat().st_mode & 0o077 == 0


def test_nothing_is_measured_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = counting(monkeypatch)
    results = asepsis.run({**STUDY, "devices": False, "seeds": [0]}, out=tmp_path)
    assert (made, results.devices) == ([], ())
    assert not (tmp_path / "devices.json").exists()


def test_a_failed_measurement_is_a_row_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_study(study_from({**STUDY}, "s")), Store(tmp_path).open()

    def broken(_: Experiment) -> DeviceCost:
        raise ZeroDivisionError("no")

    monkeypatch.setattr(device_table, "device_cost", broken)
    measure_devices(plan, store)
    assert [(one.cost, one.error) for one in read_devices(store)] == [
        (None, "ZeroDivisionError: no")
    ] * 2
    made = counting(monkeypatch)
    measure_devices(plan, store)
    assert len(made) == 2
    assert all(one.cost == COST for one in read_devices(store))


def entry(**changes: Any) -> dict[str, Any]:
    cost = {name: getattr(COST, name) for name in DeviceCost.__slots__}
    whole = {"scenario": "s", "defense": "mean", "digest": "d", "code": "c", "error": ""}
    return {**whole, "cost": {**cost, **changes}}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "devices.json").write_text(json.dumps({"costs": [entry()]}))
    made = Measured(scenario="s", defense="mean", digest="d", code="c", cost=COST)
    assert read_devices(Store(tmp_path)) == (made,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"costs": 3}',
        '{"other": []}',
        json.dumps({"costs": [entry(bytes_up="10")]}),
        json.dumps({"costs": [entry(bytes_up=-1)]}),
        json.dumps({"costs": [entry(seconds=float("nan"))]}),
        json.dumps({"costs": [entry(secret=1)]}),
        json.dumps({"costs": [{**entry(), "cost": 3}]}),
        '{"costs": []}' + " " * (4 << 20),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "devices.json").write_text(text)
    with pytest.raises(StoreError, match="damaged"):
        read_devices(Store(tmp_path))


@pytest.mark.slow
def test_a_fresh_process_measures_the_hospital_and_not_its_parent() -> None:
    ballast = np.ones(100_000_000)  # 800 MB that the measuring process must know nothing of
    small = device_cost(spec("mean"))
    wide = {**TABLE, "model": {"name": "mlp", "hidden": [4000, 4000]}, "defenses": ["mean"]}
    large = device_cost(parse(Experiment, wide))
    krum = device_cost(spec({"name": "krum", "f": 1}))
    masked = device_cost(spec("secure-aggregation", "mean"))
    assert ballast.nbytes > 1e8 * 4
    row = large.bytes_down / 2**20
    assert row > 60
    assert large.memory_mib > small.memory_mib + 3 * row  # model, gradients, received and sent
    assert large.memory_mib < 12 * row
    assert 0 < small.memory_mib < 100
    assert small.imports_mib > 50
    assert (krum.bytes_up, krum.bytes_down) == (small.bytes_up, small.bytes_down)
    assert abs(krum.memory_mib - small.memory_mib) < 3
    assert masked.bytes_up > small.bytes_up
    assert masked.sending > small.sending
