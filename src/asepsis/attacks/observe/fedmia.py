"""FedMIA: whoever did not train on a record tells how unusual the one who did looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from asepsis.attacks.observe.readings import (
    Reads,
    confidences,
    cosines,
    membership,
    readings,
)
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ServerView, When
from asepsis.core.updates import State

SIGMAS = 3.0
FLOOR = 1e-8
FINE = 1e-9
"""How much of a score tells apart what the normal distribution no longer does."""
NOBODY = -1
"""The client of the only column when a secure sum tells of none."""


@dataclass(frozen=True, slots=True, eq=False)
class Likelihoods:
    """``scores`` ``[n, k]`` in [0, 1], and the share of comparisons that the filter left out."""

    scores: Tensor
    filtered: float


def likelihoods(measured: Tensor) -> Likelihoods:
    """Compare each client's measurement with the others', for candidates and clients ``[n, k]``.

    For every target ``k``: ``U = {j != k : M_j <= mu + 3 sigma}`` with mean and standard deviation
    (ddof 0) over all ``j != k``, and ``Phi(z)`` with ``z = (M_k - mean_U) / sqrt(var_U + 1e-8)``.

    ``Phi`` is exactly 1 from ``z = 8.3`` on: a billionth of the score is ``1/2 + atan(z)/pi``,
    which keeps the order there and reorders nothing that differs by more.

    Example:
        >>> found = likelihoods(torch.tensor([[5.0, 1.0, 2.0]], dtype=torch.float64))
        >>> [round(float(score), 4) for score in found.scores[0]]
        [1.0, 0.0478, 0.3085]
    """
    scores, dropped = torch.empty_like(measured), 0
    for k in range(measured.shape[1]):
        others = torch.cat([measured[:, :k], measured[:, k + 1 :]], dim=1)
        middle = others.mean(dim=1, keepdim=True)
        bound = middle + SIGMAS * others.std(dim=1, correction=0, keepdim=True)
        usual = others <= bound
        usual |= ~usual.any(dim=1, keepdim=True)  # rounding may lift equal values over their mean
        count = usual.sum(dim=1)
        mean = (others * usual).sum(dim=1) / count
        spread = ((others - mean[:, None]).square() * usual).sum(dim=1) / count
        distance = (measured[:, k] - mean) / (spread + FLOOR).sqrt()
        fine = 0.5 + distance.atan() / math.pi
        scores[:, k] = torch.special.ndtr(distance).lerp(fine, FINE)
        dropped += int((~usual).sum())
    comparisons = measured.numel() * (measured.shape[1] - 1)
    return Likelihoods(scores, dropped / max(comparisons, 1))


def filter_can_fire(others: int) -> bool:
    """Whether one of so many values can lie above their mean plus 3 standard deviations.

    The largest possible distance is ``sqrt(others - 1)`` standard deviations (ddof 0).

    Example:
        >>> filter_can_fire(10), filter_can_fire(11)
        (False, True)
    """
    return others - 1 > SIGMAS**2


@register("attack", "fedmia")
class FedMia:
    """Membership inference that compares each hospital's update with all the others' (FedMIA).

    In each round it looks at, for candidate ``(x, y)`` and every client ``k``, with the local model
    ``w_k = sent + row_k``: variant I measures ``M_k = -loss(w_k; x, y)``, variant II
    ``M_k = cos(w_t - w_k, grad loss(w_t; x, y))`` over the columns of parameters. For each target
    client, ``U = {k != target : M_k <= mu + 3 sigma}`` (mean and standard deviation over the
    others, ddof 0) and ``L_t = Phi((M_target - mean_U) / sqrt(var_U + 1e-8))``. The score of
    candidate and client is the mean of ``L_t`` over those rounds in which the client took part.
    Rounds 0, 10, 20, ... are looked at unless ``when`` says others. Losses and per-sample
    gradients are taken in evaluation mode: batch normalization uses the running statistics of the
    row.

    Of grouped sums the groups are compared, and what is found of one is said of all in it. A
    secure sum has no clients: there the aggregate form is used, the mean over rounds of
    ``M`` of the average update, one score a candidate, the same for every hospital. With
    ``reads = "messages"`` the masked vectors that passed the channel are taken for updates, scaled
    to the length of the average one.

    Returns evidence ``scores`` ``[n, clients]`` (``[n]`` of a sum); measurements ``audited``
    (rounds), ``filtered`` (share of comparisons that the filter left out in this round) and
    ``filter_can_fire``: 0 where it cannot, whatever is measured, because fewer than 11 others are
    compared with. None without candidates, and when a single client came.

    Source: Zhu et al., FedMIA: An Effective Membership Inference Attack Exploiting "All for One"
    Principle in Federated Learning, CVPR 2025 (arXiv 2402.06289)

    Fidelity: code

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> FedMia(variant="II").usual.every
        10
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)
    usual: ClassVar[When] = When(every=10)

    variant: Literal["I", "II"] = "I"
    reads: Reads = "delivery"

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        """Add one round's likelihoods to the running means."""
        if view.candidates is None:
            return state, None
        found = readings(view, self.reads)
        if found is None or len(found.clients) == 1:
            return state, None
        measure = confidences if self.variant == "I" else cosines
        measured = measure(view, found, view.candidates)
        if not found.clients:
            after = added(state, (NOBODY,), measured)
            return after, self._evidence(after, filtered=0.0, others=0)
        compared = likelihoods(measured)
        scores, clients = found.shared(compared.scores)
        after = added(state, clients, scores)
        return after, self._evidence(after, compared.filtered, len(found.clients) - 1)

    def _evidence(self, state: State, filtered: float, others: int) -> Evidence:
        clients = tuple(int(k) for k in state["clients"])
        measurements = {
            "audited": float(state["rounds"].max()),
            "filtered": filtered,
            "filter_can_fire": float(filter_can_fire(others)),
        }
        named = clients if clients != (NOBODY,) else ()
        return membership(state["sums"] / state["rounds"], named, measurements)


def added(state: State, clients: tuple[int, ...], scores: Tensor) -> State:
    """Add scores ``[n, k]`` to the running sums of these clients.

    ``clients`` ``[k]`` (sorted), ``sums`` ``[n, k]`` and ``rounds`` ``[k]``, how often each took
    part.

    Example:
        >>> once = added({}, (2,), torch.ones(1, 1))
        >>> twice = added(once, (1, 2), torch.ones(1, 2))
        >>> [twice[name].tolist() for name in ("clients", "sums", "rounds")]
        [[1, 2], [[1.0, 2.0]], [1, 2]]
    """
    seen = [int(k) for k in state["clients"]] if state else []
    known = sorted({*seen, *clients})
    sums = scores.new_zeros(len(scores), len(known))
    rounds = torch.zeros(len(known), dtype=torch.int64)
    old, new = [known.index(k) for k in seen], [known.index(k) for k in clients]
    if state:
        sums[:, old] = state["sums"].to(sums)
        rounds[old] = state["rounds"].cpu()
    sums[:, new] += scores
    rounds[new] += 1
    return {"clients": torch.tensor(known), "sums": sums, "rounds": rounds.to(scores.device)}
