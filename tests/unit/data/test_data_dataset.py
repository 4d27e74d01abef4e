"""A data set checks itself, and its digest follows its content."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import DataError
from asepsis.core.samples import Kind
from asepsis.data.dataset import Dataset


def table(**changes: Any) -> Dataset:
    fields: dict[str, Any] = {
        "name": "tiny",
        "kind": Kind.TABLE,
        "inputs": np.arange(8, dtype=np.float32).reshape(4, 2),
        "targets": np.array([0, 1, 0, 1]),
        "classes": ("well", "ill"),
    }
    return Dataset(**(fields | changes))


def test_groups_default_to_positions_and_targets_become_int64() -> None:
    data = table(targets=np.array([0, 1, 0, 1], np.uint8))
    assert data.groups.tolist() == [0, 1, 2, 3]
    assert data.targets.dtype == np.int64
    assert data.facts.classes == ("well", "ill")


def test_arrays_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        table().inputs[0, 0] = 1


def test_the_callers_array_stays_writable() -> None:
    mine = np.zeros((4, 2), np.float32)
    table(inputs=mine)
    mine[0, 0] = 1
    assert mine[0, 0] == 1


def test_missing_values_are_welcome_in_a_table() -> None:
    inputs = np.full((4, 2), np.nan, np.float32)
    assert len(table(inputs=inputs)) == 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"targets": np.array([0, 1, 0])}, "targets has another length"),
        ({"targets": np.array([0, 1, 0, 2])}, "do not fit 2 classes"),
        ({"targets": np.array([0, 1, 0, -1])}, "do not fit 2 classes"),
        ({"sites": np.array(["a"])}, "sites has another length"),
        ({"attributes": {"age": np.zeros(3)}}, "age has another length"),
        ({"inputs": np.zeros((4, 2), np.float64)}, "2 axes of float32"),
        ({"inputs": np.zeros((4, 2, 2), np.float32)}, "2 axes of float32"),
        ({"inputs": np.full((4, 2), np.inf, np.float32)}, "sample 0 holds an infinite value"),
        ({"split": np.array([0, 0, 0, 3])}, "a split is 0, 1 or 2"),
        ({"inputs": np.zeros((0, 2), np.float32), "targets": np.zeros(0, int)}, "no sample"),
        (
            {"split": np.array([0, 0, 0, 2]), "groups": np.array([5, 6, 7, 7])},
            "more than one part of the official split; got 'sample 4, for one'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        table(**changes)


def test_pairs_must_have_the_same_shape() -> None:
    images = np.zeros((2, 8, 8), np.uint8)
    Dataset(name="p", kind=Kind.PAIRED_IMAGE, inputs=images, targets=images, classes=())
    with pytest.raises(DataError, match="differ in shape"):
        Dataset(name="p", kind=Kind.PAIRED_IMAGE, inputs=images, targets=images[:, :4], classes=())


def pairs(n: int = 2, side: int = 8, **changes: Any) -> Dataset:
    images = np.zeros((n, side, side), np.uint8)
    given = {"inputs": images, "targets": images, "classes": (), **changes}
    return Dataset(name="p", kind=Kind.PAIRED_IMAGE, **given)


def test_pairs_tell_their_unit_their_body_and_their_volume() -> None:
    body = np.eye(8, dtype=bool)[None].repeat(48, 0)
    hounsfield = np.full((48, 8, 8), -1000, np.int16)
    data = pairs(
        48, targets=hounsfield, unit="HU", window=(-1024, 3071), volume=8, attributes={"mask": body}
    )
    assert (data.facts.unit, data.facts.window, data.facts.volume) == ("HU", (-1024, 3071), 8)
    assert data.targets.min() == -1000
    assert data.mask is not None
    assert (data.mask == body).all()
    assert pairs().facts.volume is None
    assert table(attributes={"mask": np.ones(4)}).mask is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"attributes": {"mask": np.ones((2, 4, 4), bool)}}, "as large as the images"),
        ({"attributes": {"mask": np.ones((2, 8, 8), np.uint8)}}, "a mask is bool"),
        ({"window": (1.0, 1.0)}, "from low to high"),
        ({"volume": 8}, "whole cubes of side 8"),
        ({"volume": 0}, "whole cubes of side 0"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        pairs(**changes)


def test_body_and_window_are_part_of_what_pairs_are() -> None:
    body = np.ones((2, 8, 8), bool)
    made = [pairs(), pairs(window=(0, 1)), pairs(unit="HU"), pairs(attributes={"mask": body})]
    assert len({data.digest() for data in made}) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": np.arange(1, 9, dtype=np.float32).reshape(4, 2)},
        {"targets": np.array([1, 1, 0, 1])},
        {"classes": ("ill", "well")},
        {"name": "other"},
        {"groups": np.array([0, 0, 1, 2])},
        {"sites": np.array(list("aabb"))},
        {"split": np.array([0, 0, 1, 2])},
    ],
)
def test_the_digest_follows_every_part_of_the_content(changes: dict[str, Any]) -> None:
    assert table(**changes).digest() != table().digest()
    assert table(**changes).digest() == table(**changes).digest()


def test_labels_of_several_findings_are_the_rarest_present() -> None:
    targets = np.array([[1, 1], [1, 0], [0, 0], [1, 0]], np.uint8)
    data = Dataset(
        name="m",
        kind=Kind.MULTILABEL_IMAGE,
        inputs=np.zeros((4, 8, 8), np.uint8),
        targets=targets,
        classes=("common", "rare"),
    )
    assert data.labels().tolist() == [2, 1, 0, 1]
