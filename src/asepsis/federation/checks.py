"""What does not fit together is refused before anything runs, with what would do."""

from __future__ import annotations

from asepsis.core.contracts import (
    Attack,
    BackdoorAttack,
    ChannelAttack,
    ModelAttack,
    ServerAttack,
    UpdateAttack,
)
from asepsis.core.errors import ConfigError
from asepsis.core.markers import generates
from asepsis.core.samples import Kind
from asepsis.core.threat import Role, Sees
from asepsis.federation.generating.checks import check_generating
from asepsis.federation.observing import tampers
from asepsis.federation.optimizers import FedAvg
from asepsis.federation.parts import Parts, weights_of
from asepsis.federation.private import check_promised
from asepsis.federation.watching import check_observers

TELEMETRY = ("loss",)
"""What every hospital reports besides its update."""


def check_parts(parts: Parts) -> None:
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


def check_threat(parts: Parts) -> None:
    """Refuse a threat model that names nobody, everybody, or no time."""
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


def check_attack_kinds(parts: Parts) -> None:
    """Refuse attacks and probes that do not work on these data."""
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
        weights(weights_of(parts))


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
