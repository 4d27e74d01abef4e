"""What a listener between a hospital and its server gets: everything without TLS, sizes with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr")

from federations import federation
from wires import Streams

from asepsis.testing.wire.listening import bursts, overheard, record_lengths
from asepsis.testing.wire.proxy import Piece, bytes_of

pytestmark = pytest.mark.slow
NODES, ROUNDS, SIZE = 2, 3, 50_000
FAILING = 1
"""This node answers round 1 with an error."""


def crossed(out: Path, *, tls: bool) -> list[list[Piece]]:
    with federation(NODES, out, tls=tls) as up:
        up.run(rounds=ROUNDS, size=SIZE, failing=FAILING)
        assert up.finish(150) == ""
        assert [line["nodes"] for line in up.rounds()] == [[0, 1], [0], [0, 1]]
        assert isinstance(up.wires, Streams)
        return [list(proxy.pieces) for proxy in up.wires.proxies]


def test_without_tls_a_listener_has_every_update_bit_equal(tmp_path: Path) -> None:
    for node, pieces in enumerate(crossed(tmp_path, tls=False)):
        heard = overheard(pieces)
        for up, name in ((True, f"sent-{{}}-{node}.npy"), (False, "model-{}.npy")):
            got = {one.group: one.arrays for one in heard if one.up == up and one.arrays}
            skipped = {1} if up and node == FAILING else set()
            assert sorted(got) == [str(k) for k in range(ROUNDS) if k not in skipped]
            for number, arrays in got.items():
                truth = np.load(tmp_path / name.format(number))
                assert arrays["model/0"].tobytes() == truth.tobytes()


def test_with_tls_a_listener_has_sizes_and_times_alone(tmp_path: Path) -> None:
    model = 4 * SIZE
    for node, pieces in enumerate(crossed(tmp_path, tls=True)):
        assert overheard(pieces) == []
        whole = b"".join(piece.data for piece in pieces)
        for number in range(ROUNDS):
            truth = np.load(tmp_path / f"model-{number}.npy").tobytes()
            assert truth[:64] == bytes(64) or truth[4000:4016] not in whole
        assert all(
            record_lengths(bytes_of(pieces, number, up=True))
            for number in {piece.connection for piece in pieces}
        )
        # What is left: when models came, when updates went, and how large they are.
        came = [one for one in bursts(pieces, up=False) if one.size > model / 2]
        went = [one for one in bursts(pieces, up=True) if one.size > model / 2]
        assert len(came) == ROUNDS
        answered = [
            number
            for number, one in enumerate(came)
            if any(
                one.end < sent.start < after
                for sent in went
                for after in [came[number + 1].start if number + 1 < ROUNDS else np.inf]
            )
        ]
        assert answered == [k for k in range(ROUNDS) if (node, k) != (FAILING, 1)]
        assert all(model < one.size < 1.1 * model for one in went)
