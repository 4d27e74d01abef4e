"""Frozen detectors on hand-written records: every figure can be checked on paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from asepsis.core.errors import ConfigError
from asepsis.experiments.detection import (
    EASY,
    HARD,
    MODERATE,
    PASSIVE,
    UNKNOWN_WORD,
    Detection,
    detection,
    detections,
    difficulty,
    passive,
    units,
)
from asepsis.experiments.plan import Cell
from asepsis.experiments.results import Run
from asepsis.experiments.spec import Experiment
from asepsis.metrics.intervals import Interval

BAD = (8, 9)
"""Two of ten hospitals attack."""


def run(
    seed: int,
    scores: Mapping[str, Sequence[float | None]],
    *,
    attack: str = "sign-flip",
    rounds: int = 6,
    dropped: Sequence[int] = (),
    role: str = "client",
) -> Run:
    """A run whose every round has these scores of ten hospitals; the first one is not attacked."""
    spec = Experiment().model_copy(update={"attack": {"name": attack}, "seed": seed})
    lines: list[dict[str, Any]] = [{"type": "header", "result": {"resolved": {"role": role}}}]
    said = {
        name: {str(i): math.nan if v is None else v for i, v in enumerate(values)}
        for name, values in scores.items()
    }
    for number in range(rounds + 1):
        result = {
            "round": number,
            "present": list(range(10)),
            "hostile": list(BAD) if number and role == "client" else [],
            "dropped": list(dropped) if number else [],
            "monitors": said,
        }
        lines.append({"type": "round", "result": result})
    lines.append({"type": "footer", "result": {"status": "success"}})
    return Run(Cell("s", attack, "mean", seed, spec), lines)


HONEST = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
CLEAR, BLIND = [*HONEST, 8.0, 9.0], [*HONEST[::-1], 0.0, 0.0]


def test_units_are_hospital_rounds_of_attacked_rounds() -> None:
    found = units(run(0, {"norm": CLEAR}))
    assert len(found.hostile) == 6 * 10
    assert found.hostile.sum() == 6 * 2
    assert found.auc("norm") == 1.0


def test_the_detector_is_chosen_on_tuning_seeds_and_its_threshold_frozen() -> None:
    tuning = [
        run(100, {"cosine": BLIND, "norm": CLEAR}),
        run(101, {"cosine": BLIND, "norm": CLEAR}),
    ]
    # On fresh seeds one hostile hospital looks like an honest one, and one honest like a hostile.
    fresh = [run(s, {"cosine": CLEAR, "norm": [*HONEST[:7], 8.5, 4.0, 9.0]}) for s in range(3)]
    found = detection(tuning, fresh)
    assert (found.detector, found.threshold, found.tried) == ("norm", 8.0, ("cosine", "norm"))
    assert found.tuned == (1 / 16, 1.0)  # one of eight honest ones ties with them
    assert (found.false_alarms.mean, found.recall.mean) == (1 / 8, 1 / 2)
    # 4.0 beats 0 to 3 and ties with 4; 9.0 beats all eight.
    assert found.auc.mean == pytest.approx((4.5 + 8) / 16)
    assert found.auc.n == 3
    assert found.word == HARD


def test_one_defender_knows_the_attack_and_the_other_does_not() -> None:
    ones = {"norm": CLEAR, "likeness": BLIND, "cosine": [*HONEST, 7.5, 5.5]}
    others = {"norm": BLIND, "likeness": CLEAR, "cosine": [*HONEST, 7.5, 5.5]}
    tuning = {"one": [run(9, ones)], "other": [run(9, others)]}
    fresh = {"one": [run(1, ones)], "other": [run(1, others)], "new": [run(1, others)]}
    made = detections(tuning, fresh)
    assert made["one"].informed.detector == "norm"
    assert made["other"].informed.detector == "likeness"
    assert {found.general.detector for found in made.values()} == {"cosine"}
    assert {found.general.threshold for found in made.values()} == {5.5}
    assert made["one"].informed.word == EASY
    # Two of eight honest ones, 6 and 7, reach 5.5.
    assert made["one"].general.false_alarms.mean == 0.25
    assert made["one"].general.word == MODERATE
    assert made["new"].informed.word == UNKNOWN_WORD
    assert made["new"].general.auc.mean == made["other"].general.auc.mean


def test_a_dropped_update_is_the_loudest_and_silence_raises_no_alarm() -> None:
    loud = units(run(0, {"norm": [*HONEST, 0.0, 0.0]}, dropped=BAD))
    assert loud.auc("norm") == 1.0
    quiet = units(run(0, {"norm": [None] * 10}))
    assert quiet.auc("norm") == 0.5
    found = detection([run(9, {"norm": [None] * 10})], [run(0, {"norm": [None] * 10})])
    assert (found.false_alarms.mean, found.recall.mean) == (1.0, 1.0)


def test_rounds_in_which_honest_hospitals_blew_up_say_nothing() -> None:
    assert len(units(run(0, {"norm": CLEAR}, dropped=(0, 8))).hostile) == 0


def test_too_few_hostile_hospital_rounds_are_not_estimable() -> None:
    tuning = [run(9, {"norm": CLEAR})]
    few = detection(tuning, [run(0, {"norm": CLEAR}, rounds=4)])  # eight of them
    assert math.isnan(few.auc.mean)
    assert few.word == UNKNOWN_WORD
    assert detection([run(9, {"norm": CLEAR}, rounds=4)], tuning[:0]).detector == ""


def test_what_somebody_on_the_wire_altered_is_hostile_and_what_was_cut_off_has_no_row() -> None:
    made = run(0, {"norm": CLEAR}, role="interceptor")
    for item in made.rounds[1:]:
        item["intercepted"] = {"9": "altered", "8": "replayed", "0": "dropped"}
    found = units(made)
    assert len(found.hostile) == 6 * 9
    assert found.hostile.sum() == 6 * 2
    assert found.auc("norm") == 1.0


def test_a_seed_is_for_tuning_or_for_the_figures() -> None:
    one = run(3, {"norm": CLEAR})
    with pytest.raises(ConfigError, match=r"other seeds.*got \[3\]"):
        detection([one], [one])


def test_who_only_looks_is_undetectable_by_construction() -> None:
    looking = run(0, {"norm": CLEAR}, attack="dlg", role="server")
    assert passive(looking)
    made = detections({}, {"dlg": [looking]})["dlg"]
    assert made.informed.word == made.general.word == PASSIVE
    assert math.isnan(made.informed.auc.mean)


def test_a_server_that_tampers_is_not_passive() -> None:
    tampering = run(0, {"norm": CLEAR}, attack="model-inconsistency", role="server")
    assert not passive(tampering)
    assert detection([], [tampering]).word == UNKNOWN_WORD


@pytest.mark.parametrize(
    ("auc", "alarms", "recall", "word"),
    [
        (0.95, 0.05, 0.90, EASY),
        (0.949, 0.05, 0.90, MODERATE),
        (0.95, 0.051, 0.90, MODERATE),
        (0.99, 0.0, 0.89, MODERATE),
        (0.80, 0.25, 0.75, MODERATE),
        (0.79, 0.25, 0.75, HARD),
        (0.99, 0.26, 0.95, HARD),
        (0.99, 0.0, 0.74, HARD),
        (math.nan, 0.0, 1.0, UNKNOWN_WORD),
    ],
)
def test_words_follow_the_cutoffs(auc: float, alarms: float, recall: float, word: str) -> None:
    def one(value: float) -> Interval:
        return Interval(value, math.nan, math.nan, 1)

    made = Detection("norm", 0.0, one(auc), one(alarms), one(recall), ("norm",))
    assert difficulty(made) == word
