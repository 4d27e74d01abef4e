"""Put a federation together, and refuse what does not fit before anything runs."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TypeVar

import torch

from asepsis.core.contracts import (
    Attack,
    BackdoorAttack,
    PartlyLocal,
)
from asepsis.core.desk import Network
from asepsis.core.engine import Plan
from asepsis.core.layout import Layout
from asepsis.core.markers import generates
from asepsis.core.rng import Draw, building_modules
from asepsis.core.samples import Prepare, Samples, Shard
from asepsis.federation.checks import check_attack_kinds, check_parts, check_threat
from asepsis.federation.desk import RootData
from asepsis.federation.federation import Federation
from asepsis.federation.generating.oracle import GenerativeOracle
from asepsis.federation.oracle import Oracle
from asepsis.federation.parts import Parts, weights_of
from asepsis.federation.poisoning import poisoned
from asepsis.federation.watching import check_fit, watched
from asepsis.models.user_check import check_model
from asepsis.models.user_module import UserModule
from asepsis.training.learner import Learner

A = TypeVar("A", bound=Attack)

Scorer = Oracle | GenerativeOracle


def _on(device: str, prepare: Prepare) -> Prepare:
    """Put prepared tensors on a device."""
    if device == "cpu":
        return prepare

    def moved(samples: Samples) -> Shard:
        shard = prepare(samples)
        return Shard(shard.inputs.to(device), shard.targets.to(device))

    return moved


def assemble(parts: Parts) -> tuple[Federation, Scorer]:
    """Build the federation and the oracle that scores it.

    Raises:
        ConfigError: parts do not fit together; the message names the place and what would do.
        QuorumError: the cohort is too small for a defense.
    """
    parts = fitted(parts)
    check_parts(parts)
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
        weights=weights_of(parts),
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
    check_threat(parts)
    check_attack_kinds(parts)
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
