"""Costs of devices in a results folder: one entry a scenario and defense, measured once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import ValidationError

from asepsis.core.errors import StoreError
from asepsis.experiments.devices import DeviceCost, device_cost
from asepsis.experiments.patients import message_of
from asepsis.experiments.spec import Strict
from asepsis.experiments.store import Store, contents, write_atomic
from asepsis.experiments.version import code_version

if TYPE_CHECKING:
    from asepsis.experiments.plan import Cell, Plan

LARGEST = 4 << 20
"""Bytes of the file; a cost has some 400."""


class Measured(Strict):
    """What a defense costs one hospital, or why that is not known.

    ``digest`` names the attack-free experiment that was measured, ``code`` what measured it.
    """

    scenario: str
    defense: str
    digest: str
    code: str
    cost: DeviceCost | None = None
    error: str = ""


class _Table(Strict):
    costs: tuple[Measured, ...] = ()


def read_devices(store: Store) -> tuple[Measured, ...]:
    """Read what was measured; nothing where nothing was.

    Raises:
        StoreError: the file is damaged or too large.
    """
    path = store.devices
    content = contents(path, LARGEST)
    if content is None:
        return ()
    try:
        return _Table.model_validate_json(content, strict=True).costs
    except ValidationError:
        raise StoreError(
            "the costs of devices are damaged",
            place=str(path),
            fix="delete the file and run the study again with --resume: it is measured anew",
        ) from None


def measure_devices(plan: Plan, store: Store, *, pseudonyms: bool = False) -> None:
    """Measure every scenario and defense of a plan once, and leave alone what was measured.

    The first of a defense's cells counts: its first seed, on the first values of other axes. A
    measurement that fails is kept with its reason.

    Raises:
        StoreError: the folder cannot be written, or its costs are damaged.
    """
    kept = {(one.digest, one.code): one for one in read_devices(store) if one.cost is not None}
    code, costs = code_version(), []
    for cell, digest in _asked(plan):
        known = kept.get((digest, code))
        cost, error = (known.cost, "") if known else _measured(cell, pseudonyms)
        costs.append(
            Measured(
                scenario=cell.scenario,
                defense=cell.defense,
                digest=digest,
                code=code,
                cost=cost,
                error=error,
            )
        )
        text = json.dumps(_Table(costs=tuple(costs)).model_dump(mode="json"), indent=1)
        write_atomic(store.devices, (text + "\n").encode())


def _asked(plan: Plan) -> Iterator[tuple[Cell, str]]:
    seen = set()
    for cell in plan.cells:
        if (cell.scenario, cell.defense) not in seen:
            seen.add((cell.scenario, cell.defense))
            bare = cell.spec.twin().model_copy(update={"probes": {}})
            yield cell, bare.digest()


def _measured(cell: Cell, pseudonyms: bool) -> tuple[DeviceCost | None, str]:
    try:
        return device_cost(cell.spec), ""
    except Exception as error:  # noqa: BLE001 (a component's own fault is a row, not the end)
        return None, message_of(error, cell.spec, pseudonyms=pseudonyms)
