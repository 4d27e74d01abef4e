"""Improved Deep Leakage from Gradients: the label is read off, only the input is searched."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from asepsis.attacks.observe.inversion.options import LABELED, Inverter
from asepsis.attacks.observe.inversion.problem import Dummies, Problem
from asepsis.attacks.observe.inversion.search import Attempt, lbfgs
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Learner


@register("attack", "idlg")
class Idlg(Inverter):
    """Gradient inversion with labels read off the update first (iDLG).

    With cross-entropy the gradient of the output bias is the mean of ``p - y``, negative only for
    classes that occur: the most negative entry is the label, exactly so for one sample and one
    local step. In a batch each label found takes back ``1 / batch``, and the next most negative
    entry is next. Inputs ``[batch, *input_shape]`` are then searched as ``dlg`` does.

    Evidence, measurements, ``client``, ``restarts`` and ``simulate`` as ``dlg``. Raises
    ConfigError when the model does not end in a layer with a bias.

    Source: Zhao, Mopuri and Bilen, iDLG: Improved Deep Leakage from Gradients, arXiv 2001.02610,
    section 3 (batches: our extension)

    Fidelity: paper

    Tasks: image, volume, table, sequence

    Example:
        >>> Idlg(iterations=100).restarts
        1
    """

    kinds: ClassVar[frozenset[Kind]] = LABELED

    iterations: Annotated[int, Field(ge=1, le=100_000)] = 300

    def _infers(self, learner: Learner) -> bool:
        return True

    def _descend(self, problem: Problem, dummies: Dummies, attempt: Attempt) -> None:
        lbfgs(problem, dummies, attempt, self.iterations)
