"""Replies that are not what an honest hospital sends: each costs itself alone, with a reason."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fake_grid import NODES, FakeGrid
from flower_fixtures import app_folder as app_folder  # used by every test
from hypothesis import given
from hypothesis import strategies as st

import asepsis
from asepsis.core.errors import ConfigError
from asepsis.flower.arrays import Refused, Sent, header_of, read_array
from asepsis.flower.network import TorchNetwork
from asepsis.flower.replies import alike

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


def saved(array: Any, *, pickled: bool = False) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=pickled)
    return out.getvalue()


def raw(data: bytes, stype: str = "numpy.ndarray") -> Any:
    from flwr.app import Array

    return Array("float32", (2, 3), stype, data)


def reply(
    message: Any, arrays: dict[str, Any] | None = None, metrics: dict[str, Any] | None = None
) -> Any:
    from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict

    own = {"weight": Array(WEIGHT + 1), "count": Array(np.array(4, np.int64))}
    told = {"num-examples": 10, "train_loss": 0.5}
    content = {
        "arrays": ArrayRecord(own | (arrays or {})),
        "metrics": MetricRecord(told | (metrics or {})),
    }
    return Message(RecordDict(content), reply_to=message)


def without(message: Any, *names: str) -> Any:
    made = reply(message)
    for name in names:
        for record in ("arrays", "metrics"):
            made.content[record].pop(name, None)
        made.content.pop(name, None)
    return made


def failed(message: Any) -> Any:
    from flwr.app import Error, Message

    return Message(Error(code=7, reason="out of\nmemory \x1b[2J"), reply_to=message)


class Bomb:
    """Would say that it was unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


def huge_header() -> bytes:
    body = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999), }\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


ARRAYS: list[tuple[str, Callable[[], dict[str, Any]]]] = [
    ("wrong-shape", lambda: {"weight": raw(saved(np.zeros((3, 2), np.float32)))}),
    ("wrong-shape", lambda: {"weight": raw(saved(np.zeros((9, 999), np.float32)))}),
    ("wrong-shape", lambda: {"weight": raw(huge_header())}),
    ("wrong-dtype", lambda: {"weight": raw(saved(WEIGHT.astype(np.float64)))}),
    ("wrong-dtype", lambda: {"weight": raw(saved(WEIGHT.astype(">f4")))}),
    ("wrong-dtype", lambda: {"weight": raw(saved(WEIGHT.astype(np.complex64)))}),
    ("wrong-size", lambda: {"weight": raw(saved(WEIGHT)[:-1])}),
    ("wrong-size", lambda: {"weight": raw(saved(WEIGHT) + b"\0" * 999)}),
    ("not-numpy", lambda: {"weight": raw(saved(np.array([[Bomb()]]), pickled=True))}),
    ("not-numpy", lambda: {"weight": raw(pickle.dumps(Bomb()))}),
    ("not-numpy", lambda: {"weight": raw(b"")}),
    ("not-numpy", lambda: {"weight": raw(saved(WEIGHT), "torch.pickle")}),
    ("unknown-array", lambda: {"trojan": raw(saved(WEIGHT))}),
]
MESSAGES: list[tuple[str, Callable[[Any], Any]]] = [
    ("missing-array", lambda message: without(message, "weight")),
    ("missing-array", lambda message: without(message, "count")),
    ("no-arrays", lambda message: without(message, "arrays")),
    ("no-metrics", lambda message: without(message, "metrics")),
    ("bad-weight", lambda message: without(message, "num-examples")),
    ("bad-weight", lambda message: reply(message, metrics={"num-examples": -1})),
    ("bad-weight", lambda message: reply(message, metrics={"num-examples": float("nan")})),
    ("bad-weight", lambda message: reply(message, metrics={"num-examples": float("inf")})),
    ("bad-weight", lambda message: reply(message, metrics={"num-examples": 1e12})),
    ("bad-weight", lambda message: reply(message, metrics={"num-examples": 10**400})),
    ("bad-weight", lambda message: reply(message, metrics={"num-examples": [1, 2]})),
    ("error", failed),
]


def strategy(defenses: Any = ("mean",), **options: Any) -> Any:
    from asepsis.flower import RobustStrategy

    return RobustStrategy(list(defenses), **{"min_train_nodes": 7, "seed": 0, **options})


def play(
    chosen: Any, answer: Callable[[Any], Any], *, hostile: int = 1, evaluate: Any = None, **how: Any
) -> Any:
    """Play one round in which the first nodes answer so, the others honestly."""
    from flwr.app import Array, ArrayRecord

    def client(message: Any, context: Any) -> Any:
        if message.metadata.message_type == "evaluate":
            return reply(message) if evaluate is None else evaluate(message, context)
        if context.node_config["partition-id"] < hostile:
            return answer(message)
        return reply(message)

    arrays = ArrayRecord({"weight": Array(WEIGHT), "count": Array(np.array(3, np.int64))})
    return chosen.start(grid=FakeGrid(client, **how), initial_arrays=arrays, num_rounds=1)


def check_one_refused(chosen: Any, result: Any, reason: str) -> None:
    report = chosen.reports[0]
    assert [(one.node, one.reason) for one in report.refused] == [(NODES[0], reason)]
    assert report.metrics()[f"asepsis/refused/{reason}"] == 1
    assert result.train_metrics_clientapp[1]["asepsis/rows"] == 6
    np.testing.assert_array_equal(result.arrays["weight"].numpy(), WEIGHT + 1)
    assert "\x1b" not in "".join(report.lines())


@pytest.mark.parametrize(("reason", "arrays"), ARRAYS)
def test_wrong_arrays_cost_their_reply(reason: str, arrays: Callable[[], dict[str, Any]]) -> None:
    chosen = strategy()
    result = play(chosen, lambda message: reply(message, arrays()))
    check_one_refused(chosen, result, reason)


@pytest.mark.parametrize(("reason", "answer"), MESSAGES)
def test_wrong_messages_cost_themselves(reason: str, answer: Callable[[Any], Any]) -> None:
    chosen = strategy()
    check_one_refused(chosen, play(chosen, answer), reason)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_what_is_not_finite_is_dropped_at_the_door(value: float) -> None:
    from flwr.app import Array

    bad = np.full((2, 3), value, np.float32)
    chosen = strategy(["mean"])
    result = play(chosen, lambda message: reply(message, {"weight": Array(bad)}))
    if np.isfinite(value):  # a large number is a number: this is what defenses are for
        assert chosen.reports[0].dropped == ()
        assert float(result.arrays["weight"].numpy().max()) > 1e37
    else:
        assert chosen.reports[0].dropped == (NODES[0],)
        np.testing.assert_array_equal(result.arrays["weight"].numpy(), WEIGHT + 1)


def test_two_replies_of_one_node_are_none() -> None:
    chosen = strategy()
    twice = play(chosen, reply, order=lambda replies: [*replies, replies[0]])
    check_one_refused(chosen, twice, "duplicate")


def test_a_node_that_was_not_asked_is_not_heard() -> None:
    from flwr.app import Message

    chosen = strategy(min_train_nodes=2, fraction_train=0.1)

    def with_a_guest(replies: list[Any]) -> list[Any]:
        if replies[0].metadata.message_type != "train":
            return replies
        content = replies[0].content
        asked = Message(content, dst_node_id=999, message_type="train")
        return [Message(content, reply_to=asked), *replies[1:]]

    play(chosen, reply, order=with_a_guest, hostile=0)
    (refused,) = chosen.reports[0].refused
    assert (refused.node, refused.reason) == (999, "not-asked")


def test_too_few_left_leave_the_model_as_it_was() -> None:
    chosen = strategy([{"name": "krum", "f": 2}])
    result = play(chosen, lambda message: without(message, "weight"))
    report = chosen.reports[0]
    assert report.void is not None
    assert report.void.startswith("no-quorum: krum with f = 2 needs at least 7 rows")
    assert result.train_metrics_clientapp[1]["asepsis/void"] == 1
    np.testing.assert_array_equal(result.arrays["weight"].numpy(), WEIGHT)


def test_nobody_usable_leaves_the_model_as_it_was() -> None:
    chosen = strategy()
    result = play(chosen, failed, hostile=7)
    assert chosen.reports[0].void == "no-quorum: nobody sent a usable update"
    np.testing.assert_array_equal(result.arrays["weight"].numpy(), WEIGHT)


def test_a_loss_is_demanded_where_a_stage_judges_by_it() -> None:
    chosen = strategy(["feddetect"])
    check_one_refused(chosen, play(chosen, lambda m: without(m, "train_loss")), "no-loss")
    other = strategy(["median"])
    play(other, lambda message: without(message, "train_loss"))
    assert other.reports[0].refused == ()


def test_nobody_takes_another_hospitals_place() -> None:
    def named(numbers: list[int]) -> Callable[[Any, Any], Any]:
        def client(message: Any, context: Any) -> Any:
            number = numbers[context.node_config["partition-id"]]
            return reply(message, metrics={"site": number})

        return client

    from flwr.app import Array, ArrayRecord

    chosen = strategy(["reputation"], hospital_key="site")
    arrays = ArrayRecord({"weight": Array(WEIGHT), "count": Array(np.array(3, np.int64))})
    for numbers in ([0, 1, 2, 3, 4, 5, 5], [0, 1, 2, 3, 4, 0, 6], [1, 0, 2, 3, 4, 5, 6]):
        chosen.start(grid=FakeGrid(named(numbers)), initial_arrays=arrays, num_rounds=1)
    said = [[(one.node, one.reason) for one in report.refused] for report in chosen.reports]
    assert said[0] == sorted([(NODES[5], "taken-hospital"), (NODES[6], "taken-hospital")])
    assert said[1] == [(NODES[5], "taken-hospital")]
    assert said[2] == sorted([(NODES[0], "other-hospital"), (NODES[1], "other-hospital")])
    assert chosen.reports[1].hospitals == {i: NODES[i] for i in (0, 1, 2, 3, 4, 6)}


def test_metrics_that_are_no_numbers_do_not_spoil_the_others() -> None:
    chosen = strategy()
    result = play(
        chosen, lambda message: reply(message, metrics={"train_loss": float("nan"), "spam": 3.0})
    )
    assert result.train_metrics_clientapp[1]["train_loss"] == pytest.approx(0.5)


def test_a_hostile_evaluation_does_not_end_the_run() -> None:
    def evaluate(message: Any, context: Any) -> Any:
        hostile = context.node_config["partition-id"] == 0
        return reply(message, metrics={"other": [1.0]}) if hostile else reply(message)

    result = play(strategy(), reply, evaluate=evaluate)
    assert result.evaluate_metrics_clientapp[1]["train_loss"] == pytest.approx(0.5)


@pytest.mark.parametrize(("integers", "left"), [("keep", 3), ("median", 4)])
def test_whole_numbers_are_kept_or_their_median_taken(integers: str, left: int) -> None:
    from flwr.app import Array

    chosen = strategy(integers=integers)
    wild = {"count": Array(np.array(2**60, np.int64))}
    result = play(chosen, lambda message: reply(message, wild), hostile=3)
    made = result.arrays["count"].numpy()
    assert (made.dtype, int(made)) == (np.int64, left)


def test_arrays_keep_their_dtypes_and_half_precision_may_overflow() -> None:
    sent = Sent.of(
        {"a": np.ones(2, np.float16), "b": np.ones((1, 2), np.float64), "n": np.array([1])}, ()
    )
    assert sent.row.dtype == torch.float64
    made = sent.next(sent.row + 1e6, {})
    assert [array.dtype.str for array in made.values()] == ["<f2", "<f8", "<i8"]
    assert np.isinf(made["a"]).all()


def test_buffers_come_last_and_are_no_parameters() -> None:
    names = ["bn.weight", "bn.running_mean", "bn.running_var", "fc.weight"]
    arrays = {name: np.full(2, i, np.float32) for i, name in enumerate(names)}
    sent = Sent.of(arrays, ("running_mean", "running_var"))
    order = [slot.name for slot in sent.layout.slots]
    assert order == ["bn.weight", "fc.weight", "bn.running_mean", "bn.running_var"]
    assert sent.layout.parameters == 4
    assert sent.row.tolist() == [0, 0, 3, 3, 1, 1, 2, 2]


def test_columns_first_arrays_are_read_as_what_they_are() -> None:
    array = np.asfortranarray(WEIGHT)
    assert header_of(saved(array)).by_columns
    np.testing.assert_array_equal(read_array("w", raw(saved(array)), WEIGHT), WEIGHT)


@given(st.binary(max_size=300), st.integers(0, 140), st.booleans())
def test_no_bytes_do_more_than_be_refused(noise: bytes, at: int, cut: bool) -> None:
    whole = saved(WEIGHT)
    for data in (noise, whole[:at] + noise + (b"" if cut else whole[at + len(noise) :])):
        try:
            made = read_array("w", raw(data), WEIGHT)
        except Refused:
            continue
        assert (made.shape, made.dtype) == (WEIGHT.shape, WEIGHT.dtype)


def test_metrics_of_the_usual_shape_are_kept_whoever_came_first() -> None:
    records: list[dict[str, Any]] = [{"n": 1, "x": [1.0]}, {"n": 1, "x": 1.0}, {"n": 2, "x": 2.0}]
    assert alike(records, "n") == [1, 2]
    assert alike([{"x": 1.0}, {"n": float("nan")}], "n") == []


def module() -> torch.nn.Module:
    from asepsis.core.rng import building_modules

    with building_modules(0):
        return torch.nn.Sequential(
            torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)
        )


def torch_round(chosen: Any, rows: list[torch.Tensor], model: torch.nn.Module) -> Any:
    """Let nodes answer with the model plus their rows, whole numbers plus one."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

    from asepsis.core.layout import Layout

    layout, start = Layout.of(model), model.state_dict()

    def client(message: Any, context: Any) -> Any:
        views = layout.views(rows[context.node_config["partition-id"]])
        local = {name: value + views.get(name, 1) for name, value in start.items()}
        metrics = MetricRecord({"num-examples": 10, "train_loss": 0.1})
        arrays = ArrayRecord(dict(reversed(local.items())))
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    nodes = tuple(range(1, len(rows) + 1))
    return chosen.start(
        grid=FakeGrid(client, nodes=nodes), initial_arrays=ArrayRecord(start), num_rounds=1
    )


def test_a_network_and_root_data_open_the_stages_that_need_them() -> None:
    model = module()
    inputs = torch.linspace(-1, 1, 80).reshape(20, 4)
    root = (inputs, (inputs.sum(dim=1) > 0).long())
    network = TorchNetwork(model, input_shape=(4,), classes=2)
    chosen = strategy(
        ["deepsight", "fltrust"],
        network=network,
        root=root,
        trainer={"name": "sgd", "lr": 0.1, "epochs": 2},
    )
    own = chosen.server
    from asepsis.core.rng import Streams
    from asepsis.flower.network import root_of

    row = network.layout.flatten(model)
    trained = root_of(root, own.network, own.trainer, row, 0, Streams(0)).update()
    rows = [trained * (1 + 0.01 * i) for i in range(5)] + [-9 * trained, -8 * trained]
    result = torch_round(chosen, rows, model)
    assert {6, 7} <= set(chosen.reports[0].stopped)
    assert not {1, 2, 3, 4, 5} & set(chosen.reports[0].stopped)
    moved = torch.from_numpy(result.arrays["2.weight"].numpy()) - model.state_dict()["2.weight"]
    assert float(moved.flatten() @ network.layout.views(trained)["2.weight"].flatten()) > 0
    assert int(result.arrays["1.num_batches_tracked"].numpy()) == 0


def test_a_torch_model_with_buffers_is_averaged_whole_bit_for_bit() -> None:
    from asepsis.core.layout import Layout

    model = module()
    start = Layout.of(model).flatten(model)
    generator = np.random.default_rng(0)
    rows = [
        torch.from_numpy(generator.normal(size=len(start)).astype(np.float32)) for _ in range(7)
    ]
    result = torch_round(strategy(["median"]), rows, model)
    sent = torch.stack([(start + row) - start for row in rows])
    wanted = Layout.of(model).views(start + asepsis.aggregate(sent, "median"))
    assert {"1.running_mean", "1.running_var"} <= wanted.keys()
    for name, value in wanted.items():
        assert result.arrays[name].numpy().tobytes() == value.numpy().tobytes()


def test_another_network_than_the_one_sent_is_refused() -> None:
    other = TorchNetwork(module(), input_shape=(4,), classes=2)
    with pytest.raises(ConfigError, match="not the arrays that are sent"):
        play(strategy(["median"], network=other), reply)
    with pytest.raises(ConfigError, match="only numbers"):
        Sent.of({"a": np.array(["x"])}, ())
