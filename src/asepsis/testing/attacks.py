"""What every update attack promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asepsis.core.contracts import UpdateAttack
from asepsis.core.threat import ClientView, Colluders, Facts, Omniscient, Own, Sees
from asepsis.testing import cohorts
from asepsis.testing.promises import Promises, copied, round_trip, same, same_state

HUGE = 1e38
"""Three times as much is nearly the largest float32."""


def check_update_attack(attack: UpdateAttack[Any]) -> None:
    """Check that an update attack keeps the promises of its contract.

    With every view that covers what it declares in ``sees``, alone or with others, and in a second
    round: it returns one row of full width, float32, for each hostile hospital (what it sends may
    be any numbers, even non-finite ones); what it was shown is not modified, and the rows it
    returns are its own; the same call gives the same rows; no global generator moves; the state
    is a dict of finite tensors and goes on from a checkpoint; measurements are finite; zero and
    huge rows do not crash it. Honest hospitals' rows in a view are always finite, but hostile
    hospitals' own may have diverged: then too it returns such rows and a finite state. An attack
    that ``needs_rule`` is told that the defense is a plain mean.

    Raises:
        AssertionError: naming the promise that was broken.

    Example:
        >>> from asepsis.core.registry import build
        >>> check_update_attack(build("attack", {"name": "alie", "z": 1.5}))
    """
    promises = Promises(str(attack))
    promises.hold(isinstance(attack, UpdateAttack), "it has craft() and sees")
    promises.hold(isinstance(attack.sees, Sees), f"sees is one of {[s.value for s in Sees]}")
    for d in cohorts.DIMS:
        for hostile, honest in ((1, 1), (1, 4), (3, 7), (4, 2)):
            for scale in (1.0, 0.0, HUGE):
                rows = (scale * cohorts.rows(hostile + honest, d)).clamp(-3 * HUGE, 3 * HUGE)
                for view in _views(attack, rows, hostile):
                    _check_view(attack, promises, view, f"{type(view).__name__}, scale {scale}")
            for value in (torch.nan, torch.inf, -torch.inf):
                rows = cohorts.rows(hostile + honest, d)
                rows[0, -1] = value
                for view in _views(attack, rows, hostile):
                    _check_diverged(attack, promises, view)


def _views(attack: UpdateAttack[Any], rows: Tensor, m: int) -> list[ClientView]:
    rule = _plain_mean if getattr(attack, "needs_rule", False) else None
    n, d = rows.shape
    facts = Facts(0, n, 1.0, torch.zeros(d), rule, parameters=max(d - 2, 1))
    clients = tuple(range(m))
    views: dict[Sees, ClientView] = {
        Sees.OWN: Own(facts, (0,), rows[:1].clone()),
        Sees.COLLUDERS: Colluders(facts, clients, rows[:m].clone()),
        Sees.OMNISCIENT: Omniscient(facts, clients, rows[:m].clone(), rows[m:].clone()),
    }
    return [view for granted, view in views.items() if granted.grants(attack.sees)]


def _plain_mean(rows: Tensor) -> Tensor:
    return rows.double().mean(dim=0).to(rows)


def _check_view(
    attack: UpdateAttack[Any], promises: Promises, view: ClientView, where: str
) -> None:
    shown = [tensor.clone() for tensor in _tensors(view)]
    global_state = global_generators()
    state, rows, measured = attack.craft({}, view, np.random.default_rng(0))
    promises.hold(global_generators() == global_state, f"no global generator moves ({where})")
    _check_rows(promises, rows, view, where)
    promises.measurements(measured)
    _check_state(promises, state)
    again = attack.craft({}, view, np.random.default_rng(0))[1]
    promises.hold(same(rows, again), f"the same call gives the same rows twice ({where})")
    _check_goes_on(attack, promises, view, state)
    rows.fill_(7.0)
    unharmed = all(same(a, b) for a, b in zip(shown, _tensors(view), strict=True))
    promises.hold(unharmed, f"what it was shown is neither modified nor handed on ({where})")


def _check_diverged(attack: UpdateAttack[Any], promises: Promises, view: ClientView) -> None:
    state, rows, _ = attack.craft({}, view, np.random.default_rng(0))
    _check_rows(promises, rows, view, "own row not finite")
    _check_state(promises, state)


def _check_state(promises: Promises, state: dict[str, Tensor]) -> None:
    promises.state(state)
    finite = all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
    promises.hold(finite, "its state is finite")


def _check_rows(promises: Promises, rows: Tensor, view: ClientView, where: str) -> None:
    wanted = (len(view.clients), view.rows.shape[1])
    promises.hold(rows.shape == wanted, f"rows have shape {wanted}, not {tuple(rows.shape)}")
    promises.hold(rows.dtype == torch.float32, f"rows keep their dtype, not {rows.dtype} ({where})")
    once = rows.is_contiguous() or rows.shape[0] == 1
    promises.hold(once, f"rows are no views of one another ({where})")


def _check_goes_on(
    attack: UpdateAttack[Any], promises: Promises, view: ClientView, state: dict[str, Tensor]
) -> None:
    kept = copied(state)
    later = replace(view, facts=replace(view.facts, round=1, received=view.rows[0].clone()))
    after, one, measured = attack.craft(state, later, np.random.default_rng(1))
    promises.hold(same_state(state, kept), "the state handed in is not modified")
    _check_rows(promises, one, later, "second round")
    promises.measurements(measured)
    _check_state(promises, after)
    two = attack.craft(round_trip(kept), later, np.random.default_rng(1))[1]
    promises.hold(same(one, two), "it goes on from a checkpoint as if nothing had happened")


def _tensors(view: ClientView) -> list[Tensor]:
    assert view.facts.received is not None
    return [view.rows, view.reference, view.facts.received]


def global_generators() -> tuple[bytes, str]:
    """Return the state of the generators that no attack may touch."""
    # Reading the legacy global state is the only way to notice that somebody drew from it.
    numpy_state = np.random.get_state()  # noqa: NPY002
    return bytes(torch.get_rng_state().tolist()), str(numpy_state)
