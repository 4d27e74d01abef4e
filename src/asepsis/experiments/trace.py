"""An attack-free twin's global models, kept where a trigger that changes is tried on them.

The floor of an optimized trigger is what it does to the clean model of the same round. The trigger
is known only once the attacked run has made it, so the twin leaves its models behind.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from asepsis.core.contracts import Attack, Evolving
from asepsis.core.errors import StoreError
from asepsis.core.registry import lookup
from asepsis.experiments.spec import Component, Experiment
from asepsis.experiments.store import Store, guarded, read_tensors, write_tensors


def trace_name(spec: Experiment, numerics: str) -> str:
    """Name the trace of an experiment's attack-free twin."""
    twin = spec.alone()
    return f"{twin.digest()}-{numerics}"


class Trace:
    """The models of an attack-free twin by round; empty where nobody needs them.

    A twin keeps them; a run whose trigger changes looks them up.
    """

    def __init__(
        self, spec: Experiment, store: Store | None, numerics: str, attacks: list[Attack]
    ) -> None:
        evolving = any(isinstance(attack, Evolving) for attack in attacks)
        self._folder = (
            store.trace(trace_name(spec, numerics)) if store is not None and evolving else None
        )
        self._writes = spec.attack is None

    def keep(self, round_: int, row: Tensor) -> None:
        """Keep a twin's model of a round."""
        if self._folder is not None and self._writes:
            with guarded(self._folder):
                self._folder.mkdir(mode=0o700, exist_ok=True)
            write_tensors(self._file(round_), {"row": row.cpu()})

    def at(self, round_: int) -> Tensor | None:
        """Return the twin's model of a round, if it was kept."""
        if self._folder is None or self._writes:
            return None
        kept = read_tensors(self._file(round_))
        if kept is not None and "row" not in kept:
            raise StoreError(
                "the file holds no model",
                place=str(self._file(round_)),
                fix="delete it and run again with --resume",
            )
        return None if kept is None else kept["row"]

    def _file(self, round_: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{round_}.safetensors"


def complete(spec: Experiment, store: Store, numerics: str, last: dict[str, float]) -> bool:
    """Whether a finished run has left, or measured, all that a changing trigger asks for.

    A twin must have left its models; an attacked run must have the floor that they gave it.
    """
    if spec.attack is not None:
        return not _evolves(spec.attack) or "floor" in last
    asked = any(_evolves(probe) for probe in spec.probes.values())
    return not asked or store.trace(trace_name(spec, numerics)).exists()


def _evolves(attack: Component) -> bool:
    return hasattr(lookup("attack", attack["name"]), "trigger_in")
