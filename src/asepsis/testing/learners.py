"""A learner for any module: what an observing attack is handed, without a federation."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from asepsis.core.layout import Layout
from asepsis.core.samples import Kind
from asepsis.tasks.classification import Classification
from asepsis.training.learner import Learner
from asepsis.training.sgd import Sgd

if TYPE_CHECKING:
    from asepsis.core.contracts import ModelBuilder, Task, Trainer


class _Same:
    """Builds the same module again and again, newly initialized."""

    kinds = frozenset(Kind)

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return a copy with new weights."""
        made = copy.deepcopy(self._module)
        for part in made.modules():
            reset = getattr(part, "reset_parameters", None)
            if reset is not None:
                reset()
        return made


def learner_for(
    module: nn.Module,
    input_shape: tuple[int, ...],
    classes: int,
    *,
    task: Task | None = None,
    trainer: Trainer | None = None,
    kind: Kind = Kind.IMAGE,
    target_shape: tuple[int, ...] | None = None,
) -> Learner:
    """Return a learner for a module: classification by plain SGD unless told otherwise.

    Example:
        >>> learner_for(nn.Linear(3, 2), (3,), 2).parameters
        8
    """
    return Learner(
        module=copy.deepcopy(module).train(),
        layout=Layout.of(module),
        task=task or cast("Any", Classification()),
        trainer=trainer or Sgd(lr=0.1, momentum=0.0),
        builder=cast("ModelBuilder", _Same(module)),
        kind=kind,
        input_shape=input_shape,
        target_shape=target_shape or (classes,),
        classes=classes,
    )
