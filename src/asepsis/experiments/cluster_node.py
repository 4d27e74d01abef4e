"""What runs on a node of a cluster: one group of cells in a temporary folder, yielded as bytes."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

import torch

from asepsis.core.errors import AsepsisError, StoreError
from asepsis.core.trust import trusting_code
from asepsis.experiments.cells import Progress, run_group
from asepsis.experiments.parcel import Changes, Parcel
from asepsis.experiments.plan import Cell
from asepsis.experiments.resolve import hospitals_of
from asepsis.experiments.run import Cancelled, RunOptions
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Store, write_atomic
from asepsis.experiments.version import code_version, packages

FILES, WORDS = 2.0, 0.5
"""Seconds between two parcels with files, and between two that only say how far a run is."""


class UnlikeError(AsepsisError):
    """This node is not like the machine that sent the work."""


def play(content: bytes) -> Iterator[bytes]:
    """Run a group and yield what it leaves; the generator's end calls the run back."""
    request = Parcel.unpack(content)
    stop = Event()
    parcels: Queue[bytes | None] = Queue()
    with tempfile.TemporaryDirectory(prefix="asepsis-") as folder:
        store = Store(Path(folder)).open()
        for place, file in request.files.items():
            path = store.root / place
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(path, file or b"")
        work = Thread(target=_work, args=(request.told, store, stop, parcels), daemon=True)
        work.start()
        try:
            yield from _arriving(parcels)
        finally:
            stop.set()
            work.join()


def _arriving(parcels: Queue[bytes | None]) -> Iterator[bytes]:
    """Yield parcels; a call back is only heard by who wakes up now and then."""
    while True:
        try:
            parcel = parcels.get(timeout=0.2)
        except Empty:
            continue
        if parcel is None:
            return
        yield parcel


def _work(told: dict[str, Any], store: Store, stop: Event, parcels: Queue[bytes | None]) -> None:
    teller = _Teller(store, parcels)
    try:
        torch.set_num_threads(1)
        with trusting_code(bool(told["trusted"])):
            cells = _cells(told)
            options = RunOptions(**told["settings"], stop=stop.is_set)
            run_group(cells, store, options, lambda event: teller.tell(event, cells))
    except Cancelled:
        pass
    except StoreError as error:  # a full disk of this node's: another one may have room
        teller.end("lost", f"{platform.node()}: {error.message}")
    except AsepsisError as error:
        teller.end("refused", f"{platform.node()}: {error}")
    except Exception as error:  # noqa: BLE001 (its text may repeat a value of a patient's)
        teller.end("refused", f"{platform.node()}: {type(error).__name__}")
    finally:
        parcels.put(None)


def _cells(told: dict[str, Any]) -> list[Cell]:
    """Read the cells, and check that they are here what they are where they come from.

    Raises:
        UnlikeError: the code, the packages or the data are others.
    """
    specs: list[Experiment] = [parse(Experiment, spec) for spec in told["cells"]]
    same = (told["code"], told["packages"], told["digests"])
    if same != (code_version(), packages(), [spec.digest() for spec in specs]):
        raise UnlikeError(
            "the node has another version of asepsis or of the packages that shape numbers",
            got=f"{code_version()}, {packages()}",
            fix="install the same ones on every node",
        )
    if hospitals_of(specs[0])[2] != told["data"]:
        raise UnlikeError("the node has other data", fix="put the same files on every node")
    return [Cell("", "", "", spec.seed, spec) for spec in specs]


class _Teller:
    """Packs what happened and what changed, and not more often than somebody can look."""

    def __init__(self, store: Store, parcels: Queue[bytes | None]) -> None:
        self._changes, self._parcels = Changes(store), parcels
        self._events: list[list[object]] = []
        self._sent = self._said = time.monotonic()

    def tell(self, event: Progress, cells: list[Cell]) -> None:
        now, number = time.monotonic(), cells.index(event.cell)
        self._events.append([event.kind, number, event.round, event.message])
        if event.kind != "round" or now - self._sent > FILES:
            self._put(self._changes.take())
        elif now - self._said > WORDS:
            self._put({})

    def _put(self, files: dict[str, bytes | None]) -> None:
        latest = {event[1]: event for event in self._events}
        told = {"kind": "parcel", "events": list(latest.values())}
        self._parcels.put(Parcel(told, files).pack())
        self._events = []
        self._said = time.monotonic()
        if files:
            self._sent = self._said

    def end(self, kind: str, message: str) -> None:
        self._parcels.put(Parcel({"kind": kind, "message": message[:2000]}).pack())
