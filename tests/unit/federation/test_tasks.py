from __future__ import annotations

import numpy as np
import pytest
import torch

from asepsis.core.samples import DataFacts, Kind, Samples
from asepsis.tasks.classification import Classification
from asepsis.tasks.sequence import SequenceTask
from asepsis.tasks.tabular import Tabular


def samples(inputs: np.ndarray, targets: list[int] | None = None) -> Samples:
    ids = np.arange(len(inputs))
    labels = np.array(targets if targets is not None else [0] * len(inputs))
    return Samples(inputs, labels, ids, ids)


def test_images_become_channels_first_in_minus_one_to_one() -> None:
    facts = DataFacts(Kind.IMAGE, ("a", "b"))
    gray = np.array([[[0, 255], [51, 102]]], dtype=np.uint8)
    made = Classification().fit([], facts)(samples(gray))
    assert made.inputs.shape == (1, 1, 2, 2)
    torch.testing.assert_close(
        made.inputs.flatten(), torch.tensor([-1.0, 1.0, -0.6, -0.2]), atol=1e-6, rtol=0
    )
    rgb = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    made = Classification().fit([], facts)(samples(rgb))
    assert made.inputs.shape == (2, 3, 4, 5)
    assert made.inputs.is_contiguous(memory_format=torch.channels_last)
    assert float(made.inputs[1, 2, 3, 4]) == pytest.approx(rgb[1, 3, 4, 2] / 127.5 - 1)


def test_volumes_get_one_channel() -> None:
    facts = DataFacts(Kind.VOLUME, ("a", "b"))
    cube = np.zeros((2, 8, 9, 10), dtype=np.uint8)
    assert Classification().fit([], facts)(samples(cube)).inputs.shape == (2, 1, 8, 9, 10)


def test_tables_are_standardized_with_the_federations_statistics() -> None:
    one = samples(np.array([[0.0, 1.0], [2.0, np.nan]], dtype=np.float32))
    two = samples(np.array([[4.0, 3.0]], dtype=np.float32))
    prepare = Tabular().fit([one, two], DataFacts(Kind.TABLE, ("a", "b")))
    pooled = np.concatenate([prepare(one).inputs.numpy(), prepare(two).inputs.numpy()])
    assert pooled[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert pooled[:, 0].std() == pytest.approx(1, abs=1e-6)
    assert pooled[1, 1] == 0.0


def test_a_constant_or_empty_feature_does_no_harm() -> None:
    table = np.array([[5.0, np.nan], [5.0, np.nan]], dtype=np.float32)
    prepare = Tabular().fit([samples(table)], DataFacts(Kind.TABLE, ("a", "b")))
    assert prepare(samples(table)).inputs.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_sequences_become_channels_first() -> None:
    signal = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    prepare = SequenceTask().fit([samples(signal)], DataFacts(Kind.SEQUENCE, ("a", "b")))
    made = prepare(samples(signal)).inputs
    assert made.shape == (2, 3, 4)
    assert made.mean(dim=(0, 2)).abs().max() < 1e-6
