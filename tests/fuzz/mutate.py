"""Ways of damaging a file: of its bytes, and of what its text or header says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

HUGE = 10**12
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**53, 2**63, 2**64, HUGE, 10**400, -(10**30)),
    *(0.5, -0.0, 1e308, float("inf"), float("nan"), "", "mean", "../../x", "/etc/passwd"),
    *(
        "\0",
        "\ud800",
        "\u202e",
        "\x1b[2J",
        "x" * 5000,
        "1e999",
        [],
        {},
        [[]],
        [0],
        {"name": "mean"},
    ),
    *({"": None}, {"name": 1}, [1, "a", None], [{}], "none", "all", "2020-01-01"),
)
TOKENS = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b'"', b'""', b"'", b",", b";"),
    *(b"[", b"]", b"{", b"}", b"[" * 300, b'{"a":' * 300, b"a." * 300, b"=", b"\\", b"\\u0000"),
    *(b"NaN", b"Infinity", b"-1", b"1e999", b"9" * 30, b"9" * 5000, b"0x" + b"f" * 5000, b"null"),
    *(
        b"\xff" * 4,
        b"\xff" * 8,
        b"\x7f" + b"\xff" * 7,
        b"\x80" * 12,
        b"../",
        b"\x1f\x8b",
        b"PK\x05\x06",
    ),
    *(
        b"inf",
        b"nan",
        b"?",
        b"true",
        b"\t",
        b"1979-05-27T07:32:00Z",
        b"\x00\x00\x00\x80",
        b"1000000000000",
    ),
)

Edit = tuple[int, int, int]
"""What is done, where, and with what: any three numbers mean something."""


def damaged(
    content: bytes, others: Sequence[bytes], edits: Sequence[Edit], form: str = ""
) -> bytes:
    """Return the content after some edits."""
    for what, where, value in edits:
        known = _STRUCTURED.get(form)
        if known is not None and what % 2:
            content = known(content, where, value)
        else:
            at = where % (len(content) + 1)
            content = _PLAIN[what // 2 % len(_PLAIN)](content, at, value, others)
    return content


def _flip(content: bytes, at: int, value: int, others: Sequence[bytes]) -> bytes:
    return content[:at] + bytes([value % 256]) + content[at + 1 :]


def _cut(content: bytes, at: int, value: int, others: Sequence[bytes]) -> bytes:
    return content[:at]


def _drop(content: bytes, at: int, value: int, others: Sequence[bytes]) -> bytes:
    return content[:at] + content[at + 1 + value % 40 :]


def _double(content: bytes, at: int, value: int, others: Sequence[bytes]) -> bytes:
    return content[: at + value % 200] + content[at:]


def _insert(content: bytes, at: int, value: int, others: Sequence[bytes]) -> bytes:
    return content[:at] + TOKENS[value % len(TOKENS)] + content[at:]


def _overwrite(content: bytes, at: int, value: int, others: Sequence[bytes]) -> bytes:
    token = TOKENS[value % len(TOKENS)]
    return content[:at] + token + content[at + len(token) :]


def _splice(content: bytes, at: int, value: int, others: Sequence[bytes]) -> bytes:
    other = others[value % len(others)]
    return content[:at] + other[(value // len(others)) % (len(other) + 1) :]


_PLAIN = (_flip, _cut, _drop, _double, _insert, _overwrite, _splice)


def _json(content: bytes, where: int, value: int) -> bytes:
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return content
    return json.dumps(_changed(tree, where, value)).encode()


def _changed(tree: Any, where: int, value: int) -> Any:
    """Return the tree with one node replaced, removed, or under another name."""
    nodes = list(_nodes(tree))
    if not nodes:
        return VALUES[value % len(VALUES)]
    holder, key = nodes[where % len(nodes)]
    how = value // len(VALUES) % 4
    if how == 0 or isinstance(holder, list):
        holder[key] = VALUES[value % len(VALUES)]
    elif how == 1:
        del holder[key]
    elif how == 2:
        holder[str(VALUES[value % len(VALUES)])] = holder.pop(key)
    else:
        other, name = nodes[value % len(nodes)]
        holder[key] = json.loads(json.dumps(other[name]))
    return tree


def _nodes(tree: Any) -> Sequence[tuple[Any, Any]]:
    found, waiting = [], [tree]
    while waiting:
        here = waiting.pop()
        items = (
            here.items()
            if isinstance(here, dict)
            else enumerate(here)
            if isinstance(here, list)
            else ()
        )
        for key, inner in list(items):
            found.append((here, key))
            waiting.append(inner)
    return found


def _lines(content: bytes, where: int, value: int) -> bytes:
    lines = content.split(b"\n")
    at = where % len(lines)
    how = value % 5
    if how == 0:
        return b"\n".join([*lines[:at], *lines[at + 1 :]])
    if how == 1:
        return b"\n".join([*lines[:at], lines[value // 5 % len(lines)], *lines[at:]])
    lines[at] = _json(lines[at], where // len(lines), value // 5)
    return b"\n".join(lines)


def _safetensors(content: bytes, where: int, value: int) -> bytes:
    """Change the header, and let its length be right, or claim what it likes."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content) - 8:
        return content
    header = _json(content[8 : 8 + size], where, value)
    said = (2**63, 10**15, 0)[value % 3] if value % 11 == 0 else len(header)
    return said.to_bytes(8, "little") + header + content[8 + size :]


def _csv(content: bytes, where: int, value: int) -> bytes:
    lines = content.split(b"\n")
    at = where % len(lines)
    cells = lines[at].split(b",")
    cell = where // len(lines) % len(cells)
    text = VALUES[value % len(VALUES)]
    cells[cell] = (text if isinstance(text, str) else repr(text)).encode(errors="replace")
    lines[at] = b",".join(cells * (2 if value % 17 == 0 else 1))
    return b"\n".join(lines)


def _toml(content: bytes, where: int, value: int) -> bytes:
    """Give a key another value, or a line another place."""
    lines = content.split(b"\n")
    at = where % len(lines)
    if b"=" not in lines[at] or value % 7 == 0:
        return _lines(content, where, 5 * (value // 7) + value % 2)
    key = lines[at].partition(b"=")[0]
    told = (
        *(json.dumps(one).encode() for one in VALUES[:20] if one is not None),
        *TOKENS,
        b"{}",
        b"[[]]",
    )
    lines[at] = key + b"= " + told[value % len(told)]
    return b"\n".join(lines)


_STRUCTURED: dict[str, Callable[[bytes, int, int], bytes]] = {
    "json": _json,
    "jsonl": _lines,
    "safetensors": _safetensors,
    "csv": _csv,
    "toml": _toml,
}
