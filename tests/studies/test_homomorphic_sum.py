"""The homomorphic sum: TenSEAL adds what no server can read, exact to the quantization step."""

from __future__ import annotations

import importlib
import importlib.util
import os

import pytest
import torch

from asepsis.core.channel import Channel
from asepsis.core.errors import ConfigError, MissingExtraError
from asepsis.core.updates import Individual, Rows, Summed
from asepsis.defenses.transport import homomorphic_sum
from asepsis.defenses.transport.homomorphic_sum import CIPHERTEXT, HomomorphicSum

D = 5000


@pytest.fixture
def _installed() -> None:
    if importlib.util.find_spec("tenseal") is not None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("the extra 'he' is not installed")
    pytest.skip("the extra 'he' is not installed")


def sent(n: int = 4) -> Individual:
    made = torch.Generator().manual_seed(1)
    rows = torch.randn(n, D, generator=made, dtype=torch.float64)
    counts = torch.tensor([7.0 * (i + 1) for i in range(n)], dtype=torch.float64)
    loss = torch.rand(n, generator=made, dtype=torch.float64)
    return Individual(tuple(range(n)), Rows(rows), counts, {"loss": loss})


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("stage", [HomomorphicSum(), HomomorphicSum(bits=8, max_count=50)])
def test_the_sum_is_that_of_the_quantized_rows(stage: HomomorphicSum) -> None:
    updates = sent()
    carried = stage.deliver(updates, Channel.of(updates))
    grid = stage.grid(4)
    step = grid.step
    steps = (updates.rows.dense().clamp(-8, 8) / 8 * grid.levels).trunc()
    assert isinstance(carried.delivery, Summed)
    assert torch.allclose(carried.delivery.total / step, updates.weights @ steps, atol=1e-6)
    assert carried.delivery.weight == float(updates.weights.sum())
    assert carried.delivery.side["loss"] == pytest.approx(float(updates.side["loss"].sum()))
    assert carried.measurements["bytes_up_max"] == 2 * CIPHERTEXT
    again = stage.deliver(updates, Channel.of(updates))
    assert isinstance(again.delivery, Summed)
    assert again.delivery.total.equal(carried.delivery.total)


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
def test_the_largest_sums_are_opened_exactly() -> None:
    stage = HomomorphicSum(bits=16, max_count=2**25, clip=1.0)
    updates = Individual(
        tuple(range(10)),
        Rows(torch.ones(10, 100, dtype=torch.float64)),
        torch.full((10,), 2.0**25, dtype=torch.float64),
    )
    carried = stage.deliver(updates, Channel.of(updates))
    assert isinstance(carried.delivery, Summed)
    levels = stage.grid(10).levels
    steps = carried.delivery.total * levels
    assert steps.tolist() == [10 * 2**25 * levels] * 100
    assert carried.delivery.total.dtype == torch.float64


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
def test_without_the_secret_key_nothing_is_opened() -> None:
    tenseal = importlib.import_module("tenseal")
    own = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 60]
    )
    own.global_scale = homomorphic_sum.SCALE
    public = tenseal.context_from(own.serialize(save_secret_key=False))
    data = [tenseal.ckks_vector(own, [1.0, 2.0]).serialize() for _ in range(2)]
    added = homomorphic_sum._added(tenseal, public, data)
    with pytest.raises(ValueError, match="secret_key"):
        tenseal.ckks_vector_from(public, added).decrypt()
    opened = tenseal.ckks_vector_from(own, added).decrypt()
    assert opened == pytest.approx([2.0, 4.0], abs=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
def test_hospitals_with_nothing_fit_to_send_are_left_out() -> None:
    updates = sent(5)
    updates.rows.dense()[1, 3] = torch.nan
    updates.weights[2] = 1e6
    carried = HomomorphicSum().deliver(updates, Channel.of(updates))
    assert isinstance(carried.delivery, Summed)
    assert (carried.delivery.count, carried.delivery.weight) == (3, 7.0 + 28.0 + 35.0)
    assert carried.measurements["unfit"] == 2
    updates.weights[0] = torch.nan
    assert "only 2 hospitals" in str(HomomorphicSum().deliver(updates, Channel.of(updates)).aborted)


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
def test_cohorts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="fewer than 3 honest hospitals"):
        HomomorphicSum().check_cohort(2)
    with pytest.raises(ConfigError, match="larger than the encryption is precise"):
        HomomorphicSum(bits=24, max_count=10**6).check_cohort(10)
    HomomorphicSum().check_cohort(300)


def test_a_hospital_larger_than_the_precision_was_chosen_for_is_an_error() -> None:
    with pytest.raises(ConfigError, match="hospital 3 has more samples than max_count"):
        HomomorphicSum().check_weights({0: 5.0, 3: 100_001.0})


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'asepsis\[he\]'"):
        HomomorphicSum().check_cohort(5)
