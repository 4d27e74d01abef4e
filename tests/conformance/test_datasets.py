"""Every data set: its card, its docstring, its options; and the real ones as they should be."""

from __future__ import annotations

import dataclasses
import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.registry import build, entries, lookup
from asepsis.core.samples import Kind
from asepsis.data.cards import Card
from asepsis.data.files import md5_of

importlib.import_module("sklearn.datasets")  # moves Python's global generator, which tests watch

NAMES = [entry.name for entry in entries("dataset") if entry.origin == "asepsis"]
MADE = ("phantom", "head-phantom", "breast-cancer")
FOLDERS = ("nih-cxr14-folder", "isic-folder", "dicom-folder", "nifti-folder")

real = pytest.mark.skipif("ASEPSIS_DATA" not in os.environ, reason="ASEPSIS_DATA is not set")

SIZES: dict[str, tuple[tuple[int, ...], int, int, int]] = {
    # name: inputs' shape, classes, units (patients, lesions, stays), sites
    "pneumoniamnist": ((5856, 28, 28), 2, 5856, 0),
    "breastmnist": ((780, 28, 28), 2, 780, 0),
    "retinamnist": ((1600, 28, 28, 3), 5, 1600, 0),
    "adrenalmnist3d": ((1584, 28, 28, 28), 2, 1584, 0),
    "mri-ct": ((180, 128, 128), 0, 180, 3),
    "ljubljana-ms": ((300, 128, 128), 0, 3, 3),
    "cxr-multisite": ((1279, 128, 128), 3, 836, 6),
    "nih-chest-xray": ((2911, 128, 128), 14, 1620, 0),
    "skin-lesions": ((10013, 28, 28, 3), 7, 7470, 0),
    "brain-tumor-mri": ((7020, 64, 64), 4, 7020, 0),
    "heart-disease": ((920, 13), 2, 920, 4),
    "eicu": ((2492, 54), 2, 2492, 186),
    "physionet2012": ((12000, 227), 2, 12000, 4),
    "physionet2012-hourly": ((4000, 48, 37), 2, 4000, 4),
    "diabetes-readmission": ((101766, 27), 2, 71518, 17),
    "mitbih": ((109449, 128, 1), 5, 47, 47),
    "arem": ((88, 480, 6), 7, 88, 0),
    "breast-cancer": ((569, 30), 2, 569, 0),
}


@pytest.mark.parametrize("name", NAMES)
def test_it_builds_with_no_options_and_has_a_card(name: str) -> None:
    component: Any = build("dataset", name)
    card = component.card
    assert isinstance(card, Card)
    assert card.name == name
    assert all(getattr(card, field.name) not in ("", None) for field in dataclasses.fields(card))
    assert isinstance(card.kind, Kind)


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_says_what_the_catalog_needs(name: str) -> None:
    (entry,) = [entry for entry in entries("dataset") if entry.name == name]
    assert entry.summary
    assert entry.paper
    assert entry.fidelity in ("code", "paper", "abstract", "own")
    assert set(entry.tasks.split(", ")) <= {kind.value for kind in Kind}
    card: Card = lookup("dataset", name).card  # type: ignore[attr-defined]
    assert card.kind.value in entry.tasks.split(", ")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_a_place_and_a_way_to_get_it(name: str) -> None:
    component: Any = build("dataset", name)
    if not hasattr(component, "source"):
        assert name in (*MADE, "csv", "npz", "image-folder", "nifti-pairs", *FOLDERS)
        return
    source = component.source()
    assert not Path(source.layout).is_absolute()
    assert source.url is None or source.url.startswith("https://")
    assert source.url or source.how


@pytest.mark.parametrize("name", MADE)
def test_what_needs_no_file_loads_as_its_card_says(name: str) -> None:
    component: Any = build("dataset", name)
    data = component.load()
    assert data.name == name
    assert data.kind is component.card.kind
    assert data.synthetic is component.card.synthetic


@real
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SIZES))
def test_real_data_are_as_their_card_says(name: str) -> None:
    component: Any = build("dataset", name)
    data = component.load()
    shape, classes, units, sites = SIZES[name]
    assert data.inputs.shape == shape
    assert len(data.classes) == classes
    assert len(np.unique(data.groups)) == units
    assert (0 if data.sites is None else len(np.unique(data.sites))) == sites
    assert data.name == name
    assert data.kind is component.card.kind
    assert not data.synthetic


@real
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "split"),
    [
        ("pneumoniamnist", 28, (4708, 524, 624)),
        ("breastmnist", 28, (546, 78, 156)),
        ("retinamnist", 28, (1080, 120, 400)),
        ("adrenalmnist3d", 28, (1188, 98, 298)),
        ("adrenalmnist3d", 64, (1188, 98, 298)),
    ],
)
def test_medmnist_files_are_official(name: str, size: int, split: tuple[int, ...]) -> None:
    component: Any = build("dataset", {"name": name, "size": size})
    source = component.source()
    assert md5_of(Path(os.environ["ASEPSIS_DATA"]) / source.layout) == source.md5
    assert tuple(np.bincount(component.load().split)) == split


def positives(name: str, **options: Any) -> int:
    return int(build("dataset", {"name": name, **options}).load().targets.sum())


@real
@pytest.mark.slow
def test_real_outcomes_are_as_published() -> None:
    assert positives("eicu") == 212
    assert positives("physionet2012") == 1707
    assert positives("diabetes-readmission") == 11357
    heart = build("dataset", "heart-disease").load()
    assert [int((heart.sites == s).sum()) for s in np.unique(heart.sites)] == [303, 294, 123, 200]
    assert len(build("dataset", {"name": "nih-chest-xray", "min_native": 224}).load()) == 1956
    beats = build("dataset", "mitbih").load()
    assert np.bincount(beats.targets).tolist() == [90592, 2781, 7235, 802, 8039]


@real
@pytest.mark.slow
def test_logistic_regression_predicts_heart_disease_in_a_hospital_it_never_saw() -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = build("dataset", "heart-disease").load()
    for site, least in (("cleveland", 0.72), ("hungarian", 0.75)):
        out = data.sites == site
        model = make_pipeline(
            SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression()
        )
        model.fit(data.inputs[~out], data.targets[~out])
        assert model.score(data.inputs[out], data.targets[out]) > least
