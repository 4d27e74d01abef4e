"""A promise of privacy is checked against who takes part, and counted with who was there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asepsis.core.errors import ConfigError
from asepsis.experiments.resolve import resolve
from asepsis.experiments.spec import Experiment, parse
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation
from asepsis.federation.private import claims_of, facts_of

MASKED = ["client-clip", "secure-aggregation", "dp-mean"]
DP_SGD = {"name": "dp-sgd", "steps": 1, "batch_size": 8}


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


def test_a_stage_that_looks_at_records_is_refused_behind_a_trainer_that_hides_them() -> None:
    with pytest.raises(ConfigError, match="soteria looks at") as caught:
        made(trainer=DP_SGD, defenses=["soteria"])
    assert "leave soteria out" in str(caught.value.fix)
    assert made(trainer=DP_SGD, defenses=["gradient-pruning"])
    assert made(defenses=["soteria"])


SHARED_OUT = {"name": "client-noise", "noise_multiplier": 8.0, "parties": 6}
ALIKE = {"name": "secure-sum", "weighted": False}


def test_the_fewest_honest_hospitals_of_a_round_are_counted() -> None:
    federation = made(defenses=["dp-mean"], federation={"rounds": 5, "dropout": 0.4})
    there = [len(federation.cohort(round_).present) for round_ in range(5)]
    assert facts_of(federation).honest == min(there) < 6
    hostile = replace(federation, threat=replace(federation.threat, clients=(0, 5)))
    fewest = min(len({*hostile.cohort(t).present} - {0, 5}) for t in range(5))
    assert facts_of(hostile).honest == fewest


def test_dropouts_take_their_shares_of_the_noise_out_of_the_promise() -> None:
    how = {"rounds": 3, "dropout": 0.4}
    few = made(defenses=[SHARED_OUT, ALIKE], federation=how)
    all_ = made(defenses=[SHARED_OUT, ALIKE], federation={"rounds": 3})
    honest = facts_of(few).honest
    assert honest is not None
    [claim], [full] = claims_of(few), claims_of(all_)
    assert full.noise_multiplier == 4.0
    assert claim.noise_multiplier == pytest.approx(4.0 * (honest / 6) ** 0.5)
    assert claim.epsilon > full.epsilon


def test_a_promise_says_that_nobody_sees_the_updates_of_others() -> None:
    [claim] = claims_of(made(defenses=["dp-fedavg"]))
    assert any("no hospital sees" in said for said in claim.assumes)
