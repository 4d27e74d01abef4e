"""Observers: any number of them watch a run, remember, and change nothing of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import asepsis
from asepsis.core.errors import ConfigError
from asepsis.experiments.resolve import resolve
from asepsis.experiments.run import Cancelled, RunOptions, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Line, Store, rounds_of

ROUNDS = 4
TABLE: dict[str, Any] = {
    "dataset": "breast-cancer",
    "partition": {"name": "dirichlet", "alpha": 5.0},
    "trainer": {"name": "sgd", "steps": 2, "batch_size": 16},
    "federation": {"hospitals": 6, "rounds": ROUNDS},
    "candidates": {"members": 5},
}
BOTH = ["loss-mia", {"name": "fedmia", "variant": "II", "when": {"every": 2}}]
COSINE = "fedmia (variant=II)"


def spec(**changes: Any) -> Experiment:
    made: Experiment = parse(Experiment, {**TABLE, **changes})
    return made


def run(made: Experiment, store: Store | None = None, **options: Any) -> list[Line]:
    return run_experiment(made, store, RunOptions(engine="serial", **options))


def told(lines: list[Line]) -> list[tuple[int, str]]:
    return [(item["round"], item["by"]) for item in lines[-1]["result"]["evidence"]]


def test_observers_look_in_their_rounds_and_change_nothing() -> None:
    watched, alone = run(spec(observe=BOTH)), run(spec())
    assert watched[-1]["result"]["row"] == alone[-1]["result"]["row"]
    assert {entry for entry in told(watched) if entry[1] == COSINE} == {(0, COSINE), (2, COSINE)}
    named = [item["name"] for item in watched[0]["result"]["resolved"]["observe"]]
    assert named == ["loss-mia", COSINE]


def test_a_stopped_run_goes_on_with_what_its_observers_remember(tmp_path: Path) -> None:
    made = spec(observe=BOTH)
    whole = run(made)
    rounds: list[int] = []
    store = Store(tmp_path).open()
    with pytest.raises(Cancelled):
        run(made, store, on_round=rounds.append, stop=lambda: len(rounds) == 2)
    resumed = run(made, store, resume=True)
    assert repr(resumed[-1]["result"]["evidence"]) == repr(whole[-1]["result"]["evidence"])
    assert resumed[-1]["result"]["row"] == whole[-1]["result"]["row"]


@pytest.mark.parametrize(
    ("observe", "place"),
    [
        (["fedmia", "fedmia"], "observe[1]"),
        (["krum"], "observe[0]"),
        (["label-flip"], "observe[0]"),
        ([{"name": "fedmia", "when": {"every": 0}}], "observe[0]"),
        ([{"name": "fedmia", "when": {"evry": 2}}], "observe[0]"),
        ([{"name": "fedmia", "sees": "everything"}], "observe[0]"),
        ([{"name": "fedmia", "when": {"starts_at": 4}}], "observe[0].when.starts_at"),
        (["fedmia", {"name": "lira", "when": {"every": 1}}], "observe[1].when"),
    ],
)
def test_what_is_no_observer_is_refused(observe: list[Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(spec(observe=observe))
    assert place in str(caught.value)


def test_members_are_asked_about_every_tenth_round_or_when_one_says() -> None:
    _, usual = resolve(spec(observe=["fedmia", "label-leakage"]))
    assert [item["when"]["every"] for item in usual["observe"]] == [10, 1]
    for name in ("fedmia", "loss-mia", "gradient-cosine-mia"):
        asked = {"name": name, "when": {"starts_at": 1, "every": 2}}
        assert told(run(spec(observe=[asked]))) == [(1, name), (3, name)]


def test_an_observer_of_other_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="works on"):
        run(spec(observe=["gan-reconstruction"]))


def scores(lines: list[Line]) -> dict[str, float]:
    found: dict[str, float] = lines[-1]["result"]["evidence"][-1]["scores"]
    return found


def test_who_overhears_masked_messages_tells_no_hospital_from_another() -> None:
    watcher = {"name": "gradient-cosine-mia", "sees": "messages"}
    plain = run(spec(observe=[watcher]))
    assert repr(scores(plain)) == repr(scores(run(spec(observe=["gradient-cosine-mia"]))))
    masked = run(spec(observe=[watcher], defenses=["secure-aggregation", "mean"]))
    summed = run(spec(observe=["loss-mia"], defenses=["secure-aggregation", "mean"]))
    assert scores(summed)["which-hospital/auc"] == 0.5
    low, high = (scores(masked)[f"which-hospital/{end}"] for end in ("low", "high"))
    assert low < 0.5 < high
    assert low < high


def test_an_ideal_sum_has_no_messages() -> None:
    watcher = {"name": "loss-mia", "sees": "messages"}
    lines = run(spec(observe=[watcher], defenses=["secure-sum", "mean"]))
    assert not lines[-1]["result"]["evidence"]


def test_an_eavesdropper_attacks_what_passes() -> None:
    threat = {"role": "eavesdropper"}
    heard = run(spec(attack="loss-mia", threat=threat))
    assert repr(scores(heard)) == repr(scores(run(spec(attack="loss-mia"))))
    assert not told(run(spec(attack="loss-mia", threat=threat, defenses=["secure-sum", "mean"])))


def test_bytes_of_the_channel_are_recorded() -> None:
    lines = run(spec(defenses=["secure-aggregation", "mean"]))
    channels = [line["result"]["channel"] for line in rounds_of(lines)]
    assert all(channel["bytes_up_mean"] > 0 for channel in channels)


def test_rounds_without_a_delivery_do_not_break_the_summary(tmp_path: Path) -> None:
    results = asepsis.run(
        {
            **TABLE,
            "federation": {
                "hospitals": 4,
                "rounds": 6,
                "participation": 0.3,
                "sampling": "poisson",
            },
            "seeds": [1],
        },
        out=str(tmp_path / "out"),
    )
    [group] = results.groups()
    assert any(line["void"] for line in group.runs[0].rounds)
    assert group.seconds()["server"] >= 0


def test_who_is_in_league_with_the_server_decides_the_shared_rounds() -> None:
    threat = {"role": "server", "starts_at": 2}
    few, many = (
        spec(observe=["colluding-server"], threat={**threat, "hostile": hostile}).prefix()
        for hostile in ([0], [0, 1])
    )
    assert few != many
    alone = [spec(threat={"starts_at": 2, "hostile": hostile}).prefix() for hostile in ([0], [1])]
    assert alone[0] == alone[1]
