"""Secure aggregation: a protocol of masks, by which the server learns the sum and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from asepsis.core.channel import Carried, Channel, Waiting
from asepsis.core.errors import ConfigError
from asepsis.core.registry import register
from asepsis.core.updates import Individual, Summed
from asepsis.defenses.masking.carrying import MaskedRound
from asepsis.defenses.masking.graph import LARGE, Graph, more_than, smallest_degree
from asepsis.defenses.masking.quantize import Grid
from asepsis.defenses.transport.honest import FEWEST, check_counts, check_honest


@register("transport", "secure-aggregation")
class SecureAggregation:
    """Deliver only the weighted sum of the rows, by masks that cancel: a protocol, not an ideal.

    Hospital u sends ``y_u = w_u q(x_u) + PRG(b_u) + sum_{v>u} PRG(s_uv) - sum_{v<u} PRG(s_uv)``
    modulo 2^32 or 2^64, for its row x ``[d]`` in fixed point q, its count w, a seed b and X25519
    agreements s, with w and telemetry as further coordinates. Seeds and keys are Shamir-shared
    among neighbors, so that hospitals may drop out at any moment; survivors sign who survived, and
    reveal a survivor's seed or a dropout's key, never both. More than the ``threshold`` share of
    the cohort must be left, and at least 3 honest hospitals, else the round is void and nothing is
    revealed. Against an active server, ``2 quorum > n + colluders`` is asked for.

    ``clip`` bounds a coordinate (what is cut is measured) and ``bits`` gives its levels. Rows are
    rounded towards zero, so that none grows: the sum errs by less than a step,
    ``clip / (2^(bits-1) - 1)``, a sample. It is delivered in float64; what a rule makes of it has
    the model's dtype. The modulus holds ``n x max_count x levels``: a hospital with more samples
    than ``max_count`` is refused beforehand. In a round, one that claims more, or no whole number
    of at least 1, or whose row is not finite, sends nothing (``unfit``).
    ``graph``: everybody, or ``k-regular`` neighbors, whose number is the smallest for which
    ``colluders`` surround nobody (2^-40) and a share of ``dropouts`` stops no round (2^-20);
    ``auto`` takes that from 50 hospitals on where it halves the work. ``bind_broadcast``: masks and
    signatures cover the hash of the model received, and different models make hospitals refuse.
    ``late_dropout`` is the chance that a hospital falls silent after its vector. Masks hide a
    vector and do not keep it whole: somebody on the wire who alters one, or sends an old one in its
    place, spoils the sum, and nobody notices. ``signed``: hospitals sign their masked vectors,
    bound to the round's keys (64 bytes); one that does not fit is ``refused``, and its hospital is
    a dropout. Of what passes, an interceptor gets the masked vectors only: keys, shares and
    survivors are signed or sealed anyway, and here nobody drops them.

    Registration of identity keys is trusted, and colluders are chosen before a round's keys are.
    Not defended: those that advertise last can try keys offline, until the ``k-regular`` order,
    which all keys decide, puts them around a hospital; the 2^-40 is for those that do not.
    No proof bounds what a hospital adds: range and count are kept by its own software. Keys come
    from the run's generator, so that it can be repeated; a deployment must draw them from its
    operating system. Bytes are payloads, without the model's broadcast and TLS.

    Source: Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning
    (CCS 2017), figure 4; the graph from Bell et al., Secure Single-Server Aggregation with
    (Poly)Logarithmic Overhead (CCS 2020).

    Fidelity: paper

    Example:
        >>> import torch
        >>> from asepsis.core.updates import Rows
        >>> counts = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
        >>> sent = Individual((0, 1, 2), Rows(torch.tensor([[1.0], [2.0], [-4.0]])), counts)
        >>> SecureAggregation().deliver(sent, Channel.of(sent)).delivery.total
        tensor([-7.0000], dtype=torch.float64)
    """

    delivers: ClassVar[type] = Summed
    ideal: ClassVar[bool] = False
    tapped: ClassVar[bool] = True
    apart: ClassVar[bool] = True

    graph: Literal["auto", "complete", "k-regular"] = "auto"
    threshold: Annotated[float, Field(ge=0.5, le=1)] = 2 / 3
    clip: Annotated[float, Field(gt=0)] = 8.0
    bits: Annotated[int, Field(ge=2, le=32)] = 24
    max_count: Annotated[int, Field(ge=1)] = 1_000_000
    weighted: bool = True
    colluders: Annotated[int, Field(ge=0)] = 0
    dropouts: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    late_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bind_broadcast: bool = True
    signed: bool = False

    def check_cohort(self, n: int) -> None:
        """Refuse a cohort that the protocol protects too little, or whose sum could wrap.

        Raises:
            ConfigError: fewer than 3 honest hospitals, a threshold too low for the colluders, no
                sparse graph, or no modulus.
        """
        check_honest(n, self.colluders)
        quorum = self._quorum(n)
        if 2 * quorum <= n + self.colluders:
            raise ConfigError(
                "a lying server could hear two answers: the threshold must be more than half of "
                "hospitals and colluders together",
                got=f"threshold {quorum} of {n} hospitals, {self.colluders} colluders",
                fix=f"a threshold above {(n + self.colluders) / 2 / n:.3g} will do",
            )
        self.shape_of(n)
        self.grid(n)

    def check_colluders(self, n: int, colluders: int) -> None:
        """Refuse a cohort in which colluders leave too few honest hospitals.

        Raises:
            ConfigError: fewer than 3, whoever the protocol was told of.
        """
        check_honest(n, max(colluders, self.colluders))

    def check_weights(self, weights: Mapping[int, float]) -> None:
        """Refuse a hospital whose count the modulus was not chosen for.

        Raises:
            ConfigError: naming the hospital.
        """
        if self.weighted:
            check_counts(weights, self.max_count, otherwise="sums could wrap around")

    def shape_of(self, n: int) -> Graph:
        """Return who masks with whom in a cohort of ``n``.

        Raises:
            ConfigError: ``k-regular`` is asked for, and no such graph keeps the bounds.
        """
        quorum, degree = self._quorum(n), None
        if self.graph == "k-regular" or (self.graph == "auto" and n >= LARGE):
            degree = smallest_degree(n, self.threshold, self.colluders, self.dropouts)
        if self.graph == "k-regular" and degree is None:
            raise ConfigError(
                f"no k-regular graph of {n} hospitals keeps the bounds",
                got=f"threshold {self.threshold:.3g}, {self.colluders} colluders",
                fix='ask for graph = "complete"',
            )
        if degree is None or (self.graph == "auto" and 2 * degree > n - 1):
            return Graph(n - 1, quorum, quorum)
        return Graph(degree, more_than(self.threshold, degree + 1), quorum)

    def grid(self, n: int) -> Grid:
        """Return the fixed-point grid of a cohort of ``n``, with its modulus."""
        return Grid(self.clip, self.bits, n, self.max_count if self.weighted else 1)

    def deliver(self, updates: Individual | Waiting, channel: Channel) -> Carried:
        """Play the protocol; nothing is delivered where too few are left.

        Updates may wait in processes of their hospitals' own, which mask them there.
        """
        cohort = tuple(sorted({*channel.drawn, *updates.clients}))
        try:
            self.check_cohort(len(cohort))
        except ConfigError as error:
            return Carried(None, aborted=str(error))
        made = MaskedRound(
            updates,
            channel,
            cohort,
            self.shape_of(len(cohort)),
            self.grid(len(cohort)),
            late_dropout=self.late_dropout,
            bind_broadcast=self.bind_broadcast,
            weighted=self.weighted,
            signed=self.signed,
        )
        return made.play()

    def _quorum(self, n: int) -> int:
        return max(more_than(self.threshold, n), self.colluders + FEWEST)
