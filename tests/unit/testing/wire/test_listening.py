"""A listener gets every array bit-equal from the bytes of a line, and nothing from noise."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr")

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.app.metadata import Metadata
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import (
    ObjectTree,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
)
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_id,
    get_object_tree,
)

from asepsis.testing.wire.listening import Burst, bursts, overheard, record_lengths
from asepsis.testing.wire.proxy import Piece

HOSPITAL, SERVER = 77, 1
UPDATE = np.random.default_rng(0).standard_normal((300, 7)).astype(np.float32)


def message(array: Any, *, up: bool) -> Message:
    source, target = (HOSPITAL, SERVER) if up else (SERVER, HOSPITAL)
    metadata = Metadata(5, "", source, target, "", "2", 0.0, 60.0, "train")
    content = RecordDict({"model": ArrayRecord([array]), "told": ConfigRecord({"loss": 0.5})})
    made: Message = Message(content=content, metadata=metadata)
    return made


def post(name: str, body: bytes) -> bytes:
    head = f"POST /v1/fleet/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes) -> bytes:
    parts = [part for part in (body[:100], body[100:]) if part]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent + b"0\r\n\r\n"


def sending(one: Message) -> list[tuple[bytes, bytes]]:
    """Calls with which a hospital sends a message."""
    bare = message_to_proto(one)
    bare.ClearField("content")
    told = PushMessagesRequest(messages_list=[bare], message_object_trees=[get_object_tree(one)])
    calls = [(post("push-messages", told.SerializeToString()), answer(b"ok"))]
    for number, found in get_all_nested_objects(one).items():
        pushed = PushObjectRequest(object_id=number, object_content=found.deflate())
        calls.append((post("push-object", pushed.SerializeToString()), answer(b"")))
    return calls


def getting(one: Message) -> list[tuple[bytes, bytes]]:
    """Calls with which a hospital gets a message."""
    bare = message_to_proto(one)
    bare.ClearField("content")
    told = PullMessagesResponse(messages_list=[bare], message_object_trees=[get_object_tree(one)])
    calls = [(post("pull-messages", b""), answer(told.SerializeToString()))]
    for number, found in get_all_nested_objects(one).items():
        asked = PullObjectRequest(object_id=number).SerializeToString()
        given = PullObjectResponse(object_content=found.deflate()).SerializeToString()
        calls.append((post("pull-object", asked), chunked(given)))
    return calls


def line(calls: list[tuple[bytes, bytes]], connections: int = 2) -> list[Piece]:
    """The calls' bytes, dealt to connections, in pieces of odd lengths."""
    pieces = []
    for place, (asked, answered) in enumerate(calls):
        for up, data in ((True, asked), (False, answered)):
            for start in range(0, len(data), 997):
                at = place + start / 1e6
                pieces.append(Piece(place % connections, up, at, data[start : start + 997]))
    return pieces


def test_a_message_sent_is_recovered_bit_equal() -> None:
    (heard,) = overheard(line(sending(message(UPDATE, up=True))))
    assert (heard.up, heard.node, heard.group, heard.kind) == (True, HOSPITAL, "2", "train")
    assert heard.arrays.keys() == {"model/0"}
    assert heard.arrays["model/0"].tobytes() == UPDATE.tobytes()
    assert heard.said == {"told/loss": 0.5}


def test_a_message_got_is_recovered_bit_equal() -> None:
    (heard,) = overheard(line(getting(message(UPDATE, up=False)), connections=3))
    assert (heard.up, heard.node) == (False, HOSPITAL)
    assert heard.arrays["model/0"].tobytes() == UPDATE.tobytes()


def test_what_crossed_once_is_known_when_it_is_only_named_again() -> None:
    calls = getting(message(UPDATE, up=False))
    first, again = overheard(line([*calls, calls[0]]))
    assert first.arrays["model/0"].tobytes() == again.arrays["model/0"].tobytes()


def test_a_message_with_a_missing_object_is_announced_without_arrays() -> None:
    calls = sending(message(UPDATE, up=True))
    (heard,) = overheard(line(calls[:-1]))
    assert heard.node == HOSPITAL
    assert heard.arrays == {}


def test_an_object_that_is_not_what_its_name_says_is_left_out() -> None:
    calls = sending(message(UPDATE, up=True))
    number = next(iter(get_all_nested_objects(message(UPDATE, up=True))))
    lie = PushObjectRequest(object_id=number, object_content=b"ArrayChunk  1\x00x")
    (heard,) = overheard(
        line([*calls, (post("push-object", lie.SerializeToString()), answer(b""))])
    )
    assert heard.arrays["model/0"].tobytes() == UPDATE.tobytes()


@pytest.mark.parametrize("seed", range(20))
def test_bytes_that_were_damaged_raise_nothing_and_invent_nothing(seed: int) -> None:
    rng = random.Random(seed)
    pieces = []
    for piece in line(sending(message(UPDATE, up=True))):
        data = bytearray(piece.data)
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        pieces.append(Piece(piece.connection, piece.up, piece.at, bytes(data)))
    for heard in overheard(pieces):
        assert all(array.tobytes() == UPDATE.tobytes() for array in heard.arrays.values())


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        bytes([22, 3, 1, 0, 5]) + b"hello" * 100,
        post("push-object", b"x" * 50)[:-10],
        b"POST /v1/fleet/push-object HTTP/1.1\r\nContent-Length: -5\r\n\r\nabc",
        b"POST /v1/fleet/push-object HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        b"POST /v1/fleet/push-object HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-4\r\nabcd",
        b"POST /v1/fleet/push-object HTTP/1.1\r\n\r\n" * 3,
        b"\r\n\r\n" * 1000,
    ],
)
def test_a_line_without_messages_says_nothing(stream: bytes) -> None:
    assert overheard([Piece(0, True, 0.0, stream), Piece(0, False, 0.0, stream)]) == []


def test_lengths_and_times_are_what_a_line_always_gives_away() -> None:
    pieces = [
        Piece(0, True, 0.0, b"x" * 10),
        Piece(1, True, 0.3, b"x" * 20),
        Piece(0, False, 0.4, b"y" * 7),
        Piece(0, True, 2.0, b"x" * 5),
    ]
    assert bursts(pieces, up=True) == [Burst(0.0, 0.3, 30), Burst(2.0, 2.0, 5)]
    assert bursts(pieces, up=False) == [Burst(0.4, 0.4, 7)]


def test_tls_records_show_their_lengths() -> None:
    stream = b"\x16\x03\x01\x00\x04abcd" + b"\x17\x03\x03\x01\x00" + b"z" * 256
    assert record_lengths(stream) == [4, 256]
    assert record_lengths(b"GET / HTTP/1.1\r\n") == []


def test_a_tree_that_is_too_deep_is_left_out() -> None:
    child, calls = "", []
    for _ in range(3000):
        content = f"RecordDict {child} 2".encode() + b"\x00{}"
        child = get_object_id(content)
        pushed = PushObjectRequest(object_id=child, object_content=content)
        calls.append((post("push-object", pushed.SerializeToString()), answer(b"")))
    bare = message_to_proto(message(UPDATE, up=True))
    bare.ClearField("content")
    told = PushMessagesRequest(
        messages_list=[bare], message_object_trees=[ObjectTree(object_id=child)]
    )
    calls.append((post("push-messages", told.SerializeToString()), answer(b"")))
    (heard,) = overheard(line(calls))
    assert heard.arrays == {}
