"""What a record's lines hold, so far as anybody reads it: a line of another shape is damaged.

Keys that are not named here may hold whatever they like; those that are need not be there, save
the few without a default.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Figures = dict[str, float]
Table = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class _Resolved(_Part):
    hospitals: list[str]
    classes: list[Any]
    samples: list[list[int | None]]
    components: dict[str, Table | list[Any] | None]
    defenses: list[Table] = []
    observe: list[Table] | None = None
    primary: str
    protocol: str
    data: str
    role: str | None = None


class _Begun(_Part):
    """A run that could not be put together was never resolved, and by no code it was played."""

    resolved: _Resolved = Field(default_factory=_Resolved.model_construct)

    @model_validator(mode="after")
    def _resolved_where_played(self) -> _Begun:
        if "code" in (self.model_extra or {}) and "resolved" not in self.model_fields_set:
            raise ValueError("no resolved specification")
        return self


class _Stage(_Part):
    name: str
    room: str
    changed: float
    verdicts: Figures = {}
    scores: Figures | None = None


class _Evidence(_Part):
    by: str
    round: int
    kind: str
    scores: Figures = {}
    attack: Figures = {}


class _Round(_Part):
    round: int
    void: str | None = None
    metrics: Figures
    hostile: list[int] = []
    present: list[int] = []
    drawn: list[int] = []
    dropped: list[int] = []
    train_loss: Figures = {}
    crafted: Figures = {}
    stages: list[_Stage] = []
    channel: Figures | None = None
    evidence: list[_Evidence] = []
    intercepted: dict[str, Any] = {}
    monitors: dict[str, Figures] | None = None


class _Activation(_Part):
    stage: str
    room: str
    changed: float
    active: bool


class _Ended(_Part):
    status: str
    message: str = ""
    tail: Figures = {}
    last: Figures = {}
    activation: list[_Activation] = []
    attack_inactive: float = 0.0
    detection: Figures | None = None
    evidence: list[_Evidence] | None = None
    hospitals: dict[str, Figures] | None = None
    worst: Figures = {}
    over_patients: Figures | None = None
    prior: Figures = {}


class _Lap(_Part):
    seconds: Figures


class _Observed(_Part):
    packages: dict[str, str] = {}
    device: str = ""
    started: str = ""


class _Header(_Part):
    type: Literal["header"]
    result: _Begun
    observed: _Observed = _Observed()


class _Played(_Part):
    type: Literal["round"]
    result: _Round
    observed: _Lap | None = None


class _Footer(_Part):
    type: Literal["footer"]
    result: _Ended
    observed: Table | None = None


_KINDS: dict[str, type[_Part]] = {"header": _Header, "round": _Played, "footer": _Footer}


def misshapen(line: Table, after: str | None = None) -> str:
    """Return the first place where a line is not as it was written; empty where it is.

    ``after`` is the type of the line before it: a header begins a record, and a footer ends it.

    Example:
        >>> line = {"type": "round", "result": {"round": 0, "metrics": {"accuracy": "high"}}}
        >>> misshapen(line, after="header"), misshapen(line)
        ('result.metrics.accuracy', 'type')
    """
    kind = _KINDS.get(str(line.get("type")))
    if kind is None or (kind is _Header) != (after is None) or after == "footer":
        return "type"
    try:
        kind.model_validate(line)
    except ValidationError as error:
        return ".".join(str(part) for part in error.errors()[0]["loc"])
    return ""
