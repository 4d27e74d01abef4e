"""The audit passes what is right, and catches every way of being wrong that we know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asepsis.core.contracts import Task
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.registry import build, register, unregister
from asepsis.core.samples import Kind, Shard
from asepsis.core.stages import Home, ServerContext
from asepsis.core.updates import Aggregate, Delivery, State
from asepsis.defenses.aggregate.dp_mean import DpMean
from asepsis.defenses.client.bound import WITHIN
from asepsis.defenses.client.clip import ClientClip
from asepsis.defenses.client.noise import ClientNoise
from asepsis.defenses.pipeline import Named, Pipeline
from asepsis.defenses.stack import build_pipeline
from asepsis.defenses.transport.plain import Plain
from asepsis.defenses.transport.secure_sum import SecureSum
from asepsis.experiments.dp_audit import Audit, audit, verdict_of
from asepsis.experiments.resolve import resolve
from asepsis.experiments.spec import Experiment, parse
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation
from asepsis.federation.parts import Parts
from asepsis.training.dp_sgd import DpSgd


class Normalized:
    """A network with BatchNorm and a 0-dim parameter."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.TABLE})

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(input_shape[0], 4), nn.BatchNorm1d(4), Gain(), nn.Linear(4, classes)
        )


class Gain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


@lru_cache
def plain_parts(rounds: int = 3) -> Parts:
    table = {
        "dataset": "breast-cancer",
        "federation": {"hospitals": 4, "rounds": rounds},
        "trainer": {"name": "sgd", "steps": 2},
    }
    return resolve(parse(Experiment, table, ""))[0]


def federation(rounds: int = 3, **changes: Any) -> Federation:
    return assemble(replace(plain_parts(rounds), **changes))[0]


def stack(rule: DpMean, transport: Any = None, clip: Any = None) -> Pipeline:
    """A stack of stages that need not be registered."""
    first, channel = clip or ClientClip(silent=True), transport or Plain()
    rooms = {"client": first, "transport": channel, "aggregator": rule}
    named = tuple(Named(type(stage).__name__, room, stage) for room, stage in rooms.items())
    return Pipeline(clients=(first,), transport=channel, rule=rule, names=named)


def one(made: Federation, trials: int = 40, canaries: int = 20) -> Audit:
    (found,) = audit(made, trials=trials, canaries=canaries)
    return found


class BareBuffers(DpMean):
    """Noise on parameters alone."""

    def apply(
        self, state: State, delivery: Delivery, context: ServerContext
    ) -> tuple[State, Aggregate]:
        quiet = DpMean(noise_multiplier=0.0, bound=self.bound, quantile=None)
        after, made = super().apply(state, delivery, context)
        bare = quiet.apply(state, delivery, context)[1].delta
        assert context.parameters is not None
        delta = torch.cat([made.delta[: context.parameters], bare[context.parameters :]])
        return after, replace(made, delta=delta)


class BareScalar(DpMean):
    """No noise on the 0-dim parameter."""

    def apply(
        self, state: State, delivery: Delivery, context: ServerContext
    ) -> tuple[State, Aggregate]:
        quiet = DpMean(noise_multiplier=0.0, bound=self.bound, quantile=None)
        after, made = super().apply(state, delivery, context)
        assert context.layout is not None
        where = next(slot.where for slot in context.layout.slots if slot.name == "2.by")
        delta = made.delta.clone()
        delta[where] = quiet.apply(state, delivery, context)[1].delta[where]
        return after, replace(made, delta=delta)


class Quiet(DpMean):
    """A tenth of the noise."""

    def split(self, expected: float) -> tuple[float, float]:
        on_sum, on_count = super().split(expected)
        return on_sum / 10, on_count / 10


class BareCount(DpMean):
    """An exact count of who was within the bound, which moves the next bound."""

    def split(self, expected: float) -> tuple[float, float]:
        return super().split(expected)[0], 0.0


class SaysItClips:
    """Clips nothing, and reports as if it did."""

    silent = True
    reports: ClassVar[frozenset[str]] = frozenset({WITHIN})

    def protect(
        self, row: Tensor, home: Home, rng: np.random.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        return row, {WITHIN: 1.0}


class Talks(ClientNoise):
    """Noises the row and lets the exact training loss pass."""

    silent: ClassVar[bool] = False


class TellsLoss(DpSgd):
    def train(
        self,
        module: nn.Module,
        layout: Layout,
        received: Tensor,
        shard: Shard,
        task: Task,
        rng: np.random.Generator,
        work: float,
    ) -> tuple[Tensor, Mapping[str, float]]:
        row, _ = super().train(module, layout, received, shard, task, rng, work)
        layout.load(module, received)
        with torch.no_grad():
            loss = float(task.loss(module(shard.inputs), shard.targets).mean())
        return row, {"loss": loss}


class QuietSgd(DpSgd):
    def _gradients(self, module: nn.Module, *given: Any) -> list[Tensor]:
        honest = DpSgd(**{**_options(self), "noise_multiplier": self.noise_multiplier / 10})
        return honest._gradients(module, *given)


class UnclippedSgd(DpSgd):
    def _gradients(self, module: nn.Module, *given: Any) -> list[Tensor]:
        wide = {"clip": 1e6, "noise_multiplier": self.noise_multiplier * self.clip / 1e6}
        return DpSgd(**{**_options(self), **wide})._gradients(module, *given)


def _options(trainer: DpSgd) -> dict[str, Any]:
    return {field.name: getattr(trainer, field.name) for field in fields(trainer)}


NOISY: dict[str, Any] = {"noise_multiplier": 3.0, "bound": 0.5}


@pytest.mark.parametrize("transport", [Plain(), SecureSum()], ids=["plain", "secure-sum"])
@pytest.mark.parametrize("model", [None, Normalized()], ids=["mlp", "buffers"])
def test_central_noise_done_right_passes(transport: Any, model: Any) -> None:
    changes = {} if model is None else {"model": model}
    found = one(federation(pipeline=stack(DpMean(**NOISY), transport), **changes))
    assert found.structure.findings == ()
    assert found.verdict in ("not refuted", "inconclusive")
    assert found.structure.multiplier >= 3.0 * 0.9
    assert found.bound.epsilon <= found.claim.epsilon
    assert "announced clip_bound" in found.structure.parts


@pytest.mark.parametrize("parties", [1, 4])
def test_noise_at_home_done_right_passes(parties: int) -> None:
    stage = {"name": "client-noise", "noise_multiplier": 6.0, "parties": parties}
    alike = {"name": "secure-sum", "weighted": False}
    transport: list[Any] = [alike] if parties > 1 else []
    changes: dict[str, Any] = {"model": Normalized()}
    found = one(federation(pipeline=build_pipeline([stage, *transport]), **changes))
    assert found.structure.findings == ()
    assert found.claim.noise_multiplier == 3.0
    assert found.structure.multiplier == pytest.approx(3.0, rel=0.15)


def test_noise_on_records_done_right_passes() -> None:
    trainer = DpSgd(steps=2, batch_size=16, noise_multiplier=4.0, lr=0.5)
    found = one(federation(trainer=trainer, model=build("model", "mlp")))
    assert found.structure.findings == ()
    assert found.structure.multiplier == pytest.approx(4.0, rel=0.15)
    assert found.verdict != "fails"


@pytest.mark.parametrize(
    ("rule", "clip", "transport", "problem"),
    [
        (BareBuffers, None, Plain(), "buffer 1.running_mean"),
        (BareScalar, None, Plain(), "parameter 2.by"),
        (BareCount, None, Plain(), "announced clip_bound"),
        (Quiet, None, Plain(), "all parts together"),
        (DpMean, SaysItClips(), SecureSum(), "all parts together"),
    ],
)
def test_a_broken_server_is_caught(
    rule: type[DpMean], clip: Any, transport: Any, problem: str
) -> None:
    made = federation(pipeline=stack(rule(**NOISY), transport, clip), model=Normalized())
    found = one(made)
    assert found.verdict == "fails"
    assert problem in {finding.part for finding in found.structure.findings}


@pytest.mark.parametrize(
    ("trainer", "problem"),
    [
        (TellsLoss, "telemetry loss"),
        (QuietSgd, "all parts together"),
        (UnclippedSgd, "all parts together"),
    ],
)
def test_a_broken_trainer_is_caught(trainer: type[DpSgd], problem: str) -> None:
    made = trainer(steps=2, batch_size=16, noise_multiplier=4.0)
    found = one(federation(trainer=made, model=build("model", "mlp")))
    assert found.verdict == "fails"
    assert problem in {finding.part for finding in found.structure.findings}


class Peeks:
    """Adds to a row what it reads in the hospital's own records."""

    def protect(
        self, row: Tensor, home: Home, rng: np.random.Generator
    ) -> tuple[Tensor, Mapping[str, float]]:
        return row + home.shard.targets.double().mean().to(row.dtype), {}


def test_a_stage_that_looks_at_records_behind_a_trainer_that_hides_them_is_caught() -> None:
    trainer = DpSgd(steps=2, batch_size=16, noise_multiplier=4.0, lr=1e-5)
    first = Peeks()
    named = Named("peeks", "client", first)
    plain = build_pipeline(["mean"])
    stages = replace(plain, clients=(first,), names=(named, *plain.names))
    made = federation(trainer=trainer, model=build("model", "mlp"), pipeline=stages)
    found = one(made)
    assert "all parts together" in {finding.part for finding in found.structure.findings}


def test_exact_telemetry_beside_a_noised_row_is_caught() -> None:
    made = register("client", "talks")(Talks)
    try:
        found = one(federation(pipeline=build_pipeline([made(noise_multiplier=6.0), "mean"])))
    finally:
        unregister("client", "talks")
    assert "telemetry loss" in {finding.part for finding in found.structure.findings}
    assert found.verdict == "fails"


def test_canary_hospitals_alone_prove_that_noise_is_missing() -> None:
    """Broken noise is caught twice: by its width, and by what canaries prove."""
    how: dict[str, Any] = {"noise_multiplier": 4.0, "bound": 0.5}
    found = one(federation(1, pipeline=stack(Quiet(**how))), trials=400)
    assert found.bound.epsilon > found.claim.epsilon > 0
    right = one(federation(1, pipeline=stack(DpMean(**how))), trials=400)
    assert right.bound.epsilon <= right.claim.epsilon < right.bound.largest


def test_canary_records_alone_prove_that_noise_is_missing() -> None:
    how: dict[str, Any] = {"steps": 8, "batch_size": 60, "noise_multiplier": 12.0, "lr": 0.01}
    model = build("model", {"name": "mlp", "hidden": [96, 48]})
    quiet = one(federation(3, trainer=QuietSgd(**how), model=model), canaries=120)
    assert quiet.bound.epsilon > quiet.claim.epsilon
    right = one(federation(3, trainer=DpSgd(**how), model=model), canaries=120)
    assert right.bound.epsilon <= right.claim.epsilon


def test_an_audit_says_what_it_could_have_found_and_is_inconclusive_at_zero() -> None:
    found = one(federation(pipeline=stack(DpMean(noise_multiplier=50.0))), trials=60)
    assert found.bound.epsilon == 0
    assert found.verdict == "inconclusive"
    text = "\n".join(found.lines())
    assert "0 (inconclusive), with confidence 0.95" in text
    assert f"the most they could have found: {found.bound.largest:.3f}" in text
    assert "60 (repeated trials" in text
    assert found.record()["bound"]["canaries"] == 60


def test_the_same_seed_gives_the_same_audit() -> None:
    made = federation(pipeline=stack(DpMean(noise_multiplier=1.0)))
    first, second = one(made), one(made)
    assert first == second


def test_another_seed_is_another_audit_of_structure_too() -> None:
    made = federation(pipeline=stack(DpMean(noise_multiplier=1.0)))
    widths = {audit(made, trials=8, seed=seed)[0].structure.multiplier for seed in (0, 1)}
    records = federation(trainer=DpSgd(steps=2, batch_size=16, noise_multiplier=4.0))
    alike = {audit(records, canaries=10, seed=seed)[0].structure.multiplier for seed in (0, 1)}
    assert len(widths) == len(alike) == 2


def test_the_worst_verdict_counts() -> None:
    right = one(federation(pipeline=stack(DpMean(noise_multiplier=50.0))))
    wrong = replace(right, bound=replace(right.bound, epsilon=99.0))
    assert verdict_of([right, wrong]) == "fails"
    assert verdict_of([right]) == "inconclusive"


def test_nothing_promised_is_nothing_to_audit() -> None:
    with pytest.raises(ConfigError, match="promises no differential privacy"):
        audit(federation())
