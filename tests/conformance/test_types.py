"""A rule that needs rows cannot be handed a sum: neither past the type checker nor at run time."""

from __future__ import annotations

import pytest
import torch

from asepsis.core.errors import ConfigError
from asepsis.core.registry import build, entries
from asepsis.core.stages import Rule, ServerContext
from asepsis.core.updates import Aggregate, Delivery, Individual, State, Summed
from asepsis.defenses.aggregate.mean import Mean
from asepsis.defenses.aggregate.trimmed_mean import TrimmedMean
from asepsis.defenses.stack import build_pipeline
from asepsis.testing import cohorts

TOTAL = Summed(count=3, total=torch.full((2,), 3.0), weight=3.0)
NEEDY = [e.name for e in entries("aggregator") if Summed not in build("aggregator", e.name).accepts]


def hand_a_sum_to_a_rule_that_needs_rows(context: ServerContext) -> tuple[State, Aggregate]:
    """Mypy refuses this line: without the comment it is an error, and strict mode needs it."""
    return TrimmedMean().apply({}, TOTAL, context)  # type: ignore[arg-type]


def hand_a_sum_to_a_screen(context: ServerContext) -> object:
    """The same for screens, which are about single rows by their very type."""
    screen = build_pipeline(["norm-clip"]).screens[0]
    return screen.apply({}, TOTAL, context)  # type: ignore[arg-type]


def look_for_rows_in_a_sum() -> object:
    """There is nothing to look at."""
    return TOTAL.rows  # type: ignore[attr-defined]


def needs_any_delivery(rule: Rule[Delivery]) -> Rule[Delivery]:
    return rule


def pass_a_rule_that_needs_rows_for_one_that_does_not() -> Rule[Delivery]:
    """Rules are contravariant in what they take."""
    return needs_any_delivery(TrimmedMean())  # type: ignore[arg-type]


def test_the_mean_takes_rows_and_sums() -> None:
    rule: Rule[Delivery] = needs_any_delivery(Mean())
    rows: Individual = cohorts.delivery(torch.ones(3, 2))
    for delivery in (TOTAL, rows):
        assert rule.apply({}, delivery, cohorts.context())[1].delta.tolist() == [1.0, 1.0]


def test_the_types_tell_the_truth_at_run_time() -> None:
    with pytest.raises(AttributeError, match="rows"):
        look_for_rows_in_a_sum()
    for call in (hand_a_sum_to_a_rule_that_needs_rows, hand_a_sum_to_a_screen):
        with pytest.raises(AttributeError, match="rows"):
            call(cohorts.context())


@pytest.mark.parametrize("rule", NEEDY)
def test_such_a_stack_is_refused_before_it_runs(rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_pipeline(["secure-sum", rule])
    said = str(caught.value)
    assert f"defenses: {rule} cannot work behind secure-sum: it delivers no single rows" in said
    assert "rules that work behind it: dp-mean, mean; or leave secure-sum out" in said


def test_a_screen_behind_a_secure_sum_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="norm-clip and krum cannot work behind secure-sum"):
        build_pipeline(["secure-sum", "norm-clip", "krum"])
    with pytest.raises(ConfigError, match=r"^defenses: norm-clip cannot work behind secure-sum"):
        build_pipeline(["secure-sum", "norm-clip", "mean"])
