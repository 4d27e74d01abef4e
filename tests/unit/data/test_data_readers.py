"""Every reader, on tiny made-up files of the known layouts."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import DataError
from asepsis.core.registry import build
from asepsis.core.samples import Kind
from asepsis.data.dataset import Dataset
from asepsis.data.datasets.medmnist_table import MEDMNIST


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASEPSIS_DATA", str(tmp_path))
    monkeypatch.setenv("ASEPSIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ASEPSIS_OFFLINE", "1")


def put(tmp_path: Path, layout: str, **arrays: Any) -> None:
    path = tmp_path / layout
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def load(name: str, **options: Any) -> Dataset:
    data = build("dataset", {"name": name, **options}).load()
    assert isinstance(data, Dataset)
    return data


def pixels(*shape: int) -> Any:
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


@pytest.mark.parametrize("name", sorted(MEDMNIST))
def test_medmnist(tmp_path: Path, name: str) -> None:
    facts = MEDMNIST[name]
    shape = (28, 28, 28) if name.endswith("3d") else (28, 28, 3) if facts.color else (28, 28)
    width = len(facts.classes) if name == "chestmnist" else 1
    arrays = {}
    for part, n in (("train", 4), ("val", 2), ("test", 3)):
        arrays[f"{part}_images"] = pixels(n, *shape)
        arrays[f"{part}_labels"] = np.ones((n, width), np.uint8)
    put(tmp_path, f"medmnist/{name}.npz", **arrays)
    data = load(name)
    assert data.inputs.shape == (9, *shape)
    assert (data.inputs[4:6] == arrays["val_images"]).all()
    assert data.split is not None
    assert data.split.tolist() == [0] * 4 + [1] * 2 + [2] * 3
    assert data.kind is (
        Kind.VOLUME if name.endswith("3d") else
        Kind.MULTILABEL_IMAGE if width > 1 else Kind.IMAGE
    )  # fmt: skip


def test_medmnist_of_another_size_is_another_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="breastmnist_64"):
        load("breastmnist", size=64)
    arrays = {
        f"{part}_{what}": pixels(2, *shape) % 2
        for part in ("train", "val", "test")
        for what, shape in (("images", (28, 28)), ("labels", (1,)))
    }
    put(tmp_path, "breastmnist_64.npz", **arrays)
    with pytest.raises(DataError, match="images are not 64 pixels wide"):
        load("breastmnist", size=64)


def test_medmnist_checksums_look_like_checksums_and_are_all_different() -> None:
    sums = [md5 for facts in MEDMNIST.values() for md5 in facts.md5.values()]
    assert len(MEDMNIST) == 18
    assert len(set(sums)) == len(sums) == 12 * 4 + 6 * 2
    assert all(len(md5) == 32 and int(md5, 16) >= 0 for md5 in sums)


HEART = {
    "cleveland": "63.0,1.0,1.0,145.0,233.0,1.0,2.0,150.0,0.0,2.3,3.0,0.0,6.0,0\n",
    "hungarian": "28,1,2,130,132,0,2,185,0,0,?,?,?,0\n",
    "switzerland": "32,1,1,95,0,?,0,127,0,.7,1,?,?,1\n",
    "va": "63,1,4,140,260,0,1,112,1,3,2,?,?,4\n",
}


@pytest.mark.parametrize("packed", [False, True])
def test_heart_disease_from_a_folder_or_the_official_archive(tmp_path: Path, packed: bool) -> None:
    if packed:
        with zipfile.ZipFile(tmp_path / "heart-disease.zip", "w") as archive:
            for name, text in HEART.items():
                archive.writestr(f"processed.{name}.data", text)
    else:
        folder = tmp_path / "ehr" / "uci45_heart_disease"
        folder.mkdir(parents=True)
        for name, text in HEART.items():
            (folder / f"processed.{name}.data").write_text(text)
    data = load("heart-disease")
    assert data.targets.tolist() == [0, 0, 1, 1]
    assert data.sites is not None
    assert data.sites.tolist() == list(HEART)
    assert np.isnan(data.inputs[1, 10:]).all()
    assert data.inputs[2, 9] == np.float32(0.7)


@pytest.mark.parametrize(
    ("text", "says"),
    [("1,2,3\n", "not 14 numbers"), ("a" * 20, "damaged"), ("1," * 13 + "?\n", "not 14 numbers")],
)
def test_damaged_heart_disease_is_refused(tmp_path: Path, text: str, says: str) -> None:
    folder = tmp_path / "ehr" / "uci45_heart_disease"
    folder.mkdir(parents=True)
    (folder / "processed.cleveland.data").write_text(text)
    for name in ("hungarian", "switzerland", "va"):
        (folder / f"processed.{name}.data").write_text(HEART[name])
    with pytest.raises(DataError, match=says):
        load("heart-disease")
    (folder / "processed.va.data").unlink()
    with pytest.raises(DataError):
        load("heart-disease")


EICU_FEATURES = (
    *("admissionheight", "admissionweight", "intubated", "vent", "dialysis", "eyes", "motor"),
    *("verbal", "meds", "urine", "wbc", "temperature", "respiratoryrate", "sodium", "heartrate"),
    *("meanbp", "ph", "hematocrit", "creatinine", "albumin", "pao2", "pco2", "bun", "glucose"),
    *("bilirubin", "fio2", "aids", "hepaticfailure", "lymphoma", "metastaticcancer", "leukemia"),
    *("immunosuppression", "cirrhosis", "electivesurgery", "diabetes", "thrombolytics"),
    *("ventday1", "readmit", "acutephysiologyscore", "apachescore"),
)


def eicu_rows() -> list[dict[str, str]]:
    facts = {"gender": "Male", "ethnicity": "Asian", "unittype": "MICU", "unitstaytype": "admit"}
    rows = [
        {
            "patientunitstayid": str(stay),
            "hospitalid": str(hospital),
            "region": region,
            "age": age,
            **facts,
            **dict.fromkeys(EICU_FEATURES, str(stay)),
            "hospitaldischargestatus": status,
            "unitdischargestatus": "Alive",
            "unitdischargeoffset": "100",
            "actualicumortality": "ALIVE",
            "actualhospitalmortality": "ALIVE",
            "actualiculos": "1.5",
        }
        for stay, hospital, region, age, status in (
            (1, 59, "West", "> 89", "Alive"),
            (2, 59, "West", "40", "Expired"),
            (3, 7, "", "50", "Alive"),
            (4, 7, "", "50", ""),
        )
    ]
    rows[2]["apachescore"] = "-1"
    return rows


def put_eicu(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (tmp_path / "eicu_demo_apache.csv").write_text("\n".join(lines) + "\n")


def test_eicu_leaves_out_unknown_outcomes_and_reads_sites(tmp_path: Path) -> None:
    put_eicu(tmp_path, eicu_rows())
    data = load("eicu")
    assert data.targets.tolist() == [0, 1, 0]
    assert data.inputs[:, 0].tolist() == [90, 40, 50]
    assert np.isnan(data.inputs[2, 2 + EICU_FEATURES.index("apachescore")])
    assert data.sites is not None
    assert data.sites.tolist() == ["hospital-059", "hospital-059", "hospital-007"]
    regions = load("eicu", site="region").sites
    assert regions is not None
    assert regions.tolist() == ["West", "West", "unknown"]
    assert len(load("eicu", min_stays=2)) == 2


def test_nothing_known_only_afterwards_is_an_eicu_feature(tmp_path: Path) -> None:
    rows = eicu_rows()
    put_eicu(tmp_path, rows)
    before = load("eicu").inputs
    later = {
        "hospitaldischargestatus": "Expired",
        "unitdischargestatus": "Expired",
        "unitdischargeoffset": "999",
        "actualicumortality": "EXPIRED",
        "actualhospitalmortality": "EXPIRED",
        "actualiculos": "99.5",
        "hospitalid": "1",
        "region": "South",
        "patientunitstayid": "12345",
    }
    put_eicu(tmp_path, [row | later for row in rows[:3]])
    after = load("eicu")
    assert after.targets.tolist() == [1, 1, 1]
    np.testing.assert_array_equal(after.inputs, before)


def test_a_missing_eicu_column_is_named(tmp_path: Path) -> None:
    put_eicu(tmp_path, [{k: v for k, v in row.items() if k != "bun"} for row in eicu_rows()])
    with pytest.raises(DataError, match="no such column; got 'bun'"):
        load("eicu")


def test_physionet_splits_by_set_or_not(tmp_path: Path) -> None:
    put(
        tmp_path,
        "ehr/physionet2012_summary_12000.npz",
        x=np.array([[1, np.nan], [2, 3], [4, 5]], np.float32),
        record_id=np.array([10, 20, 30], np.int32),
        set=np.array(["a", "c", "b"]),
        in_hospital_death=np.array([0, 1, 0], np.uint8),
        icu_type=np.array([1, 4, 2], np.int8),
    )
    assert load("physionet2012").split is None
    data = load("physionet2012", split="set")
    assert data.split is not None
    assert data.split.tolist() == [0, 2, 1]
    assert data.sites is not None
    assert data.sites.tolist() == ["coronary care", "surgical", "cardiac surgery recovery"]
    assert data.groups.tolist() == [10, 20, 30]


def test_physionet_hourly_keeps_static_facts_apart(tmp_path: Path) -> None:
    put(
        tmp_path,
        "ehr/physionet2012_seta_hourly.npz",
        x=np.full((2, 48, 37), np.nan, np.float16),
        static=np.array([[54, 0, 170, 4, 80], [76, 1, 175, 2, 76]], np.float32),
        static_names=np.array(["Age", "Gender", "Height", "ICUType", "Weight"]),
        record_id=np.array([1, 2]),
        in_hospital_death=np.array([0, 1], np.uint8),
    )
    data = load("physionet2012-hourly")
    assert data.inputs.shape == (2, 48, 37)
    assert data.attributes["Age"].tolist() == [54, 76]
    assert data.sites is not None
    assert data.sites.tolist() == ["surgical", "cardiac surgery recovery"]


def test_mitbih_knows_that_two_recordings_are_one_patient(tmp_path: Path) -> None:
    put(
        tmp_path,
        "timeseries/mitbih_aami_beats_180hz.npz",
        x=np.full((4, 128), 100, np.int16),
        y=np.array([0, 1, 2, 4], np.uint8),
        record=np.array([100, 201, 202, 203], np.int16),
    )
    data = load("mitbih")
    assert data.inputs.shape == (4, 128, 1)
    assert (data.inputs == 0.5).all()
    assert data.groups[1] == data.groups[2]
    assert len(np.unique(data.groups)) == 3
    assert len(np.unique(load("mitbih", unit="beat").groups)) == 4


def test_chest_xrays_of_several_sites(tmp_path: Path) -> None:
    put(
        tmp_path,
        "cxr/cxr_multisite_128.npz",
        images=pixels(3, 16, 16),
        labels=np.array([0, 2, 1], np.uint8),
        classes=np.array(["none", "other", "covid"]),
        site=np.array(["A", "B", "A"]),
        patient=np.array(["c1", "c1", "c0"]),
    )
    data = load("cxr-multisite")
    assert data.classes == ("none", "other", "covid")
    assert data.groups.tolist() == [1, 1, 0]


def test_nih_chest_xrays_can_be_kept_to_true_resolution(tmp_path: Path) -> None:
    put(
        tmp_path,
        "cxr/nih_cxr14_128.npz",
        images=pixels(3, 16, 16),
        labels=np.eye(3, 14, dtype=np.uint8),
        classes=np.array([f"finding {k}" for k in range(14)]),
        patient=np.array([7, 7, 9], np.int32),
        view=np.array(["PA", "AP", "PA"]),
        age=np.array([50, 51, 60]),
        sex=np.array(["F", "F", "M"]),
        source=np.array([0, 1, 1], np.uint8),
        native=np.array([64, 224, 1024], np.int16),
    )
    assert len(load("nih-chest-xray")) == 3
    data = load("nih-chest-xray", min_native=224)
    assert data.groups.tolist() == [7, 9]
    assert data.attributes["native"].tolist() == [224, 1024]
    with pytest.raises(DataError, match="no image is that large"):
        load("nih-chest-xray", min_native=2000)


def test_skin_lesions_are_grouped_by_lesion(tmp_path: Path) -> None:
    put(
        tmp_path,
        "images/ham10000_28.npz",
        images=pixels(2, 28, 28, 3),
        labels=np.array([6, 0], np.uint8),
        classes=np.array(list("abcdefg")),
        lesion=np.array([4, 4], np.int32),
        age=np.array([40, 40]),
        sex=np.array(["male", "male"]),
        localization=np.array(["back", "back"]),
    )
    assert load("skin-lesions").groups.tolist() == [4, 4]


def test_brain_tumors_bring_their_split(tmp_path: Path) -> None:
    arrays = {
        f"{part}_{what}": pixels(2, *shape) % 4
        for part in ("train", "val", "test")
        for what, shape in (("images", (64, 64)), ("labels", (1,)))
    }
    put(tmp_path, "images/brain_tumor_mri_64.npz", classes=np.array(list("abcd")), **arrays)
    data = load("brain-tumor-mri")
    assert data.split is not None
    assert data.split.tolist() == [0, 0, 1, 1, 2, 2]


def test_mr_and_ct_of_one_plane_are_paired(tmp_path: Path) -> None:
    arrays = {
        f"{what}_{plane}": np.full((2, 8, 8), 10 * p + w, np.uint8)
        for p, plane in enumerate(("axial", "coronal", "sagittal"))
        for w, what in enumerate(("mri", "ct", "mask"))
    }
    put(
        tmp_path,
        "mri_ct/synthrad2023_brain_midslices_128.npz",
        patient=np.array(["1BB", "1BA"]),
        centre=np.array(["B", "A"]),
        **arrays,
    )
    data = load("mri-ct", plane="coronal")
    assert data.inputs.max() == 10
    assert data.targets.max() == 11
    assert data.attributes["mask"].all()
    assert data.sites is not None
    assert data.sites.tolist() == ["center-B", "center-A"]
    every = load("mri-ct", plane="all")
    assert every.inputs.max(axis=(1, 2)).tolist() == [0, 10, 20] * 2
    assert every.targets.max(axis=(1, 2)).tolist() == [1, 11, 21] * 2
    assert every.groups.tolist() == [1, 1, 1, 0, 0, 0]
    assert every.attributes["plane"].tolist() == ["axial", "coronal", "sagittal"] * 2
    assert every.sites is not None
    assert every.sites.tolist() == ["center-B"] * 3 + ["center-A"] * 3
    assert every.volume is None


def test_ms_contrasts_are_paired_by_patient_or_slice(tmp_path: Path) -> None:
    put(
        tmp_path,
        "mri_ct/ljubljana_ms_t1_t2_flair_128.npz",
        T1=np.full((3, 8, 8), 1, np.uint8),
        T2=np.full((3, 8, 8), 2, np.uint8),
        FLAIR=np.full((3, 8, 8), 3, np.uint8),
        lesion=np.zeros((3, 8, 8), np.uint8),
        patient=np.array(["p7", "p7", "p9"]),
        z=np.array([40, 41, 40]),
    )
    assert load("ljubljana-ms").groups.tolist() == [0, 0, 1]
    data = load("ljubljana-ms", target="FLAIR", unit="slice")
    assert data.targets.max() == 3
    assert data.groups.tolist() == [0, 1, 2]


def test_arem_keeps_missing_steps(tmp_path: Path) -> None:
    x = np.zeros((2, 480, 6), np.float32)
    x[0, 5] = np.nan
    classes = np.array(["walking", "lying"])
    put(tmp_path, "timeseries/arem_wearable_rss.npz", x=x, y=np.array([1, 0]), classes=classes)
    data = load("arem")
    assert np.isnan(data.inputs).sum() == 6
    assert data.classes == ("walking", "lying")


def test_diabetes_is_read_from_its_archive(tmp_path: Path) -> None:
    counts = (
        "time_in_hospital,num_lab_procedures,num_procedures,num_medications,number_outpatient,"
        "number_emergency,number_inpatient,number_diagnoses"
    )
    text = io.StringIO()
    text.write(
        f"patient_nbr,race,gender,age,admission_type_id,admission_source_id,medical_specialty,{counts}"
        ",A1Cresult,max_glu_serum,metformin,insulin,change,diabetesMed,readmitted\n"
    )
    text.write("8,Asian,Male,[70-80),1,7,?,1,2,3,4,5,6,7,9,>8,None,No,Up,Ch,Yes,<30\n")
    text.write("8,Asian,Male,[70-80),9,1,Surgery,1,2,3,4,5,6,7,9,None,None,No,No,No,No,>30\n")
    with zipfile.ZipFile(tmp_path / "uci296_dataset_diabetes.zip", "w") as archive:
        archive.writestr("dataset_diabetes/diabetic_data.csv", text.getvalue())
    data = load("diabetes-readmission", site="specialty")
    assert data.targets.tolist() == [1, 0]
    assert data.groups.tolist() == [8, 8]
    counts_and_sex = [75, 1, 2, 3, 4, 5, 6, 7, 9, 1]
    emergency, a1c_over_8, no_glucose, no_metformin = [1, 0, 0], [0, 0, 1], [0] * 3, [0] * 3
    insulin_up, changed, medicated = [0, 1, 0], [1], [1]
    levels = [emergency, a1c_over_8, no_glucose, no_metformin, insulin_up, changed, medicated]
    assert data.inputs[0].tolist() == [*counts_and_sex, *(x for level in levels for x in level)]
    assert data.sites is not None
    assert data.sites.tolist() == ["unknown", "Surgery"]


def test_the_same_options_give_the_same_object(tmp_path: Path) -> None:
    assert load("phantom", n=10) is load("phantom", n=10)
