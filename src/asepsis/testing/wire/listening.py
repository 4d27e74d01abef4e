"""What somebody on the line makes of a SuperNode's connections: arrays, or only lengths and times.

Flower 1.41 speaks protobuf over HTTP/1.1. A message is a tree of objects (message, record, array,
chunk), each named by its SHA-256 and sent on its own, so a listener who sees all objects has all
arrays, bit-equal. Under TLS the same code finds nothing; what is left are record lengths and times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from asepsis.core.errors import MissingExtraError
from asepsis.core.samples import Array
from asepsis.testing.wire.proxy import Piece, bytes_of

LONGEST = 1 << 30
_HEAD = 1 << 16


@dataclass(frozen=True)
class Heard:
    """A message that crossed, as a listener puts it together.

    Args:
        at: when it was announced, in seconds since the proxy started.
        up: from a hospital to the server.
        node: Flower's number of the hospital.
        group: what Flower calls the group: the round.
        kind: Flower's message type.
        arrays: by ``record/array``; empty for a message that is not complete.
        said: the numbers and texts of all config and metric records, by ``record/name``.
    """

    at: float
    up: bool
    node: int
    group: str
    kind: str
    arrays: dict[str, Array] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)


class Burst(NamedTuple):
    """Bytes that went one way with no long pause between."""

    start: float
    end: float
    size: int


class _Call(NamedTuple):
    path: str
    asked: bytes
    answered: bytes


def overheard(pieces: Sequence[Piece]) -> list[Heard]:
    """Read the messages with content that crossed between a SuperNode and its SuperLink.

    Nothing is unpickled; what cannot be read is skipped: an empty list is what TLS leaves.
    """
    flower = _flower()
    contents: dict[str, bytes] = {}
    announced: list[tuple[float, bool, Any, str]] = []
    for at, call in _calls(pieces):
        name = call.path.rpartition("/")[2]
        try:
            _note(flower, name, call, contents)
            announced += [(at, *one) for one in _announced(flower, name, call)]
        except flower.DecodeError:
            continue
    heard = []
    for at, up, metadata, root in announced:
        node = metadata.src_node_id if up else metadata.dst_node_id
        arrays, said = _inflated(flower, root, contents)
        heard.append(Heard(at, up, node, metadata.group_id, metadata.message_type, arrays, said))
    return heard


def bursts(pieces: Sequence[Piece], *, up: bool, pause: float = 0.5) -> list[Burst]:
    """What lengths and times alone say: how much went one way, and when.

    A burst ends when nothing crosses that way for ``pause`` seconds. Bytes of all connections
    count together, as on a line where only addresses and lengths are seen.
    """
    found: list[Burst] = []
    for piece in sorted((p for p in pieces if p.up == up), key=lambda p: p.at):
        if found and piece.at - found[-1].end <= pause:
            last = found.pop()
            found.append(Burst(last.start, piece.at, last.size + len(piece.data)))
        else:
            found.append(Burst(piece.at, piece.at, len(piece.data)))
    return found


def record_lengths(stream: bytes) -> list[int]:
    """Lengths of the TLS records of one direction, as they stand in the clear.

    Example:
        >>> record_lengths(bytes([22, 3, 3, 0, 2, 9, 9, 23, 3, 3, 0, 1, 7]))
        [2, 1]
    """
    lengths, place = [], 0
    while place + 5 <= len(stream) and stream[place] in range(20, 25) and stream[place + 1] == 3:
        length = int.from_bytes(stream[place + 3 : place + 5], "big")
        lengths.append(length)
        place += 5 + length
    return lengths


def _calls(pieces: Sequence[Piece]) -> Iterator[tuple[float, _Call]]:
    """Calls in the order they began; a request and the answer at its place belong together."""
    found = []
    for number in sorted({piece.connection for piece in pieces}):
        asked = list(_bodies(bytes_of(pieces, number, up=True)))
        answered = list(_bodies(bytes_of(pieces, number, up=False)))
        starts = _starts(pieces, number)
        for place, (start, body, offset) in enumerate(asked):
            words = start.split(" ")
            answer = answered[place][1] if place < len(answered) else b""
            if len(words) == 3:
                found.append((_when(starts, offset), _Call(words[1], body, answer)))
    yield from sorted(found, key=lambda pair: pair[0])


def _starts(pieces: Sequence[Piece], connection: int) -> list[tuple[int, float]]:
    offset, starts = 0, []
    for piece in pieces:
        if piece.connection == connection and piece.up:
            starts.append((offset, piece.at))
            offset += len(piece.data)
    return starts


def _when(starts: list[tuple[int, float]], offset: int) -> float:
    return max(at for start, at in starts if start <= offset)


def _bodies(stream: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Start line, body and place of each HTTP/1.1 message of one direction."""
    place = 0
    while (end := stream.find(b"\r\n\r\n", place, place + _HEAD)) >= 0:
        lines = stream[place:end].decode("latin-1").split("\r\n")
        if "HTTP/1.1" not in lines[0]:
            return
        headers = {n.strip().lower(): v.strip() for n, _, v in (x.partition(":") for x in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body, after = _chunked(stream, end + 4)
        else:
            length = headers.get("content-length", "0")
            after = end + 4 + (int(length) if length.isdecimal() else LONGEST)
            body = stream[end + 4 : after]
        if after > len(stream):  # cut off
            return
        yield lines[0], body, place
        place = after


def _chunked(stream: bytes, place: int) -> tuple[bytes, int]:
    parts = []
    while (end := stream.find(b"\r\n", place, place + 32)) >= 0:
        try:
            length = int(stream[place:end].split(b";")[0], 16)
        except ValueError:
            break
        parts.append(stream[end + 2 : end + 2 + length])
        place = end + 2 + length + 2
        if length == 0:
            return b"".join(parts), place
    return b"", LONGEST


def _note(flower: Any, name: str, call: _Call, contents: dict[str, bytes]) -> None:
    """Keep an object that crossed, if it is what its name says."""
    if name == "push-object":
        pushed = flower.PushObjectRequest.FromString(call.asked)
        number, content = pushed.object_id, pushed.object_content
    elif name == "pull-object":
        number = flower.PullObjectRequest.FromString(call.asked).object_id
        content = flower.PullObjectResponse.FromString(call.answered).object_content
    else:
        return
    if flower.get_object_id(content) == number:
        contents[number] = content


def _announced(flower: Any, name: str, call: _Call) -> list[tuple[bool, Any, str]]:
    if name == "push-messages":
        told, up = flower.PushMessagesRequest.FromString(call.asked), True
    elif name == "pull-messages":
        told, up = flower.PullMessagesResponse.FromString(call.answered), False
    else:
        return []
    pairs = zip(told.messages_list, told.message_object_trees, strict=False)
    return [(up, message.metadata, tree.object_id) for message, tree in pairs]


def _inflated(
    flower: Any, root: str, contents: dict[str, bytes]
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and the rest of a message whose objects were all seen; else nothing."""
    try:
        seen = dict(contents)
        message = flower.inflate_object_from_contents(root, seen)
        records = message.content if message.has_content() else {}
        arrays = {
            f"{name}/{key}": array.numpy()
            for name, record in records.items()
            if isinstance(record, flower.ArrayRecord)
            for key, array in record.items()
        }
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError):
        return {}, {}
    said = {
        f"{name}/{key}": value
        for name, record in records.items()
        if not isinstance(record, flower.ArrayRecord)
        for key, value in record.items()
    }
    return arrays, said


def _flower() -> Any:
    try:
        from asepsis.testing.wire import protocol
    except ImportError:
        raise MissingExtraError("flwr", "flower") from None
    return protocol
