"""What every aggregation rule promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from asepsis.core.errors import QuorumError
from asepsis.core.stages import Rule
from asepsis.core.updates import Aggregate, Delivery, Individual, State, Summed
from asepsis.testing import cohorts
from asepsis.testing.breakdown import DIAMETER, RANGE, check_breakdown
from asepsis.testing.promises import (
    Promises,
    copied,
    copied_delivery,
    round_trip,
    same,
    same_delivery,
    same_state,
)

CLAIMS = frozenset({"permutation", "translation", RANGE, DIAMETER})


def check_rule(rule: Rule[Any]) -> None:
    """Check that an aggregation rule keeps the promises of its contract and its own claims.

    Every rule: the delta is finite and has the rows' shape and dtype; inputs are not modified;
    the same call gives the same result; the state is a dict of tensors and goes on from a
    checkpoint; verdicts, scores and measurements are sane; hostile inputs (non-finite, huge, zero,
    equal rows, a cohort too small) end in a finite result or a recorded refusal.

    Claimed only: ``permutation`` (who sent which row does not matter, except where rows tie by
    construction: checked with ``2 smallest() + 3`` rows in general position), ``translation``
    (a common offset moves the result along), and the breakdown claims (see
    :func:`check_breakdown`).

    Raises:
        AssertionError: naming the promise that was broken.

    Example:
        >>> from asepsis.core.registry import build
        >>> check_rule(build("aggregator", {"name": "krum", "f": 2}))
    """
    promises = Promises(str(rule))
    _check_declarations(rule, promises)
    if Summed in rule.accepts:
        _check_sum(rule, promises)
    if Individual not in rule.accepts:
        return
    smallest = rule.smallest()
    for d in cohorts.DIMS:
        for n in (smallest, smallest + 1, 2 * smallest + 3):
            _check_result(rule, promises, cohorts.rows(n, d))
            _check_hostile(rule, promises, n, d)
        _check_claims(rule, promises, 2 * smallest + 3, d)
        _check_too_few(rule, promises, smallest - 1, d)
        _check_spent(rule, promises, smallest, d)
    for claim in rule.claims & {RANGE, DIAMETER}:
        check_breakdown(rule, claim)


def _check_declarations(rule: Rule[Any], promises: Promises) -> None:
    accepts, claims = rule.accepts, rule.claims
    known = bool(accepts) and accepts <= {Individual, Summed}
    promises.hold(known, "accepts names Individual, Summed or both")
    promises.hold(claims <= CLAIMS, f"claims are among {sorted(CLAIMS)}, not {sorted(claims)}")
    sizes = [rule.smallest(spent) for spent in range(4)]
    promises.hold(sizes[-1] >= 1, "smallest() is at least 1")
    falling = sizes == sorted(sizes, reverse=True)
    promises.hold(falling, "smallest(spent) never grows as hostile rows are dropped at the door")


def _apply(rule: Rule[Any], delivery: Delivery) -> tuple[State, Aggregate]:
    total = delivery.total if isinstance(delivery, Summed) else delivery.rows.dense()
    state = rule.init(total.shape[-1])
    return rule.apply(state, delivery, cohorts.context(dim=total.shape[-1]))


def _check_result(rule: Rule[Any], promises: Promises, matrix: Tensor) -> None:
    sent = cohorts.delivery(matrix)
    kept, start = copied_delivery(sent), rule.init(matrix.shape[1])
    promises.state(start)
    before = copied(start)
    after, aggregate = rule.apply(start, sent, cohorts.context(dim=sent.rows.shape[1]))
    _check_delta(promises, aggregate.delta, matrix.shape[1])
    promises.measurements(aggregate.measurements)
    promises.verdicts(aggregate.verdicts, sent.clients)
    promises.scores(aggregate.scores, sent.clients)
    promises.hold(same_delivery(sent, kept), "its input is not modified")
    promises.hold(same_state(start, before), "the state handed in is not modified")
    promises.state(after)
    _check_again(rule, promises, sent, before, aggregate)
    _check_goes_on(rule, promises, sent, after)


def _check_delta(promises: Promises, delta: Tensor, d: int) -> None:
    promises.hold(delta.shape == (d,), f"delta has shape ({d},), not {tuple(delta.shape)}")
    promises.hold(delta.dtype == torch.float32, f"delta has the rows' dtype, not {delta.dtype}")
    promises.hold(bool(torch.isfinite(delta).all()), "delta is finite for finite rows")


def _check_again(
    rule: Rule[Any], promises: Promises, sent: Individual, state: State, first: Aggregate
) -> None:
    again = rule.apply(state, sent, cohorts.context(dim=sent.rows.shape[1]))[1]
    said = dict(first.verdicts) == dict(again.verdicts)
    alike = same(first.delta, again.delta) and said and dict(first.scores) == dict(again.scores)
    promises.hold(alike, "the same call gives the same result twice")


def _check_goes_on(rule: Rule[Any], promises: Promises, sent: Individual, state: State) -> None:
    one = rule.apply(copied(state), sent, cohorts.context(dim=sent.rows.shape[1]))[1].delta
    two = rule.apply(round_trip(state), sent, cohorts.context(dim=sent.rows.shape[1]))[1].delta
    promises.hold(same(one, two), "it goes on from a checkpoint as if nothing had happened")


def _check_claims(rule: Rule[Any], promises: Promises, n: int, d: int) -> None:
    matrix = cohorts.rows(n, d)
    delta = _apply(rule, cohorts.delivery(matrix))[1].delta
    tolerance = 1e-4 * max(float(matrix.abs().max()), 1.0)
    if "permutation" in rule.claims:
        order = torch.from_numpy(np.random.default_rng([n, d]).permutation(n))
        sent = cohorts.delivery(matrix)
        moved = Individual(
            sent.clients, sent.rows.select(order), sent.weights[order], _moved(sent, order)
        )
        other = _apply(rule, moved)[1].delta
        promises.hold(
            bool((other - delta).abs().max() <= tolerance),
            f"permutation: who sent which row does not matter (n = {n}, d = {d})",
        )
    if "translation" in rule.claims:
        offset = torch.linspace(-2.0, 3.0, d)
        other = _apply(rule, cohorts.delivery(matrix + offset))[1].delta
        promises.hold(
            bool((other - delta - offset).abs().max() <= tolerance),
            f"translation: a common offset moves the result along (n = {n}, d = {d})",
        )


def _moved(sent: Individual, order: Tensor) -> dict[str, Tensor]:
    return {name: values[order] for name, values in sent.side.items()}


def _check_hostile(rule: Rule[Any], promises: Promises, n: int, d: int) -> None:
    stack = cohorts.pipeline(rule=rule)
    for name, matrix in cohorts.hostile_cohorts(n, d).items():
        where = f"with {name} (n = {n}, d = {d})"
        try:
            state, outcome = stack.receive(
                stack.init(d), cohorts.delivery(matrix), 0, cohorts.STREAMS, cohorts.desk(d)
            )
        except Exception as error:
            raise AssertionError(f"{promises.who} crashes {where}: {error!r}") from error
        promises.state(state)
        if outcome.aggregate is None:
            promises.hold(bool(outcome.void), f"a refusal {where} says why")
            promises.hold(not cohorts.must_go_on(matrix), f"a result {where}, not {outcome.void}")
            continue
        finite = bool(torch.isfinite(outcome.aggregate.delta).all())
        promises.hold(finite, f"a finite result {where}")
        for stage in outcome.stages:
            promises.measurements(stage.measurements)
            promises.verdicts(stage.verdicts, range(n))
            promises.scores(stage.scores, range(n))
        finite_state = all(bool(torch.isfinite(value).all()) for value in state.values())
        promises.hold(finite_state, f"a finite state {where}")


def _check_too_few(rule: Rule[Any], promises: Promises, n: int, d: int) -> None:
    stack = cohorts.pipeline(rule=rule)
    refused = False
    try:
        stack.check_cohort(n)
    except QuorumError:
        refused = True
    promises.hold(refused, f"a cohort of {n} is refused before it trains")
    state, outcome = stack.receive(
        stack.init(d), cohorts.delivery(cohorts.rows(n, d)), 0, cohorts.STREAMS, cohorts.desk(d)
    )
    if not n and getattr(rule, "answers_nobody", False):
        # A model that stayed as it was would tell that nobody came.
        moved = outcome.aggregate is not None and bool(outcome.aggregate.delta.any())
        promises.hold(moved, "a round without rows moves the model like any other")
        return
    void = outcome.aggregate is None and str(outcome.void).startswith("no-quorum")
    promises.hold(void, f"a round with {n} rows is void for want of a quorum")
    promises.state(state)


def _check_spent(rule: Rule[Any], promises: Promises, n: int, d: int) -> None:
    """A rule that tolerates hostile rows works on when one was dropped at the door."""
    if not int(getattr(rule, "f", 0)):
        return
    stack, matrix = cohorts.pipeline(rule=rule), cohorts.rows(n, d)
    matrix[0] = np.nan
    outcome = stack.receive(
        stack.init(d), cohorts.delivery(matrix), 0, cohorts.STREAMS, cohorts.desk(d)
    )[1]
    works = outcome.aggregate is not None and outcome.dropped == (0,)
    promises.hold(works, "a row dropped at the door spends one of f, and the rule works on")


def _check_sum(rule: Rule[Any], promises: Promises) -> None:
    for d in cohorts.DIMS:
        total = 3.0 * cohorts.rows(1, d)[0]
        sent = Summed(count=3, total=total.clone(), weight=3.0)
        after, aggregate = _apply(rule, sent)
        promises.state(after)
        _check_delta(promises, aggregate.delta, d)
        promises.hold(same(sent.total, total), "its input is not modified")
