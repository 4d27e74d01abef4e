"""From a specification to the parts of a federation: every default made visible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any, NamedTuple, cast

from asepsis.core.contracts import (
    Attack,
    BackdoorAttack,
    ChannelAttack,
    ModelAttack,
    ModelBuilder,
    ServerAttack,
    Task,
)
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build, lookup, options_of
from asepsis.core.rng import Streams
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples
from asepsis.core.stages import Inspector
from asepsis.core.threat import Role, Sees, ThreatModel, When
from asepsis.data.federate import federate, federate_without
from asepsis.data.guarded import load_guarded
from asepsis.data.tuning import for_tuning
from asepsis.defenses.stack import build_pipeline
from asepsis.experiments.naming import label_of, watcher_label
from asepsis.experiments.spec import (
    UNSHARED,
    WATCHING,
    Component,
    Experiment,
    Sight,
    WatchSpec,
    digest,
    parse,
)
from asepsis.federation.desk import root_samples
from asepsis.federation.federation import Schedule, Watch, hostile_hospitals
from asepsis.federation.parts import Parts

TASKS = {
    Kind.IMAGE: "classification",
    Kind.VOLUME: "classification",
    Kind.TABLE: "tabular",
    Kind.SEQUENCE: "sequence",
    Kind.MULTILABEL_IMAGE: "multilabel",
    Kind.PAIRED_IMAGE: "translation",
}


class _Key(dict[str, Any]):
    """A component's specification that a cache can key on."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(digest(self))


class Divided(NamedTuple):
    """A data set's hospitals, the one that takes no part, and the hash of data and splits."""

    facts: DataFacts
    hospitals: tuple[Hospital, ...]
    unseen: Hospital | None
    digest: str


@lru_cache(maxsize=4)
def _divided(
    dataset: _Key, partition: _Key, hospitals: int | None, unseen: str | int | None, seed: int
) -> Divided:
    loaded = load_guarded(build("dataset", dataset, "dataset"))
    how = build("partition", partition, "partition")
    apart = None
    if unseen is None:
        made = federate(loaded, how, hospitals, Streams(seed))
    else:
        made, apart = federate_without(loaded, how, hospitals, Streams(seed), unseen)
    every = made if apart is None else (*made, apart)
    fingerprint = {
        "data": loaded.digest(),
        "splits": [[part.ids.tolist() for part in (h.train, h.validation, h.test)] for h in every],
    }
    return Divided(loaded.facts, made, apart, digest(fingerprint))


def divided(spec: Experiment) -> Divided:
    """Load the data and split it."""
    seed = spec.seed if spec.partition_seed is None else spec.partition_seed
    wanted = spec.federation.hospitals
    count = None if wanted == "all" else wanted
    unseen = spec.federation.unseen
    made = _divided(_Key(spec.dataset), _Key(spec.partition), count, unseen, seed)
    if spec.evaluation.on == "test":
        return made
    return made._replace(hospitals=for_tuning(made.hospitals, Streams(seed)), unseen=None)


def hospitals_of(spec: Experiment) -> tuple[DataFacts, tuple[Hospital, ...], str]:
    """Return the hospitals that take part; the hash names data and splits."""
    found = divided(spec)
    return found.facts, found.hospitals, found.digest


def resolve(spec: Experiment) -> tuple[Parts, dict[str, Any]]:
    """Build every component of an experiment.

    Returns:
        The parts, and the resolved specification for the record.

    Raises:
        ConfigError: something is unknown, out of range, or does not fit.
        DataError: the data cannot be had.
    """
    facts, hospitals, unseen, data_digest = divided(spec)
    task = cast(Task, build("task", spec.task or _task_for(facts.kind), "task"))
    model = cast(ModelBuilder, build("model", spec.model or task.model, "model"))
    trainer = build("trainer", spec.trainer, "trainer")
    server = build("server-optimizer", spec.federation.server, "federation.server")
    attack = None if spec.attack is None else cast(Attack, build("attack", spec.attack, "attack"))
    probes = {
        name: cast(BackdoorAttack, build("attack", probe, f"probes.{name}"))
        for name, probe in spec.probes.items()
    }
    streams = Streams(spec.seed)
    pipeline = build_pipeline(spec.defenses, "defenses")
    threat = threat_of(spec, attack, len(hospitals), streams)
    parts = Parts(
        facts=facts,
        hospitals=hospitals,
        task=task,
        model=model,
        trainer=trainer,
        pipeline=pipeline,
        server=server,
        threat=threat,
        attack=attack,
        probes=probes,
        schedule=schedule_of(spec),
        streams=streams,
        inspectors=inspectors_of(spec),
        observers=observers_of(spec),
        candidates=spec.candidates.members,
        unseen=unseen,
        root=_root(spec, hospitals) if spec.inspect or "root" in pipeline.needs else None,
    )
    return parts, _told(spec, parts, data_digest)


def brought(spec: Experiment) -> str:
    """Return the digest of a network that the user brought, nothing for one of the shelf."""
    if spec.model is None or spec.model["name"] != "module":
        return ""
    return str(build("model", spec.model, "model").source)


def inspectors_of(spec: Experiment) -> dict[str, Inspector]:
    """Build the inspectors by name, with the options that were given.

    Raises:
        ConfigError: unknown, wrong options, or the same one twice.
    """
    named: dict[str, Inspector] = {}
    for i, asked in enumerate(spec.inspect):
        label, place = label_of(asked, options=True), f"inspect[{i}]"
        if label in named:
            raise ConfigError("the same inspector twice", place=place, got=label)
        named[label] = build("inspect", asked, place)
    return named


def observers_of(spec: Experiment) -> dict[str, Watch]:
    """Build whoever watches by name.

    Raises:
        ConfigError: unknown, wrong options, no observer, or the same one twice.
    """
    named: dict[str, Watch] = {}
    for i, asked in enumerate(spec.observe):
        place = f"observe[{i}]"
        plain, given, sees = observer_spec(asked, place)
        label, made = watcher_label(asked), build("attack", plain, place)
        if label in named:
            raise ConfigError("the same observer twice", place=place, got=label)
        if not isinstance(made, ServerAttack | ModelAttack):
            raise ConfigError(
                "this attack does not watch: it acts",
                place=place,
                got=label,
                fix="write it as attack = ..., with hostile hospitals",
            )
        named[label] = Watch(made, when_of(made, given, spec, f"{place}.when"), sees)
    return named


def when_of(
    observer: ServerAttack | ModelAttack, given: When | None, spec: Experiment, place: str
) -> When:
    """Return in which rounds an observer looks: when it was told to, or as it usually does.

    Raises:
        ConfigError: it would never look, or it is told when although it looks once, at the end.
    """
    if given is None:
        return getattr(observer, "usual", When())
    if isinstance(observer, ModelAttack):
        raise ConfigError(
            "this observer looks at the finished model, once: it has no rounds to choose",
            place=place,
            got=type(observer).__name__,
            fix="leave when out",
        )
    if given.starts_at >= spec.federation.rounds:
        raise ConfigError(
            "the observer would start to look after the last round",
            place=f"{place}.starts_at",
            got=given.starts_at,
            fix=f"use 0 to {spec.federation.rounds - 1}",
        )
    return given


def observer_spec(asked: Component, place: str) -> tuple[Component, When | None, Sight]:
    """Return an observer's component, in which rounds it is to look, and what it sees.

    Raises:
        ConfigError: its ``when`` or ``sees`` is wrong.
    """
    plain = {key: value for key, value in asked.items() if key not in WATCHING}
    given: WatchSpec = parse(WatchSpec, {k: asked[k] for k in WATCHING if k in asked}, place)
    when = None if given.when is None else When(**given.when.model_dump())
    return plain, when, given.sees


def _root(spec: Experiment, hospitals: tuple[Hospital, ...]) -> tuple[Samples, str]:
    seed = spec.seed if spec.partition_seed is None else spec.partition_seed
    hospital = None if spec.root.hospital == "all" else spec.root.hospital
    return root_samples(hospitals, spec.root.samples, hospital, Streams(seed))


def _told(spec: Experiment, parts: Parts, data: str) -> dict[str, Any]:
    """Return what the record says of an experiment as it was built, defaults included."""
    facts, task = parts.facts, parts.task
    named: Mapping[str, tuple[Component | str, object]] = {
        "dataset": (spec.dataset, build("dataset", spec.dataset, "dataset")),
        "partition": (spec.partition, build("partition", spec.partition, "partition")),
        "task": (spec.task or _task_for(facts.kind), task),
        "model": (spec.model or task.model, parts.model),
        "trainer": (spec.trainer, parts.trainer),
        "server": (spec.federation.server, parts.server),
        "attack": (spec.attack or "none", parts.attack),
    }
    components = {
        place: {"name": asked if isinstance(asked, str) else asked["name"], **options_of(made)}
        for place, (asked, made) in named.items()
    }
    left_out = {*UNSHARED, *named}
    asked = spec.model_dump(mode="json", exclude=left_out)
    shared = {place: options for place, options in components.items() if place != "attack"}
    hospitals = parts.hospitals
    return {
        "components": components,
        "defenses": parts.pipeline.describe(),
        **({"inspect": _inspectors_told(spec, parts)} if spec.inspect else {}),
        **({"observe": _observers_told(parts)} if parts.observers else {}),
        "role": str(parts.threat.role),
        "hostile": list(parts.threat.clients),
        "unusual": unusual_in(components["partition"]),
        **({"root": {"samples": len(parts.root[0]), "whose": parts.root[1]}} if parts.root else {}),
        "hospitals": [hospital.name for hospital in hospitals],
        **_apart_told(parts.unseen),
        "classes": list(facts.classes),
        **({"unit": facts.unit} if facts.kind is Kind.PAIRED_IMAGE else {}),
        "primary": task.primary,
        "public": public(spec),
        "samples": [[len(part) for part in (h.train, h.validation, h.test)] for h in hospitals],
        "data": data,
        "protocol": digest({"spec": asked, "components": shared, "data": data}),
    }


def _apart_told(unseen: Hospital | None) -> dict[str, Any]:
    if unseen is None:
        return {}
    return {"unseen": {"hospital": unseen.name, "samples": len(unseen.test)}}


def _inspectors_told(spec: Experiment, parts: Parts) -> list[dict[str, Any]]:
    built = zip(spec.inspect, parts.inspectors.values(), strict=True)
    return [{"name": asked["name"], **options_of(made)} for asked, made in built]


def _observers_told(parts: Parts) -> list[dict[str, Any]]:
    return [
        {"name": name, **options_of(watch.attack), "sees": watch.sees, "when": asdict(watch.when)}
        for name, watch in parts.observers.items()
    ]


def unusual_in(partition: Mapping[str, Any]) -> list[int]:
    """Return the hospitals that are honest but unusual on purpose."""
    return sorted({int(one["hospital"]) for one in partition.get("unusual", ())})


def public(spec: Experiment) -> bool:
    """Whether anybody may see this data: only then are pixels kept with the results."""
    card = lookup("dataset", spec.dataset["name"]).card  # type: ignore[attr-defined]
    return bool(card.public or card.synthetic)


def _task_for(kind: Kind) -> str:
    if kind not in TASKS:
        raise ConfigError(
            f"there is no task yet for data of kind '{kind}'",
            place="task",
            fix=f"use data of kind {', '.join(sorted(TASKS))}",
        )
    return TASKS[kind]


def schedule_of(spec: Experiment) -> Schedule:
    """Return the schedule of rounds."""
    federation = spec.federation
    return Schedule(
        rounds=federation.rounds,
        participation=federation.participation,
        dropout=federation.dropout,
        stragglers=federation.stragglers,
        straggler_work=federation.straggler_work,
        sampling=federation.sampling,
        ema=federation.ema,
    )


def _role_of(attack: Attack | None) -> Role:
    if isinstance(attack, ChannelAttack):
        return Role.INTERCEPTOR
    return Role.SERVER if isinstance(attack, ServerAttack | ModelAttack) else Role.CLIENT


def threat_of(
    spec: Experiment, attack: Attack | None, hospitals: int, streams: Streams
) -> ThreatModel:
    """Return the threat model: who attacks is drawn once per seed unless hospitals are named."""
    asked = spec.threat
    role = Role(asked.role) if asked.role else _role_of(attack)
    if role is Role.INTERCEPTOR and not asked.role:
        clients: tuple[int, ...] = ()  # of a study's hostile hospitals none attacks
    elif isinstance(asked.hostile, tuple):
        clients = tuple(sorted(set(asked.hostile)))
    elif asked.hostile >= max(hospitals, 2):  # one hospital alone is centralized training
        raise ConfigError(
            "at least one hospital must be honest",
            place="threat.hostile",
            got=asked.hostile,
            fix=f"use at most {hospitals - 1} of {hospitals}",
        )
    else:
        clients = hostile_hospitals(streams, hospitals, asked.hostile)
    return ThreatModel(
        role=role,
        sees=Sees(asked.sees),
        clients=clients,
        starts_at=asked.starts_at,
        rounds=asked.rounds,
        every=asked.every,
        knows_defense=asked.knows_defense,
        telemetry=asked.telemetry,
        attested=asked.attested,
    )
