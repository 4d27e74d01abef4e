"""Put a federation together, and refuse what does not fit before anything runs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from asepsis.core.contracts import (
    Attack,
    BackdoorAttack,
    ChannelAttack,
    ModelAttack,
    ModelBuilder,
    PartlyLocal,
    ServerAttack,
    ServerOptimizer,
    Stamps,
    Task,
    Trainer,
    UpdateAttack,
)
from asepsis.core.desk import Network
from asepsis.core.engine import Plan
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.markers import generates
from asepsis.core.rng import Draw, Streams, building_modules
from asepsis.core.samples import DataFacts, Hospital, Kind, Prepare, Samples, Shard
from asepsis.core.stages import Inspector
from asepsis.core.threat import Role, Sees, ThreatModel
from asepsis.defenses.pipeline import Pipeline
from asepsis.federation.desk import RootData
from asepsis.federation.federation import Federation, Schedule, Watch
from asepsis.federation.generating.checks import check_generating
from asepsis.federation.generating.oracle import GenerativeOracle
from asepsis.federation.observing import tampers
from asepsis.federation.optimizers import FedAvg
from asepsis.federation.oracle import Oracle
from asepsis.federation.poisoning import poisoned
from asepsis.federation.private import check_promised
from asepsis.federation.watching import check_fit, check_observers, watched
from asepsis.models.user_check import check_model
from asepsis.models.user_module import UserModule
from asepsis.training.learner import Learner

A = TypeVar("A", bound=Attack)

Scorer = Oracle | GenerativeOracle
TELEMETRY = ("loss",)
"""What every hospital reports besides its update."""


def _on(device: str, prepare: Prepare) -> Prepare:
    """Put prepared tensors on a device."""
    if device == "cpu":
        return prepare

    def moved(samples: Samples) -> Shard:
        shard = prepare(samples)
        return Shard(shard.inputs.to(device), shard.targets.to(device))

    return moved


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """The components of a federation, before they are checked against each other."""

    facts: DataFacts
    hospitals: tuple[Hospital, ...]
    task: Task
    model: ModelBuilder
    trainer: Trainer
    pipeline: Pipeline
    server: ServerOptimizer
    threat: ThreatModel
    attack: Attack | None
    schedule: Schedule
    streams: Streams
    probes: Mapping[str, Stamps] = field(default_factory=dict)
    root: tuple[Samples, str] | None = None
    unseen: Hospital | None = None
    inspectors: Mapping[str, Inspector] = field(default_factory=dict)
    observers: Mapping[str, Watch] = field(default_factory=dict)
    candidates: int = 50
    device: str = "cpu"
    name: str = ""


def assemble(parts: Parts) -> tuple[Federation, Scorer]:
    """Build the federation and the oracle that scores it.

    Raises:
        ConfigError: parts do not fit together; the message names the place and what would do.
        QuorumError: the cohort is too small for a defense.
    """
    parts = fitted(parts)
    check(parts)
    prepare = _on(parts.device, parts.task.fit(_training(parts), parts.facts))
    shards = {(h.id, "clean"): prepare(h.train) for h in parts.hospitals}
    shards |= poisoned(parts, prepare)
    shape = tuple(next(iter(shards.values())).inputs.shape[1:])
    classes = len(parts.facts.classes)
    with building_modules(parts.streams.integer(Draw.MODEL)):
        module = parts.model.build(shape, classes)
    module = module.to(parts.device)
    if any(parameter.dim() == 4 for parameter in module.parameters()):
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    local = parts.model.local if isinstance(parts.model, PartlyLocal) else ()
    layout = Layout.of(module, local)
    if isinstance(parts.model, UserModule):
        check_model(parts.model, parts.task, parts.facts, next(iter(shards.values())))
    for part in (parts.trainer, *parts.pipeline.clients):
        if hasattr(part, "check_model"):
            part.check_model(module, layout)
    plan = Plan(
        module=module,
        layout=layout,
        task=parts.task,
        trainer=parts.trainer,
        seed=parts.streams.seed,
        shards=shards,
        weights=_weights(parts),
        stages=tuple(parts.pipeline.clients),
        network=Network(module, layout, parts.task, shape, classes),
    )
    federation = Federation(
        hospitals=parts.hospitals,
        facts=parts.facts,
        plan=plan,
        prepare=prepare,
        learner=_learner(parts, plan, shape),
        pipeline=parts.pipeline,
        server=parts.server,
        threat=parts.threat,
        attack=parts.attack,
        schedule=parts.schedule,
        streams=parts.streams,
        root=None if parts.root is None else RootData(prepare(parts.root[0]), parts.root[1]),
        unseen=parts.unseen,
        **watched(parts, prepare),
        name=parts.name,
    )
    check_fit(federation)
    if generates(parts.task):
        return federation, GenerativeOracle(federation, prepare, parts.probes)
    backdoors = {k: one for k, one in parts.probes.items() if isinstance(one, BackdoorAttack)}
    return federation, Oracle(federation, prepare, backdoors)


def _weights(parts: Parts) -> dict[int, float]:
    """Return what every hospital claims: its samples, or 1 where the rule weighs all the same."""
    if getattr(parts.pipeline.rule, "unweighted", False):
        return {hospital.id: 1.0 for hospital in parts.hospitals}
    return {hospital.id: float(len(hospital.train)) for hospital in parts.hospitals}


def _learner(parts: Parts, plan: Plan, shape: tuple[int, ...]) -> Learner:
    """Return what anyone can compute; targets that are differentiated are soft, or one image."""
    classes, targets = len(parts.facts.classes), next(iter(plan.shards.values())).targets
    return Learner(
        module=copy.deepcopy(plan.module).train(),
        layout=plan.layout,
        task=parts.task,
        trainer=parts.trainer,
        builder=parts.model,
        kind=parts.facts.kind,
        input_shape=shape,
        target_shape=(1, *targets.shape[2:]) if targets.dim() == 4 else (classes,),
        classes=classes,
    )


def fitted(parts: Parts) -> Parts:
    """Fit what adapts to data (task, attacks), once the threat model is known to make sense."""
    _check_threat(parts)
    _check_attack_kinds(parts)
    fit_task = getattr(parts.task, "fitted", None)
    task = parts.task if fit_task is None else fit_task(_training(parts), parts.facts)
    attack = None if parts.attack is None else _fitted(parts.attack, parts)
    probes = {name: _fitted(probe, parts) for name, probe in parts.probes.items()}
    return replace(parts, task=task, attack=attack, probes=probes)


def _training(parts: Parts) -> list[Samples]:
    return [hospital.train for hospital in parts.hospitals]


def _fitted(attack: A, parts: Parts) -> A:
    """Let an attack that adapts its trigger to data look at its first hospital's own samples."""
    fit = getattr(attack, "fitted", None)
    if fit is None or not parts.threat.clients:
        return attack
    own = next(h for h in parts.hospitals if h.id == parts.threat.clients[0])
    made: A = fit(own.train, parts.facts)
    return made


def check(parts: Parts) -> None:
    """Refuse parts that do not fit together."""
    _check_kinds(parts)
    check_generating(parts)
    _check_attack(parts)
    _check_cohort(parts)
    _check_desk(parts)
    _check_inspectors(parts)
    check_observers(parts)


def _check_kinds(parts: Parts) -> None:
    kind, classes = parts.facts.kind, parts.facts.classes
    if len(classes) == 1:
        raise ConfigError(
            "there is nothing to tell apart: all samples are of one class",
            place="dataset",
            got=f"{len(classes)} class",
            fix="bring samples of two classes at least, or name another target",
        )
    for place, part in (("task", parts.task), ("model", parts.model)):
        if kind not in part.kinds:
            raise ConfigError(
                f"this {place} does not take data of kind '{kind}'",
                place=place,
                got=type(part).__name__,
                fix=f"it takes {', '.join(sorted(part.kinds))}; leave it out for one that fits",
            )


def _check_threat(parts: Parts) -> None:
    threat, total = parts.threat, len(parts.hospitals)
    unknown = [i for i in threat.clients if not 0 <= i < total]
    if unknown:
        raise ConfigError(
            "no such hospital",
            place="threat.hostile",
            got=unknown,
            fix=f"hospitals are numbered 0 to {total - 1}",
        )
    if len(threat.clients) >= max(total, 2):  # one hospital alone is centralized training
        raise ConfigError(
            "at least one hospital must be honest",
            place="threat.hostile",
            got=len(threat.clients),
            fix=f"use at most {total - 1} of {total}",
        )
    hospitals_attack = not (
        parts.attack is None or isinstance(parts.attack, ServerAttack | ModelAttack | ChannelAttack)
    )
    if hospitals_attack and not threat.clients:
        raise ConfigError(
            "an attack by hospitals needs hostile hospitals",
            place="threat.hostile",
            got=0,
            fix="use at least 1",
        )
    if parts.attack is not None and threat.starts_at >= parts.schedule.rounds:
        raise ConfigError(
            "the attack would start after the last round",
            place="threat.starts_at",
            got=threat.starts_at,
            fix=f"use 0 to {parts.schedule.rounds - 1}",
        )


def _check_attack_kinds(parts: Parts) -> None:
    attacks: dict[str, Attack] = {f"probes.{name}": probe for name, probe in parts.probes.items()}
    if parts.attack is not None:
        attacks["attack"] = parts.attack
    for place, attack in attacks.items():
        kinds = getattr(attack, "kinds", frozenset(Kind))
        if parts.facts.kind not in kinds:
            raise ConfigError(
                f"the attack does not work on data of kind '{parts.facts.kind}'",
                place=place,
                got=type(attack).__name__,
                fix=f"it works on: {', '.join(sorted(kinds))}",
            )


def _check_attack(parts: Parts) -> None:
    attack, threat = parts.attack, parts.threat
    if attack is None:
        return
    if isinstance(attack, UpdateAttack) and not threat.sees.grants(attack.sees):
        raise ConfigError(
            "the attack needs to see more than the threat model grants",
            place="threat.sees",
            got=str(threat.sees),
            fix=f'this attack needs sees = "{attack.sees}"',
        )
    if getattr(attack, "needs_rule", False) and not threat.knows_defense:
        raise ConfigError(
            "the attack adapts to the defense in use, which the threat model does not grant",
            place="threat.knows_defense",
            got=False,
            fix="set knows_defense = true",
        )
    needed = getattr(attack, "rounds_needed", 1)
    if threat.rounds is not None and threat.rounds < needed:
        raise ConfigError(
            "the attack would do nothing in so few rounds",
            place="threat.rounds",
            got=threat.rounds,
            fix=f"it needs at least {needed}",
        )
    classes = parts.facts.classes
    if isinstance(attack, BackdoorAttack) and not 0 <= attack.target < len(classes):
        raise ConfigError(
            "no such class",
            place="attack.target",
            got=attack.target,
            fix=f"classes are numbered 0 to {len(classes) - 1}: {', '.join(classes)}",
        )
    _check_role(attack, threat.role)
    if isinstance(attack, ChannelAttack):
        _check_wire(parts)


def _check_role(attack: Attack, role: Role) -> None:
    fitting = [Role.CLIENT]
    if isinstance(attack, ChannelAttack):
        fitting = [Role.INTERCEPTOR]
    elif isinstance(attack, ServerAttack | ModelAttack):
        fitting = [Role.SERVER] if tampers(attack) else [Role.SERVER, Role.EAVESDROPPER]
    if role not in fitting:
        article = "an" if fitting[0] is Role.INTERCEPTOR else "a"
        raise ConfigError(
            f"this attack is made by {article} {fitting[0]}",
            place="threat.role",
            got=str(role),
            fix=f'use role = "{fitting[0]}", or leave it out',
        )


def _check_wire(parts: Parts) -> None:
    """Refuse an interceptor where no message can be touched, or beside hospitals that wait."""
    transport = parts.pipeline.transport
    if not getattr(transport, "tapped", False):
        why = "it is ideal, and has none" if transport.ideal else "its messages are not played"
        raise ConfigError(
            f"an interceptor touches messages, and {parts.pipeline.name_of(transport)} has none "
            f"that it could: {why}",
            place="defenses",
            got=type(transport).__name__,
            fix='use "plain", "signed" or "secure-aggregation"',
        )
    if parts.threat.clients:
        raise ConfigError(
            "an interceptor is no hospital, and hostile hospitals would have nothing to do",
            place="threat.hostile",
            got=len(parts.threat.clients),
            fix="use 0",
        )


def _check_cohort(parts: Parts) -> None:
    size = max(1, round(parts.schedule.participation * len(parts.hospitals)))
    parts.pipeline.check_cohort(size)
    colluders = getattr(parts.pipeline.transport, "check_colluders", None)
    if colluders is not None and parts.threat.role is Role.SERVER:
        colluders(size, len(parts.threat.clients))
    check_promised(parts, size)
    weights = getattr(parts.pipeline.transport, "check_weights", None)
    if weights is not None:
        weights(_weights(parts))


def _check_server(parts: Parts) -> None:
    """A release that bounds the new model itself says nothing where the server steps otherwise."""
    bounding = [item for item in parts.pipeline.releases if getattr(item, "bounds_model", False)]
    plain = isinstance(parts.server, FedAvg) and parts.server.lr == 1
    if bounding and parts.schedule.ema > 0:
        raise ConfigError(
            f"{parts.pipeline.name_of(bounding[0])} bounds and certifies the new model, not an "
            "average of models",
            place="federation.ema",
            got=parts.schedule.ema,
            fix="use 0",
        )
    if bounding and not plain:
        raise ConfigError(
            f"{parts.pipeline.name_of(bounding[0])} bounds and certifies the new model, so the "
            "server must add the aggregate as it is",
            place="federation.server",
            got=parts.server,
            fix='use "fedavg" with lr = 1',
        )


def _check_desk(parts: Parts) -> None:
    silent = any(getattr(stage, "silent", False) for stage in parts.pipeline.clients)
    reported = () if silent else getattr(parts.trainer, "telemetry", TELEMETRY)
    offered = {"received", "layout", *(f"side:{name}" for name in reported)}
    if not generates(parts.task):  # what a critic says of samples, and trains, stays at hospitals
        offered |= {"head", "network"} | ({"root"} if parts.root else set())
    parts.pipeline.check_needs(frozenset(offered))
    _check_server(parts)
    if parts.threat.telemetry == "mimic" and not parts.threat.sees.grants(Sees.OMNISCIENT):
        raise ConfigError(
            "to report what honest hospitals report, one must see it",
            place="threat.telemetry",
            got=f'"mimic" with sees = "{parts.threat.sees}"',
            fix='set sees = "omniscient", or telemetry = "own"',
        )


def _check_inspectors(parts: Parts) -> None:
    kind = parts.facts.kind
    for name, inspector in parts.inspectors.items():
        if kind not in inspector.kinds:
            raise ConfigError(
                f"this inspector does not look at data of kind '{kind}'",
                place="inspect",
                got=name,
                fix=f"it looks at {', '.join(sorted(inspector.kinds))}",
            )
        installed = getattr(inspector, "check", None)
        if installed is not None:
            installed()
