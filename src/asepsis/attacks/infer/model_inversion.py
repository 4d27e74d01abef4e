"""Model inversion: what the released model believes a class looks like."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ReleaseView

CLASSIFIED = frozenset({Kind.IMAGE, Kind.VOLUME, Kind.MULTILABEL_IMAGE, Kind.TABLE, Kind.SEQUENCE})
PIXELS = frozenset({Kind.IMAGE, Kind.VOLUME, Kind.MULTILABEL_IMAGE})


@register("attack", "model-inversion")
class ModelInversion:
    """Reconstruct a representative of every class by gradient ascent on the released model.

    For each class c: ``x`` minimizes ``-log p_c(x) + tv · TV(x) + l2 · mean x²`` by Adam (rate
    ``lr``, ``steps`` steps), from ``start · N(0, 1)``; the best of ``restarts`` by this loss.
    ``TV`` is the mean absolute difference of neighboring pixels (images and volumes only, which
    stay in [-1, 1]; tables and signals are standardized and free). Where samples have several
    findings, ``p_c`` is that finding's own probability. The model is in evaluation mode.

    Returns evidence ``classes``: ``inputs`` ``[classes, ...]`` (prepared space) and ``confidence``
    ``[classes]``, the model's own. A representative is an average of a class at best: that it
    resembles one person's record is scored apart. None when no loss is finite.

    Source: Fredrikson et al., Model Inversion Attacks that Exploit Confidence Information and
    Basic Countermeasures, CCS 2015, algorithm 1; total variation: Mahendran and Vedaldi,
    Understanding Deep Image Representations by Inverting Them, CVPR 2015

    Fidelity: own

    Tasks: image, volume, multilabel-image, table, sequence

    Example:
        >>> ModelInversion(steps=100, tv=0.0).restarts
        1
    """

    kinds: ClassVar[frozenset[Kind]] = CLASSIFIED

    steps: Annotated[int, Field(ge=1, le=100_000)] = 300
    lr: Annotated[float, Field(gt=0, le=10)] = 0.05
    tv: Annotated[float, Field(ge=0)] = 1.0
    l2: Annotated[float, Field(ge=0)] = 0.1
    start: Annotated[float, Field(ge=0, le=10)] = 0.1
    restarts: Annotated[int, Field(ge=1, le=1000)] = 1

    def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence | None:
        """Climb to every class."""
        module = view.learner.copy(view.row).requires_grad_(False)
        best: Tensor | None = None
        lowest = torch.full((view.learner.classes,), torch.inf)
        for _ in range(self.restarts):
            inputs, losses = self._climb(module, view, rng)
            better = losses < lowest
            best = inputs if best is None else _where(better, inputs, best)
            lowest = torch.where(better, losses, lowest)
        if best is None or not bool(lowest.isfinite().all()):
            return None
        return Evidence(
            kind="classes",
            guesses={"inputs": best, "confidence": _confidence(view, best)},
            measurements={"loss": float(lowest.mean())},
        )

    def _climb(
        self, module: nn.Module, view: ReleaseView, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        learner, pixels = view.learner, view.learner.kind in PIXELS
        shape = (learner.classes, *learner.input_shape)
        noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(view.row)
        inputs = (self.start * noise).requires_grad_()
        optimizer = torch.optim.Adam([inputs], lr=self.lr)
        for _ in range(self.steps):
            (inputs.grad,) = torch.autograd.grad(self._losses(module, inputs, view).sum(), [inputs])
            optimizer.step()
            if pixels:
                with torch.no_grad():
                    inputs.clamp_(-1.0, 1.0)
        with torch.no_grad():
            losses = self._losses(module, inputs, view)
        return inputs.detach(), losses.cpu()

    def _losses(self, module: nn.Module, inputs: Tensor, view: ReleaseView) -> Tensor:
        loss = surprise(module(inputs), view.learner.kind)
        loss = loss + self.l2 * inputs.flatten(1).square().mean(dim=1)
        return loss + self.tv * variation(inputs) if view.learner.kind in PIXELS else loss


def surprise(outputs: Tensor, kind: Kind) -> Tensor:
    """Return ``-log p_c`` of sample c for every class ``[classes]``, from logits, one sample each.

    Example:
        >>> surprise(torch.zeros(2, 2), Kind.IMAGE).exp()
        tensor([2., 2.])
    """
    if kind is Kind.MULTILABEL_IMAGE:
        return -F.logsigmoid(outputs.diagonal())
    return -outputs.log_softmax(dim=1).diagonal()


def variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbors along every axis of pixels, ``[n]``; summed over axes.

    Example:
        >>> variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
        tensor([1.])
    """
    axes = [axis for axis in range(2, images.dim()) if images.shape[axis] > 1]
    steps = [images.diff(dim=axis).abs().flatten(1).mean(dim=1) for axis in axes]
    return torch.stack(steps).sum(dim=0) if steps else images.new_zeros(len(images))


def _where(better: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(better.to(new.device).view(-1, *[1] * (new.dim() - 1)), new, old)


def _confidence(view: ReleaseView, inputs: Tensor) -> Tensor:
    return view.learner.probabilities(view.row, inputs).diagonal().clone()
