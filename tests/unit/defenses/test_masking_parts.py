"""What secure aggregation is made of, against brute force and published values."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from asepsis.core.channel import Channel
from asepsis.core.errors import ConfigError
from asepsis.core.updates import Individual, Rows
from asepsis.defenses.masking import carrying, graph, messages, prg, shamir
from asepsis.defenses.masking.quantize import SIDE_RANGE, Grid
from asepsis.defenses.masking.refused import RefusedError
from asepsis.defenses.masking.terms import Terms
from asepsis.defenses.transport.secure_aggregation import SecureAggregation


def polynomial(coefficients: tuple[int, ...], point: int, prime: int) -> int:
    return sum(c * int(point**power) for power, c in enumerate(coefficients)) % prime


def randomness(coefficients: tuple[int, ...]) -> bytes:
    return b"".join(c.to_bytes(shamir.COEFFICIENT, "big") for c in coefficients)


def test_shares_are_a_polynomials_values_and_any_threshold_of_them_gives_the_secret() -> None:
    for secret, one, two in product(range(7), repeat=3):
        shares = shamir.split(secret, 3, [1, 2, 3, 4], randomness((one, two)), prime=7)
        assert shares == [polynomial((secret, one, two), x, 7) for x in (1, 2, 3, 4)]
        for kept in combinations(range(4), 3):
            assert shamir.combine({x + 1: shares[x] for x in kept}, prime=7) == secret


def test_fewer_shares_say_nothing_about_the_secret() -> None:
    """Every pair of shares comes from every secret equally often."""
    seen = {
        secret: Counter(
            tuple(shamir.split(secret, 3, [2, 5], randomness(rest), prime=7))
            for rest in product(range(7), repeat=2)
        )
        for secret in range(7)
    }
    assert all(found == seen[0] for found in seen.values())
    assert set(seen[0].values()) == {1}


def test_the_field_is_a_prime_larger_than_any_key() -> None:
    """Miller and Rabin's test to 20 bases; no smaller candidate above 2^256 passes."""

    def probably_prime(number: int) -> bool:
        odd, twos = number - 1, 0
        while odd % 2 == 0:
            odd, twos = odd // 2, twos + 1
        for base in range(2, 22):
            x = pow(base, odd, number)
            squares = [pow(x, 2**i, number) for i in range(twos)]
            if x != 1 and number - 1 not in squares:
                return False
        return True

    assert probably_prime(shamir.PRIME)
    assert not any(probably_prime(number) for number in range(2**256, shamir.PRIME))


def test_the_stream_is_aes_in_counter_mode() -> None:
    """Blocks 0 and 1 under the zero key, as GCM's specification gives them (test case 1)."""
    stream = prg.keystream(bytes(16), 32).hex()
    assert stream[:32] == "66e94bd4ef8a2c3b884cfa59ca342b2e"
    assert stream[32:] == "58e2fccefa7e3061367f1d57a4e7455a"


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
def test_masks_are_streams_added_word_by_word(dtype: str) -> None:
    d, keys = 40_000, [bytes([i]) * 16 for i in range(3)]
    words = np.arange(d, dtype=dtype)
    size = words.itemsize
    streams = [np.frombuffer(prg.keystream(key, size * d), dtype=dtype) for key in keys]
    expected = words + streams[0] - streams[1] + streams[2]
    prg.add_masks(words, [(keys[0], 1), (keys[1], -1), (keys[2], 1)])
    assert (words == expected).all()


def test_threads_make_the_same_masks() -> None:
    masks = [(bytes([i]) * 16, 1 if i % 2 else -1) for i in range(9)]
    made = []
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        words = np.zeros(300_001, dtype="<u4")
        prg.add_masks(words, masks)
        made.append(words)
    torch.set_num_threads(before)
    assert (made[0] == made[1]).all()


def test_words_are_whole_steps_times_the_count() -> None:
    grid = Grid(clip=1.0, bits=4, hospitals=3, max_count=10)  # 7 levels, steps of 1/7
    row = np.array([0.5, -1.0, 3.0, -9.0, 0.07, 0.08], dtype=np.float32)
    words, cut = grid.encode(row, 5, [0.5])
    assert cut == 2
    assert words.view("<i4")[:6].tolist() == [15, -35, 35, -35, 0, 0]
    back, count, side = grid.decode(words, 6, 1)
    assert back == pytest.approx(np.array([15, -35, 35, -35, 0, 0]) / 7)
    assert (count, side) == (5, [0.5])


@pytest.mark.parametrize(("bits", "max_count", "modulus"), [(8, 100, 32), (24, 10**6, 64)])
def test_the_largest_vectors_do_not_wrap(bits: int, max_count: int, modulus: int) -> None:
    grid = Grid(clip=2.0, bits=bits, hospitals=50, max_count=max_count)
    assert grid.modulus_bits == modulus
    row, far = np.array([9.0, -9.0]), 9 * SIDE_RANGE
    words, cut = grid.encode(row, max_count, [far, -far])
    total = np.stack([words] * 50).sum(axis=0, dtype=words.dtype)
    assert isinstance(total, np.ndarray)
    back, count, side = grid.decode(total, 2, 50)
    assert back == pytest.approx([2.0 * 50 * max_count, -2.0 * 50 * max_count])
    assert count == 50 * max_count
    assert side == [50 * SIDE_RANGE, -50 * SIDE_RANGE]
    assert cut == 4


@given(
    bits=st.integers(2, 32),
    clip=st.floats(1e-3, 1e3),
    row=st.lists(st.floats(-2e3, 2e3), min_size=1, max_size=20),
)
def test_no_coordinate_grows_and_each_errs_by_less_than_a_step(
    bits: int, clip: float, row: list[float]
) -> None:
    grid = Grid(clip, bits, hospitals=3, max_count=1)
    words, _ = grid.encode(np.array(row), 1, [])
    back, _, _ = grid.decode(words, len(row), 1)
    kept = np.clip(row, -clip, clip)
    slack = 1e-12 * clip
    assert (np.abs(back) <= np.abs(kept) + slack).all()
    assert (np.abs(back - kept) < grid.step + slack).all()
    assert back[np.abs(kept) == clip] == pytest.approx(kept[np.abs(kept) == clip])


def test_a_bounded_row_keeps_its_bound_on_a_coarse_grid() -> None:
    grid = Grid(clip=8.0, bits=8, hospitals=3, max_count=1)
    row = np.full(1000, 0.501 * grid.step)
    row /= np.linalg.norm(row)
    back, _, _ = grid.decode(grid.encode(row, 1, [])[0], 1000, 1)
    assert np.linalg.norm(back) <= 1


def test_no_modulus_is_chosen_that_the_largest_sum_could_leave() -> None:
    for bits in range(2, 33):
        for hospitals in (1, 7, 1000):
            for max_count in (1, 3, 1000, 10**6):
                largest = hospitals * max_count * (2 ** (bits - 1) - 1)
                if largest >= 2**63:
                    with pytest.raises(ConfigError, match="wrap around"):
                        Grid(1.0, bits, hospitals, max_count)
                else:
                    assert largest < 2 ** (Grid(1.0, bits, hospitals, max_count).modulus_bits - 1)
    with pytest.raises(ConfigError, match="wrap around"):
        Grid(1.0, 32, 2**16, 2**20)


def reached(start: int, alive: frozenset[int], near: dict[int, tuple[int, ...]]) -> set[int]:
    found, waiting = {start}, [start]
    while waiting:
        for other in near[waiting.pop()]:
            if other in alive and other not in found:
                found.add(other)
                waiting.append(other)
    return found


def test_neighbors_are_mutual_and_as_many_as_asked_for() -> None:
    members = tuple(range(3, 26))
    near = {i: graph.neighbors(members, i, 6, b"seed") for i in members}
    assert all(len(others) == 6 and i not in others for i, others in near.items())
    assert all(i in near[other] for i, others in near.items() for other in others)
    assert near != {i: graph.neighbors(members, i, 6, b"other") for i in members}


@pytest.mark.parametrize(("n", "degree"), [(10, 4), (11, 6)])
def test_masks_connect_survivors_whoever_drops_out(n: int, degree: int) -> None:
    """The claim of the module, over all sets of survivors: without colluders, it needs no luck."""
    threshold = degree // 2 + 2
    near = {i: graph.neighbors(range(n), i, degree, b"seed") for i in range(n)}
    accepted = 0
    for size in range(threshold, n + 1):
        for chosen in combinations(range(n), size):
            alive = frozenset(chosen)
            if all(len(alive & {i, *near[i]}) >= threshold for i in alive):
                accepted += 1
                assert reached(chosen[0], alive, near) == alive
    assert accepted > 10


def test_the_degree_is_the_smallest_within_both_bounds() -> None:
    """Tails by enumeration of the hypergeometric distribution's terms."""

    def tail(least: int, marked: int, n: int, degree: int) -> float:
        law = hypergeom(n - 1, marked, degree)
        return float(sum(law.pmf(x) for x in range(max(least, 0), degree + 1)))

    def within(n: int, degree: int, share: float, colluders: int, gone: int) -> bool:
        threshold = graph.more_than(share, degree + 1)
        needed = threshold - degree // 2 - 1
        if needed < 1 or n * tail(needed, colluders, n, degree) > 2.0**-40:
            return False
        alive = (n - gone) * tail(degree + 2 - threshold, gone, n, degree)
        return alive + gone * tail(degree + 1 - threshold, gone - 1, n, degree) <= 2.0**-20

    for n, share, colluders in [(60, 2 / 3, 0), (100, 2 / 3, 0), (100, 0.6, 0), (200, 2 / 3, 4)]:
        found = graph.smallest_degree(n, share, colluders, 0.1)
        expected = next(k for k in range(2, n, 2) if within(n, k, share, colluders, n // 10))
        assert found == expected


def test_messages_of_another_size_are_refused() -> None:
    survivors = messages.packed([messages.Survivor(3), messages.Survivor(5)])
    assert [record.client for record in messages.Survivor.unpack(survivors, 2)] == [3, 5]
    for data, most in ((survivors[:-1], 2), (survivors, 1)):
        with pytest.raises(RefusedError, match="no message of at most"):
            messages.Survivor.unpack(data, most)
    with pytest.raises(RefusedError, match="no vector of 3 words"):
        messages.unpack_words(bytes(8), 3, np.dtype("<u4"))


def test_terms_of_another_session_are_other_terms() -> None:
    shape = graph.Graph(2, 2, 2)
    one, same, other = (
        Terms(0, {0: b"key", 1: b"other"}, shape, 5, 32, session=session)
        for session in (b"a" * 32, b"a" * 32, b"b" * 32)
    )
    assert one.digest == same.digest != other.digest


def test_every_round_has_a_session_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    def noted(**given: Any) -> Terms:
        seen.append(given["session"])
        return Terms(**given)

    monkeypatch.setattr(carrying, "Terms", noted)
    rows = Individual((0, 1, 2), Rows(torch.ones(3, 2)), torch.ones(3, dtype=torch.float64))
    for seed in (0, 1):
        SecureAggregation().deliver(rows, Channel.of(rows, seed=seed))
    assert len(set(seen)) == 2
