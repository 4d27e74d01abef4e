"""Membership from generated samples alone: no model is looked at."""

from __future__ import annotations

import torch
from torch import Tensor

from asepsis.core.threat import Evidence
from asepsis.metrics.inference import synthetic_membership


def synthetic_mia(candidates: Tensor, synthetic: Tensor, public: Tensor | None = None) -> Evidence:
    """Ask of every candidate how much nearer it is to what a generator made than to anything else.

    Whoever publishes synthetic records publishes this. Scores: see
    :func:`asepsis.metrics.inference.synthetic_membership`.

    Args:
        candidates: samples one wonders about ``[n, ...]``.
        synthetic: what the generator made ``[m, ...]``, in the same units.
        public: samples that it was certainly not trained on ``[p, ...]``: the calibration.

    Returns:
        Evidence ``membership``: ``scores`` ``[n]``, higher is likelier a member.

    Example:
        >>> made = synthetic_mia(torch.tensor([[0.0], [5.0]]), torch.tensor([[0.5]]))
        >>> made.guesses["scores"]
        tensor([-0.5000, -4.5000], dtype=torch.float64)
    """
    others = None if public is None else public.cpu().numpy()
    scores = synthetic_membership(candidates.cpu().numpy(), synthetic.cpu().numpy(), others)
    return Evidence(
        kind="membership",
        guesses={"scores": torch.from_numpy(scores)},
        measurements={"synthetic": float(len(synthetic))},
    )
