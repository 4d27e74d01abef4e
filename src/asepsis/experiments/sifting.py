"""Leave out of a study what does not fit together, and keep the reason in the refusal's words.

Nothing here knows what goes with what: every combination is put together, and what the checks
refuse is refused.
"""

from __future__ import annotations

from dataclasses import replace

from asepsis.core.errors import AsepsisError, ConfigError, QuorumError
from asepsis.experiments.naming import row_label, watcher_label
from asepsis.experiments.plan import Cell, Plan, Refused, with_twins
from asepsis.experiments.preflight import put_together
from asepsis.experiments.spec import Component

REFUSALS = (ConfigError, QuorumError)
"""What says that parts do not fit. Data that cannot be had, or a missing package, are no reason."""


def sifted(plan: Plan, engine: str) -> Plan:
    """Leave out what is refused, where the study asks for that; else return the plan as it is.

    A stack that is refused without an attack takes its attacks with it, with that reason. Of those
    who watch only the ones that are refused are left out.

    Raises:
        AsepsisError: data or a package are missing, or nothing is left.
    """
    if not plan.study.skip_refused:
        return plan
    sieve = _Sieve(engine)
    kept = [made for cell in plan.cells if (made := sieve.kept(cell)) is not None]
    if not kept:
        raise ConfigError(
            "nothing of the study fits together", got=next(iter(sieve.reasons.values()))
        )
    cells, refused = tuple(with_twins(kept)), tuple(sieve.refused)
    return replace(plan, cells=cells, refused=refused, checked=True)


class _Sieve:
    """Tries cells, those that differ only in their seed once, and remembers what was refused."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.reasons: dict[str, str] = {}
        self.refused: dict[Refused, None] = {}

    def kept(self, cell: Cell) -> Cell | None:
        """Return a cell without those who cannot watch it, ``None`` if it is refused."""
        plain = replace(cell, spec=cell.spec.model_copy(update={"probes": {}}))
        alone = replace(plain, attack="none", spec=cell.spec.alone())
        why = self._why(alone) or self._why(_watched(plain, ()))
        if why:
            self._refuse(row_label(cell.attack, cell.labels), cell, why)
            return None
        looking = tuple(o for o in plain.spec.observe if self._fits(o, plain))
        beside = tuple(o for o in plain.watch if self._fits(o, alone))
        return replace(_watched(plain, looking), watch=beside)

    def _fits(self, observer: Component, cell: Cell) -> bool:
        why = self._why(_watched(cell, (observer,)))
        if why:
            self._refuse(watcher_label(observer), cell, why)
        return not why

    def _refuse(self, who: str, cell: Cell, why: str) -> None:
        self.refused[Refused(cell.scenario, who, cell.defense, why)] = None

    def _why(self, cell: Cell) -> str:
        """Put a cell together; return why that is refused, "" if it is not."""
        key = cell.spec.model_copy(update={"seed": 0}).digest()
        if key not in self.reasons:
            self.reasons[key] = _refusal(cell, self.engine)
        return self.reasons[key]


def _watched(cell: Cell, observers: tuple[Component, ...]) -> Cell:
    return replace(cell, spec=cell.spec.model_copy(update={"observe": observers}))


def _refusal(cell: Cell, engine: str) -> str:
    try:
        put_together(cell, engine)
    except REFUSALS as error:
        return _said(error)
    return ""


def _said(error: AsepsisError) -> str:
    """Return the refusal's own words, without the place: that is where it stands in the table."""
    return str(AsepsisError(error.message, got=error.got, fix=error.fix))
