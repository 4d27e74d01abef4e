"""Who takes part, who may see what, and what a round does with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from asepsis.core.contracts import UpdateAttack
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples
from asepsis.core.threat import (
    ClientView,
    Colluders,
    Evidence,
    Omniscient,
    Own,
    Role,
    Sees,
    ServerView,
    ThreatModel,
)
from asepsis.core.updates import State, Summed
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import Scorer, assemble
from asepsis.federation.exam import answered
from asepsis.federation.federation import Federation, RoundState, Schedule
from asepsis.federation.parts import Parts
from asepsis.federation.round import RoundOutcome, play_round
from asepsis.testing.promises import same_state


def samples(seed: int, count: int) -> Samples:
    rng = np.random.default_rng(seed)
    targets = rng.integers(2, size=count)
    inputs = (rng.normal(size=(count, 5)) + targets[:, None]).astype(np.float32)
    ids = np.arange(count)
    return Samples(inputs, targets.astype(np.int64), ids, ids)


def parts(hospitals: int = 6, **changes: Any) -> Parts:
    table: dict[str, Any] = {
        "facts": DataFacts(Kind.TABLE, ("no", "yes")),
        "hospitals": tuple(
            Hospital(i, f"h{i}", samples(i, 30), samples(50 + i, 8), samples(90 + i, 40))
            for i in range(hospitals)
        ),
        "task": build("task", "tabular"),
        "model": build("model", "logistic"),
        "trainer": build("trainer", {"name": "sgd", "steps": 2, "batch_size": 8}),
        "pipeline": build_pipeline(["mean"]),
        "server": build("server-optimizer", "fedavg"),
        "threat": ThreatModel(clients=(1, 3)),
        "attack": None,
        "schedule": Schedule(rounds=5),
        "streams": Streams(0),
    }
    return Parts(**{**table, **changes})


def played(made: Parts, rounds: int = 1) -> tuple[Federation, Scorer, RoundState, RoundOutcome]:
    federation, oracle = assemble(made)
    engine = make_engine("serial")
    engine.start(federation.plan)
    state = federation.begin()
    for _ in range(rounds):
        state, outcome = play_round(federation, engine, state)
    return federation, oracle, state, outcome


OWN_THREAT = ThreatModel(clients=(1, 3), sees=Sees.OWN)


class Spy:
    """An update attack that remembers what it was shown, and sends what it would have sent."""

    def __init__(self, sees: Sees) -> None:
        self.needs = sees
        self.views: list[ClientView] = []

    @property
    def sees(self) -> Sees:
        return self.needs

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        self.views.append(view)
        count = state.get("calls", torch.zeros(()))
        return {"calls": count + 1}, view.rows.clone(), {}


@pytest.mark.parametrize(
    ("granted", "view", "calls"),
    [(Sees.OWN, Own, 2), (Sees.COLLUDERS, Colluders, 1), (Sees.OMNISCIENT, Omniscient, 1)],
)
def test_an_attack_gets_exactly_the_view_it_was_granted(
    granted: Sees, view: type, calls: int
) -> None:
    spy = Spy(Sees.OWN)
    threat = ThreatModel(clients=(1, 3), sees=granted)
    _, _, state, _ = played(parts(attack=spy, threat=threat))
    assert [type(seen) for seen in spy.views] == [view] * calls
    assert sorted(client for seen in spy.views for client in seen.clients) == [1, 3]
    assert hasattr(spy.views[0], "honest") == (granted is Sees.OMNISCIENT)
    assert sum(float(value) for value in state.attack.values()) == calls


def test_an_attack_that_sends_its_honest_rows_changes_nothing() -> None:
    *_, attacked, _ = played(parts(attack=Spy(Sees.OWN)), rounds=3)
    *_, clean, _ = played(parts(), rounds=3)
    assert torch.equal(attacked.row, clean.row)


def test_an_ungranted_view_is_refused() -> None:
    with pytest.raises(ConfigError, match="colluders"):
        assemble(parts(attack=Spy(Sees.COLLUDERS), threat=ThreatModel(clients=(1,), sees=Sees.OWN)))


def test_an_attack_is_over_when_its_rounds_are() -> None:
    spy = Spy(Sees.OWN)
    threat = ThreatModel(clients=(1,), sees=Sees.OWN, starts_at=1, rounds=2)
    played(parts(attack=spy, threat=threat), rounds=5)
    assert [seen.facts.round for seen in spy.views] == [1, 2]


class Watcher:
    """A curious server that remembers its view."""

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    def __init__(self) -> None:
        self.views: list[ServerView] = []

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        self.views.append(view)
        return state, None


def test_behind_a_secure_sum_a_curious_server_has_no_single_updates() -> None:
    watcher = Watcher()
    threat = ThreatModel(role=Role.SERVER)
    pipeline = build_pipeline(["secure-sum", "mean"])
    _, _, state, _ = played(parts(attack=watcher, threat=threat, pipeline=pipeline))
    delivery = watcher.views[0].delivery
    assert isinstance(delivery, Summed)
    assert not hasattr(delivery, "rows")
    sent = watcher.views[0].sent
    expected = sent + delivery.total / delivery.weight
    torch.testing.assert_close(state.row, expected)


def test_a_secure_sum_gives_the_weighted_mean() -> None:
    *_, plain, _ = played(parts(), rounds=3)
    *_, summed, _ = played(parts(pipeline=build_pipeline(["secure-sum", "mean"])), rounds=3)
    torch.testing.assert_close(plain.row, summed.row)


def test_participation_dropouts_and_stragglers_have_the_shares_asked_for() -> None:
    schedule = Schedule(rounds=1, participation=0.5, dropout=0.3, stragglers=0.4)
    federation, _ = assemble(parts(hospitals=20, schedule=schedule))
    cohorts = [federation.cohort(t) for t in range(300)]
    assert all(len(cohort.drawn) == 10 for cohort in cohorts)
    present = sum(len(cohort.present) for cohort in cohorts) / 3000
    late = [work < 1 for cohort in cohorts for work in cohort.work.values()]
    assert present == pytest.approx(0.7, abs=0.03)
    assert sum(late) / len(late) == pytest.approx(0.4, abs=0.04)
    drawn = np.bincount([i for cohort in cohorts for i in cohort.drawn], minlength=20) / 300
    assert drawn == pytest.approx(np.full(20, 0.5), abs=0.12)


def test_the_state_survives_a_checkpoint() -> None:
    made = parts(
        server=build("server-optimizer", "fedadam"),
        pipeline=build_pipeline(["centered-clipping"]),
        attack=Spy(Sees.OWN),
    )
    *_, state, _ = played(made, rounds=2)
    again = RoundState.from_tensors(state.tensors())
    assert again.round == state.round == 2
    assert again.tensors().keys() == state.tensors().keys()
    assert all(torch.equal(again.tensors()[k], v) for k, v in state.tensors().items())
    assert {"m", "v"} <= set(again.server)


def test_training_cannot_change_the_servers_row() -> None:
    federation, _ = assemble(parts())
    engine = make_engine("serial")
    engine.start(federation.plan)
    state = federation.begin()
    before = state.row.clone()
    play_round(federation, engine, state)
    assert torch.equal(state.row, before)


def test_the_oracle_scores_all_hospitals_test_samples() -> None:
    federation, oracle, state, _ = played(parts(), rounds=4)
    scores = oracle.score(state.row, 3)
    figures, worst = oracle.hospitals(state.row)
    assert scores["balanced_accuracy"] > 0.8
    assert list(figures) == [hospital.name for hospital in federation.hospitals]
    mean = np.mean([figure["accuracy"] for figure in figures.values()])
    assert scores["accuracy"] == pytest.approx(mean)
    assert worst["accuracy"] == min(figure["accuracy"] for figure in figures.values())


def test_uncertainty_over_patients_brackets_the_figure_and_moves_nothing() -> None:
    _, oracle, state, _ = played(parts(), rounds=4)
    found = oracle.over_patients(state.row)
    assert found["low"] <= found["value"] <= found["high"]
    assert found["high"] - found["low"] > 0.01
    assert found["value"] == oracle.score(state.row, 3)["balanced_accuracy"]
    assert found == oracle.over_patients(state.row)


def test_attack_success_is_measured_from_the_first_attacked_round() -> None:
    shared: dict[str, Any] = {
        "model": build("model", "mlp"),
        "trainer": build("trainer", {"name": "sgd", "steps": 10, "batch_size": 8}),
        "threat": ThreatModel(clients=(1, 3, 5), starts_at=2),
    }
    badnets = build("attack", {"name": "badnets", "target": 0})
    _, oracle, state, _ = played(parts(attack=badnets, **shared), rounds=8)
    assert "asr" not in oracle.score(state.row, 1)
    attacked = oracle.score(state.row, 7)["asr"]
    _, twin, clean, _ = played(parts(probes={"b": badnets}, **shared), rounds=8)
    floor = twin.score(clean.row, 7)["floor/b"]
    assert attacked > floor + 0.3


def test_a_blown_up_model_is_scored_at_chance() -> None:
    _, oracle, state, _ = played(parts())
    scores = oracle.score(torch.full_like(state.row, 1e38) * 10, 0)
    assert scores["balanced_accuracy"] == pytest.approx(0.5)
    assert scores["unanswered"] == 1.0
    kept, share = answered(np.array([[0.2, 0.8], [np.nan, 0.1]]))
    assert kept.tolist() == [[0.2, 0.8], [0.5, 0.5]]
    assert share == 0.5


def test_the_spy_is_an_update_attack() -> None:
    assert isinstance(Spy(Sees.OWN), UpdateAttack)


def test_minds_that_only_see_their_own_share_no_memory() -> None:
    _, _, state, _ = played(parts(attack=Spy(Sees.OWN), threat=OWN_THREAT), rounds=3)
    assert {key: float(value) for key, value in state.attack.items()} == {
        "1/calls": 3.0,
        "3/calls": 3.0,
    }


class Vandal(Spy):
    """An attack that writes into everything it was shown."""

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        made = view.rows.clone()
        view.rows.add_(100.0)
        assert view.facts.received is not None
        view.facts.received.add_(100.0)
        return state, made, {}


def test_a_view_is_no_way_into_the_global_model() -> None:
    *_, attacked, _ = played(parts(attack=Vandal(Sees.OWN), threat=OWN_THREAT), rounds=2)
    *_, clean, _ = played(parts(), rounds=2)
    assert torch.equal(attacked.row, clean.row)


class Clumsy(Spy):
    """An attack that returns rows of the wrong shape."""

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        return state, view.rows[:, :3], {}


def test_rows_of_the_wrong_shape_name_the_attack() -> None:
    with pytest.raises(ConfigError, match="Clumsy"):
        played(parts(attack=Clumsy(Sees.OWN)))


class Overflows:
    """A server optimizer whose step is too large for any dtype."""

    lr = 1.0

    def init(self, dim: int) -> State:
        return {"steps": torch.zeros(1)}

    def apply(
        self, state: State, row: Tensor, delta: Tensor, parameters: int
    ) -> tuple[State, Tensor]:
        return {"steps": state["steps"] + 1}, row + torch.inf


def test_a_server_step_that_overflows_leaves_all_of_the_server_s_state_alone() -> None:
    """The stages must not remember a round that never came to be."""
    stack = build_pipeline(["trust-weighted"])
    federation, _, state, outcome = played(parts(pipeline=stack, server=Overflows()))
    before = federation.begin()
    assert outcome.void == "overflow"
    assert torch.equal(state.row, before.row)
    assert same_state(state.server, before.server)
    assert same_state(state.pipeline, before.pipeline)
    *_, usual, _ = played(parts(pipeline=stack))
    assert not same_state(usual.pipeline, before.pipeline)


def test_the_released_model_is_the_moving_average_of_the_global_ones() -> None:
    federation, _ = assemble(parts(schedule=Schedule(rounds=3, ema=0.2)))
    engine = make_engine("serial")
    engine.start(federation.plan)
    state = federation.begin()
    expected = state.row
    for decay in (1 / 10, 2 / 11, 0.2):
        state, _ = play_round(federation, engine, state)
        expected = decay * expected + (1 - decay) * state.row
    assert torch.allclose(state.released, expected, atol=1e-6)
    assert not torch.equal(state.released, state.row)
    assert same_state(RoundState.from_tensors(state.tensors()).tensors(), state.tensors())


def test_without_an_average_the_global_model_is_released() -> None:
    state = assemble(parts())[0].begin()
    assert state.released is state.row


def test_no_certificate_is_given_for_an_average() -> None:
    stack = build_pipeline(("mean", "crfl"), "defenses")
    with pytest.raises(ConfigError, match="not an average of models"):
        assemble(parts(pipeline=stack, schedule=Schedule(rounds=3, ema=0.5)))
