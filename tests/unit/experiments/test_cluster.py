"""Sweeping on a cluster, with a node of this process in Ray's place."""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.experiments import cluster as cluster_module
from asepsis.experiments import cluster_node
from asepsis.experiments.cells import Progress, grouped
from asepsis.experiments.cluster import Cluster, cluster_at, on_cluster
from asepsis.experiments.cluster_child import Bridge
from asepsis.experiments.parcel import Parcel
from asepsis.experiments.plan import plan_study, study_from
from asepsis.experiments.run import RunOptions
from asepsis.experiments.store import Store, footer_of, read_record, results_of
from asepsis.experiments.sweep import run_plan

TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "trainer": {"name": "sgd", "steps": 1, "batch_size": 8},
    "federation": {"hospitals": 5, "rounds": 6},
    "threat": {"hostile": 1, "starts_at": 2},
    "over": {"attack": ["none", "ipm"], "defenses": [["mean"], ["median"]]},
}
PLAN = plan_study(study_from(TABLE, "small"))
TOKEN = {"RAY_AUTH_TOKEN": "a" * 64}


class Node(Bridge):
    """A cluster of one node, which loses tasks after so many parcels."""

    def __init__(self, *loses: int) -> None:
        self.room, self.loses = 2, deque(loses)
        self.out: deque[tuple[int, Iterator[bytes], float]] = deque()
        self.asked: list[Parcel] = []

    def submit(self, journey: int, parcel: Parcel, *, gpu: bool) -> None:
        self.asked.append(Parcel.unpack(parcel.pack()))
        lasts = self.loses.popleft() if self.loses else float("inf")
        self.out.append((journey, cluster_node.play(parcel.pack()), lasts))

    def receive(self, seconds: float) -> Parcel | None:
        journey, task, lasts = self.out.popleft()
        if lasts == 0:
            return Parcel({"journey": journey, "kind": "lost", "message": "node died"})
        content = next(task, None)
        if content is None:
            return Parcel({"journey": journey, "kind": "ended"})
        self.out.append((journey, task, lasts - 1))
        found = Parcel.unpack(content)
        return Parcel({**found.told, "journey": journey}, found.files)


def records(root: Path) -> dict[str, list[str]]:
    return {path.name: results_of(read_record(path)) for path in (root / "runs").iterdir()}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    root = tmp_path_factory.mktemp("alone")
    run_plan(PLAN, Store(root).open(), jobs=1, engine="serial")
    return records(root)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_node, "FILES", 0.0)


def swept(root: Path, node: Node, *, resume: bool = False) -> list[Progress]:
    events: list[Progress] = []
    options = RunOptions(engine="threads", resume=resume)
    on_cluster(grouped(PLAN.cells), Store(root).open(), options, events.append, node)
    return events


def test_a_cluster_makes_the_records_of_one_process(
    tmp_path: Path, alone: dict[str, list[str]]
) -> None:
    events = swept(tmp_path, Node())
    assert records(tmp_path) == alone
    assert sum(event.kind == "done" for event in events) == len(PLAN.cells)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("loses", [(0,), (1,), (3,), (2, 4, 1), (8, 8)])
def test_a_group_that_is_lost_goes_out_again(
    tmp_path: Path, alone: dict[str, list[str]], loses: tuple[int, ...]
) -> None:
    node = Node(*loses)
    swept(tmp_path, node)
    assert records(tmp_path) == alone
    assert len(node.asked) == len(grouped(PLAN.cells)) + len(loses)


def test_what_arrived_before_a_loss_is_not_played_again(tmp_path: Path) -> None:
    """After eight parcels the twin (six rounds and its end) is done, and the prefix is there."""
    node = Node(8)
    swept(tmp_path, node)
    again = node.asked[-1]
    assert any(place.startswith("prefixes/") for place in again.files)
    assert again.told["settings"]["resume"]


def test_a_group_that_is_always_lost_is_reported_and_the_others_end(
    tmp_path: Path, alone: dict[str, list[str]]
) -> None:
    first = len(grouped(PLAN.cells)[0])
    node = Node(0, 99, 0, 0)
    events = swept(tmp_path, node)
    failed = [event for event in events if event.kind == "failed"]
    assert len(failed) == first
    assert "node died" in failed[0].message
    footers = [footer_of(read_record(path)) for path in (tmp_path / "runs").iterdir()]
    assert sorted(f["result"]["status"] for f in footers if f) == ["error"] * 2 + ["success"] * 2
    swept(tmp_path, Node(), resume=True)
    assert records(tmp_path) == alone


@pytest.mark.parametrize("parcels", [1, 4, 9, 13])
def test_a_sweep_that_was_stopped_is_finished_in_the_pool(
    tmp_path: Path, alone: dict[str, list[str]], parcels: int
) -> None:
    class Stopped(Node):
        def receive(self, seconds: float) -> Parcel | None:
            nonlocal parcels
            parcels -= 1
            if parcels < 0:
                raise KeyboardInterrupt
            return super().receive(seconds)

    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path, Stopped())
    run_plan(PLAN, Store(tmp_path).open(), jobs=1, engine="serial", resume=True)
    assert records(tmp_path) == alone


def test_a_sweep_that_was_stopped_here_is_finished_on_a_cluster(
    tmp_path: Path, alone: dict[str, list[str]]
) -> None:
    def stop(event: Progress) -> None:
        if event.cell.spec.attack is not None and event.round == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(PLAN, Store(tmp_path).open(), jobs=1, engine="serial", listener=stop)
    node = Node()
    swept(tmp_path, node, resume=True)
    assert records(tmp_path) == alone
    assert any(place.startswith("checkpoints/") for place in node.asked[0].files)


@pytest.mark.parametrize(
    ("what", "other", "message"),
    [("code", "9.9", "another version"), ("data", "other", "other data")],
)
def test_a_node_that_is_unlike_us_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, other: str, message: str
) -> None:
    class Unlike(Node):
        def submit(self, journey: int, parcel: Parcel, *, gpu: bool) -> None:
            told = {**parcel.told, what: other}
            super().submit(journey, Parcel(told, parcel.files), gpu=gpu)

    with pytest.raises(ConfigError, match=message):
        swept(tmp_path, Unlike())
    assert records(tmp_path) == {}


def test_parcels_of_a_journey_that_is_over_change_nothing(
    tmp_path: Path, alone: dict[str, list[str]]
) -> None:
    class Late(Node):
        def receive(self, seconds: float) -> Parcel | None:
            found = super().receive(seconds)
            assert found is not None
            if found.files and found.told["journey"] != 99:
                told = {**found.told, "journey": 99}
                broken = Parcel(told, dict.fromkeys(found.files, b"broken"))
                self.out.appendleft((99, iter([broken.pack()]), 9.0))
            return found

    swept(tmp_path, Late())
    assert records(tmp_path) == alone


def with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    "address", ["", "auto", "local", "ray://head:10001", "head", "head:0", "head:99999", "a b:1"]
)
def test_only_the_address_of_a_cluster_that_runs_will_do(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    with_ray(monkeypatch)
    with pytest.raises(ConfigError, match="HOST:PORT"):
        cluster_at(address, environment=TOKEN)


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "localhost:6379", "[::1]:6379", "head:6379"])
def test_nobody_goes_to_a_cluster_without_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    with_ray(monkeypatch)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    with pytest.raises(ConfigError, match="RAY_AUTH_TOKEN"):
        cluster_at(address, environment={})
    if address.startswith("head"):
        with pytest.raises(ConfigError, match="not on loopback"):
            cluster_at(address, without_token=True, environment=TOKEN)
    else:
        assert cluster_at(address, without_token=True, environment={}).loopback


def test_the_token_is_found_where_ray_looks_and_shown_to_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_ray(monkeypatch)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("at home\n")
    (tmp_path / "named").write_text("named\n")
    named = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "named")}
    assert cluster_at("head:1", environment={}).token == "at home"
    assert cluster_at("head:1", environment=named).token == "named"
    told = cluster_at("head:1", environment={**named, **TOKEN})
    assert told.token == "a" * 64
    assert told.token not in repr(told)
    with pytest.raises(ConfigError, match="cannot be read"):
        cluster_at("head:1", environment={"RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")})


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"asepsis\[ray\]"):
        cluster_at("head:1", environment=TOKEN)


def test_where_nobody_answers_it_is_said_at_once() -> None:
    import socket

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ConfigError, match="no cluster answers there"):
            cluster_module.enter(Cluster("127.0.0.1", port, "a" * 64))
