"""An assessment from beginning to end, small; its time, its diary, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asepsis.assess.arsenal import Weapon, arsenal
from asepsis.assess.assessment import assess
from asepsis.assess.bench import Step, load_of
from asepsis.assess.budget import Budget, Load
from asepsis.assess.diary import Diary
from asepsis.assess.outcome import Answer, Outcome, Ruling, as_json
from asepsis.assess.setting import setting_of
from asepsis.assess.spec import assessment_of
from asepsis.assess.stacks import fitting, menu
from asepsis.core.errors import ConfigError, StoreError
from asepsis.core.registry import build
from asepsis.core.samples import Kind
from asepsis.experiments.run import RunOptions
from asepsis.experiments.threats import THREATS

SMALL: Mapping[str, Any] = {
    "data": "breast-cancer",
    "threats": ["label-flip", "generator-poisoning"],
    "federation": {"hospitals": 5, "rounds": 3},
    "trainer": {"name": "sgd", "lr": 0.05, "steps": 2, "batch_size": 16},
    "minutes": 1.0,
    "seeds": 3,
    "search": False,
}


def small(root: Path, *, resume: bool = False, **changes: Any) -> Outcome:
    how = RunOptions(engine="serial", jobs=1, resume=resume)
    return assess(assessment_of({**SMALL, **changes}), root, how)


def test_a_small_assessment_says_everything_in_parts(tmp_path: Path) -> None:
    found = small(tmp_path / "a")
    assert [finding.key for finding in found.findings] == ["label-flip", "generator-poisoning"]
    flip, generator = found.findings
    assert [part.adaptive for part in flip.parts] == [False, True]
    assert all(part.after.n == 3 for part in flip.parts)
    assert generator.ruling is Ruling.NOT_APPLICABLE
    assert "table" in generator.reason
    assert found.recommended == found.today == "mean"
    assert found.utility.mean == 0.0
    assert set(found.seeds).isdisjoint(found.tuning_seeds)
    assert json.loads(as_json(found))["exit_code"] == found.answer.code


def test_an_assessment_that_goes_on_says_the_same(tmp_path: Path) -> None:
    first = small(tmp_path / "a")
    again = small(tmp_path / "a", resume=True)
    assert again.findings == first.findings
    assert again.seeds == first.seeds


def test_a_folder_that_is_used_is_not_overwritten(tmp_path: Path) -> None:
    small(tmp_path / "a")
    with pytest.raises(StoreError, match="--resume"):
        small(tmp_path / "a")
    with pytest.raises(StoreError, match="asked something else"):
        small(tmp_path / "a", resume=True, hostile=2)


def test_test_patients_are_unseen_until_the_end(tmp_path: Path) -> None:
    small(tmp_path / "a")
    for step, scored in (("today", "validation"), ("final", "test")):
        plan = json.loads((tmp_path / "a" / step / "study.json").read_text())
        assert {cell["spec"]["evaluation"]["on"] for cell in plan["cells"]} == {scored}
        assert {cell["spec"]["partition_seed"] for cell in plan["cells"]} == {0}


def test_one_site_is_no_federation(tmp_path: Path) -> None:
    place = tmp_path / "one.npz"
    rows = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    np.savez(place, images=rows, labels=np.arange(60) % 2, site=np.full(60, "only"))
    data = {"name": "npz", "path": str(place), "sites": "site"}
    with pytest.raises(ConfigError, match="one site"):
        setting_of(assessment_of({"data": data}))


def test_where_nobody_is_hostile_only_those_who_look_are_tried(tmp_path: Path) -> None:
    threats = ["label-flip", "property-inference"]
    found = small(
        tmp_path / "a", hostile=0, threats=threats, federation={"hospitals": 2, "rounds": 2}
    )
    assert [one.ruling is Ruling.NOT_APPLICABLE for one in found.findings] == [True, False]
    assert "hostile" in found.findings[0].reason


def test_nothing_that_applies_is_nothing_to_pass(tmp_path: Path) -> None:
    found = small(tmp_path / "a", threats=["generator-poisoning"])
    assert found.answer is Answer.INCONCLUSIVE


def test_a_hostile_majority_is_refused() -> None:
    with pytest.raises(ConfigError, match="half of the hospitals"):
        setting_of(assessment_of({"data": "breast-cancer", "hostile": 5}))


def test_data_without_sites_are_dealt_to_made_up_hospitals_and_it_says_so() -> None:
    setting = setting_of(assessment_of({"data": "breast-cancer"}))
    assert setting.hospitals == 10
    assert "made-up" in setting.notes[0]


@pytest.mark.parametrize("threat", THREATS, ids=[threat.key for threat in THREATS])
@pytest.mark.parametrize("kind", list(Kind))
def test_every_weapon_is_built_and_works_on_its_data(threat: Any, kind: Kind) -> None:
    for weapon in arsenal(threat.key, kind, 10):
        plain = {k: v for k, v in weapon.component.items() if k not in ("when", "sees")}
        made = build("attack", plain, "attack")
        assert kind in getattr(made, "kinds", frozenset(Kind))
        if weapon.hook == "client":
            assert weapon.adaptive == bool(getattr(made, "needs_rule", False))


def test_a_few_dozen_stacks_fit_ten_hospitals() -> None:
    setting = setting_of(assessment_of({"data": "breast-cancer", "hostile": 2}))
    kept, refused = fitting(menu(2), setting.experiment())
    assert len(kept) >= 24, refused


def test_time_is_shared_out_by_what_runs_took() -> None:
    now = [0.0]
    budget = Budget(100.0, jobs=2, clock=lambda: now[0])
    budget.learned(25.0, 5.0, {"a": [2.0] * 10}, groups=1)  # one of two workers: 2 s a run
    now[0] = 25.0
    assert budget.left == 75.0
    assert budget.takes(Load({"a": 10}, 1)) == pytest.approx(1.15 * 25)
    assert budget.takes(Load({"a": 30}, 2)) == pytest.approx(1.15 * (5 + 30 * 2 / 1.25))
    each = Load({"a": 5}, 1)
    assert budget.affords(1.15 * 29, each, most=9) == 3  # 5 + 15 * 2 / 1.25
    assert budget.affords(1.15 * 25, each, most=2) == 2
    assert budget.affords(2.0, each, most=9) == 0


def test_two_busy_workers_are_as_fast_as_they_were() -> None:
    """Each run took 3 s because the other worker took its part of the machine."""
    budget = Budget(100.0, jobs=2)
    budget.learned(15.0, 0.0, {"a": [3.0] * 10}, groups=4)
    assert budget.takes(Load({"a": 10}, 4)) == pytest.approx(1.15 * 15)


def test_kinds_of_runs_cost_what_they_took() -> None:
    budget = Budget(100.0)
    budget.learned(5.0 + 2.0 * (8.0 + 12.0), 5.0, {"a": [2.0] * 4, "b": [12.0]}, groups=1)
    # What runs need besides their rounds is shared out.
    assert budget.costs == {"a": pytest.approx(4.0), "b": pytest.approx(24.0)}
    load = Load({"a": 3, "b": 1, "never met": 1}, 1)
    assert budget.takes(load) == pytest.approx(1.15 * (5 + 12 + 24 + 14))


def test_the_load_of_a_step_counts_its_runs_by_kind() -> None:
    stacks = (({"name": "mean"},), ({"name": "median"},))
    weapons = (
        Weapon({"name": "ipm"}),
        Weapon({"name": "rmia"}, hook="watch"),
        Weapon({"name": "intercept", "does": "drop"}, hook="wire"),
    )
    load = load_of(Step("s", stacks, weapons, (0, 1, 2), "test"))
    assert load.runs == {
        "no attack, watched": 6,
        "ipm": 6,
        "no attack": 6,
        "intercept (drop)": 6,
    }
    assert load.groups == 12


def test_a_diary_decides_once(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    diary = Diary.of(path, "asked", resume=False)
    assert diary.decide("seeds", lambda: 7, 10.0) == 7
    again = Diary.of(path, "asked", resume=True)
    assert again.decide("seeds", lambda: 3, 0.0) == 7
    assert again.spent == 10.0
    path.write_text("{}")
    with pytest.raises(StoreError, match="damaged"):
        Diary.of(path, "asked", resume=True)


def test_time_that_is_left_goes_to_more_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first it expects to afford three, then it finds that runs were faster."""
    expected = iter([3])

    def affords(self: Budget, seconds: float, each: Load, most: int) -> int:
        return next(expected, most)

    monkeypatch.setattr(Budget, "affords", affords)
    found = small(tmp_path / "a", threats=["label-flip"], seeds=5)
    assert found.seeds == (0, 1, 2, 3, 4)
    assert all(part.after.n == 5 for part in found.findings[0].parts)
    monkeypatch.undo()
    again = small(tmp_path / "a", threats=["label-flip"], seeds=5, resume=True)
    assert again.findings == found.findings
