"""A canary patient: planted in every input, searched for in every output, however it is written."""

from __future__ import annotations

import base64
import gzip
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NUMBER = 719335744
"""A value of a row that 32-bit floats hold exactly."""
TEXT = "CanaryNote"
PERSON = "CanaryPerson"
PLACE = "CanaryPlace"
FILE = "CanaryFile"
SITE = "CanarySite"
STRINGS = (TEXT, PERSON, PLACE, FILE)
"""Never to be found; the name of a site only where pseudonyms were asked for."""
PIXELS: NDArray[np.uint8] = np.array(
    [3, 250, 17, 201, 90, 33, 244, 128, 9, 77, 180, 66, 222, 41, 155, 12], np.uint8
)
"""A run of pixels in the middle of every image of the canary."""
NEAR = 6
"""Gray levels that a reconstruction may be off and still be the canary's."""

_DATA_URI = re.compile(rb"data:[\w/+.-]+;base64,([A-Za-z0-9+/=]+)")


def number_forms() -> list[bytes]:
    """Return how a number might be written: as text, in a JSON, in 32 or 64 bits."""
    texts = [str(NUMBER), f"{NUMBER:,}", f"{NUMBER:_}", repr(NUMBER / 1e8), hex(NUMBER)[2:]]
    binary = [struct.pack(kind, NUMBER) for kind in ("<f", ">f", "<d", ">d", "<q", "<i")]
    return [text.encode() for text in texts] + [raw for raw in binary if len(set(raw)) > 3]


def found_in(content: bytes, *, sites: bool = False) -> set[str]:
    """Return which canaries some bytes hold, looking into what is packed inside them."""
    found: set[str] = set()
    for layer in layers(content):
        found |= {text for text in STRINGS if _holds_text(layer, text)}
        found |= {SITE} if sites and _holds_text(layer, SITE) else set()
        found |= {"number"} if any(form in layer for form in number_forms()) else set()
        found |= {"pixels"} if _holds_pixels(layer) else set()
    return found


def _holds_text(layer: bytes, text: str) -> bool:
    plain = text.lower().encode()
    wide = b"".join(bytes([mark, 0]) for mark in plain)
    quoted = base64.b64encode(text.encode())[:-4]
    low = layer.lower()
    return plain in low or wide in low or quoted in layer


def layers(content: bytes, depth: int = 3) -> Iterator[bytes]:
    """Yield bytes, and what is packed in them: gzip, images in HTML, scan lines of a PNG."""
    yield content
    if not depth:
        return
    if content[:2] == b"\x1f\x8b":
        yield from layers(gzip.decompress(content), depth - 1)
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        yield _scan_lines(content)
    for packed in _DATA_URI.findall(content):
        yield from layers(base64.b64decode(packed), depth - 1)
    yield from _tensors(content)


def _scan_lines(image: bytes) -> bytes:
    packed, place = b"", 8
    while place < len(image):
        (size,) = struct.unpack(">I", image[place : place + 4])
        if image[place + 4 : place + 8] == b"IDAT":
            packed += image[place + 8 : place + 8 + size]
        place += 12 + size
    return zlib.decompress(packed)


def _tensors(content: bytes) -> Iterator[bytes]:
    """Yield the float tensors of a safetensors file as gray values, in every usual scale."""
    try:
        (size,) = struct.unpack("<Q", content[:8])
        table = json.loads(content[8 : 8 + size])
    except (struct.error, ValueError, OverflowError, MemoryError):
        return
    for name, item in table.items() if isinstance(table, dict) else ():
        if name == "__metadata__" or item["dtype"] != "F32":
            continue
        low, high = (8 + size + end for end in item["data_offsets"])
        values = np.frombuffer(content[low:high], "<f4")
        for gray in ((values + 1) * 127.5, values * 255, values):
            yield np.nan_to_num(gray).clip(0, 255).round().astype(np.uint8).tobytes()


def _holds_pixels(layer: bytes) -> bool:
    gray = np.frombuffer(layer, np.uint8).astype(np.int16)
    if len(gray) < len(PIXELS):
        return False
    fits = np.ones(len(gray) - len(PIXELS) + 1, bool)
    for k, pixel in enumerate(PIXELS.astype(np.int16)):
        fits &= np.abs(gray[k : k + len(fits)] - pixel) <= NEAR
    return bool(fits.any())


def found_below(folder: Path, *, sites: bool = False) -> dict[str, set[str]]:
    """Return which canaries a folder's files hold, their names among it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        held = found_in(name.encode(), sites=sites)
        held |= found_in(path.read_bytes(), sites=sites) if path.is_file() else set()
        if held:
            found[name] = held
    return found


def marked(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Write the canary's pixels into the middle row of every image."""
    made = images.copy()
    left = (made.shape[2] - len(PIXELS)) // 2
    made[:, made.shape[1] // 2, left : left + len(PIXELS)] = PIXELS
    return made
