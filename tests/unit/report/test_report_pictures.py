from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from asepsis.core.samples import Array
from asepsis.report.pictures import picture, pixels_of, png


def decoded(data: bytes) -> Array:
    """A reader of its own: chunks, checksums, filter 0 only."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = body
        place += 12 + length
    width, height, depth, color = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape((height, width) if color == 0 else (height, width, 3))


@pytest.mark.parametrize("shape", [(3, 5), (4, 2, 3), (1, 1)])
def test_a_png_holds_the_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    assert np.array_equal(decoded(png(pixels)), pixels)


def test_pillow_agrees() -> None:
    import io

    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(np.asarray(image.open(io.BytesIO(png(pixels)))), pixels)


def test_prepared_images_become_pixels() -> None:
    prepared = np.array([[[-1.0, 1.0], [np.nan, np.inf]]])
    assert pixels_of(prepared).tolist() == [[0, 255], [128, 255]]
    assert pixels_of(np.zeros((3, 2, 4))).shape == (2, 4, 3)


def test_large_pictures_are_thinned_out() -> None:
    made = picture(np.zeros((1000, 600), np.uint8), "x")
    assert max(made.width, made.height) <= 256
