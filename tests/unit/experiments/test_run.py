"""Resuming, sharing and comparing runs, on a small federation of health records."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asepsis.api import run
from asepsis.attacks.backdoor.badnets import BadNets
from asepsis.attacks.update.sign_flip import SignFlip
from asepsis.core.contracts import Trigger
from asepsis.core.errors import AsepsisError, ConfigError, QuorumError, StoreError
from asepsis.core.registry import build
from asepsis.core.updates import State
from asepsis.experiments import identity as identity_module
from asepsis.experiments import kept as kept_module
from asepsis.experiments import resolve as resolve_module
from asepsis.experiments import run as run_module
from asepsis.experiments.identity import identity
from asepsis.experiments.plan import plan_study, study_from
from asepsis.experiments.run import Cancelled, RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Store, read_record, read_tensors, results_of, rounds_of
from asepsis.experiments.sweep import run_plan
from asepsis.federation.round import play_round

ROUNDS = 7
TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "partition": {"name": "dirichlet", "alpha": 5.0},
    "trainer": {"name": "sgd", "steps": 2, "batch_size": 16},
    "federation": {"hospitals": 6, "rounds": ROUNDS},
    "threat": {"hostile": 2, "starts_at": 3},
    "attack": "badnets",
    "defenses": [{"name": "multi-krum", "f": 1}],
}


def spec(**changes: Any) -> Experiment:
    made: Experiment = parse(Experiment, {**TABLE, **changes})
    return made


def results(lines: list[Any]) -> list[str]:
    return results_of([*rounds_of(lines), lines[-1]])


def serial(**options: Any) -> RunOptions:
    return RunOptions(engine="serial", **options)


def test_the_same_seed_twice_is_bit_equal() -> None:
    assert results_of(run_experiment(spec(), None, serial())) == results_of(
        run_experiment(spec(), None, serial())
    )


@pytest.mark.parametrize("engine", ["threads", pytest.param("pool", marks=pytest.mark.slow)])
def test_reference_engines_make_equal_records_over_ten_rounds(engine: str) -> None:
    ten = spec(federation={"hospitals": 8, "rounds": 10, "participation": 0.9, "dropout": 0.2})
    one = run_experiment(ten, None, serial())
    two = run_experiment(ten, None, RunOptions(engine=engine, jobs=2))
    assert results_of(one) == results_of(two)


@pytest.mark.parametrize("after", range(ROUNDS))
def test_a_run_stopped_after_any_round_resumes_bit_equal(tmp_path: Path, after: int) -> None:
    store = Store(tmp_path).open()
    played: list[int] = []
    with pytest.raises(Cancelled):
        run_experiment(
            spec(), store, serial(on_round=played.append, stop=lambda: len(played) > after - 1)
        )
    resumed = run_experiment(spec(), store, serial(resume=True))
    assert results(resumed) == results(run_experiment(spec(), None, serial()))
    assert results(read_record(store.record(spec().digest()))) == results(resumed)


def test_a_run_killed_while_writing_resumes_bit_equal(tmp_path: Path) -> None:
    store = Store(tmp_path).open()
    played: list[int] = []
    stopping = serial(on_round=played.append, stop=lambda: len(played) > 4)
    with pytest.raises(Cancelled):
        run_experiment(spec(), store, stopping)
    record = store.record(spec().digest())
    lines = record.read_bytes().split(b"\n")
    # The last line is half written, and the round before it never reached the disk.
    record.write_bytes(b"\n".join([*lines[:-3], lines[-3][:20]]))
    resumed = run_experiment(spec(), store, serial(resume=True))
    assert results(resumed) == results(run_experiment(spec(), None, serial()))


@pytest.mark.parametrize(("seconds", "times"), [(0.001, 10), (0.5, 3)])
def test_checkpoints_take_a_small_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, times: int
) -> None:
    """Rounds of one second: one checkpoint after every third, or after eleven where it is slow."""
    now, written = [0.0], list[float]()

    def slow(*_: object) -> None:
        now[0] += seconds
        written.append(now[0])

    def passes(_: int) -> None:
        now[0] += 1.0

    monkeypatch.setattr(kept_module, "write_tensors", slow)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    made = spec(attack=None, threat={}, federation={"hospitals": 6, "rounds": 30})
    run_experiment(made, Store(tmp_path).open(), serial(on_round=passes))
    assert len(written) == times
    assert len(written) * seconds <= 0.05 * now[0]


def test_a_prefix_changes_nothing_but_the_time(tmp_path: Path) -> None:
    store = Store(tmp_path).open()
    run_experiment(spec(attack=None), store, serial())
    assert list((tmp_path / "prefixes").iterdir())
    played: list[int] = []
    shared = run_experiment(spec(), store, serial(on_round=played.append))
    assert played[0] == 4
    assert results(shared) == results(run_experiment(spec(), None, serial()))


def test_an_attack_touches_nothing_before_it_starts() -> None:
    attacked = rounds_of(run_experiment(spec(), None, serial()))
    clean = rounds_of(run_experiment(spec(attack=None), None, serial()))
    same = [a["result"] == c["result"] for a, c in zip(attacked, clean, strict=True)]
    assert same[:3] == [True] * 3
    assert not any(same[3:])


def test_an_attacked_run_shares_cohorts_and_honest_batches_with_its_twin() -> None:
    table = {"federation": {"hospitals": 8, "rounds": 5, "participation": 0.9, "dropout": 0.3}}
    table["threat"] = {"hostile": 2, "starts_at": 4}
    attacked = rounds_of(run_experiment(spec(**table), None, serial()))
    clean = rounds_of(run_experiment(spec(**table, attack=None), None, serial()))
    for a, c in zip(attacked, clean, strict=True):
        assert a["result"]["drawn"] == c["result"]["drawn"]
        assert a["result"]["present"] == c["result"]["present"]
    hostile = {str(client) for client in attacked[4]["result"]["hostile"]}
    for client, loss in attacked[4]["result"]["train_loss"].items():
        assert (loss == clean[4]["result"]["train_loss"][client]) == (client not in hostile)


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    store = Store(tmp_path).open()
    run_experiment(spec(), store, serial())
    played: list[int] = []
    run_experiment(spec(), store, serial(resume=True, on_round=played.append))
    assert played == []


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"defenses": [{"name": "krum", "f": 3}]}, QuorumError, "krum"),
        ({"threat": {"hostile": 6}}, ConfigError, "at least one hospital must be honest"),
        ({"threat": {"hostile": [1, 9]}}, ConfigError, "no such hospital"),
        ({"threat": {"hostile": 2, "starts_at": 7}}, ConfigError, "after the last round"),
        ({"threat": {"hostile": 0}}, ConfigError, "needs hostile hospitals"),
        ({"attack": "alie", "threat": {"hostile": 2, "sees": "own"}}, ConfigError, "colluders"),
        ({"attack": {"name": "badnets", "target": 2}}, ConfigError, "no such class"),
        ({"attack": "dlg", "threat": {"role": "client"}}, ConfigError, "made by a server"),
        ({"model": "small-cnn"}, ConfigError, "does not take data of kind 'table'"),
        ({"task": "classification"}, ConfigError, "does not take data of kind 'table'"),
        ({"partition": {"name": "dirichlet", "alpha": 1e-6}}, ConfigError, "alpha"),
        ({"federation": {"hospitals": 500}}, AsepsisError, "hospital"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    tmp_path: Path, changes: dict[str, Any], error: type[AsepsisError], message: str
) -> None:
    store = Store(tmp_path).open()
    with pytest.raises(error, match=message):
        run_experiment(spec(**changes), store, serial())
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_sweeping_in_processes_gives_the_records_of_one_process(tmp_path: Path) -> None:
    table = {
        **{key: value for key, value in TABLE.items() if key not in ("attack", "defenses")},
        "over": {"attack": ["none", "ipm"], "defenses": [["mean"], ["median"]]},
    }
    plan = plan_study(study_from(table, "small"))
    stores = [Store(tmp_path / name).open() for name in ("one", "two")]
    for store, jobs in zip(stores, (1, 2), strict=True):
        run_plan(plan, store, jobs=jobs, engine="serial")
    for cell in plan.cells:
        one, two = (read_record(store.record(cell.spec.digest())) for store in stores)
        assert results_of(one) == results_of(two)


@pytest.mark.parametrize("rule", ["mean", "median", "krum", "geometric-median"])
def test_non_finite_updates_never_reach_the_global_model(rule: str) -> None:
    lines = run_experiment(spec(attack="non-finite", defenses=[rule]), None, serial())
    last = rounds_of(lines)[-1]["result"]
    assert last["hostile"] == last["dropped"]
    assert last["metrics"]["balanced_accuracy"] > 0.6


def test_behind_a_secure_sum_a_non_finite_update_voids_the_round() -> None:
    table = {"attack": "non-finite", "defenses": ["secure-sum", "mean"]}
    rounds = rounds_of(run_experiment(spec(**table), None, serial()))
    assert [item["result"]["void"] is not None for item in rounds] == [False] * 3 + [True] * 4
    assert all(item["result"]["dropped"] == [] for item in rounds)


def test_nobody_answering_leaves_the_model_alone() -> None:
    table = {"federation": {"hospitals": 6, "rounds": 30, "participation": 0.2, "dropout": 0.9}}
    lines = run_experiment(spec(**table, defenses=["mean"], attack=None), None, serial())
    rounds = [line["result"] for line in rounds_of(lines)]
    empty = [item for item in rounds if not item["present"]]
    assert empty
    assert all(item["void"] == "no hospital answered" for item in empty)


def test_the_record_says_what_ran() -> None:
    header = run_experiment(spec(), None, serial())[0]["result"]
    assert header["spec"]["attack"] == {"name": "badnets"}
    assert header["resolved"]["components"]["attack"]["target"] == 0
    assert len(header["resolved"]["hostile"]) == 2
    assert header["numerics"] == "reference"


def test_the_global_thread_setting_is_left_alone() -> None:
    before = torch.get_num_threads()
    run_experiment(spec(attack=None), None, serial())
    assert torch.get_num_threads() == before


def test_a_failed_run_keeps_its_rounds_and_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path).open()
    plan = plan_study(study_from({**TABLE, "attack": None}, "small"))
    real, played = play_round, []

    def fails_at_four(*arguments: Any) -> Any:
        played.append(1)
        if len(played) == 5:
            raise AsepsisError("worker died")
        return real(*arguments)

    monkeypatch.setattr(run_module, "play_round", fails_at_four)
    run_plan(plan, store, jobs=1, engine="serial")
    lines = read_record(store.record(plan.cells[0].spec.digest()))
    assert len(rounds_of(lines)) == 4
    assert lines[-1]["result"] == {"status": "error", "message": "worker died"}
    monkeypatch.setattr(run_module, "play_round", real)
    run_plan(plan, store, jobs=1, engine="serial", resume=True)
    again = read_record(store.record(plan.cells[0].spec.digest()))
    assert again[-1]["result"]["status"] == "success"


def test_runs_of_other_code_are_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path).open()
    run_experiment(spec(), store, serial())
    for module in (run_module, identity_module):
        monkeypatch.setattr(module, "code_version", lambda: "another")
    played: list[int] = []
    lines = run_experiment(spec(), store, serial(resume=True, on_round=played.append))
    assert len(played) == ROUNDS
    assert lines[0]["result"]["code"] == "another"


def test_the_mean_of_the_last_rounds_leaves_out_those_before_the_attack() -> None:
    late = spec(threat={"hostile": 2, "starts_at": ROUNDS - 2})
    lines = run_experiment(late, None, serial())
    scores = [item["result"]["metrics"]["accuracy"] for item in rounds_of(lines)]
    assert lines[-1]["result"]["tail"]["accuracy"] == pytest.approx(sum(scores[-2:]) / 2)


def test_the_record_names_the_trigger_that_was_stamped() -> None:
    header = run_experiment(spec(), None, serial())[0]["result"]
    trigger = header["resolved"]["components"]["attack"]["trigger"]
    assert trigger["name"] == "feature-combination"
    assert len(trigger["values"]) == len(trigger["features"]) == 3


def test_no_pixels_of_private_data_are_kept(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (60, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(60) % 2)
    table = {
        "dataset": {"name": "npz", "path": str(tmp_path / "own.npz")},
        "partition": "iid",
        "federation": {"hospitals": 2, "rounds": 1},
        "model": "lenet-sigmoid",
        "trainer": {"name": "sgd", "steps": 1, "batch_size": 1, "momentum": 0.0},
        "attack": {"name": "dlg", "iterations": 1},
    }
    made: Experiment = parse(Experiment, table)
    store = Store(tmp_path / "out").open()
    lines = run_experiment(made, store, serial())
    assert rounds_of(lines)[0]["result"]["evidence"][0]["scores"]["psnr"] > 0
    assert not list((tmp_path / "out" / "artifacts").iterdir())
    public = parse(Experiment, {**table, "dataset": {"name": "phantom", "n": 200}})
    run_experiment(public, store, serial())
    assert list((tmp_path / "out" / "artifacts").iterdir())


class Shown(BadNets):
    """A backdoor that has something to show."""

    def pictures(self, state: State) -> dict[str, torch.Tensor]:
        return {"real": torch.zeros(1, 1, 2, 2)}


def test_an_attack_may_leave_pictures_of_public_data_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        resolve_module,
        "build",
        lambda kind, *rest: Shown() if kind == "attack" else build(kind, *rest),
    )
    store = Store(tmp_path).open()
    name = identity(spec(), "serial")
    monkeypatch.setattr(resolve_module, "public", lambda _: False)
    run_experiment(spec(), store, serial())
    assert not store.pictures(name).exists()
    monkeypatch.setattr(resolve_module, "public", lambda _: True)
    run_experiment(spec(), store, serial())
    assert set(read_tensors(store.pictures(name)) or {}) == {"real"}


class Moving(BadNets):
    """A backdoor whose trigger might change."""

    def trigger_in(self, state: State) -> Trigger:
        return self.stamp


def test_a_trigger_that_changes_is_kept_as_it_was_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        resolve_module,
        "build",
        lambda kind, *rest: Moving() if kind == "attack" else build(kind, *rest),
    )
    store = Store(tmp_path).open()
    run_experiment(spec(), store, serial())
    shown = read_tensors(store.pictures(identity(spec(), "serial"))) or {}
    assert set(shown) == {"real", "triggered"}
    assert len(shown["real"]) == len(shown["triggered"]) == run_module.SHOWN
    assert not torch.equal(shown["real"], shown["triggered"])


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    run(TABLE, out=tmp_path / "out", engine="serial", jobs=1, seeds=1)
    with pytest.raises(StoreError, match="other settings"):
        run(
            TABLE,
            out=tmp_path / "out",
            engine="serial",
            resume=True,
            settings={"federation.rounds": 3},
        )
    more = run(TABLE, out=tmp_path / "out", engine="serial", jobs=1, seeds=2, resume=True)
    assert len(more.frame()) == 4


@pytest.mark.parametrize(
    "table", [{"probes": {"x": {"name": "badnets"}}}, {"over": {"seed": [1, 2]}}]
)
def test_what_the_study_sets_itself_is_refused_not_dropped(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is set by the study"):
        study_from({**TABLE, **table}, "small")


def test_a_seed_in_a_single_experiment_is_used() -> None:
    assert study_from({**TABLE, "seed": 7}, "small").seeds == (7,)


def test_runs_on_other_data_are_run_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def write(shift: float) -> None:
        values = rng.normal(size=(80, 3)) + shift
        rows = [f"{a},{b},{c},{int(a > shift)}" for a, b, c in values]
        (tmp_path / "own.csv").write_text("\n".join(["a,b,c,sick", *rows]))

    table = {
        "dataset": {"name": "csv", "path": str(tmp_path / "own.csv"), "target": "sick"},
        "partition": "iid",
        "federation": {"hospitals": 2, "rounds": 2},
    }
    made: Experiment = parse(Experiment, table)
    store = Store(tmp_path / "out").open()
    write(0.0)
    first = run_experiment(made, store, serial())
    write(1.0)
    resolve_module._divided.cache_clear()
    second = run_experiment(made, store, serial(resume=True))
    data = [lines[0]["result"]["resolved"]["data"] for lines in (first, second)]
    assert data[0] != data[1]


def test_a_component_that_breaks_is_a_failed_row_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("not today")

    monkeypatch.setattr(SignFlip, "craft", broken)
    plan = plan_study(study_from({**TABLE, "over": {"attack": ["sign-flip", "ipm"]}}, "small"))
    run_plan(plan, Store(tmp_path).open(), jobs=1, engine="serial")
    ends = {
        cell.attack: read_record(Store(tmp_path).record(cell.spec.digest()))[-1]["result"]
        for cell in plan.cells
    }
    assert ends["sign-flip"] == {"status": "error", "message": "ValueError: not today"}
    assert ends["none"]["status"] == ends["ipm"]["status"] == "success"


def test_an_attacked_run_and_its_twin_have_one_protocol() -> None:
    attacked, twin = (run_experiment(s, None, serial()) for s in (spec(), spec(attack=None)))
    assert attacked[0]["result"]["protocol"] == twin[0]["result"]["protocol"]
    explicit = {"name": "sgd", "steps": 2, "batch_size": 16, "momentum": 0.9}
    written_out = run_experiment(spec(trainer=explicit), None, serial())
    assert written_out[0]["result"]["protocol"] == twin[0]["result"]["protocol"]


def test_hostile_rows_dropped_at_the_door_count_as_detected() -> None:
    footer = run_experiment(spec(attack="non-finite"), None, serial())[-1]["result"]
    assert footer["detection"]["recall"] == 1.0
    assert footer["detection"]["auc"] > 0.5


def test_the_record_says_how_large_the_model_sees_the_trigger() -> None:
    header = run_experiment(spec(), None, serial())[0]["result"]
    assert header["resolved"]["trigger_pixels"] == [3, 30]
