"""Inverting Gradients: the direction of an update is matched, and images are smooth."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from asepsis.attacks.observe.inversion.matching import Distance, cosine
from asepsis.attacks.observe.inversion.options import ALL, LABELED, Inverter
from asepsis.attacks.observe.inversion.problem import Dummies, Problem
from asepsis.attacks.observe.inversion.search import Attempt, signed_adam
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Learner


@register("attack", "inverting-gradients")
class InvertingGradients(Inverter):
    """Gradient inversion by cosine distance, total variation and signed Adam (Geiping et al.).

    Minimizes ``1 - cos(grad(x, y), g*) + variation TV(x) + statistics S(x)`` over the columns of
    parameters, from ``x ~ N(0, 1)`` ``[batch, *input_shape]``. TV is the mean absolute difference
    of neighboring pixels, summed over the axes; S the distance of the batch's statistics before
    each batch normalization to those that the update gives away (exact for one local step, else
    their average; 0 where the model has none). Adam on the signs of gradients, rate ``lr``, a
    tenth of it after 3/8, 5/8 and 7/8 of ``iterations``; with ``box`` pixels stay in [-1, 1].

    Updates of 2 to ``simulate`` local steps are compared as updates: the protocol's steps (rate,
    momentum, weight decay, batches) are taken from the dummies, all samples at once, every pass
    in the same order. ``labels = "inferred"`` reads them off the output bias where samples have
    one class each and optimizes them elsewhere; of paired images the second image is optimized
    too. The best of ``restarts`` is chosen by the cosine distance, never by the truth.

    Evidence and measurements as ``dlg`` (``gradient_loss`` is the cosine distance). Raises
    ConfigError when labels are to be inferred and the model does not end in a layer with a bias.

    Source: Geiping et al., Inverting Gradients: How Easy Is It to Break Privacy in Federated
    Learning?, NeurIPS 2020, section 4 and 6; batch statistics: Yin et al., See through Gradients,
    CVPR 2021, section 3.3

    Fidelity: paper

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> InvertingGradients(iterations=500, variation=0.01).simulate
        8
    """

    kinds: ClassVar[frozenset[Kind]] = ALL
    distance: ClassVar[Distance] = staticmethod(cosine)

    iterations: Annotated[int, Field(ge=1, le=100_000)] = 1000
    simulate: Annotated[int, Field(ge=0, le=1000)] = 8
    labels: Literal["inferred", "optimized"] = "inferred"
    lr: Annotated[float, Field(gt=0)] = 0.1
    variation: Annotated[float, Field(ge=0)] = 1e-3
    statistics: Annotated[float, Field(ge=0)] = 0.0
    box: bool = True

    @property
    def _smooth(self) -> float:
        return self.variation

    @property
    def _statistics(self) -> float:
        return self.statistics

    def _infers(self, learner: Learner) -> bool:
        return self.labels == "inferred" and learner.kind in LABELED

    def _descend(self, problem: Problem, dummies: Dummies, attempt: Attempt) -> None:
        signed_adam(problem, dummies, attempt, self.iterations, self.lr, boxed=self.box)
