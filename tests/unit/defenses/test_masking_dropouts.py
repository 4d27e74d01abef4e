"""Whoever falls silent, and whenever: the sum of those who sent a vector, or nothing at all."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masking_bench import Table

from asepsis.defenses.masking.home import ADVERTISE, CONSENT, REVEAL, SHARE

STEPS = range(ADVERTISE, REVEAL + 1)


def answered(n: int, absent: dict[int, int], step: int) -> list[int]:
    return [i for i in range(n) if absent.get(i, REVEAL + 1) > step]


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_every_set_of_dropouts_up_to_the_threshold_at_every_step(gone: int) -> None:
    for who in combinations(range(5), gone):
        for when in product(STEPS, repeat=gone):
            absent = dict(zip(who, when, strict=True))
            table = Table(5, threshold=3)
            result = table.run(absent)
            sent = [i for i in range(5) if absent.get(i, CONSENT) >= CONSENT]
            assert result.stopped is None, absent
            assert result.survivors == tuple(sent)
            assert result.total is not None
            assert result.total.tolist() == table.sum_of(sent), absent


@pytest.mark.parametrize("when", STEPS)
def test_every_set_of_dropouts_below_the_threshold_gives_nothing(when: int) -> None:
    for who in combinations(range(5), 3):
        result = Table(5, threshold=3).run(dict.fromkeys(who, when))
        assert result.total is None
        assert "too few" in str(result.stopped)


@settings(max_examples=60)
@given(
    st.integers(3, 7).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.integers(n // 2 + 1, n),
            st.dictionaries(st.integers(0, n - 1), st.sampled_from(STEPS)),
            st.sampled_from([32, 64]),
        )
    )
)
def test_there_is_a_sum_exactly_when_the_threshold_answers_to_the_end(
    case: tuple[int, int, dict[int, int], int],
) -> None:
    n, threshold, absent, bits = case
    table = Table(n, threshold, bits=bits)
    result = table.run(absent)
    if len(answered(n, absent, REVEAL)) >= threshold:
        assert result.total is not None
        assert result.total.tolist() == table.sum_of(answered(n, absent, SHARE + 1))
    else:
        assert result.total is None


def test_a_sparse_graph_gives_the_sum_of_the_complete_one() -> None:
    absent = {3: SHARE + 1, 8: SHARE, 15: CONSENT, 20: REVEAL, 22: ADVERTISE}
    complete = Table(24, threshold=17).run(absent)
    sparse = Table(24, threshold=6, degree=10, quorum=17).run(absent)
    assert complete.total is not None
    assert sparse.total is not None
    assert sparse.total.tolist() == complete.total.tolist()
    assert sum(sparse.traffic.up.values()) < 0.6 * sum(complete.traffic.up.values())


def test_every_byte_is_counted() -> None:
    """5 hospitals: 4 boxes of 90, advertisements of 164, consents of 132, shares of 38 bytes."""
    traffic = Table(5, threshold=3).run().traffic
    assert traffic.up == dict.fromkeys(range(5), 164 + 4 * 90 + 3 * 4 + 132 + 5 * 38)
    assert traffic.down == dict.fromkeys(range(5), 5 * 164 + 4 * 90 + 5 * 4 + 5 * 132)
    assert traffic.messages == 5 * 9


def test_the_sum_is_modulo_the_word() -> None:
    table = Table(3, threshold=3)
    table.plain = {i: np.array([0, 1, 2**31], dtype="<u4") for i in range(3)}
    result = table.run()
    assert result.total is not None
    assert result.total.tolist() == [0, 3, 2**31]
