"""FLDetector: who does not send what the history of the training predicts."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from asepsis.core import robust_math
from asepsis.core.registry import register
from asepsis.core.stages import ServerContext
from asepsis.core.updates import Individual, Rows, Screened, State
from asepsis.defenses import memory
from asepsis.defenses.clustering import gap_clusters, k_means
from asepsis.defenses.given import given
from asepsis.defenses.screen.dropping import dropping
from asepsis.defenses.screen.quasi_newton import hessian_vector

Mask = NDArray[np.bool_]

ROUNDING = 1e-6
"""An error below this share of all rows' norms is float32's, not a hospital's."""


def suspects(scores: NDArray[np.float64], rng: np.random.Generator) -> Mask:
    """Return which scores are in the higher of two clusters; nobody, if there is only one.

    Example:
        >>> suspects(np.array([0.1, 0.11, 0.1, 0.35, 0.34]), np.random.default_rng(0)).tolist()
        [False, False, False, True, True]
    """
    points = scores[:, None]
    if len(scores) < 3 or gap_clusters(points, 2, rng, references=20) < 2:
        return np.zeros(len(scores), bool)
    labels = k_means(points, 2)
    higher = int(scores[labels == 1].mean() > scores[labels == 0].mean())
    made: Mask = labels == higher
    return made


@register("screen", "fldetector")
class FLDetector:
    """Drop hospitals whose updates keep missing what past rounds predict (FLDetector).

    For hospital i with rows x_i ``[d]`` of two rounds in a row, the prediction is its last row
    plus ``B (w_t - w_{t-1})``: w is the received model and B the L-BFGS matrix of the last
    ``window`` steps of the model and changes of the mean row. Its error in a round is
    ``|prediction - x_i|`` over the sum of all errors; its score, the mean of its last ``window``
    errors. As soon as ``window`` errors are there, the gap statistic (k-means, 20 uniform
    references) says whether scores form more than one cluster; if so, the hospitals of the higher
    of two are dropped in this and every later round, and the history starts anew for the others.
    Nothing can be dropped before round ``2 window + 1``. Claimed counts pass through. ``scores``
    are the mean errors so far, 1 for who was dropped before.

    The paper restarts training without the hospitals found; here the model stays. A hospital that
    was away in the round before has no error in this one.

    Measured without attack (digits, 40 samples a hospital, 30 rounds, 3 seeds): an honest hospital
    with one class only is dropped in 0, 0 and 0 % of the rounds in cohorts of
    4, 10 and 30; ordinary ones in 6, 6 and 0 %.

    Raises ``ConfigError`` without the received model, ``QuorumError`` when all that came were
    dropped before.

    Source: Zhang et al., FLDetector: Defending Federated Learning Against Model Poisoning Attacks
    via Detecting Malicious Clients (KDD 2022), Algorithms 1 to 3, with the means of logarithms
    (Tibshirani's) in the gap statistic where the authors' code has logarithms of means.

    Fidelity: code

    Example:
        >>> from asepsis.defenses.call import aggregate
        >>> aggregate(torch.eye(3), ["fldetector", "mean"], received=torch.zeros(3)).sum()
        tensor(1.)
    """

    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    needs: ClassVar[frozenset[str]] = frozenset({"received", "history"})
    why: ClassVar[str] = "its updates kept missing what past rounds predict"

    window: Annotated[int, Field(ge=1, le=1000)] = 10

    def init(self, dim: int) -> State:
        """Return no history: of hospitals their last row and errors, and the model's path."""
        return {
            **memory.nothing(row=dim, errors=self.window, count=None),
            "last": torch.zeros(0, dtype=torch.int64),
            "removed": torch.zeros(0, dtype=torch.int64),
            "path": torch.zeros(0, 2, dim, dtype=torch.float64),
            "steps": torch.zeros(0, dim, dtype=torch.float64),
            "changes": torch.zeros(0, dim, dtype=torch.float64),
        }

    def fits(self, state: State) -> bool:
        """Return whether what is remembered goes together."""
        hospitals = memory.as_long(state, "clients", "row", "errors", "count")
        path, steps = len(state["path"]), len(state["steps"])
        return hospitals and memory.as_long(state, "steps", "changes") and (path == 1 or not steps)

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Judge one round's rows by all rounds before."""
        received = given(context.received, "received", "fldetector").double().cpu()
        removed = set(state["removed"].tolist())
        here = np.array([client not in removed for client in delivery.clients])
        judged = delivery.select(torch.from_numpy(np.flatnonzero(here)))
        errors = self._errors(state, judged, received)
        state, scores, full = self._scored(state, judged.clients, errors)
        found = np.zeros(len(scores), bool)
        if full.any():
            found[full] = suspects(scores[full], context.rng)
        keep = here.copy()
        keep[here] = ~found
        shown = np.ones(len(here))
        shown[here] = scores
        measurements = {"predicted": float(errors is not None), "found": float(found.sum())}
        screened = dropping("fldetector", delivery, keep, shown, measurements)
        if found.any():
            return self._restarted(state, delivery.clients, keep), screened
        return self._recorded(state, judged, received), screened

    def _errors(
        self, state: State, judged: Individual, received: Tensor
    ) -> NDArray[np.float64] | None:
        """Return every row's share of the errors, NaN for who was away; None: no prediction."""
        if len(state["steps"]) < self.window or not len(judged.clients):
            return None
        step = (received - state["path"][-1, 0]).numpy()
        bend = hessian_vector(state["steps"].numpy(), state["changes"].numpy(), step)
        if bend is None:
            return None
        present = set(state["last"].tolist())
        was_here = torch.tensor([client in present for client in judged.clients])
        before = memory.recall(state, "row", judged.clients, 0.0)
        gap = judged.rows.dense().double().cpu() - before - torch.from_numpy(bend)
        distances = robust_math.row_norms(Rows(gap))
        rounding = ROUNDING * float(robust_math.row_norms(judged.rows).sum())
        distances = torch.where(distances > rounding, distances, 0.0)
        errors = torch.where(was_here, distances, torch.nan)
        total = float(errors.nansum())
        return (errors / total if total > 0 else errors).numpy()

    def _scored(
        self, state: State, clients: tuple[int, ...], errors: NDArray[np.float64] | None
    ) -> tuple[State, NDArray[np.float64], Mask]:
        """Return the state with the new errors, mean errors, and who has a full window."""
        past = memory.recall(state, "errors", clients, 0.0)
        count = memory.recall(state, "count", clients, 0.0)
        rows = memory.recall(state, "row", clients, 0.0)
        if errors is not None:
            new = torch.from_numpy(~np.isnan(errors))
            moved = torch.cat([past[:, 1:], torch.from_numpy(np.nan_to_num(errors))[:, None]], 1)
            past = torch.where(new[:, None], moved, past)
            count = (count + new).clamp(max=self.window)
        kept = {name: state[name] for name in ("clients", "row", "errors", "count")}
        after = memory.remember(kept, clients, row=rows, errors=past, count=count)
        means = (past.sum(dim=1) / count.clamp(min=1)).numpy()
        return {**state, **after}, means, (count == self.window).numpy()

    def _recorded(self, state: State, judged: Individual, received: Tensor) -> State:
        """Remember the rows, and the model's last step with the change of the mean row."""
        rows = judged.rows.dense().double().cpu()
        mean = robust_math.mean(judged.rows).cpu() if len(rows) else torch.zeros_like(received)
        names = ("clients", "row", "errors", "count")
        kept = {
            name: memory.recall(state, name, judged.clients, 0.0) for name in ("errors", "count")
        }
        after = memory.remember({n: state[n] for n in names}, judged.clients, row=rows, **kept)
        here = torch.stack([received, mean])[None]
        made = {**state, **after, "path": here, "last": torch.tensor(judged.clients)}
        if len(state["path"]):
            step, change = (here - state["path"])[0]
            made["steps"] = torch.cat([state["steps"], step[None]])[-self.window :]
            made["changes"] = torch.cat([state["changes"], change[None]])[-self.window :]
        return made

    def _restarted(self, state: State, clients: tuple[int, ...], keep: Mask) -> State:
        """Forget everything but who was removed."""
        gone = {client for client, kept in zip(clients, keep.tolist(), strict=True) if not kept}
        removed = sorted({*state["removed"].tolist(), *gone})
        fresh = self.init(state["row"].shape[1])
        return {**fresh, "removed": torch.tensor(removed, dtype=torch.int64)}
