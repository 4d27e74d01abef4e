"""Flower's simulation runtime on our processes: it answers, survives deaths, and leaves nothing."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import AsepsisError, ConfigError

pytest.importorskip("flwr")

import flower_echo
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from asepsis.engines.flower.simulation import Simulation

ECHO = "flower_echo:app"
SETUP = (flower_echo.tell, ("hello",))


def ask(grid: Any, sent: Any, failing: int = -1) -> list[Any]:
    messages = [
        Message(
            RecordDict({"arrays": ArrayRecord([sent]), "say": ConfigRecord({"raise": failing})}),
            dst_node_id=node,
            message_type="train",
        )
        for node in grid.get_node_ids()
    ]
    return list(grid.send_and_receive(messages, timeout=60))


def said(reply: Any) -> Any:
    return reply.content["said"]


def listening() -> set[str]:
    """Inodes of the TCP sockets that listen and belong to this process or one of its children."""
    ours = {
        os.readlink(link)
        for pid in [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.is_symlink()
    }
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]
    ]
    return {line[9] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in ours}


@pytest.fixture(scope="module")
def grid() -> Iterator[Any]:
    simulation = Simulation(ECHO, nodes=3, workers=2, setup=SETUP)
    yield simulation.start()
    simulation.close()


def test_three_rounds_come_back_bit_equal(grid: Any) -> None:
    for n in range(3):
        sent = np.random.default_rng(n).standard_normal(1000).astype(np.float32)
        replies = ask(grid, sent)
        assert sorted(said(reply)["partition"] for reply in replies) == [0, 1, 2]
        assert all(said(reply)["word"] == "hello" for reply in replies)
        assert {said(reply)["pid"] for reply in replies}.isdisjoint({os.getpid()})
        for reply in replies:
            (got,) = reply.content["arrays"].to_numpy_ndarrays()
            assert got.tobytes() == sent.tobytes()


def test_a_nodes_state_outlives_the_round(grid: Any) -> None:
    first = sorted(said(reply)["count"] for reply in ask(grid, np.zeros(1)))
    again = sorted(said(reply)["count"] for reply in ask(grid, np.zeros(1)))
    assert again == [count + 1 for count in first]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_nothing_listens(grid: Any) -> None:
    ask(grid, np.zeros(1))
    assert listening() == set()


def test_an_app_that_raises_is_one_error_reply(
    grid: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    replies = ask(grid, np.zeros(1), failing=1)
    errors = [reply.error for reply in replies if reply.has_error()]
    assert len(replies) == 3
    assert len(errors) == 1
    assert "ValueError: the scanner is broken" in errors[0].reason
    assert capfd.readouterr() == ("", "")


def test_a_killed_process_is_replaced(grid: Any) -> None:
    pids = {said(reply)["pid"] for reply in ask(grid, np.zeros(1))}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for _ in range(3):  # at most one lost message a process
        replies = ask(grid, np.zeros(1))
        assert len(replies) == 3
    assert all(reply.has_content() for reply in replies)
    assert pids.isdisjoint({said(reply)["pid"] for reply in replies})


def test_a_process_killed_at_work_answers_with_an_error_and_close_leaves_nothing() -> None:
    before = set(threading.enumerate()), set(multiprocessing.active_children())
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    simulation = Simulation(ECHO, nodes=1, workers=1, setup=(flower_echo.tell, ("die",)))
    replies: list[Any] = []

    def work() -> None:  # not in the main thread
        replies.extend(ask(simulation.start(), np.zeros(1)))
        simulation.close()
        simulation.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert "a worker process died" in replies[0].error.reason
    assert set(multiprocessing.active_children()) <= before[1]
    assert {t.name for t in set(threading.enumerate()) - before[0] if not t.daemon} == set()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert logging.getLogger("flwr").level == logging.DEBUG


def test_closing_frees_who_waits() -> None:
    simulation = Simulation(ECHO, nodes=1, workers=1, setup=(flower_echo.tell, ("sleep",)))
    grid = simulation.start()
    threading.Timer(0.5, simulation.close).start()
    with pytest.raises(AsepsisError, match="the simulation has stopped"):
        ask(grid, np.zeros(1))
    simulation.close()
    with pytest.raises(AsepsisError, match="the simulation has stopped"):
        ask(grid, np.zeros(1))


@pytest.mark.parametrize(
    ("app", "setup", "why"),
    [
        (ECHO, (flower_echo.refuse, ()), "cannot start: ValueError: no such data"),
        ("flower_echo:none", SETUP, "cannot start: AttributeError"),
    ],
)
def test_what_cannot_start_says_why_and_leaves_no_process(app: str, setup: Any, why: str) -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(AsepsisError, match=why):
        Simulation(app, nodes=2, workers=1, setup=setup).start()
    assert set(multiprocessing.active_children()) <= before


def test_a_flower_that_is_made_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from asepsis.engines.flower import internals

    monkeypatch.delattr(internals.vce, "worker")
    with pytest.raises(ConfigError, match=r"made otherwise.*worker.*flwr 1\."):
        Simulation(ECHO, nodes=1, workers=1, setup=SETUP).start()
