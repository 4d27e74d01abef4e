"""Over Flower nobody believes anybody: what hospitals refuse of a server, and a server of them."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("flwr")

from flower_bench import (
    TABLE,
    Nodes,
    Twist,
    federation,
    over,
    played,
    twisted,
    with_fact,
    with_part,
    with_row,
)
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asepsis.core.engine import Job
from asepsis.core.errors import AsepsisError
from asepsis.core.updates import Reply, State
from asepsis.engines import make_engine
from asepsis.engines.flower.client import masked, trained
from asepsis.engines.flower.engine import Flower
from asepsis.engines.flower.messages import (
    ARRAYS,
    FACTS,
    VERSION,
    Order,
    WireError,
    content,
    packed_order,
    packed_reply,
    plain,
    read_order,
    read_reply,
    tensor,
)
from asepsis.federation.federation import Federation
from asepsis.federation.round import play_round
from asepsis.training.sgd import Sgd

DIM = 62
MASKS = ["secure-aggregation", "mean"]
NOISE = [{"name": "client-clip", "max_norm": 0.1}, "client-noise"]
POISON = {"attack": "badnets", "threat": {"hostile": 2, "starts_at": 1}}


def order(made: Federation, *, client: int = 2, **changes: Any) -> Order:
    """What the server asks of an honest hospital in its first round, with changes."""
    of_job = {name: changes.pop(name) for name in list(changes) if name in Job.__dataclass_fields__}
    job = replace(Job(client, 0, told={}), **of_job)
    keep = bool(getattr(made.pipeline.transport, "apart", False))
    return replace(Order(job, made.begin().row, keep), **changes)


ORDERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "as it is, where masks are asked for": ({"defenses": MASKS}, {"keep": False}, "as it is"),
    "kept, where nothing is masked": ({}, {"keep": True}, "as it is"),
    "without its noise": ({"defenses": NOISE}, {"told": None}, "unprotected"),
    "to attack": ({"defenses": MASKS}, {"hostile": True}, "to attack"),
    "on poisoned data": (POISON, {"shard": "poisoned"}, "does not give"),
    "on data that there are not": ({}, {"shard": "../x"}, "does not give"),
    "without end": ({}, {"work": 1e12}, "does not give"),
    "of no length": ({}, {"work": math.nan}, "does not give"),
    "for a round after the last": ({}, {"round": 3}, "a round that there is not"),
    "for a round before the first": ({}, {"round": -1}, "a round that there is not"),
    "for somebody else": ({}, {"client": 3}, "another hospital"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_a_hospital_refuses_what_its_own_experiment_does_not_ask_of_it(name: str) -> None:
    changes, asked, why = ORDERS[name]
    made = federation(**changes)
    node = Nodes(made)
    with pytest.raises(WireError, match=why):
        trained(node.site, packed_order(order(made, **asked)), node.contexts[102])
    assert FACTS in trained(node.site, packed_order(order(made)), node.contexts[102])


def test_an_update_is_masked_once_whatever_the_server_orders_again() -> None:
    made = federation(defenses=MASKS)
    node = Nodes(made)
    trained(node.site, packed_order(order(made)), node.contexts[102])
    with pytest.raises(WireError, match="a round that is over here"):
        trained(node.site, packed_order(order(made)), node.contexts[102])


def test_who_has_refused_once_does_not_go_on_when_it_is_asked_better() -> None:
    made = federation(defenses=MASKS)
    engine: Flower

    def twist(message: Message, reply: Message) -> Iterable[Message]:
        about = message.metadata
        if (about.dst_node_id, about.message_type) == (102, "query.mask"):
            asked = message.content[FACTS]
            if asked["step"] == 3:  # it has consented; now somebody else asks, with nonsense
                grid: Any = engine._grid
                bad = content({**asked, "version": VERSION, "step": 4, "told": b"x"})
                said = masked(grid.site, bad, grid.contexts[102])
                assert said[FACTS]["refused"]
        return [reply]

    engine = over(made, twist)
    _, outcome = play_round(made, engine, made.begin())
    assert outcome.void is None
    assert "has stopped" in outcome.lost[2]


def test_a_hospital_that_is_real_keeps_what_it_keeps_and_says_nothing_of_its_training() -> None:
    made = remembering(federation(defenses=MASKS))
    serial = make_engine("serial")
    serial.start(made.plan)
    state, _ = played(made, serial)
    heard: list[Message] = []

    def hear(message: Message, reply: Message) -> Iterable[Message]:
        heard.append(reply)
        return [reply]

    other, outcome = played(made, over(made, hear, bench=False))
    assert torch.equal(state.row, other.row)
    assert state.homes
    assert other.homes == {}
    assert outcome.train_loss == {}
    told = [reply.content for reply in heard if "measured" in reply.content[FACTS]]
    assert len(told) == 18
    silence = {"measured": "{}", "notes": "{}", "steps": "[]", "weight": 0.0}
    assert all(ARRAYS not in one and silence.items() <= dict(one[FACTS]).items() for one in told)


class Remembering(Sgd):
    """Adds half of its last row to each."""

    def train_on(self, *given: Any) -> tuple[Tensor, Mapping[str, float], State]:
        *rest, memory = given
        row, side = self.train(*rest)
        return row + 0.5 * memory.get("last", torch.zeros_like(row)), side, {"last": row}


def remembering(made: Federation) -> Federation:
    return replace(made, plan=replace(made.plan, trainer=Remembering(steps=2, batch_size=16)))


@pytest.mark.parametrize("changes", [{}, {"defenses": MASKS}])
def test_a_simulation_that_is_resumed_every_round_is_bit_equal(changes: dict[str, Any]) -> None:
    made = remembering(federation(**changes))
    state = made.begin()
    for _ in range(2):
        state, _ = play_round(made, over(made), state)  # nodes that start anew every round
    assert torch.equal(state.row, played(made, over(made), 2)[0].row)


def zipped() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a", bytes(DIM * 4))
    return made.getvalue()


def promising(count: int) -> bytes:
    """An array's bytes whose own header promises more of them."""
    made = io.BytesIO()
    np.save(made, np.zeros(DIM, np.float32))
    return made.getvalue().replace(b"(62,), }          ", f"({count},), }}".encode().ljust(18))


def raw(data: bytes) -> Array:
    return Array(dtype="float32", shape=(DIM,), stype="numpy.ndarray", data=data)


def with_home(reply: Message, size: int) -> list[Message]:
    row = reply.content[ARRAYS]["row"]
    home = {f"home/{i}": Array(np.zeros(size)) for i in range(4)}
    reply.content[ARRAYS] = ArrayRecord({"row": row, **home})
    return [reply]


LONG = json.dumps({str(i): 0.0 for i in range(2000)})
MISDEEDS: dict[str, tuple[Any, str]] = {
    "a figure that is too long": (
        lambda r: with_fact(r, side=f'{{"loss": {"9" * 400}}}'),
        "no figures",
    ),
    "a name twice": (lambda r: with_fact(r, side='{"loss": 1.0, "loss": 2.0}'), "no JSON"),
    "a truth for a figure": (lambda r: with_fact(r, side='{"loss": true}'), "no figures"),
    "thousands of figures": (lambda r: with_fact(r, measured=LONG), "no figures"),
    "JSON without an end": (lambda r: with_fact(r, side="[" * 100_000), "no JSON"),
    "steps that it has not": (lambda r: with_fact(r, steps="[[0.5, {}]]"), "other steps"),
    "no loss, which is asked for": (lambda r: with_fact(r, side="{}"), "the defense asks for"),
    "a count that is none": (lambda r: with_fact(r, weight=math.nan), "no number"),
    "a count without end": (lambda r: with_fact(r, weight=math.inf), "no number"),
    "a flag for a round": (lambda r: with_fact(r, round=False), "round is no int"),
    "a list for a text": (lambda r: with_fact(r, side=[1] * 1000), "side is no str"),
    "a text without end": (lambda r: with_fact(r, side=" " * (1 << 21)), "too long"),
    "a zip file": (lambda r: with_row(r, raw(zipped())), "no array"),
    "room for a terabyte": (lambda r: with_row(r, raw(promising(10**12))), "no array"),
    "far more than it could keep": (lambda r: with_home(r, 3_000_000), "keeps for itself"),
    "a key of another kind": (
        lambda r: with_part(r, ARRAYS, ArrayRecord({"x/y": Array(np.zeros(1))})),
        "unknown array",
    ),
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_a_hospital_that_sends_nonsense_is_lost_and_the_round_goes_on(misdeed: str) -> None:
    change, why = MISDEEDS[misdeed]
    made = federation(defenses=["feddetect"])
    _, outcome = play_round(made, over(made, twisted(change)), made.begin())
    assert list(outcome.lost) == [2]
    assert why in outcome.lost[2], outcome.lost
    assert outcome.void is None


def test_a_hospital_with_fewer_steps_than_others_is_lost() -> None:
    made = federation(defenses=NOISE)
    few = over(made, twisted(lambda r: with_fact(r, steps="[[0.5, {}]]")))
    _, outcome = play_round(made, few, made.begin())
    assert "other steps" in outcome.lost[2]
    assert [report.name for report in outcome.protected] == ["client-clip", "client-noise"]


def test_hostile_hospitals_that_are_all_lost_attack_nobody() -> None:
    made = federation(attack="ipm", threat={"hostile": 2}, defenses=["median"])
    hostile = made.hostile(made.cohort(0), 0)

    def silent(message: Message, reply: Message) -> Iterable[Message]:
        gone = message.metadata.dst_node_id - 100 in hostile
        return [] if gone and message.metadata.message_type == "train" else [reply]

    _, outcome = play_round(made, over(made, silent), made.begin())
    assert sorted(outcome.lost) == sorted(hostile)
    assert outcome.hostile == ()
    assert outcome.crafted == {}


def test_a_round_that_asks_nobody_loses_nobody() -> None:
    table = {**TABLE["federation"], "rounds": 30, "participation": 0.2, "sampling": "poisson"}
    made = federation(federation=table)
    asked = [bool(made.cohort(t).present) for t in range(30)]
    last = next(t for t in range(29) if asked[t] and not asked[t + 1])
    engine = over(made, lambda m, r: [] if m.metadata.message_type == "train" else [r])
    state = replace(made.begin(), round=last)
    state, outcome = play_round(made, engine, state)
    assert outcome.lost
    _, outcome = play_round(made, engine, state)
    assert outcome.lost == {}


def renamed(grid: Any, old: int, new: int) -> None:
    grid.contexts[new] = grid.contexts.pop(old)


@pytest.mark.parametrize("defenses", [MASKS, ["mean"]])
def test_a_hospital_that_comes_back_as_another_node_is_found_again(defenses: list[str]) -> None:
    made = federation(defenses=defenses)
    engine = over(made)
    state, _ = play_round(made, engine, made.begin())
    renamed(engine._grid, 102, 202)
    state, outcome = play_round(made, engine, state)
    assert outcome.lost == {}
    assert torch.equal(state.row, played(made, over(made), 2)[0].row)


def test_a_hospital_that_comes_back_with_another_key_is_lost_and_nobody_else() -> None:
    made = federation(defenses=MASKS)
    engine = over(made)
    state, _ = play_round(made, engine, made.begin())
    grid: Any = engine._grid
    renamed(grid, 102, 202)
    grid.contexts[202].state = RecordDict()
    _, outcome = play_round(made, engine, state)
    assert list(outcome.lost) == [2]
    assert "another key for this hospital" in outcome.lost[2]
    assert outcome.void is None


def test_nodes_that_are_no_hospitals_end_nothing_and_are_named_when_one_is_missing() -> None:
    made = federation()
    engine = Flower(grid=Nodes(made, nonsense({200, 201})), patience=0.5)
    grid: Any = engine._given
    for extra in (200, 201):
        grid.contexts[extra] = replace_partition(grid.contexts[100], extra, 66)
    engine.host(made)
    engine.start(made.plan)
    assert sorted(engine._nodes) == list(range(6))
    del grid.contexts[103]
    with pytest.raises(AsepsisError, match=r"node 200: .*protocol.*without 3"):
        engine.start(made.plan)


def replace_partition(context: Any, node: int, partition: int) -> Any:
    from flwr.app import Context

    return Context(1, node, {"partition-id": partition}, RecordDict(), {})


def nonsense(nodes: set[int]) -> Twist:
    def twist(message: Message, reply: Message) -> Iterable[Message]:
        if message.metadata.dst_node_id in nodes:
            reply.content[FACTS] = ConfigRecord({"hello": "you"})
        return [reply]

    return twist


def test_a_node_that_fails_at_first_is_asked_again() -> None:
    made = federation()
    late = [True]

    def twist(message: Message, reply: Message) -> Iterable[Message]:
        return [] if message.metadata.dst_node_id == 104 and late and late.pop() else [reply]

    assert sorted(over(made, twist)._nodes) == list(range(6))


def test_a_masked_vector_may_be_longer_than_any_text() -> None:
    made = content({"version": VERSION, "sent": bytes(3 << 20), "refused": ""})
    wanted = {"version": int, "sent": bytes, "refused": str}
    assert len(plain(made, wanted, 4 << 20)["sent"]) == 3 << 20
    with pytest.raises(WireError, match="sent is too long"):
        plain(made, wanted)


VALUES = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(),
    st.booleans(),
    st.text(max_size=30),
    st.binary(max_size=30),
    st.lists(st.floats(), max_size=3),
    st.sampled_from(["{}", "[]", "null", '{"loss": 1.0}', '["loss"]', "[[1.0, {}]]", "NaN"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=5), one),
        max_leaves=8,
    ).map(json.dumps),
)
JOB = Job(1, 2, told={"bound": 1.0}, home={"local/a": torch.ones(2, 3)})
REPLY = Reply(1, torch.zeros(DIM), 5.0, {"loss": 1.0}, home={"a": torch.ones(3).bool()})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_the_values_a_message_is_read_or_refused(data: st.DataObject) -> None:
    keep = data.draw(st.booleans())
    made = data.draw(st.sampled_from([packed_order(Order(JOB, torch.zeros(DIM))), sent(keep=keep)]))
    name = data.draw(st.sampled_from([*made[FACTS], "more"]))
    made[FACTS] = ConfigRecord({**made[FACTS], name: data.draw(VALUES)})
    for read in (
        lambda: read_order(made, DIM),
        lambda: read_reply(made, client=1, round_=2, dim=DIM, keep=keep, stages=1),
        lambda: plain(made, {"version": int, "sent": bytes}),
    ):
        with suppress(WireError):
            read()


def sent(*, keep: bool) -> RecordDict:
    made: RecordDict = packed_reply(REPLY, 2, keep=keep, told=True)
    return made


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_the_bytes_an_array_is_read_or_refused(data: st.DataObject) -> None:
    values = np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3))
    whole = Array(values).data
    assert torch.equal(tensor(Array(values)), torch.from_numpy(values.copy(order="C")))
    cut = data.draw(st.integers(0, len(whole)))
    put = data.draw(st.binary(max_size=20))
    bytes_ = data.draw(st.sampled_from([whole[:cut] + put, whole[:cut] + put + whole[cut + 4 :]]))
    shape = data.draw(st.sampled_from([(2, 3), (3, 2), (6,), (), (-2, -3), (1 << 62, 1 << 62)]))
    try:
        made = tensor(Array(dtype="int16", shape=shape, stype="numpy.ndarray", data=bytes_))
    except WireError:
        return
    assert tuple(made.shape) == shape
