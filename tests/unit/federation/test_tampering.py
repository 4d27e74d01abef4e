"""A server that changes what it sends is the run's one attack, and what it sends is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from test_round import parts, played
from torch import Tensor

from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.samples import Kind
from asepsis.core.threat import BroadcastView, Evidence, Role, ServerView, ThreatModel, When
from asepsis.core.updates import State
from asepsis.federation.build import assemble
from asepsis.federation.federation import Watch
from asepsis.testing.observers import check_observer

SERVER = ThreatModel(role=Role.SERVER)


@dataclass
class Sends:
    """Sends hospital 2 something else, and remembers what everybody was told."""

    row: Any = 0.5
    told: dict[int, Tensor] | None = None
    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    def tamper(
        self, state: State, view: BroadcastView, rng: np.random.Generator
    ) -> tuple[State, Mapping[int, Tensor]]:
        row = torch.full_like(view.sent, self.row) if isinstance(self.row, float) else self.row
        return state, {2: row}

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        self.told = dict(view.told)
        return state, None


def watch(attack: str | dict[str, Any]) -> dict[str, Watch]:
    return {"watcher": Watch(build("attack", attack), When())}


@pytest.mark.parametrize(
    "attack",
    ["robbing-the-fed", "model-inconsistency", {"name": "cohort-difference", "replay": True}],
)
def test_who_changes_the_run_does_not_only_watch(attack: Any) -> None:
    with pytest.raises(ConfigError, match=r"^observe: .*'watcher'.*attack = "):
        assemble(parts(observers=watch(attack)))


def test_who_tampers_with_some_options_only_may_watch_with_others() -> None:
    federation, *_ = played(parts(observers=watch("cohort-difference")))
    assert list(federation.observers) == ["watcher"]


def test_others_watch_beside_a_server_that_tampers() -> None:
    attack = Sends()
    observers = watch("label-leakage")
    federation, _, state, outcome = played(
        parts(attack=attack, threat=SERVER, observers=observers, candidates=2)
    )
    assert attack.told is not None
    assert set(attack.told) == {2}
    assert [seen.by for seen in outcome.seen] == ["watcher"]
    assert torch.equal(state.row, federation.begin().row)
    assert "tampered" in str(outcome.void)


def test_an_eavesdropper_does_not_send() -> None:
    threat = ThreatModel(role=Role.EAVESDROPPER)
    with pytest.raises(ConfigError, match=r'threat\.role: .*role = "server"'):
        assemble(parts(attack=Sends(), threat=threat))
    attack = build("attack", "cohort-difference")
    assemble(parts(attack=attack, threat=threat))


@pytest.mark.parametrize("row", [torch.zeros(3), torch.zeros(1, 12), float("nan"), [0.0] * 12])
def test_a_server_must_send_models(row: Any) -> None:
    with pytest.raises(ConfigError, match=r"attack Sends: .*hospital 2"):
        played(parts(attack=Sends(row), threat=SERVER))


def test_colluders_belong_to_the_server() -> None:
    observers = watch("colluding-server")
    with pytest.raises(ConfigError, match=r'threat\.role: .*role = "server"'):
        assemble(parts(observers=observers, threat=ThreatModel(clients=(1, 3))))
    assemble(parts(observers=observers, threat=ThreatModel(clients=(1, 3), role=Role.SERVER)))
    assemble(parts(observers=observers, threat=ThreatModel()))


@pytest.mark.parametrize(
    ("row", "broken"), [(float("nan"), "finite models"), (torch.zeros(3), "finite models")]
)
def test_the_public_check_looks_at_what_a_server_sends(row: Any, broken: str) -> None:
    check_observer(Sends())
    with pytest.raises(AssertionError, match=broken):
        check_observer(Sends(row))
