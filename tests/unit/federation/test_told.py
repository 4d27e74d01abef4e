"""Who was sent another model works with that one: at home, hostile or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from test_hostile import Knows, Trains
from test_round import OWN_THREAT, Spy, parts
from torch import Tensor

from asepsis.core.contracts import Attack
from asepsis.core.stages import Home
from asepsis.core.threat import Sees, ThreatModel
from asepsis.defenses.pipeline import Named, Pipeline
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import assemble
from asepsis.federation.desk import desk_in
from asepsis.federation.sending import Sent, updates


@dataclass
class Keeps:
    """A client stage that remembers which model each hospital received."""

    homes: dict[int, Tensor] = field(default_factory=dict)

    def protect(
        self, row: Tensor, home: Home, rng: np.random.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        self.homes[home.client] = home.received.clone()
        return row, {}


class Doubles:
    """A client stage that sends twice the row, of hospital 3 thrice."""

    def protect(
        self, row: Tensor, home: Home, rng: np.random.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        return row * (3 if home.client == 3 else 2), {}


def at_home(stage: Any) -> Pipeline:
    plain = build_pipeline(["mean"])
    named = (*plain.names, Named("stage", "client", stage))
    return replace(plain, clients=(stage,), names=named)


def sent(told: dict[int, float], **changes: Any) -> Sent:
    """Play the hospitals' half of a round in which some were told a constant model."""
    federation, _ = assemble(parts(**changes))
    engine, state = make_engine("serial"), federation.begin()
    engine.start(federation.plan)
    cohort = federation.cohort(0)
    rows = {client: torch.full_like(state.row, value) for client, value in told.items()}
    facts = federation.facts_of(0, cohort, state.row)
    desk = desk_in(federation, 0, state.row)
    return updates(federation, engine, state, cohort, facts, desk, rows)


def test_a_client_stage_is_handed_the_model_that_its_hospital_received() -> None:
    stage = Keeps()
    sent({2: 0.5, 4: -0.5}, pipeline=at_home(stage))
    usual = stage.homes[0]
    assert torch.equal(stage.homes[2], torch.full_like(usual, 0.5))
    assert torch.equal(stage.homes[4], torch.full_like(usual, -0.5))
    assert torch.equal(stage.homes[5], usual)
    assert not torch.equal(usual, stage.homes[2])


def test_a_hostile_hospital_trains_from_the_model_that_it_received() -> None:
    attack = Trains()
    hostile = sent({1: 0.5}, attack=attack)
    assert bool((attack.shown[0].received == 0.5).all())
    assert torch.equal(attack.shown[0].row(), torch.zeros_like(attack.shown[0].received))
    assert not bool((attack.shown[1].received == 0.5).any())
    honest = sent({1: 0.5})
    pairs = zip(hostile.replies, honest.replies, strict=True)
    assert all(torch.equal(one.row, two.row) for one, two in pairs)


@pytest.mark.parametrize(
    ("threat", "received"),
    [(OWN_THREAT, [-0.5, 0.5]), (ThreatModel(clients=(1, 3), sees=Sees.COLLUDERS), [-0.5])],
)
def test_crafting_goes_by_the_model_that_was_received(
    threat: ThreatModel, received: list[float]
) -> None:
    spy = Spy(Sees.OWN)
    sent({1: -0.5, 3: 0.5}, attack=spy, threat=threat)
    shown = [view.facts.received for view in spy.views]
    assert [float(row[0]) for row in shown if row is not None] == received


@pytest.mark.parametrize("attested", [True, False])
def test_who_knows_the_defense_knows_what_is_done_to_its_rows_at_home(attested: bool) -> None:
    attack: Attack = Knows()
    threat = ThreatModel(clients=(1, 3), knows_defense=True, attested=attested)
    sent({}, attack=attack, threat=threat, pipeline=at_home(Doubles()))
    assert isinstance(attack, Knows)
    rows, answer = attack.answers[0]
    factors = torch.ones(len(rows))
    if attested:
        factors[:2] = torch.tensor([2.0, 3.0])
    assert torch.allclose(answer, (factors[:, None] * rows).mean(dim=0), atol=1e-6)
