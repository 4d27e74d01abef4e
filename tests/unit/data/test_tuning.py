"""What is chosen on validation patients has never seen a test patient."""

import numpy as np
import pytest

from asepsis.core.errors import DataError
from asepsis.core.rng import Streams
from asepsis.core.samples import Hospital
from asepsis.data.tuning import for_tuning
from asepsis.experiments.resolve import divided
from asepsis.experiments.spec import Experiment, parse

TABLE = {"dataset": "breast-cancer", "partition": "iid", "federation": {"hospitals": 4}}


def hospitals(on: str) -> tuple[Hospital, ...]:
    spec: Experiment = parse(Experiment, {**TABLE, "evaluation": {"on": on}})
    return divided(spec).hospitals


def test_scored_patients_are_validation_patients_and_the_rest_remains() -> None:
    for true, tuned in zip(hospitals("test"), hospitals("validation"), strict=True):
        scored, left = set(tuned.test.ids.tolist()), set(tuned.validation.ids.tolist())
        assert scored | left == set(true.validation.ids.tolist())
        assert not scored & left
        assert len(scored) == -(-2 * len(true.validation) // 3)
        assert tuned.train is true.train


def test_no_test_patient_is_left_anywhere() -> None:
    tested = {int(i) for hospital in hospitals("test") for i in hospital.test.ids}
    for hospital in hospitals("validation"):
        parts = (hospital.train, hospital.validation, hospital.test)
        assert not tested & {int(i) for part in parts for i in part.ids}


def test_samples_of_one_patient_stay_together() -> None:
    [true, *_] = hospitals("test")
    held = true.validation
    paired = np.arange(len(held)) // 2
    together = Hospital(
        0, "one", true.train, type(held)(held.inputs, held.targets, held.ids, paired), true.test
    )
    [tuned] = for_tuning((together,), Streams(0))
    assert not set(tuned.test.groups.tolist()) & set(tuned.validation.groups.tolist())


def test_hospitals_without_validation_patients_are_refused() -> None:
    [true, *_] = hospitals("test")
    nobody = true.validation.take(np.empty(0, np.int64))
    with pytest.raises(DataError, match="validation"):
        for_tuning((Hospital(0, "one", true.train, nobody, true.test),), Streams(0))
