"""Models that local training leaves alone: rows whose gradients vanish."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from asepsis.core.errors import ConfigError
from asepsis.core.samples import Kind, Shard
from asepsis.core.threat import Learner

DEAD = -1000.0
"""A bias below which every input leaves a unit at zero, with no gradient."""
LEAST = 0.01
"""A model is silent when at least this share of its columns stays."""
TRIED = 64
"""Samples on which a silent model is tried."""
FEW = 4
"""Samples of noise on which gradients are looked at before any round."""


def silent_model(
    learner: Learner, sent: Tensor, public: Shard | None, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return a row ``[d]`` that training cannot change, and which columns it leaves (bool ``[d]``).

    Two rows are tried: all zeros, which zero-preserving units never leave, and zeros with dead
    biases in all layers but the last, for units such as sigmoids that are not zero at zero.

    Raises:
        ConfigError: training changes (almost) all columns of either.
    """
    samples = _samples(learner, sent, public, rng)
    seed = int(rng.integers(2**62))
    rows = [torch.zeros_like(sent), _dead(learner, sent)]
    tried = [(row, _stays(learner, row, samples, seed)) for row in rows]
    row, stays = max(tried, key=lambda one: int(one[1].sum()))
    _check_share(float(stays.double().mean()))
    return row, stays


def check_silence(learner: Learner, sent: Tensor) -> None:
    """Refuse a network whose gradients do not vanish in either row, on noise, before any round.

    Raises:
        ConfigError: (almost) all columns of both have a gradient.
    """
    shard = _samples(learner, sent, None, np.random.default_rng(0))
    inputs, targets = shard.inputs[:FEW], shard.targets[:FEW]
    rows = (torch.zeros_like(sent), _dead(learner, sent))
    _check_share(max(_without_gradient(learner, row, inputs, targets) for row in rows))


def _without_gradient(learner: Learner, row: Tensor, inputs: Tensor, targets: Tensor) -> float:
    return float((learner.gradient(row, inputs, targets) == 0).double().mean())


def _check_share(share: float) -> None:
    if share < LEAST:
        raise ConfigError(
            "this network cannot be silenced: training changes its columns whatever they are",
            place="attack model-inconsistency",
            got=f"{share:.1%} of the columns stay",
            fix="attack a network with hidden layers",
        )


def _stays(learner: Learner, row: Tensor, samples: Shard, seed: int) -> Tensor:
    """Return which columns the protocol's local training leaves exactly as they are."""
    trained = learner.fit(row.clone(), samples, np.random.Generator(np.random.Philox(seed)))
    return trained == row


def _dead(learner: Learner, sent: Tensor) -> Tensor:
    """Return zeros with biases far below zero in every layer but the last."""
    row = torch.zeros_like(sent)
    layers = [(name, part) for name, part in learner.copy(sent).named_modules() if _biased(part)]
    slots = {slot.name: slot for slot in learner.layout.slots}
    for name, _ in layers[:-1]:
        slot = slots.get(f"{name}.bias" if name else "bias")
        if slot is not None:
            row[slot.where] = DEAD
    return row


def _biased(part: nn.Module) -> TypeGuard[nn.Module]:
    return isinstance(getattr(part, "bias", None), Tensor)


def _samples(
    learner: Learner, sent: Tensor, public: Shard | None, rng: np.random.Generator
) -> Shard:
    """Return a few public samples; noise where there are none."""
    if public is not None and len(public):
        where = torch.from_numpy(rng.permutation(len(public))[:TRIED])
        return Shard(public.inputs[where], public.targets[where])
    shape = (TRIED, *learner.input_shape)
    inputs = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)).to(sent)
    if learner.kind in (Kind.PAIRED_IMAGE, Kind.MULTILABEL_IMAGE):
        drawn = rng.integers(2, size=(TRIED, *learner.target_shape)).astype(np.float32)
        return Shard(inputs, torch.from_numpy(drawn).to(sent))
    return Shard(
        inputs, torch.from_numpy(rng.integers(learner.classes, size=TRIED)).to(sent.device)
    )
