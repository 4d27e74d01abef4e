"""Refuse a plan that cannot run, before anything is written."""

from __future__ import annotations

import torch

from asepsis.core.errors import AsepsisError, ConfigError
from asepsis.engines import NUMERICS, make_engine
from asepsis.experiments.patients import message_of, private, readable
from asepsis.experiments.plan import Cell, Plan
from asepsis.experiments.resolve import resolve
from asepsis.federation.build import assemble
from asepsis.federation.remote import check_remote

DEVICES = ("cpu", "cuda", "mps", "xpu")


def check_plan(plan: Plan, engine: str, *, pseudonyms: bool = False) -> None:
    """Put every cell together for its first seed, data included, and take it apart again.

    Raises:
        AsepsisError: all problems of all cells at once, each with the first cell that has it.
    """
    found: dict[str, tuple[Cell, AsepsisError]] = {}
    if plan.checked:
        return
    for cell in _first_seeds(plan):
        try:
            put_together(cell, engine)
        except AsepsisError as error:
            told = readable(error, cell.spec, pseudonyms=pseudonyms)
            found.setdefault(str(told), (cell, told))
        except Exception as error:
            if not private(cell.spec):
                raise
            raise ConfigError(message_of(error, cell.spec), place=_name(cell)) from None
    if not found:
        return
    if len(found) == 1:
        [(_, only)] = found.values()
        if only.place is not None:
            raise only
    raise ConfigError("\n".join(f"{_name(cell)}: {text}" for text, (cell, _) in found.items()))


def _first_seeds(plan: Plan) -> list[Cell]:
    """Return one cell of those that differ only in their seed; equal data side by side."""
    first: dict[str, Cell] = {}
    for cell in plan.cells:
        first.setdefault(cell.spec.model_copy(update={"seed": 0}).digest(), cell)
    return sorted(first.values(), key=lambda cell: cell.spec.protocol())


def put_together(cell: Cell, engine: str) -> None:
    """Build a cell's federation, data included, and forget it.

    Raises:
        AsepsisError: its parts do not fit together, or its data cannot be had.
    """
    federation, _ = assemble(resolve(cell.spec)[0])
    if engine == "flower":
        check_remote(federation)
    if NUMERICS[engine] == "batched":
        made = make_engine(engine)
        made.start(federation.plan)
        made.close()


def _name(cell: Cell) -> str:
    return f"{cell.scenario} ({cell.attack} / {cell.defense})"


def check_engine(engine: str) -> None:
    """Refuse an unknown engine.

    Raises:
        ConfigError: there is no such engine.
    """
    make_engine(engine).close()


def check_device(device: str) -> None:
    """Refuse a device that PyTorch does not have here.

    Raises:
        ConfigError: it is unknown or absent.
    """
    try:
        if torch.device(device).type not in DEVICES:
            raise RuntimeError
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        fitting = [name for name in DEVICES if name == "cpu" or _available(name)]
        raise ConfigError(
            "PyTorch has no such device here",
            place="--device",
            got=device,
            fix=f"one of: {', '.join(fitting)}",
        ) from None


def _available(name: str) -> bool:
    backend = getattr(torch, name, None)
    return backend is not None and bool(backend.is_available())
