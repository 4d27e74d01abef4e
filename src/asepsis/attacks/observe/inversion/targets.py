"""Which update a gradient inversion attacks, and what is known of how it was made."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from asepsis.attacks.observe.counts import samples_behind
from asepsis.core.threat import ServerView
from asepsis.core.updates import Grouped, Individual
from asepsis.core.workshop import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One update to be explained.

    Attributes:
        about: the hospital it comes from; ``None`` behind a secure sum.
        clients: who is behind it, where it is the sum of a group.
        sent: the row ``[d]`` that it was trained from.
        delta: the update ``[d]``, buffers included.
        samples: what the hospital (behind a sum: the average hospital) says that it holds.
        recipe: what such a hospital is told to do.
        scale: sum of learning rates over its local steps.
        batch: samples in its first local batch.
        parameters: leading columns that are parameters.
    """

    about: int | None
    clients: tuple[int, ...]
    sent: Tensor
    delta: Tensor
    samples: int
    recipe: Recipe
    scale: float
    batch: int
    parameters: int

    @property
    def change(self) -> Tensor:
        """The update's columns of parameters, float32."""
        return self.delta[: self.parameters].float()

    @property
    def gradient(self) -> Tensor:
        """``-delta / scale`` minus weight decay: the gradient for one local step.

        For several steps it is their average, in which the weights are taken to stand still.
        """
        weights = self.sent[: self.parameters].float()
        return -self.change / self.scale - self.recipe.weight_decay * weights

    @property
    def usable(self) -> bool:
        """Whether there is something to explain."""
        return bool(self.change.isfinite().all() and self.change.any())


def chosen(view: ServerView, client: int | None = None) -> Target | None:
    """Pick the update of ``client``, of the lowest id when not set, or all that a sum grants.

    Of grouped sums the one that ``client`` is in. None when the client did not deliver, and when
    the update is zero or not finite.
    """
    found = _update(view, client)
    if found is None:
        return None
    target = Target(
        about=found.about,
        clients=found.clients,
        sent=_started(view, found),
        delta=found.delta,
        samples=found.samples,
        recipe=view.recipe(found.samples),
        scale=view.scale(found.samples),
        batch=view.batch if found.about is None else first_batch(found.samples, view.batch),
        parameters=view.learner.parameters,
    )
    return target if target.usable else None


def first_batch(samples: int, batch: int) -> int:
    """Return the size of a hospital's first local batch; one sample never stays over.

    Example:
        >>> first_batch(3, 8), first_batch(9, 8), first_batch(10, 8)
        (3, 9, 8)
    """
    return samples if samples <= batch + 1 else batch


@dataclass(frozen=True, slots=True, eq=False)
class _Update:
    """A delta, the samples of the (mean) hospital behind it, and who that is."""

    delta: Tensor
    samples: int
    about: int | None = None
    clients: tuple[int, ...] = ()


def _started(view: ServerView, found: _Update) -> Tensor:
    """Return what those behind an update were told; what was meant for all, where that differs."""
    alone = () if found.about is None else (found.about,)
    behind = alone or found.clients or view.cohort or tuple(view.told)
    rows = [view.told.get(client, view.sent) for client in behind]
    same = all(torch.equal(rows[0], row) for row in rows[1:])
    return rows[0] if rows and same else view.sent


def _update(view: ServerView, client: int | None) -> _Update | None:
    delivery = view.delivery
    if not isinstance(delivery, Individual):
        if not delivery.weight > 0:
            return None
        (average,) = samples_behind(delivery, view.batch)
        return _Update(delivery.total / delivery.weight, average)
    members = delivery.members if isinstance(delivery, Grouped) else {}
    groups = [members.get(sender, (sender,)) for sender in delivery.clients]
    wanted = min(delivery.clients, default=None) if client is None else client
    place = next((i for i, group in enumerate(groups) if wanted in group), None)
    if place is None:
        return None
    group, sender = groups[place], delivery.clients[place]
    samples = samples_behind(delivery, view.batch)[place]
    delta = delivery.rows.row(place)
    if len(group) > 1:
        return _Update(delta, samples, clients=group)
    return _Update(delta, samples, about=sender)
