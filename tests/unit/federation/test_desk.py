"""What the server has besides the updates, and what hostile hospitals report."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from test_round import parts, played, samples

from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.core.stages import ServerContext
from asepsis.core.threat import Sees, ThreatModel
from asepsis.core.updates import Individual, Screened, State
from asepsis.core.workshop import Workshop
from asepsis.defenses.stack import build_pipeline
from asepsis.federation.build import assemble
from asepsis.federation.desk import root_samples
from asepsis.federation.oracle import Oracle
from asepsis.testing import cohorts

ROOT = (samples(7, 20), "a test")


class Looks:
    """A screen that keeps what it was given."""

    needs: ClassVar[frozenset[str]] = frozenset({"root", "network", "received", "side:loss"})

    def __init__(self) -> None:
        self.seen: list[ServerContext] = []
        self.deliveries: list[Individual] = []

    def init(self, dim: int) -> State:
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        self.seen.append(context)
        self.deliveries.append(delivery)
        return state, Screened(delivery)


def test_the_servers_own_update_is_really_trained_on_root_data() -> None:
    looks = Looks()
    trainer = build("trainer", {"name": "sgd", "steps": 2, "batch_size": 8, "lr": 0.1})
    made = parts(pipeline=cohorts.pipeline(screen=looks), root=ROOT, trainer=trainer)
    federation = played(made, rounds=2)[0]
    context = looks.seen[1]
    assert context.root is not None
    assert context.network is not None
    assert context.received is not None
    row = context.root.update()
    assert torch.equal(row, context.root.update())
    shard = context.root.shard
    before = context.network.losses(context.received, shard).mean()
    after = context.network.losses(context.received + row, shard).mean()
    assert after < before
    other = looks.seen[0].root
    assert other is not None
    assert not torch.equal(row, other.update())  # another round, another model
    assert len(shard) == 20
    assert federation.plan.layout == context.layout


def test_the_network_of_the_desk_is_the_federations_and_cannot_change_it() -> None:
    looks = Looks()
    federation, oracle, state, _ = played(
        parts(pipeline=cohorts.pipeline(screen=looks), root=ROOT), rounds=2
    )
    network = looks.seen[-1].network
    assert network is not None
    assert isinstance(oracle, Oracle)
    kept = federation.plan.layout.flatten(federation.plan.module)
    module = network.at(state.row)
    assert not module.training
    torch.nn.init.zeros_(next(module.parameters()))
    assert torch.equal(kept, federation.plan.layout.flatten(federation.plan.module))
    score = oracle.score(state.row, 1)["balanced_accuracy"]
    made = network.probabilities(state.row, oracle._exam.inputs).numpy()
    assert oracle._task.metrics(made, oracle._exam.targets)["balanced_accuracy"] == score


@pytest.mark.parametrize("missing", ["root"])
def test_a_stage_whose_needs_are_not_met_is_refused(missing: str) -> None:
    with pytest.raises(ConfigError, match=f"needs what the server does not have.*{missing}"):
        assemble(parts(pipeline=cohorts.pipeline(screen=Looks())))


def test_root_data_are_of_validation_patients_and_the_same_for_all_seeds() -> None:
    hospitals = parts().hospitals
    drawn, whose = root_samples(hospitals, 12, None, Streams(3))
    assert len(drawn) == 12
    assert "all hospitals" in whose
    pools = [tuple(map(tuple, h.validation.inputs)) for h in hospitals]
    homes = {i for row in drawn.inputs for i, pool in enumerate(pools) if tuple(row) in pool}
    assert len(homes) > 1
    one, whose = root_samples(hospitals, 100, 2, Streams(3))
    assert len(one) == len(hospitals[2].validation)
    assert whose.endswith("h2")
    again = root_samples(hospitals, 12, None, Streams(3))[0]
    assert np.array_equal(again.inputs, drawn.inputs)
    with pytest.raises(ConfigError, match=r"root\.hospital: no such hospital; got 9"):
        root_samples(hospitals, 12, 9, Streams(3))


def losses(telemetry: str) -> dict[int, float]:
    looks = Looks()
    threat = ThreatModel(clients=(1, 3), telemetry=telemetry)  # type: ignore[arg-type]
    attack = build("attack", "sign-flip")
    stack = cohorts.pipeline(screen=looks)
    played(parts(pipeline=stack, root=ROOT, threat=threat, attack=attack))
    sent = looks.deliveries[0]
    return dict(zip(sent.clients, sent.side["loss"].tolist(), strict=True))


def test_hostile_hospitals_may_report_what_honest_ones_report() -> None:
    own, mimic = losses("own"), losses("mimic")
    honest = [i for i in own if i not in (1, 3)]
    assert {i: own[i] for i in honest} == {i: mimic[i] for i in honest}
    mean = sum(own[i] for i in honest) / len(honest)
    assert (mimic[1], mimic[3]) == pytest.approx((mean, mean))
    assert own[1] != pytest.approx(mean)


def test_who_cannot_see_reports_cannot_mimic_them() -> None:
    threat = ThreatModel(clients=(1, 3), telemetry="mimic", sees=Sees.OWN)
    with pytest.raises(ConfigError, match=r"threat\.telemetry"):
        assemble(parts(threat=threat, attack=build("attack", "sign-flip")))


class Silent:
    """Trains honestly and says nothing of its loss."""

    def train(
        self, state: State, shop: Workshop, rng: np.random.Generator
    ) -> tuple[State, torch.Tensor, dict[str, float]]:
        return state, shop.honest(shop.clean)[0], {}


def test_a_hospital_that_measured_no_loss_reports_a_plausible_one() -> None:
    """No number would give it away at once to whoever watches telemetry."""
    looks = Looks()
    played(parts(pipeline=cohorts.pipeline(screen=looks), root=ROOT, attack=Silent()), rounds=2)
    for sent in looks.deliveries:
        told = dict(zip(sent.clients, sent.side["loss"].tolist(), strict=True))
        honest = [loss for client, loss in told.items() if client not in (1, 3)]
        assert 0.3 * min(honest) < told[1] < 3 * max(honest)


def test_a_noisy_release_proves_what_its_copies_agree_on() -> None:
    stack = build_pipeline([{"name": "crfl", "std": 0.01, "rho": 50.0, "copies": 200}])
    federation, oracle, state, _ = played(parts(pipeline=stack), rounds=5)
    found = oracle.certificates(state)["crfl"]
    assert found["certified"] <= found["smoothed_accuracy"]
    assert found["certified"] > 0.5
    assert found["median_shift"] > 0.0
    assert federation.pipeline.certifying(state.pipeline)[0][0] == "crfl"
    wild = build_pipeline([{"name": "crfl", "std": 100.0, "rho": 0.001, "copies": 200}])
    _, oracle, state, _ = played(parts(pipeline=wild), rounds=2)
    assert oracle.certificates(state)["crfl"]["certified"] < 0.2  # noise drowns the model
    _, oracle, state, _ = played(parts())
    assert oracle.certificates(state) == {}


def test_who_certifies_the_new_model_needs_a_server_that_adds_the_aggregate() -> None:
    for server in ({"name": "fedavg", "lr": 0.1}, "fedadam"):
        made = parts(pipeline=build_pipeline(["crfl"]), server=build("server-optimizer", server))
        with pytest.raises(ConfigError, match=r"federation\.server: crfl bounds and certifies"):
            assemble(made)
