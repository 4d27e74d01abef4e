"""Poisoned training whose update goes exactly as far as the defense in use lets it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from asepsis.attacks.update.asking import farthest
from asepsis.core import robust_math
from asepsis.core.contracts import DataAttack, TrainAttack, UpdateAttack
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build, register
from asepsis.core.samples import DataFacts, Kind, Samples
from asepsis.core.threat import ClientView, Sees
from asepsis.core.updates import Rows, State
from asepsis.core.workshop import Workshop


@register("attack", "adaptive-poisoning")
class AdaptivePoisoning:
    """Train on poisoned data, and ask the defense in use how far that update may go.

    Hostile hospitals train as ``inner`` does, or on what it makes of their data; p = mean of their
    rows - mean of the honest rows. Rows sent: ``mean(honest) + gamma p``, the same for all m,
    ``[m, d]``; gamma is found as in ``adaptive``, and is at most ``n / (lr_server m)``, with which
    a mean of n rows becomes the poisoned one. Recorded: ``gamma``, ``moved``, ``calls``, and
    ``inactive`` where gamma is 0.

    Raises ConfigError where nobody says which defense is in use, and when ``inner`` neither poisons
    data nor trains, crafts updates, or has a trigger (``adaptive-backdoor`` is for those).

    Source: Shejwalkar et al., Back to the Drawing Board: A Critical Evaluation of Poisoning
    Attacks on Production Federated Learning, IEEE S&P 2022, section V (projected data poisoning:
    the idea)

    Fidelity: own

    Tasks: image, volume, multilabel-image, table, sequence, paired-image

    Example:
        >>> AdaptivePoisoning(inner={"name": "noise", "level": "high"}).calls
        20
    """

    needs_rule: ClassVar[bool] = True
    sees: ClassVar[Sees] = Sees.OMNISCIENT

    inner: str | dict[str, Any] = "label-flip"
    calls: Annotated[int, Field(ge=1, le=1000)] = 20

    def __post_init__(self) -> None:
        """Refuse an inner attack that could not do its work."""
        made = self._made()
        unfit = hasattr(type(made), "stamp") or isinstance(made, UpdateAttack)
        if unfit or not isinstance(made, DataAttack | TrainAttack):
            raise ConfigError(
                "only a data attack without a trigger can be taken as far as a defense lets it",
                place="attack.inner",
                got=self.inner,
                fix="use one such as label-flip or noise; of backdoors: adaptive-backdoor",
            )

    @property
    def kinds(self) -> frozenset[Kind]:
        """Kinds of data that the inner attack works on."""
        return frozenset(getattr(self._made(), "kinds", frozenset(Kind)))

    def poison(self, own: Samples, facts: DataFacts, rng: np.random.Generator) -> Samples:
        """Return what the inner attack makes of the samples; the same ones if it poisons none."""
        made = self._made()
        return made.poison(own, facts, rng) if isinstance(made, DataAttack) else own

    def train(
        self, state: State, shop: Workshop, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        """Train as the inner attack does, or honestly on what it poisoned."""
        made = self._made()
        if isinstance(made, TrainAttack):
            return made.train(state, shop, rng)
        row, telemetry = shop.honest(shop.poisoned)
        return state, row, {"loss": telemetry["loss"]}

    def craft(
        self, state: State, view: ClientView, rng: np.random.Generator
    ) -> tuple[State, Tensor, Mapping[str, float]]:
        """Return the rows to send, the gamma, how far the aggregate moved, and the calls."""
        rows, measured = taken_far(view, self.calls)
        return state, rows, measured

    def _made(self) -> object:
        return build("attack", self.inner, "attack.inner")


def taken_far(view: ClientView, calls: int) -> tuple[Tensor, Mapping[str, float]]:
    """Take the way from the honest mean to the mean of the hostile rows as far as it is let."""
    mean = robust_math.mean(Rows(view.reference))
    p = robust_math.mean(Rows(view.rows)) - mean
    facts = view.facts
    whole = facts.cohort / (facts.server_lr * len(view.clients))
    return farthest(view, mean, p, calls, most=whole)
