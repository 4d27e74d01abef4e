"""Which defenses go together: every combination works, or is refused with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

from asepsis.core.errors import AsepsisError, ConfigError, MissingExtraError, did_you_mean
from asepsis.core.registry import build, entries
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.experiments.resolve import resolve
from asepsis.experiments.spec import Experiment, parse
from asepsis.federation.build import assemble
from asepsis.federation.checks import check_parts
from asepsis.federation.parts import Parts
from asepsis.federation.round import RoundOutcome, play_round

NONE = "none"
AXES = ("transport", "screen", "rule", "privacy")
SCREENS = (NONE, "norm-clip", "signguard", "nnm", "bucketing", "reputation")
"""One screen of each sort: it clips, drops, mixes, merges, remembers."""
PRIVACY: Mapping[str, str] = {
    NONE: "",
    "client-clip": "client",
    "client-noise": "client",
    "gaussian-noise": "release",
    "dp-sgd": "trainer",
}
"""What adds noise or bounds, and where it stands. DP-FedAvg is client-clip with dp-mean."""
TABLE = {
    "dataset": "breast-cancer",
    "partition": "iid",
    "model": "mlp",
    "trainer": {"name": "sgd", "steps": 1, "batch_size": 8},
    "federation": {"hospitals": 27, "rounds": 1},
    "defenses": ["fltrust"],
}
"""Twenty-seven hospitals, so that nine groups are left for a rule; the server has root data."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of components."""

    transport: str
    screen: str
    rule: str
    privacy: str

    @property
    def stack(self) -> list[str]:
        """The stages, in order."""
        room = PRIVACY[self.privacy]
        first = [self.privacy] if room == "client" else []
        last = [self.privacy] if room == "release" else []
        screens = [] if self.screen == NONE else [self.screen]
        return [*first, self.transport, *screens, self.rule, *last]

    def names(self) -> str:
        """Name the combination."""
        return " + ".join(getattr(self, axis) for axis in AXES if getattr(self, axis) != NONE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a combination works; where not, why, and what would do instead.

    ``missing`` says what would have to be installed before it does; that is no refusal.
    """

    cell: Cell
    reason: str = ""
    fix: str = ""
    missing: str = ""

    @property
    def works(self) -> bool:
        """Whether it is built."""
        return not self.reason

    @property
    def kind(self) -> str:
        """The reason in general: components by what they are, not by name."""
        return _general(self.reason, self.cell, AXES)

    @property
    def remedy(self) -> str:
        """What would do instead, in general."""
        return _general(self.fix, self.cell, ("transport", "screen"))


def _general(text: str, cell: Cell, axes: Sequence[str]) -> str:
    for axis_ in axes:
        name = getattr(cell, axis_)
        if name != NONE:
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", f"the {axis_}", text)
    return re.sub(r"^the (screen and the rule|screen|rule)\b", "a stage", text)


def axis(name: str, every: bool = False) -> tuple[str, ...]:
    """Return what stands on an axis; of screens one of each sort, unless ``every`` is asked for."""
    if name == "privacy":
        return tuple(PRIVACY)
    kind = {"rule": "aggregator"}.get(name, name)
    known = tuple(entry.name for entry in entries(kind) if entry.origin == "asepsis")
    if name == "screen":
        return (NONE, *known) if every else SCREENS
    return known


def cells(chosen: Mapping[str, Sequence[str]] | None = None, every: bool = False) -> Iterator[Cell]:
    """Yield every combination; ``chosen`` narrows an axis down.

    Raises:
        ConfigError: something chosen is not on its axis.
    """
    axes = {name: axis(name, every=every) for name in AXES}
    for name, wanted in (chosen or {}).items():
        known = axis(name, every=True)
        for item in wanted:
            if item not in known:
                raise ConfigError(
                    f"no such {name}", place="compose", got=item, fix=did_you_mean(item, known)
                )
        axes[name] = tuple(wanted)
    for combination in product(*axes.values()):
        yield Cell(*combination)


def composed(found: Iterator[Cell] | Sequence[Cell]) -> list[Verdict]:
    """Try to build every combination in a federation that lacks nothing else."""
    return [tried(cell) for cell in found]


def tried(cell: Cell) -> Verdict:
    """Build one combination, and say why it is refused where it is."""
    try:
        check_parts(_parts(cell))
    except MissingExtraError as error:
        return Verdict(cell, missing=str(error))
    except AsepsisError as error:
        got = f": {error.got}" if isinstance(error.got, str | int) else ""
        return Verdict(cell, error.message + got, error.fix or "")
    return Verdict(cell)


def played(cell: Cell) -> RoundOutcome:
    """Play one round with a combination, attacks left out."""
    federation, _ = assemble(_parts(cell))
    engine = make_engine("serial")
    engine.start(federation.plan)
    return play_round(federation, engine, federation.begin())[1]


def _parts(cell: Cell) -> Parts:
    base = _base()
    stages = [_stage(name) for name in cell.stack]
    trainer = base.trainer
    if PRIVACY[cell.privacy] == "trainer":
        trainer = build("trainer", {"name": cell.privacy, "steps": 1, "batch_size": 8})
    return replace(base, pipeline=build_pipeline(stages, "defenses"), trainer=trainer)


@cache
def _base() -> Parts:
    experiment: Experiment = parse(Experiment, TABLE)
    return resolve(experiment)[0]


@cache
def _stage(name: str) -> Any:
    return build(("client", "transport", "screen", "aggregator", "release"), name)
