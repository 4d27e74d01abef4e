"""Groups of cells that share the rounds before their attack, run one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from asepsis.core.errors import StoreError
from asepsis.experiments.identity import identity
from asepsis.experiments.patients import message_of, pseudonyms_of, specified
from asepsis.experiments.plan import Cell
from asepsis.experiments.run import Cancelled, RunOptions, run_experiment
from asepsis.experiments.store import Record, Store, read_record


@dataclass(frozen=True)
class Progress:
    """What happened: ``kind`` is ``round``, ``done`` or ``failed``."""

    kind: str
    cell: Cell
    round: int = 0
    message: str = ""


Listener = Callable[[Progress], None]


def grouped(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Group cells that share the rounds before their attack, twins first, whoever watches."""
    groups: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.spec.attack is not None):
        shared = cell.spec.model_copy(update={"observe": ()})
        groups.setdefault(shared.prefix(), []).append(cell)
    return list(groups.values())


def run_group(cells: list[Cell], store: Store, options: RunOptions, listener: Listener) -> None:
    """Run the cells of one group, one after another."""
    for cell in cells:
        told = replace(options, on_round=_teller(cell, listener))
        try:
            run_experiment(cell.spec, store, told)
        except (StoreError, Cancelled):
            raise  # a full disk, or the user: no property of this cell
        except Exception as error:  # noqa: BLE001 (a component's own fault is a row, not the end)
            message = message_of(error, cell.spec, pseudonyms=options.pseudonyms)
            fail_cell(cell, store, options, message)
            listener(Progress("failed", cell, message=message))
        else:
            listener(Progress("done", cell, cell.spec.federation.rounds))


def _teller(cell: Cell, listener: Listener) -> Callable[[int], None]:
    return lambda round_: listener(Progress("round", cell, round_))


def fail_cell(cell: Cell, store: Store, options: RunOptions, message: str) -> None:
    """Keep a failed run as a row of the results."""
    name = identity(cell.spec, options.engine)
    sites = pseudonyms_of(cell.spec) if options.pseudonyms else {}
    path = store.record(name)
    played = [line for line in read_record(path) if line["type"] != "footer"]
    header = {
        "type": "header",
        "result": {"digest": name, **specified(cell.spec, sites)},
    }
    footer = {"type": "footer", "result": {"status": "error", "message": message}}
    Record(path, [*(played or [header]), footer])
