"""What an experiment is, as data: strict TOML in, every problem reported at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from asepsis.core.errors import ConfigError, did_you_mean
from asepsis.core.registry import problems

Component = dict[str, Any]
Count = Annotated[int, Field(ge=1)]
Chance = Annotated[float, Field(ge=0, lt=1)]


class Strict(BaseModel):
    """Text is never a number, NaN never an option, an unknown key never ignored."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, ser_json_inf_nan="constants"
    )


def component(value: object) -> object:
    """Let ``"krum"`` stand for ``{name = "krum"}``."""
    return {"name": value} if isinstance(value, str) else value


class FederationSpec(Strict):
    """The protocol of the federation.

    ``ema`` > 0 releases and scores the moving average of the global models. ``unseen`` names one
    of the hospitals, or gives its number among all: it takes no part, and all its samples are test
    samples, scored apart.
    """

    hospitals: Count | Literal["all"] = 10
    rounds: Count = 25
    participation: Annotated[float, Field(gt=0, le=1)] = 1.0
    dropout: Chance = 0.0
    stragglers: Chance = 0.0
    straggler_work: Annotated[float, Field(gt=0, le=1)] = 0.5
    sampling: Literal["fixed", "poisson"] = "fixed"
    unseen: str | Annotated[int, Field(ge=0)] | None = None
    ema: Chance = 0.0
    server: Component = {"name": "fedavg"}

    _server = field_validator("server", mode="before")(component)


class ThreatSpec(Strict):
    """Who attacks: how many hospitals or which, what they see and know, and when.

    ``every`` is the number of rounds from one attack to the next, ``rounds`` how many rounds are
    attacked in all, ``knows_defense`` grants the defenses in use as a function; with
    ``telemetry = "mimic"`` hostile hospitals report the loss that honest ones report; with
    ``attested`` they too pass their updates through what the stack has hospitals do.
    """

    hostile: Annotated[int, Field(ge=0)] | tuple[Annotated[int, Field(ge=0)], ...] = 0
    sees: Literal["own", "colluders", "omniscient"] = "omniscient"
    role: Literal["client", "server", "eavesdropper", "interceptor"] | None = None
    starts_at: Annotated[int, Field(ge=0)] = 0
    rounds: Count | None = None
    every: Count = 1
    knows_defense: bool = False
    telemetry: Literal["own", "mimic"] = "own"
    attested: bool = False


class RootSpec(Strict):
    """Clean samples that the server holds, for defenses that need them.

    ``samples`` of the validation patients of all hospitals, or of one ``hospital``: they neither
    train nor test.
    """

    samples: Count = 100
    hospital: Annotated[int, Field(ge=0)] | Literal["all"] = "all"


class WhenSpec(Strict):
    """In which rounds an observer looks."""

    starts_at: Annotated[int, Field(ge=0)] = 0
    every: Count = 1
    rounds: Count | None = None


Sight = Literal["delivery", "messages"]
WATCHING = ("when", "sees")
"""Keys of an observer's table that are not options of the component."""


class WatchSpec(Strict):
    """When an observer looks, and what it sees: what is delivered, or the messages that pass."""

    when: WhenSpec | None = None
    sees: Sight = "delivery"


class CandidatesSpec(Strict):
    """Whom inference attacks are asked about.

    Up to ``members`` training patients of every hospital, and as many of its test patients.
    """

    members: Count = 50


class EvaluationSpec(Strict):
    """How often the global model is scored, and on whom.

    ``on = "validation"`` scores validation patients, and nobody sees test patients: what is
    chosen by such figures may be measured on test patients afterwards.
    """

    every: Count = 1
    on: Literal["test", "validation"] = "test"


UNSHARED = frozenset(
    {"name", "attack", "probes", "defenses", "inspect", "observe", "candidates", "root"}
)
"""What an experiment does not share with others of the same protocol."""


class Experiment(Strict):
    """One federation, at most one attack, a stack of defenses, one seed."""

    name: str = "experiment"
    dataset: Component = {"name": "phantom"}
    partition: Component = {"name": "dirichlet"}
    task: Component | None = None
    model: Component | None = None
    trainer: Component = {"name": "sgd"}
    federation: FederationSpec = FederationSpec()
    threat: ThreatSpec = ThreatSpec()
    attack: Component | None = None
    probes: dict[str, Component] = {}
    defenses: Annotated[tuple[Component, ...], Field(min_length=1)] = ({"name": "mean"},)
    inspect: tuple[Component, ...] = ()
    observe: tuple[Component, ...] = ()
    candidates: CandidatesSpec = CandidatesSpec()
    root: RootSpec = RootSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    seed: Annotated[int, Field(ge=0)] = 0
    partition_seed: Annotated[int, Field(ge=0)] | None = None

    _parts = field_validator("dataset", "partition", "trainer", mode="before")(component)

    @field_validator("task", "model", "attack", mode="before")
    @classmethod
    def _optional(cls, value: object) -> object:
        return None if value in ("auto", "none") else component(value)

    @field_validator("defenses", "inspect", "observe", mode="before")
    @classmethod
    def _stack(cls, value: object) -> object:
        stages = value if isinstance(value, list | tuple) else [value]
        return tuple(component(stage) for stage in stages)

    def digest(self) -> str:
        """Return the hash of the specification, name left out: the run's identity."""
        return digest(self.model_dump(mode="json", exclude={"name"}))

    def protocol(self) -> str:
        """Return the hash of what an experiment shares with its twin, other attacks and defenses.

        Everything but attack, defenses and seeds. A run's own protocol hash is made of resolved
        components and adds seed and split hashes.
        """
        left_out = {*UNSHARED, "seed"}
        return digest(self.model_dump(mode="json", exclude={*left_out, "partition_seed"}))

    def twin(self) -> Experiment:
        """Return the attack-free twin: the same cohorts, batches and noise, nobody attacking."""
        return self.model_copy(update={"attack": None})

    def alone(self) -> Experiment:
        """Return the twin with nobody looking: what runs with the same twin have in common."""
        return self.model_copy(update={"attack": None, "probes": {}, "observe": ()})

    def prefix(self) -> str:
        """Return the hash of everything that shapes the rounds before the attack starts."""
        kept = self.model_dump(
            mode="json", exclude={"name", "attack", "probes", "inspect", "threat"}
        )
        # Hospitals in league with a server that watches show it their rows from the first round.
        league = (self.threat.role, self.threat.hostile) if self.observe else None
        return digest({**kept, "starts_at": self.threat.starts_at, "league": league})


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed twice would count one run as two")
    return seeds


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1), AfterValidator(_distinct)
]


class Scenario(Strict):
    """One experiment and the axes along which it is varied.

    ``watch`` are observers of the runs without an attack alone: the twins of all others.
    ``modality`` names the part of a threat matrix that the runs belong to; with ``tunes`` they are
    there only so that detectors are chosen and set, on seeds of their own.
    """

    title: str = ""
    experiment: Experiment
    over: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    watch: tuple[Component, ...] = ()
    modality: str = ""
    tunes: bool = False
    fallback: Component | None = None
    fetch_seconds: Annotated[float, Field(gt=0)] | None = None
    seeds: Seeds | None = None

    _watch = field_validator("watch", mode="before")(
        lambda value: tuple(component(one) for one in value)
    )
    _fallback = field_validator("fallback", mode="before")(
        lambda value: None if value is None else component(value)
    )


class Claim(Strict):
    """What a paper says of one attack under one defense, to stand beside what is measured.

    ``metric`` is any figure of the tables, one after departure (``lifespan``, ``half_life``,
    ``asr_at_departure``, ``excess_at_departure``), ``excess``, ``utility change``, or what an
    inspector found (``inspect/INSPECTOR/FIGURE``; ``inspect/INSPECTOR/floor:FIGURE`` in the clean
    model), or what an observer learned (``observe/OBSERVER/FIGURE``). With ``against`` the claim
    is that ``attack`` has more of it than that other attack, with ``instead_of`` that it has more
    under ``defense`` than under that other stack. ``recovery`` is the share of the loss under
    ``instead_of`` that ``defense`` does not have; an ``attack`` that ends in `` · *`` is all its
    rows, and the figure their median.
    """

    says: str
    paper: float | str
    metric: str
    attack: str
    defense: str
    scenario: str | None = None
    against: str | None = None
    instead_of: str | None = None
    unit: str = ""

    @model_validator(mode="after")
    def _says_something(self) -> Claim:
        if self.instead_of == self.defense:
            raise ValueError("instead_of is the defense itself: nothing is compared")
        if self.metric == "recovery" and self.instead_of is None:
            raise ValueError("recovery needs instead_of: the stack whose loss is given back")
        if self.attack.endswith("*") and self.metric != "recovery":
            raise ValueError("only recovery is about several rows; name one attack")
        return self


class Study(Strict):
    """Scenarios that belong together, and the seeds they are run with.

    With ``skip_refused`` what does not fit together is left out, and its reason kept, instead of
    refusing the whole study. ``devices`` measures what every defense costs one hospital, after
    the runs.
    """

    name: str
    title: str = ""
    summary: str = ""
    paper: str = ""
    fidelity: str = "own"
    profile: str = ""
    exploratory: bool = False
    devices: bool = False
    skip_refused: bool = False
    seeds: Seeds = (0,)
    claims: tuple[Claim, ...] = ()
    scenarios: Annotated[tuple[Scenario, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _tuned_apart(self) -> Study:
        """A detector that was chosen on the seeds it is judged by says nothing."""
        for one in self.scenarios:
            for other in self.scenarios if one.tunes else ():
                shared = set(one.seeds or self.seeds) & set(other.seeds or self.seeds)
                if other.modality == one.modality and not other.tunes and shared:
                    raise ValueError(
                        f"detectors of {one.modality!r} are tuned on seeds that they are judged "
                        f"by ({', '.join(map(str, sorted(shared)))}); give other seeds"
                    )
        return self


def digest(value: object) -> str:
    """Hash canonical JSON; the first 16 hexadecimal digits are plenty to tell runs apart.

    Example:
        >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse(model: type[Strict], data: Mapping[str, Any], place: str = "") -> Any:
    """Validate a table as strict JSON.

    Raises:
        ConfigError: one line for every problem, with its place.
    """
    try:
        text = json.dumps(dict(data), default=str)
    except (ValueError, RecursionError):  # a number of thousands of digits, tables in tables
        fix = "use shorter numbers, and fewer tables in tables"
        raise ConfigError(
            "too large a number, or nested too deeply", place=place or None, fix=fix
        ) from None
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(problems(error, place, _fields(model)))) from None


def _fields(model: type[BaseModel]) -> dict[str, list[str]]:
    """Return the field names of a model, and of the tables inside it by their name."""
    tables: dict[str, type[BaseModel]] = {
        "federation": FederationSpec,
        "threat": ThreatSpec,
        "evaluation": EvaluationSpec,
        "root": RootSpec,
        "candidates": CandidatesSpec,
        "when": WhenSpec,
        "claims": Claim,
    }
    inner = {name: list(table.model_fields) for name, table in tables.items()}
    return {"": list(model.model_fields), "scenarios": list(Scenario.model_fields), **inner}


def assign(data: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted key in a nested table.

    Raises:
        ConfigError: a part of the key is not a table.

    Example:
        >>> table = {"partition": "iid"}
        >>> assign(table, "partition.alpha", 0.5)
        >>> table
        {'partition': {'name': 'iid', 'alpha': 0.5}}
    """
    *path, last = key.split(".")
    here = data
    for part in path:
        inner = component(here.get(part, {}))
        if not isinstance(inner, dict):
            raise ConfigError(
                "not a table", place=key, got=here[part], fix=did_you_mean(part, list(data))
            )
        here[part] = dict(inner)
        here = here[part]
    here[last] = value
