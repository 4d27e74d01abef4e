"""A promise of privacy is checked against who takes part, and counted with who was there."""

from __future__ import annotations

from typing import Any

import pytest

from asepsis.core.errors import ConfigError
from asepsis.experiments.resolve import resolve
from asepsis.experiments.spec import Experiment, parse
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation

MASKED = ["client-clip", "secure-aggregation", "dp-mean"]


def made(**changes: Any) -> Federation:
    federation = {"hospitals": 6, "rounds": 2, **changes.pop("federation", {})}
    table: dict[str, Any] = {
        "dataset": "breast-cancer",
        "partition": "iid",
        "trainer": {"name": "sgd", "steps": 1, "batch_size": 8},
        **changes,
        "federation": federation,
    }
    return assemble(resolve(parse(Experiment, table, ""))[0])[0]


LATE = ["client-clip", {"name": "secure-aggregation", "late_dropout": 0.1}, "dp-mean"]
ALL = ["client-clip", {"name": "secure-aggregation", "threshold": 1.0}, "dp-mean"]


@pytest.mark.parametrize(
    ("stack", "how", "said"),
    [
        (MASKED, {"sampling": "poisson", "participation": 0.8}, "poisson"),
        (MASKED, {"dropout": 0.2}, "dropout"),
        (LATE, {}, "late_dropout"),
        (MASKED, {"hospitals": 3}, "one hospital less"),
        (ALL, {}, "one hospital less"),
        (["secure-aggregation", "dp-fedavg"], {"dropout": 0.2}, "dropout"),
    ],
    ids=str,
)
def test_a_void_round_that_tells_who_was_there_is_refused(
    stack: list[Any], how: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        made(defenses=stack, federation=how)
    assert "secure-sum" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("stack", "how"),
    [
        (MASKED, {}),
        (["secure-sum", "dp-fedavg"], {"sampling": "poisson", "participation": 0.5}),
        (["secure-sum", "dp-fedavg"], {"dropout": 0.2}),
        (["secure-aggregation"], {"dropout": 0.2}),
        (["dp-mean"], {"dropout": 0.2}),
    ],
    ids=str,
)
def test_where_no_round_tells_it_is_built(stack: list[Any], how: dict[str, Any]) -> None:
    assert made(defenses=stack, federation=how)
