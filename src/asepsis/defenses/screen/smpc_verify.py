"""Verification before acceptance: every local model sits a test, under secret sharing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from asepsis.core.desk import Network
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.samples import Kind, Shard
from asepsis.core.stages import ServerContext
from asepsis.core.threads import one_thread
from asepsis.core.updates import Individual, Screened, State
from asepsis.defenses.given import given
from asepsis.defenses.screen.dropping import dropping
from asepsis.defenses.secure.ring import RangeError
from asepsis.defenses.secure.verification import Verified, verify

NAME = "smpc-verify"


@register("screen", "smpc-verify")
class SmpcVerify:
    """Drop models that fail a test, run on secret shares of the model and of the test.

    Model i is ``w_i = received + x_i`` for rows x ``[n, d]``. Its accuracy ``a_i`` on ``samples``
    verification samples (root data, classes in equal numbers, drawn anew each round, the same for
    all models) is computed under additive secret sharing, and row i is dropped if
    ``a_i < max(least, reference - tolerance)``. The reference is the cohort's median accuracy, or
    that of the received model; ``least`` alone is an absolute bar with ``tolerance = 1``. A
    prediction is right when the label's output is above every other one: a tie is wrong.

    Protocol, among ``parties`` computing parties: numbers are words of Z_2^64 with ``fraction``
    fractional bits, weights and inputs uniform additive shares. Products take Beaver triples and
    one truncation, off by less than ``2^-fraction``; ReLU and max pooling compare exactly. Each
    hospital folds its own batch normalization, and checks by interval arithmetic that no product
    of its model can reach 2^62: a model that might, or is not finite, is dropped as out of range
    (``out_of_range``), never evaluated wrongly. Deep networks fail that check.

    Who sees what: a party sees its shares, what the dealer handed it, and opened values, all of
    them uniform words whatever the secrets, but one: how many samples each model got right.
    Public are the architecture, the number of samples, the power of two that no input exceeds,
    and whether a model is out of range. ``ideal``: the parties are semi-honest and do not collude
    with the trusted dealer (offline phase, counted apart), all in one process, on pseudorandom
    numbers that are not cryptographic. It proves what is computed and what it costs; the plain
    channel before it still shows the server every row. A hospital that shares another model than
    it sends, or lies about its range, is outside the semi-honest model.

    Measured: ``sent_bytes`` and ``dealt_bytes`` a verified model (all parties together),
    ``rounds``, ``bar``, the cohort's ``median_accuracy``. A LeNet on 32 samples of 28×28 takes 128
    rounds and 41 MB (``benchmarks/smpc.py``).

    It knows root data, on which a backdoor does no harm: it does not find one. ``least`` needs
    tuning, the median an honest majority. What a hospital sends is judged by its own model, so an
    honest specialist fails: on ``breast-cancer`` without attack (mlp, 3 seeds, 15 rounds) it drops
    0.6, 1.3 and 2.0 % of honest models in cohorts of 4, 10 and 30 with Dirichlet alpha 5, but 5
    and 9 % with alpha 0.5, where the worst of 10 hospitals is out in 73 % of the rounds. A flipped
    step away from a good model may still pass: with 3 of 10 hostile (alpha 5) it stops all label
    flips, a third of threefold sign flips (balanced accuracy 0.94, 0.61 without it) and no ALIE; on
    ``pneumoniamnist`` (small-cnn, 2 seeds) half of the sign flips (0.78, 0.50 without it).

    Raises ``ConfigError`` without network, root data or received model, for a layer without a
    protocol (it names the layer, and the models that work) and for targets that are not one class
    a sample; ``QuorumError`` when no model passes.

    Source: Kalapaaking, Khalil and Yi, arXiv 2304.13360 (abstract: verification by encrypted
    inference, compromised models removed; thresholds and protocol are ours); protocols are cited
    where they stand, in ``asepsis.defenses.secure``

    Fidelity: abstract

    Tasks: image, volume, table, sequence

    Example:
        >>> SmpcVerify(samples=32, least=0.5).parties
        2
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(
        {Kind.IMAGE, Kind.VOLUME, Kind.TABLE, Kind.SEQUENCE}
    )
    claims: ClassVar[frozenset[str]] = frozenset({"permutation"})
    needs: ClassVar[frozenset[str]] = frozenset({"received", "network", "root"})
    ideal: ClassVar[bool] = True
    why: ClassVar[str] = "its model failed the server's accuracy test"

    against: Literal["median", "received"] = "median"
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.15
    least: Annotated[float, Field(ge=0, le=1)] = 0.0
    samples: Annotated[int, Field(ge=1, le=4096)] = 64
    parties: Annotated[int, Field(ge=2, le=8)] = 2
    fraction: Annotated[int, Field(ge=8, le=20)] = 16

    def init(self, dim: int) -> State:
        """Return no state."""
        return {}

    def apply(
        self, state: State, delivery: Individual, context: ServerContext
    ) -> tuple[State, Screened]:
        """Verify one round's models."""
        received = given(context.received, "received", NAME)
        network = given(context.network, "network", NAME)
        test = balanced(given(context.root, "root", NAME).shard, self.samples, context.rng)
        models = [received.double() + row.double() for row in delivery.rows.dense()]
        verified = self._examined(network, models, test, context.rng)
        peers = verified
        if self.against == "received":
            peers = self._examined(network, [received], test, context.rng)
        bar = max(self.least, _median(peers) - self.tolerance)
        accuracies = np.array([made.accuracy if made else -1.0 for made in verified])
        measurements = {"bar": bar, **_cost(verified)}
        return state, dropping(NAME, delivery, accuracies >= bar, 1 - accuracies, measurements)

    def _examined(
        self, network: Network, models: Sequence[Tensor], test: Shard, rng: np.random.Generator
    ) -> list[Verified | None]:
        """Run the protocol on every model; ``None`` where one is out of range."""
        examine = partial(verify, parties=self.parties, fraction=self.fraction, rng=rng)
        found: list[Verified | None] = []
        for row in models:
            try:
                with one_thread():
                    found.append(examine(network.at(row), test, network.classes))
            except RangeError:
                found.append(None)
        return found


def balanced(shard: Shard, samples: int, rng: np.random.Generator) -> Shard:
    """Draw up to so many samples, classes taking turns as long as they last.

    Raises:
        ConfigError: there is no sample, or a sample has not exactly one class.

    Example:
        >>> shard = Shard(torch.arange(6.0)[:, None], torch.tensor([0, 0, 0, 0, 1, 1]))
        >>> sorted(balanced(shard, 4, np.random.default_rng(0)).targets.tolist())
        [0, 0, 1, 1]
    """
    targets = shard.targets
    if not len(shard) or targets.ndim != 1 or targets.is_floating_point():
        raise ConfigError(
            "verification needs samples with one class each",
            place=NAME,
            got=f"targets {tuple(targets.shape)} of {targets.dtype}",
            fix="give root data of a task with one class per sample",
        )
    order = rng.permutation(len(shard))
    turns = _turns(targets.cpu().numpy()[order])
    chosen = torch.from_numpy(np.sort(order[np.argsort(turns, kind="stable")[:samples]]))
    return Shard(shard.inputs[chosen], targets[chosen])


def _turns(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many of the same class come before each entry."""
    turns = np.zeros(len(classes), dtype=np.int64)
    for label in np.unique(classes):
        same = classes == label
        turns[same] = np.arange(same.sum())
    return turns


def _median(verified: Sequence[Verified | None]) -> float:
    """Return the median accuracy of the models in range, 0 when there is none."""
    accuracies = [made.accuracy for made in verified if made]
    return float(np.median(accuracies)) if accuracies else 0.0


def _cost(verified: Sequence[Verified | None]) -> dict[str, float]:
    """Return what verification found and cost, bytes and rounds a verified model."""
    done = [made for made in verified if made]
    if not done:
        return {"out_of_range": float(len(verified))}
    return {
        "out_of_range": float(len(verified) - len(done)),
        "median_accuracy": _median(done),
        "sent_bytes": float(np.mean([made.sent for made in done])),
        "dealt_bytes": float(np.mean([made.dealt for made in done])),
        "rounds": float(max(made.rounds for made in done)),
    }
