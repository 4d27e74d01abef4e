"""Hospitals in processes of their own: the server's end gets bytes, and the same sum."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asepsis.core.channel import Channel, Waiting, fingerprint
from asepsis.core.updates import Individual, Reply, Summed, individual
from asepsis.defenses.masking.holder import Holder, Memory, registry_in
from asepsis.defenses.masking.home import ADVERTISE, CONSENT, MASK, REVEAL, SHARE
from asepsis.defenses.masking.invitation import Invitation
from asepsis.defenses.masking.keys import Identity
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.transport.secure_aggregation import SecureAggregation

MODEL = fingerprint(torch.zeros(7))
Spoil = Callable[[int, int, bytes], bytes | None]


class Ward:
    """Hospitals that keep nothing between two messages but a memory of bytes."""

    def __init__(self, channel: SecureAggregation, updates: Individual, spoil: Spoil) -> None:
        self.identities = {i: secrets.token_bytes(32) for i in updates.clients}
        self.holders = {
            i: Holder(
                channel=channel,
                me=i,
                identity=self.identities[i],
                round=4,
                received=MODEL,
                row=updates.rows.row(at),
                side={name: float(values[at]) for name, values in updates.side.items()},
                weight=float(updates.weights[at]),
                known={},
                cohort=frozenset(updates.clients),
            )
            for at, i in enumerate(updates.clients)
        }
        self.memories: dict[int, Memory] = {i: {} for i in self.holders}
        self.spoil, self.refused = spoil, dict[int, str]()

    def keys(self) -> Mapping[int, bytes]:
        return {i: Identity(seed).public for i, seed in self.identities.items()}

    def ask(self, step: int, told: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        for i, data in told.items():
            try:
                sent, self.memories[i] = self.holders[i].turn(step, data, self.memories[i])
            except RefusedError as refused:
                self.refused[i] = str(refused)
                continue
            left = self.spoil(step, i, bytes(sent))
            if left is not None:
                yield i, left


def updates(n: int = 5) -> Individual:
    rng = torch.Generator().manual_seed(n)
    return individual(
        [
            Reply(i, torch.randn(7, generator=rng), float(i + 1), {"loss": 0.25 * i, "a": 1.0})
            for i in range(n)
        ]
    )


def played(sent: Individual, spoil: Spoil, **options: Any) -> tuple[Any, Ward]:
    made = SecureAggregation(**options)
    ward = Ward(made, sent, spoil)
    channel = replace(
        Channel.of(sent, round_=4), apart=ward, received=dict.fromkeys(sent.clients, MODEL)
    )
    waiting = Waiting(sent.clients, sent.rows.shape[1], tuple(sent.side))
    return made.deliver(waiting, channel), ward


def whole(step: int, client: int, data: bytes) -> bytes:
    return data


@pytest.mark.parametrize("signed", [False, True])
def test_masks_made_elsewhere_give_bit_for_bit_the_sum_of_masks_made_here(signed: bool) -> None:
    sent = updates()
    here = SecureAggregation(signed=signed).deliver(sent, Channel.of(sent, round_=4)).delivery
    carried, ward = played(sent, whole, signed=signed)
    assert isinstance(here, Summed)
    assert isinstance(carried.delivery, Summed)
    assert torch.equal(carried.delivery.total, here.total)
    assert (carried.delivery.weight, carried.delivery.side) == (here.weight, here.side)
    assert ward.refused == {}
    # What passed looks like nothing: far larger than what was sent, whose size is about 1.
    assert all(float(carried.wire[i].abs().median()) > 1000 for i in sent.clients)


def test_the_server_never_holds_a_seed() -> None:
    sent = updates()
    seen: list[bytes] = []
    _, ward = played(sent, lambda step, who, data: seen.append(data) or data)  # type: ignore[func-returns-value]
    secret = [memory["seed"] for memory in ward.memories.values()] + [*ward.identities.values()]
    assert len(secret) == 10
    assert not any(seed in message for seed in secret for message in seen)


@pytest.mark.parametrize("step", [SHARE, MASK, CONSENT, REVEAL])
def test_who_vanishes_before_any_message_costs_the_others_nothing(step: int) -> None:
    sent = updates(7)
    carried, _ = played(sent, lambda at, who, data: None if (at >= step and who == 2) else data)
    assert isinstance(carried.delivery, Summed)
    gone = step in (SHARE, MASK)  # after its vector it counts, and its own mask is opened
    left = [i for i in sent.clients if not (gone and i == 2)]
    want = sum(sent.weights[i] * sent.rows.row(i).double() for i in left)
    assert carried.delivery.count == len(left)
    assert torch.allclose(carried.delivery.total, torch.as_tensor(want), atol=1e-4)


@pytest.mark.parametrize("step", [ADVERTISE, SHARE, MASK, CONSENT])
@pytest.mark.parametrize("nonsense", [b"", b"x", b"\x00" * 164, b"\xff" * 10_000])
def test_nonsense_costs_its_hospital_its_place_and_not_the_round(
    step: int, nonsense: bytes
) -> None:
    sent = updates(7)
    carried, _ = played(sent, lambda at, who, d: nonsense if (at == step and who == 2) else d)
    assert isinstance(carried.delivery, Summed), carried.aborted
    assert carried.delivery.count == (7 if step == CONSENT else 6)


def test_a_hospital_refuses_a_key_that_changed_a_second_round_and_a_small_cohort() -> None:
    sent = updates()
    _, ward = played(sent, whole)
    holder, memory = ward.holders[0], ward.memories[0]
    told = Invitation(bytes(32), ward.keys(), ("a", "loss")).pack()
    seen = registry_in(memory, 5)
    assert seen == ward.keys()
    with pytest.raises(RefusedError, match="second round"):
        holder.turn(ADVERTISE, told, memory)
    with pytest.raises(RefusedError, match="changed a hospital's registered key"):
        replace(holder, known={1: bytes(32)}).turn(ADVERTISE, told, {})
    with pytest.raises(RefusedError, match="another key for this hospital"):
        replace(holder, identity=bytes(32)).turn(ADVERTISE, told, {})
    few = {i: ward.keys()[i] for i in (0, 1)}
    with pytest.raises(RefusedError, match="other hospitals than the protocol draws"):
        holder.turn(ADVERTISE, Invitation(bytes(32), few, ("a", "loss")).pack(), {})
    alone = replace(holder, cohort=frozenset(few))
    with pytest.raises(RefusedError, match="fewer than 3 honest hospitals"):
        alone.turn(ADVERTISE, Invitation(bytes(32), few, ("a", "loss")).pack(), {})
    with pytest.raises(RefusedError, match="not begun"):
        holder.turn(MASK, b"", {})


def test_a_step_cannot_be_repeated_from_an_old_memory_that_has_moved_on() -> None:
    sent = updates()
    _, ward = played(sent, whole)
    with pytest.raises(RefusedError, match="out of order"):
        ward.holders[0].turn(MASK, b"", ward.memories[0])


@given(st.binary(max_size=300))
def test_an_invitation_is_read_or_refused(data: bytes) -> None:
    try:
        read = Invitation.unpack(data, 4)
    except RefusedError:
        return
    assert read.pack() == data


@pytest.mark.parametrize("step", range(5))
def test_whatever_a_server_sends_a_hospital_answers_or_refuses(step: int) -> None:
    sent = updates()
    asked: list[tuple[bytes, Memory]] = []

    class Heard(Ward):
        def ask(self, at: int, told: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
            if at == step:
                asked.append((told[0], dict(self.memories[0])))
            yield from super().ask(at, told)

    ward = Heard(SecureAggregation(), sent, whole)
    channel = Channel.of(sent, round_=4)
    channel = replace(channel, apart=ward, received=dict.fromkeys(sent.clients, MODEL))
    SecureAggregation().deliver(Waiting(sent.clients, 7, tuple(sent.side)), channel)
    ((told, memory),) = asked
    rng = np.random.default_rng(step)
    refused = 0
    for _ in range(60):
        bad = bytearray(told)
        for place in rng.integers(len(bad), size=rng.integers(1, 4)):
            bad[place] = rng.integers(256)
        cut = int(rng.integers(len(bad))) if rng.random() < 0.2 else len(bad)
        try:
            ward.holders[0].turn(step, bytes(bad[:cut]), dict(memory))
        except RefusedError:
            refused += 1
    assert refused >= 30
