"""Which run a record is of, and whether what made it is what runs now."""

from __future__ import annotations

import hashlib

from asepsis.engines import NUMERICS
from asepsis.experiments.plan import Cell
from asepsis.experiments.spec import Experiment
from asepsis.experiments.store import Line
from asepsis.experiments.version import code_version, packages
from asepsis.federation.federation import RoundState


def fresh(lines: list[Line], data: str, device: str, source: str = "") -> bool:
    """Whether a record was made by this code, these packages, data and kind of device.

    ``source`` is the digest of a network that the user brought.

    Whatever else made one must not be mixed with what runs now.
    """
    if not lines or lines[0]["result"].get("code") != code_version():
        return False
    header, observed = lines[0]["result"], lines[0]["observed"]
    model = header["resolved"]["components"]["model"].get("source", "")
    if model != source:
        return False
    made = (header["resolved"]["data"], observed["packages"], observed["device"].split(":")[0])
    return bool(made == (data, packages(), device.split(":")[0]))


def identity(spec: Experiment, engine: str) -> str:
    """Return the name of a run in a store: its specification and its numerics class."""
    return spec.digest() + _suffix(engine)


def record_name(cell: Cell, engine: str) -> str:
    """Return the name of a cell's run in a store; its specification need not be whole."""
    return cell.digest + _suffix(engine)


def _suffix(engine: str) -> str:
    numerics = NUMERICS.get(engine, "reference")
    return "" if numerics == "reference" else f"-{numerics}"


def row_digest(state: RoundState) -> str:
    """Hash the global row: two runs with equal hashes ended in bit-equal models."""
    return hashlib.sha256(state.row.cpu().numpy().tobytes()).hexdigest()[:16]
