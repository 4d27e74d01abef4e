"""What server and hospitals send each other over Flower, and what is read of it.

A message is a ``RecordDict`` with one ``ConfigRecord`` of plain values, and arrays in an
``ArrayRecord``. Whoever reads one believes nothing: kinds, names, sizes and types are checked
before any array is made, and whatever else is there makes it no message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from asepsis.core.engine import Job
from asepsis.core.errors import AsepsisError
from asepsis.core.updates import Reply, State, Step

VERSION = 1
FACTS, ARRAYS = "asepsis", "tensors"
ROW, HOME = "row", "home/"
HEADER = 4096
"""Most bytes that NumPy's own header of an array may take."""
MAGIC = b"\x93NUMPY\x01\x00"
LONGEST = 1 << 20
"""Most characters of a text in a message, and most bytes where nothing else is said."""
DTYPES = frozenset({"float32", "float64", "int64", "int32", "uint8", "bool", "int8", "int16"})
MOST_ARRAYS = 100_000
MOST_FIGURES, LONGEST_NAME = 1000, 200
MOST_HOME = 1 << 30
"""Most bytes of what a hospital keeps for itself, where nothing else is said."""


class WireError(AsepsisError):
    """What arrived is not what was asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What the server asks of a hospital in a round: train from ``received``.

    ``keep``: the update stays there until the channel asks for it. ``hostile``: the hospital does
    whatever hostile ones do where no other sees it.
    """

    job: Job
    received: Tensor
    keep: bool = False
    hostile: bool = False


def packed_order(order: Order) -> Any:
    """Return an order as a ``RecordDict``."""
    job = order.job
    facts = {
        "version": VERSION,
        "client": job.client,
        "round": job.round,
        "shard": job.shard,
        "work": float(job.work),
        "told": _text(None if job.told is None else dict(job.told)),
        "keep": order.keep,
        "hostile": order.hostile,
    }
    return content(facts, {ROW: order.received, **_prefixed(job.home)})


def read_order(record: Any, dim: int, most_home: int = MOST_HOME) -> Order:
    """Read an order; what the hospital has kept takes so many bytes at most.

    Raises:
        WireError: it is none.
    """
    facts = _facts(
        record,
        {
            "version": int,
            "client": int,
            "round": int,
            "shard": str,
            "work": float,
            "told": str,
            "keep": bool,
            "hostile": bool,
        },
    )
    arrays = _arrays(record)
    told, home = _told(facts["told"]), _home(arrays, most_home)
    job = Job(facts["client"], facts["round"], facts["shard"], facts["work"], home, told)
    return Order(job, _row(arrays, dim), facts["keep"], facts["hostile"])


def packed_reply(reply: Reply, round_: int, *, keep: bool, told: bool) -> Any:
    """Return a reply as a ``RecordDict``, without its row where that is kept.

    ``told``: this is a simulation, whose server keeps for every hospital what that keeps for
    itself, and writes down what it measured. A real one is told nothing that the channel hides.
    """
    bench = told or not keep
    facts = {
        "version": VERSION,
        "client": reply.client,
        "round": round_,
        "weight": 0.0 if keep else float(reply.weight),
        "side": _text(sorted(reply.side) if keep else dict(reply.side)),
        "measured": _text(dict(reply.measured) if bench else {}),
        "steps": _text([[one.moved, dict(one.said)] for one in reply.steps] if bench else []),
        "notes": _text(dict(reply.notes) if told else {}),
        "seconds": float(reply.seconds),
        "afresh": reply.afresh,
    }
    arrays = {} if keep else {ROW: reply.row}
    return content(facts, {**arrays, **(_prefixed(reply.home) if told else {})})


def read_reply(
    record: Any,
    *,
    client: int,
    round_: int,
    dim: int,
    keep: bool,
    stages: int = 0,
    most_home: int = MOST_HOME,
) -> Reply:
    """Read a hospital's reply to an order, where hospitals have so many ``stages`` of their own.

    Raises:
        WireError: it is none, of somebody else, of another round, or of another shape.
    """
    facts = _facts(
        record,
        {
            "version": int,
            "client": int,
            "round": int,
            "weight": float,
            "side": str,
            "measured": str,
            "steps": str,
            "notes": str,
            "seconds": float,
            "afresh": bool,
        },
    )
    if (facts["client"], facts["round"]) != (client, round_):
        raise WireError(
            "an answer for another hospital or round",
            place="wire",
            got=f"hospital {facts['client']}, round {facts['round']}",
        )
    if not math.isfinite(facts["weight"]):
        raise WireError("a count that is no number", place="wire", got=facts["weight"])
    arrays = _arrays(record)
    if keep and ROW in arrays:
        raise WireError("a row where it was to be kept", place="wire")
    side = dict.fromkeys(_names(facts["side"]), math.nan) if keep else _figures(facts["side"])
    return Reply(
        client=client,
        row=torch.empty(0) if keep else _row(arrays, dim),
        weight=facts["weight"],
        side=side,
        seconds=facts["seconds"],
        home=_home(arrays, most_home),
        afresh=facts["afresh"],
        measured=_figures(facts["measured"]),
        steps=_steps(facts["steps"], stages),
        notes=_figures(facts["notes"]),
    )


def content(facts: Mapping[str, Any], arrays: Mapping[str, Tensor] | None = None) -> Any:
    """Return plain values and tensors as a ``RecordDict``."""
    from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

    made = RecordDict({FACTS: ConfigRecord(dict(facts))})
    if arrays:
        named = {name: Array(one.detach().cpu().numpy()) for name, one in arrays.items()}
        made[ARRAYS] = ArrayRecord(named)
    return made


def plain(record: Any, wanted: Mapping[str, type], most: int = LONGEST) -> dict[str, Any]:
    """Read a message that has plain values alone, of at most so many bytes each.

    Raises:
        WireError: it has others.
    """
    facts = _facts(record, wanted, most)
    if ARRAYS in record:
        raise WireError("arrays where none were asked for", place="wire")
    return facts


def _facts(record: Any, wanted: Mapping[str, type], most: int = LONGEST) -> dict[str, Any]:
    from flwr.app import ConfigRecord

    strange = [key for key in record if key not in (FACTS, ARRAYS)]
    if strange or FACTS not in record or not isinstance(record[FACTS], ConfigRecord):
        raise WireError("an unknown part", place="wire", got=str(strange[:1] or "no values")[:80])
    facts = dict(record[FACTS])
    if facts.keys() != wanted.keys():
        odd = sorted(str(key) for key in facts.keys() ^ wanted.keys())
        raise WireError("values missing, or unknown", place="wire", got=", ".join(odd)[:80])
    for name, kind in wanted.items():
        value = facts[name]
        if type(value) is not kind:
            raise WireError(f"{name} is no {kind.__name__}", place="wire", got=type(value).__name__)
        if isinstance(value, str | bytes) and len(value) > (LONGEST if kind is str else most):
            raise WireError(f"{name} is too long", place="wire", got=len(value))
    if facts.get("version", VERSION) != VERSION:
        raise WireError("another version of the protocol", place="wire", got=facts["version"])
    return facts


def _arrays(record: Any) -> Mapping[str, Any]:
    from flwr.app import ArrayRecord

    if ARRAYS not in record:
        return {}
    found = record[ARRAYS]
    if not isinstance(found, ArrayRecord) or len(found) > MOST_ARRAYS:
        raise WireError("no arrays", place="wire", got=type(found).__name__)
    strange = [name for name in found if not _is_array(str(name))]
    if strange:
        raise WireError("an unknown array", place="wire", got=str(strange[0])[:80])
    arrays: Mapping[str, Any] = found
    return arrays


def _row(arrays: Mapping[str, Any], dim: int) -> Tensor:
    if ROW not in arrays:
        raise WireError("no row", place="wire")
    array = arrays[ROW]
    if tuple(array.shape) != (dim,) or array.dtype not in ("float32", "float64"):
        raise WireError(
            "a row of another shape or type",
            place="wire",
            got=f"{str(array.dtype)[:20]} {str(tuple(array.shape))[:60]}",
            fix=f"it has {dim} values",
        )
    return tensor(array)


def tensor(array: Any) -> Tensor:
    """Turn Flower's array into a tensor, once its size has been found to be what it claims.

    NumPy is not asked to: it makes room for whatever the header within the bytes promises.

    Raises:
        WireError: it is no plain array of numbers, or holds other bytes than it says.
    """
    shape, data = tuple(array.shape), array.data
    if array.stype != "numpy.ndarray" or array.dtype not in DTYPES:
        raise WireError("no array of numbers", place="wire", got=str(array.dtype)[:80])
    if len(shape) > 32 or not all(type(n) is int and n >= 0 for n in shape):
        raise WireError("no shape of an array", place="wire", got=str(shape[:8])[:80])
    dtype = np.dtype(array.dtype)
    size = math.prod(shape) * dtype.itemsize
    if not size <= len(data) <= size + HEADER:
        raise WireError("an array of other bytes than it says", place="wire", got=len(data))
    order = _order_of(data[: len(data) - size], dtype, shape)
    start = len(data) - size
    made: np.ndarray[Any, Any] = np.ndarray(shape, dtype, buffer=data, offset=start, order=order)
    return torch.from_numpy(made.copy(order="C"))


def _order_of(head: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Literal["C", "F"]:
    """Return the order of an array's values, once its header says just what the message says."""
    text = head[10:].decode("latin1").strip()
    if head[:8] == MAGIC and int.from_bytes(head[8:10], "little") == len(head) - 10:
        form = f"{{'descr': '{dtype.str}', 'fortran_order': %s, 'shape': {shape}, }}"
        if text == form % False:
            return "C"
        if text == form % True:
            return "F"
    raise WireError("bytes that are no array", place="wire", got=text[:80])


def _is_array(name: str) -> bool:
    return name == ROW or (name.startswith(HOME) and len(name) <= LONGEST_NAME)


def _home(arrays: Mapping[str, Any], most: int) -> State:
    own = {name: array for name, array in arrays.items() if name.startswith(HOME)}
    size = sum(len(array.data) for array in own.values())
    if size > most:
        raise WireError("more than a hospital keeps for itself", place="wire", got=f"{size} bytes")
    return {name.removeprefix(HOME): tensor(array) for name, array in own.items()}


def _prefixed(home: State) -> State:
    return {f"{HOME}{name}": one for name, one in home.items()}


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise WireError("a text that is no JSON", place="wire", got=text[:80]) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _figures(text: str) -> dict[str, float]:
    return _by_name(_parsed(text), text)


def _by_name(found: Any, text: str) -> dict[str, float]:
    named = isinstance(found, dict) and _are_names(list(found))
    if not named or not all(_is_number(value) for value in found.values()):
        raise WireError("no figures by name", place="wire", got=text[:80])
    return {name: float(value) for name, value in found.items()}


def _names(text: str) -> list[str]:
    found = _parsed(text)
    if not isinstance(found, list) or not _are_names(found) or len(set(found)) < len(found):
        raise WireError("no names", place="wire", got=text[:80])
    return found


def _are_names(found: list[Any]) -> bool:
    fits = all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in found)
    return fits and len(found) <= MOST_FIGURES


def _steps(text: str, stages: int) -> tuple[Step, ...]:
    found = _parsed(text)
    pairs = isinstance(found, list) and all(isinstance(s, list) and len(s) == 2 for s in found)
    if not pairs or not all(_is_number(moved) for moved, _ in found):
        raise WireError("no steps", place="wire", got=text[:80])
    if len(found) not in (0, stages):
        raise WireError("other steps than hospitals have", place="wire", got=len(found))
    return tuple(Step(float(moved), _by_name(said, text)) for moved, said in found)


def _told(text: str) -> dict[str, float] | None:
    return None if text == "null" else _figures(text)


def _is_number(value: object) -> bool:
    small = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    return small or isinstance(value, float)
