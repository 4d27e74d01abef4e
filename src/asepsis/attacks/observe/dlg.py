"""Deep Leakage from Gradients: a curious server looks for inputs that explain an update."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from asepsis.attacks.observe.inversion.options import ALL, LABELED, Inverter
from asepsis.attacks.observe.inversion.problem import Dummies, Problem
from asepsis.attacks.observe.inversion.search import Attempt, lbfgs
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Learner


@register("attack", "dlg")
class Dlg(Inverter):
    """Gradient inversion: reconstruct a hospital's batch from the update it sent (DLG).

    The target gradient is ``g* = -delta / scale``: exact for one local step, an average over the
    local steps otherwise. From dummies ``x, y ~ N(0, 1)`` (``[batch, *input_shape]``,
    ``[batch, classes]``), L-BFGS minimizes ``||grad(x, softmax y) - g*||² / ||g*||²`` over the
    columns of parameters (the scale keeps its tolerances meaningful late in training). Several
    findings are read as ``sigmoid y``; of paired images y is the second image itself. At most
    ``iterations`` calls of 20 L-BFGS steps, history 100, rate 1; fewer when the loss is solved or
    stands still. The best of ``restarts`` is chosen by this loss, never by the truth; below 1e-6
    there are no more. With ``labels = "inferred"`` labels are read off the gradient of the output
    bias first (iDLG). Updates of 2 to ``simulate`` local steps are compared as updates: the
    protocol's steps are taken from the dummies, all samples at once, every pass in the same order.

    A plain channel gives the row of ``client`` (the lowest id when not set). A secure sum gives
    only ``total / weight``, the average of all hospitals, and that is what is attacked.

    Returns evidence ``inputs`` (prepared space) and ``labels`` (probabilities) or ``targets``
    (images); measurements ``gradient_loss`` (the minimized one: 1 is what a zero gradient has),
    ``iterations`` (over all restarts), ``local_steps``, ``simulated_steps``, ``samples``. None
    when the client did not deliver, when its update is zero or not finite, and when no restart
    found a finite loss. Raises ConfigError where labels to infer are not there.

    Source: Zhu, Liu and Han, Deep Leakage from Gradients, NeurIPS 2019, algorithm 1; labels: Zhao
    et al., iDLG, arXiv 2001.02610, section 3

    Fidelity: code

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> Dlg(iterations=100, restarts=2).labels
        'optimized'
    """

    kinds: ClassVar[frozenset[Kind]] = ALL

    iterations: Annotated[int, Field(ge=1, le=100_000)] = 300
    labels: Literal["optimized", "inferred"] = "optimized"

    def _infers(self, learner: Learner) -> bool:
        if self.labels == "inferred" and learner.kind not in LABELED:
            raise ConfigError(
                "only samples with one class each have labels to infer",
                place="attack.labels",
                got=learner.kind.value,
                fix='use labels = "optimized"',
            )
        return self.labels == "inferred"

    def _descend(self, problem: Problem, dummies: Dummies, attempt: Attempt) -> None:
        lbfgs(problem, dummies, attempt, self.iterations)
