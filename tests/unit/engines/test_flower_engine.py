"""The Flower engine plays the same rounds; hospitals that misbehave cost themselves their turn."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("flwr")

from flower_bench import (
    TABLE,
    Nodes,
    federation,
    over,
    played,
    twisted,
    with_fact,
    with_part,
    with_row,
)
from flwr.app import Array, ConfigRecord, Error, Message, MetricRecord, RecordDict

from asepsis.core.errors import AsepsisError, ConfigError
from asepsis.engines import make_engine
from asepsis.engines.flower.engine import Flower
from asepsis.engines.flower.messages import ARRAYS, FACTS, WireError, tensor
from asepsis.experiments.run import RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import results_of
from asepsis.federation.round import play_round

DIM = 62
MASKS = ["secure-aggregation", "mean"]
OWN = {"hostile": 2, "starts_at": 1, "sees": "own"}
CASES: dict[str, dict[str, Any]] = {
    "backdoor": {"attack": "badnets", "threat": {"hostile": 2, "starts_at": 1}},
    "omniscient": {"attack": "ipm", "threat": {"hostile": 2}, "defenses": ["median"]},
    "noise at home": {"defenses": [{"name": "client-clip", "max_norm": 0.1}, "client-noise"]},
    "straggling": {"federation": {"hospitals": 6, "rounds": 3, "dropout": 0.2, "stragglers": 0.5}},
    "masks": {"defenses": MASKS},
    "masks, dropouts": {
        "federation": {"hospitals": 9, "rounds": 3, "dropout": 0.1},
        "defenses": [{"name": "secure-aggregation", "late_dropout": 0.1}, "mean"],
    },
    "masks, noise": {
        "defenses": [{"name": "client-clip", "max_norm": 0.1}, "client-noise", *MASKS]
    },
    "masks, own": {"defenses": MASKS, "attack": "sign-flip", "threat": OWN},
    "masks, remembers": {"defenses": MASKS, "attack": "poisonedfl", "threat": OWN},
    "masks, trains": {"defenses": MASKS, "attack": "dba", "threat": OWN},
    "masks, attested": {
        "defenses": [{"name": "client-clip", "max_norm": 0.1}, *MASKS],
        "attack": "sign-flip",
        "threat": {**OWN, "attested": True},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_three_rounds_on_flower_are_bit_equal_to_three_in_one_process(case: str) -> None:
    made = federation(**CASES[case])
    serial = make_engine("serial")
    serial.start(made.plan)
    state, outcome = played(made, serial)
    other, told = played(made, over(made))
    assert torch.equal(state.row, other.row)
    assert set(state.homes) <= set(other.homes)
    assert (outcome.train_loss, outcome.void) == (told.train_loss, told.void)
    assert (outcome.hostile, outcome.crafted) == (told.hostile, told.crafted)
    assert state.attack.keys() == other.attack.keys()
    assert all(torch.equal(value, other.attack[name]) for name, value in state.attack.items())
    assert [one.record() for one in outcome.protected] == [one.record() for one in told.protected]
    assert repr(told.told_loss) == repr(outcome.told_loss)
    assert told.lost == {}


@pytest.mark.slow
@pytest.mark.parametrize("case", ["backdoor", "noise at home", "straggling", "masks, own"])
def test_a_run_in_flowers_simulation_makes_the_same_record(case: str) -> None:
    spec: Experiment = parse(Experiment, {**TABLE, **CASES[case]})
    one = results_of(run_experiment(spec, None, RunOptions(engine="serial")))
    two = results_of(run_experiment(spec, None, RunOptions(engine="flower", jobs=2)))
    if "masks" not in case:
        assert one == two
    else:  # what was cut to the grid's range, only hospitals know
        assert [text.replace(CUT, "") for text in one] == two


CUT = '"unfit":0.0,"clipped":0.0,'


def raw(data: bytes, shape: tuple[int, ...], dtype: str = "float32") -> Array:
    return Array(dtype=dtype, shape=shape, stype="numpy.ndarray", data=data)


MISDEEDS: dict[str, tuple[Any, str]] = {
    "vanishes": (lambda reply: [], "no answer"),
    "answers for another round": (lambda r: with_fact(r, round=7), "another hospital or round"),
    "answers for another": (lambda r: with_fact(r, client=1), "another hospital or round"),
    "sends another shape": (
        lambda r: with_row(r, Array(np.zeros(3, np.float32))),
        "another shape or type",
    ),
    "sends integers": (lambda r: with_row(r, Array(np.zeros(DIM, np.int64))), "shape or type"),
    "sends a pickle": (
        lambda r: with_row(r, raw(b"cos\nsystem\n(S'echo'\ntR.", (DIM,))),
        "other bytes than it says",
    ),
    "sends a pickled array": (lambda r: with_row(r, raw(objects(), (DIM,))), "no array"),
    "claims 10 GB": (
        lambda r: with_row(r, raw(bytes(10), (2_500_000_000,))),
        "another shape or type",
    ),
    "sends no array": (lambda r: with_part(r, ARRAYS, ConfigRecord({})), "no arrays"),
    "adds a value": (lambda r: with_fact(r, extra=1), "missing, or unknown"),
    "adds a part": (lambda r: with_part(r, "more", MetricRecord({"a": 1.0})), "unknown part"),
    "sends another type": (lambda r: with_fact(r, weight="10"), "weight is no float"),
    "sends no JSON": (lambda r: with_fact(r, side="{"), "no JSON"),
    "sends words as telemetry": (lambda r: with_fact(r, side='{"loss": "x"}'), "no figures"),
    "speaks another version": (lambda r: with_fact(r, version=2), "another version"),
}


def objects() -> bytes:
    from io import BytesIO

    buffer = BytesIO()
    np.save(buffer, np.array([{}] * DIM, dtype=object), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_hospital_that_misbehaves_is_lost_and_the_round_goes_on(misdeed: str) -> None:
    change, why = MISDEEDS[misdeed]
    made = federation(defenses=["median"])
    state, outcome = play_round(made, over(made, twisted(change)), made.begin())
    assert list(outcome.lost) == [2]
    assert why in outcome.lost[2], outcome.lost
    assert outcome.void is None
    assert outcome.sent is not None
    assert outcome.sent.clients == (0, 1, 3, 4, 5)
    assert bool(torch.isfinite(state.row).all())


def error(reply: Message, speaker: int) -> list[Message]:
    made = Message(Error(code=5, reason="Node Unavailable"), reply_to=asked_by(reply))
    made.metadata.__dict__["_src_node_id"] = speaker
    return [made]


def asked_by(reply: Message) -> Message:
    about = reply.metadata
    asked = Message(RecordDict(), dst_node_id=about.src_node_id, message_type="train")
    asked.metadata.__dict__["_message_id"] = about.reply_to_message_id
    return asked


@pytest.mark.parametrize(("speaker", "why"), [(1, "no answer"), (102, "its app failed")])
def test_a_node_that_is_gone_is_lost_as_soon_as_the_superlink_says_so(
    speaker: int, why: str
) -> None:
    made = federation()
    engine = over(made, twisted(lambda reply: error(reply, speaker)))
    _, outcome = play_round(made, engine, made.begin())
    assert outcome.lost == {2: f"{why}: Node Unavailable"}


def test_a_node_cannot_answer_for_another() -> None:
    made = federation()

    def twist(message: Message, reply: Message) -> Iterable[Message]:
        if message.metadata.dst_node_id == 103 and message.metadata.message_type == "train":
            reply.metadata.__dict__["_src_node_id"] = 102
        return [reply]

    _, outcome = play_round(made, over(made, twist), made.begin())
    assert list(outcome.lost) == [3]


def test_who_answers_twice_counts_once() -> None:
    made = federation()
    twice = over(made, twisted(lambda reply: [reply, reply]))
    once = over(made)
    assert torch.equal(played(made, twice, 1)[0].row, played(made, once, 1)[0].row)


def test_a_row_that_is_no_number_spends_its_place_and_nothing_else() -> None:
    made = federation(defenses=["median"])
    bad = Array(np.full(DIM, math.nan, np.float32))
    _, outcome = play_round(made, over(made, twisted(lambda r: with_row(r, bad))), made.begin())
    assert outcome.lost == {}
    assert outcome.server is not None
    assert outcome.server.dropped == (2,)


def test_below_the_quorum_the_round_is_void_and_says_so() -> None:
    made = federation()

    def silent(message: Message, reply: Message) -> Iterable[Message]:
        train = message.metadata.message_type == "train"
        return [] if train and message.metadata.dst_node_id > 101 else [reply]

    before = made.begin()
    state, outcome = play_round(made, over(made, silent, quorum=0.5), before)
    assert outcome.void == "2 of 6 hospitals answered, and the quorum is 50%"
    assert torch.equal(state.row, before.row)
    assert sorted(outcome.lost) == [2, 3, 4, 5]
    _, goes_on = play_round(made, over(made, silent, quorum=0.3), before)
    assert goes_on.void is None


@pytest.mark.parametrize("step", range(1, 5))
def test_who_vanishes_between_masks_is_recovered_from(step: int) -> None:
    made = federation(defenses=MASKS)
    clean, _ = played(made, over(made), 1)

    def twist(message: Message, reply: Message) -> Iterable[Message]:
        masks = message.metadata.message_type == "query.mask"
        gone = masks and message.content[FACTS]["step"] >= step
        return [] if gone and message.metadata.dst_node_id == 102 else [reply]

    state, outcome = played(made, over(made, twist), 1)
    assert outcome.void is None, outcome.void
    assert list(outcome.lost) == [2]
    assert torch.equal(state.row, clean.row) == (step > 2)


def test_the_server_holds_no_row_and_no_seed_of_a_hospital_that_masks() -> None:
    made = federation(defenses=MASKS)
    seen: list[Message] = []

    def hear(message: Message, reply: Message) -> Iterable[Message]:
        seen.append(reply)
        return [reply]

    engine = over(made, hear)
    _, outcome = play_round(made, engine, made.begin())
    assert outcome.sent is None
    assert isinstance(outcome.seen, tuple)
    grid: Any = engine._grid
    states = [context.state for context in grid.contexts.values()]
    seeds = [bytes(state["asepsis.identity"]["seed"]) for state in states]
    seeds += [bytes(state["asepsis.memory"]["seed"]) for state in states]
    rows = [state["asepsis.waiting.row"]["row"].numpy().tobytes() for state in states]
    assert len(seeds) == 12
    said = b"".join(everything(reply.content) for reply in seen)
    assert not any(secret in said for secret in [*seeds, *rows])
    plain = federation()
    open_, heard = over(plain, lambda m, r: seen.append(r) or [r]), len(seen)  # type: ignore[func-returns-value]
    play_round(plain, open_, plain.begin())
    assert any(ARRAYS in reply.content for reply in seen[heard:])


def everything(content: RecordDict) -> bytes:
    facts = [str(v).encode() if not isinstance(v, bytes) else v for v in content[FACTS].values()]
    return b"|".join(facts) + b"".join(a.data for a in content.get(ARRAYS, {}).values())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"defenses": ["secure-sum", "mean"]}, "one process only"),
        ({"defenses": MASKS, "attack": "ipm", "threat": {"hostile": 2}}, "omniscient"),
        (
            {"defenses": MASKS, "attack": "sign-flip", "threat": {**OWN, "knows_defense": True}},
            "knows_defense",
        ),
    ],
)
def test_what_cannot_be_between_processes_is_refused_by_name(
    changes: dict[str, Any], why: str
) -> None:
    made = federation(**changes)
    with pytest.raises(ConfigError, match=why):
        Flower(grid=Nodes(made)).host(made)


def test_two_nodes_of_one_name_and_one_of_no_name_are_refused() -> None:
    made = federation()
    engine = Flower(grid=Nodes(made))
    engine.host(made)
    grid: Any = engine._given
    grid.contexts[101].node_config["partition-id"] = 0
    with pytest.raises(AsepsisError, match="same hospital"):
        engine.start(made.plan)


def test_a_hospital_that_is_never_there_is_named_in_time() -> None:
    made = federation()
    engine = Flower(grid=Nodes(made), patience=0.2)
    engine.host(made)
    grid: Any = engine._given
    del grid.contexts[103]
    with pytest.raises(AsepsisError, match="without 3"):
        engine.start(made.plan)


@pytest.mark.parametrize(
    "array",
    [
        raw(b"", (3,)),
        raw(bytes(12), (3,)),
        raw(bytes(12), (-3,)),
        raw(b"\x93NUMPY" + bytes(100), (3,)),
        raw(bytes(24), (3,), "object"),
        Array(dtype="float32", shape=(3,), stype="pickle", data=bytes(12)),
    ],
)
def test_bytes_that_are_no_array_are_refused(array: Array) -> None:
    with pytest.raises(WireError):
        tensor(array)
