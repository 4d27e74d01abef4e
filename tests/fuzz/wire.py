"""Messages of Flower: valid ones, and what reads them on either side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from asepsis.core.engine import Job
from asepsis.core.updates import Reply, Step
from asepsis.defenses.masking.invitation import Invitation

DIM = 6
STEPS = {"version": int, "sent": bytes, "refused": str}


def packed(record: Any) -> bytes:
    from flwr.common.serde import recorddict_to_proto

    return bytes(recorddict_to_proto(record).SerializeToString())


def messages() -> Sequence[bytes]:
    """Orders, replies and answers as they are sent."""
    from asepsis.engines.flower.messages import Order, content, packed_order, packed_reply

    job = Job(1, 2, told={"bound": 1.0}, home={"local/a": torch.ones(2, 3)})
    steps, home = (Step(0.5, {"norm": 1.0}),), {"trainer/t": torch.ones(()).long()}
    reply = Reply(1, torch.zeros(DIM), 5.0, {"loss": 1.0}, home=home, steps=steps)
    made = [packed_order(Order(job, torch.zeros(DIM)))]
    made += [packed_reply(reply, 2, keep=keep, told=True) for keep in (False, True)]
    made += [content({"version": 1, "sent": b"word", "refused": ""})]
    return [packed(one) for one in made]


def message(place: Path) -> None:
    """Read a message as everything that it could be; what Flower itself cannot read is none."""
    from flwr.common.serde import recorddict_from_proto
    from flwr.proto.recorddict_pb2 import RecordDict
    from google.protobuf.message import DecodeError

    from asepsis.engines.flower.messages import WireError, plain, read_order, read_reply

    proto = RecordDict()
    try:
        proto.ParseFromString(place.read_bytes())
        record = recorddict_from_proto(proto)
    except (DecodeError, ValueError, TypeError, KeyError):
        return
    with suppress(WireError):
        read_order(record, DIM)
    for keep in (False, True):
        with suppress(WireError):
            read_reply(record, client=1, round_=2, dim=DIM, keep=keep, stages=1)
    plain(record, STEPS)


def invitations() -> Sequence[bytes]:
    return [Invitation(bytes(32), {3: bytes(32), 4: bytes(32)}, ("loss",)).pack()]


def invitation(place: Path) -> None:
    content = place.read_bytes()
    assert Invitation.unpack(content, 4).pack() == content
