"""What observers return, checked at once: what cannot be scored or stored is theirs to mend."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.threat import Evidence
from asepsis.core.updates import State
from asepsis.federation.federation import Federation
from asepsis.federation.scoring.kinds import KINDS

Shape = tuple[int | None, ...]
"""``None`` stands for any length but 0."""


def checked_state(state: object, by: str) -> State:
    """Return what an observer wants to remember, if a checkpoint can hold it.

    Raises:
        ConfigError: it is no dict of named tensors.
    """
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise _refused(by, "its state is no dict of named tensors", state)
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise _refused(by, f"'{name}' in its state is no tensor", value)
    return {name: value.detach() for name, value in state.items()}


def checked(evidence: object, by: str, federation: Federation) -> Evidence | None:
    """Return a claim as it is scored and recorded: detached tensors, plain numbers.

    Raises:
        ConfigError: its kind is unknown, a guess is missing or has the wrong shape, it is about
            nobody who takes part, or a measurement is no finite number or NaN.
    """
    if evidence is None:
        return None
    if not isinstance(evidence, Evidence):
        raise _refused(by, "what it returns is no Evidence", evidence)
    if evidence.kind not in KINDS:
        fix = f"use one of {', '.join(KINDS)}"
        raise _refused(by, "unknown kind of evidence", evidence.kind, fix)
    about = None if evidence.about is None else _hospital(evidence.about, by, federation)
    evidence = replace(
        evidence,
        guesses=_guesses(evidence.guesses, by),
        about=about,
        clients=tuple(_hospital(client, by, federation) for client in evidence.clients),
        measurements={
            name: _number(value, name, by) for name, value in evidence.measurements.items()
        },
    )
    required, optional = _shapes(evidence, federation)
    for name, shapes in required.items():
        _check_shape(evidence, name, shapes, by)
    for name in optional.keys() & evidence.guesses.keys():
        _check_shape(evidence, name, optional[name], by)
    if evidence.kind == "attribute":
        _check_column(evidence.measurements, by, federation)
    return evidence


def _shapes(
    evidence: Evidence, federation: Federation
) -> tuple[dict[str, list[Shape]], dict[str, list[Shape]]]:
    """Return the shapes that guesses of a kind may have: those it must make, and others."""
    learner, candidates = federation.learner, federation.candidates
    asked = 0 if candidates is None else len(candidates.shard)
    each, inputs = learner.classes, learner.input_shape
    per_class: list[Shape] = [(each,), (None, each)]
    one: list[Shape] = [(asked,)]
    apart: list[Shape] = [(asked, len(evidence.clients))] if evidence.clients else []
    found = evidence.guesses.get("inputs")
    k = len(found) if found is not None and found.dim() else None
    required: dict[str, dict[str, list[Shape]]] = {
        "inversion": {"inputs": [(None, *inputs)]},
        "membership": {"scores": [*one, *apart]},
        "labels": {"counts": per_class},
        "property": {"shares": per_class},
        "attribute": {"values": one, "majority": one, "imputed": one, "support": [(None,)]},
        "classes": {"inputs": [(each, *inputs)]},
        "isolation": {"row": [(learner.layout.dim,)]},
    }
    optional: dict[str, dict[str, list[Shape]]] = {
        "inversion": {"labels": [(k, each)], "targets": [(k, *learner.target_shape)]},
        "property": {"closed_form": per_class, "prior": per_class},
    }
    return required[evidence.kind], optional.get(evidence.kind, {})


def _check_shape(evidence: Evidence, name: str, shapes: list[Shape], by: str) -> None:
    wanted = " or ".join(str(shape).replace("None", "any") for shape in shapes)
    fix = f"return '{name}' of shape {wanted}"
    if name not in evidence.guesses:
        made = ", ".join(evidence.guesses)
        raise _refused(by, f"evidence of kind '{evidence.kind}' needs '{name}'", made, fix)
    shape = tuple(evidence.guesses[name].shape)
    if not any(_fits(shape, allowed) for allowed in shapes):
        raise _refused(by, f"'{name}' has the wrong shape", shape, fix)


def _fits(shape: tuple[int, ...], allowed: Shape) -> bool:
    pairs = zip(shape, allowed, strict=False)
    return len(shape) == len(allowed) and all(n == m or (m is None and n > 0) for n, m in pairs)


def _guesses(guesses: Mapping[str, Any], by: str) -> dict[str, Tensor]:
    for name, guess in guesses.items():
        if not isinstance(guess, Tensor) or guess.is_complex():
            raise _refused(by, f"its guess '{name}' is no tensor of real numbers", guess)
    return {name: guess.detach() for name, guess in guesses.items()}


def _hospital(client: Any, by: str, federation: Federation) -> int:
    ids = [hospital.id for hospital in federation.hospitals]
    try:
        number = operator.index(client)
    except TypeError:
        number = -1
    if number not in ids:
        fix = f"hospitals are numbered {ids[0]} to {ids[-1]}"
        raise _refused(by, "its claim is about no hospital that takes part", client, fix)
    return number


def _number(value: Any, name: str, by: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.inf
    if math.isinf(number):
        fix = "measure finite numbers, NaN where there is none"
        raise _refused(by, f"its measurement '{name}' is no number", value, fix)
    return number


def _check_column(measured: Mapping[str, float], by: str, federation: Federation) -> None:
    columns, column = federation.learner.input_shape[0], measured.get("attribute", math.nan)
    if column not in range(columns):
        fix = f"measure 'attribute': the column that was guessed, 0 to {columns - 1}"
        raise _refused(by, "nobody knows which attribute it guesses", column, fix)


def _refused(by: str, message: str, got: object, fix: str | None = None) -> ConfigError:
    return ConfigError(message, place=f"observer {by}", got=got, fix=fix)
