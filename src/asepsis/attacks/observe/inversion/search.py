"""Restarts of an optimizer over dummies; the best is chosen by the gradient loss alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
import torch
from torch import Tensor

from asepsis.attacks.observe.inversion.problem import Dummies, Problem
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence

INNER = 20
HISTORY = 100
# Beyond this the rounding of float32 gradients decides, and nothing is left to learn.
SOLVED = 1e-12
ENOUGH = 1e-6
"""An update that is explained so well needs no further restart."""
PIXELS = frozenset({Kind.IMAGE, Kind.VOLUME, Kind.MULTILABEL_IMAGE, Kind.PAIRED_IMAGE})
"""Kinds whose prepared inputs lie in [-1, 1]."""


@dataclass(slots=True)
class Attempt:
    """The dummies of one restart that minimize the objective, and their gradient loss."""

    whole: float = inf
    loss: float = inf
    inputs: Tensor | None = None
    targets: Tensor | None = None
    iterations: int = 0

    def offer(self, whole: float, loss: float, dummies: Dummies) -> None:
        """Keep these dummies when the objective is lower than before."""
        if isfinite(whole) and whole < self.whole:
            self.whole, self.loss = whole, loss
            self.inputs = dummies.inputs.detach().clone()
            self.targets = dummies.targets.detach().clone()


Descend = Callable[[Problem, Dummies, Attempt], None]


def search(
    problem: Problem,
    descend: Descend,
    restarts: int,
    rng: np.random.Generator,
    *,
    infer: bool = False,
) -> Attempt:
    """Restart, and return the dummies with the lowest gradient loss; never the truth decides."""
    best, iterations = Attempt(), 0
    for _ in range(restarts):
        attempt = Attempt()
        descend(problem, Dummies.drawn(problem, rng, infer=infer), attempt)
        iterations += attempt.iterations
        if attempt.loss < best.loss:
            best = attempt
        if best.loss < ENOUGH:
            break
    best.iterations = iterations
    return best


def lbfgs(problem: Problem, dummies: Dummies, attempt: Attempt, iterations: int) -> None:
    """Minimize by L-BFGS: 20 steps a call, history 100, rate 1; stops when solved or stuck."""
    optimizer = torch.optim.LBFGS(dummies.variables, lr=1.0, max_iter=INNER, history_size=HISTORY)
    seen: list[float] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        whole, gap = problem.losses(dummies.inputs, dummies.targets)
        whole.backward()  # type: ignore[no-untyped-call]
        attempt.offer(whole.item(), gap.item(), dummies)
        return whole

    for attempt.iterations in range(1, iterations + 1):
        value: Tensor = optimizer.step(closure)  # type: ignore[no-untyped-call]
        seen.append(value.item())
        stalled = len(seen) > 1 and seen[-1] == seen[-2]
        if stalled or not SOLVED < seen[-1] < inf:
            return


def signed_adam(
    problem: Problem, dummies: Dummies, attempt: Attempt, iterations: int, lr: float, *, boxed: bool
) -> None:
    """Minimize by Adam on the signs of gradients; the rate falls tenfold at 3/8, 5/8 and 7/8.

    ``boxed`` keeps pixels in [-1, 1] after every step.
    """
    optimizer = torch.optim.Adam(dummies.variables, lr=lr)
    falls = [iterations * eighths // 8 for eighths in (3, 5, 7)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, gamma=0.1)
    for attempt.iterations in range(1, iterations + 1):
        optimizer.zero_grad()
        whole, gap = problem.losses(dummies.inputs, dummies.targets)
        attempt.offer(whole.item(), gap.item(), dummies)
        if not isfinite(whole.item()):
            return
        whole.backward()  # type: ignore[no-untyped-call]
        for variable in dummies.variables:
            if variable.grad is not None:
                variable.grad.sign_()
        optimizer.step()
        schedule.step()
        if boxed:
            _keep_in_box(dummies)
    whole, gap = problem.losses(dummies.inputs, dummies.targets)
    attempt.offer(whole.item(), gap.item(), dummies)


@torch.no_grad()
def _keep_in_box(dummies: Dummies) -> None:
    if dummies.kind in PIXELS:
        dummies.inputs.clamp_(-1, 1)
    if dummies.kind is Kind.PAIRED_IMAGE:
        dummies.free.clamp_(-1, 1)


def evidence(problem: Problem, best: Attempt) -> Evidence | None:
    """Return what was found, with what it took; ``None`` when nothing finite was."""
    if best.inputs is None or best.targets is None:
        return None
    name = "targets" if problem.learner.kind is Kind.PAIRED_IMAGE else "labels"
    return Evidence(
        kind="inversion",
        guesses={"inputs": best.inputs, name: best.targets},
        about=problem.target.about,
        clients=problem.target.clients,
        measurements={
            "gradient_loss": best.loss,
            "iterations": float(best.iterations),
            "local_steps": float(problem.target.recipe.steps),
            "simulated_steps": float(problem.target.recipe.steps if problem.simulated else 0),
            "samples": float(problem.count),
        },
    )
