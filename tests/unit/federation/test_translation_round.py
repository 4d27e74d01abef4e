"""A federation that makes images from images: what is scored, and of whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.rng import Streams
from asepsis.core.samples import Array, DataFacts, Hospital, Kind, Samples
from asepsis.core.threat import ThreatModel
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import Scorer, assemble
from asepsis.federation.exam import answered
from asepsis.federation.federation import RoundState, Schedule
from asepsis.federation.oracle import Oracle
from asepsis.federation.parts import Parts
from asepsis.federation.round import play_round
from asepsis.tasks.translation import Translation

SIDE = 12


def pairs(seed: int, count: int, patients: int | None = None) -> Samples:
    """Targets are inputs turned around, in blocks; the body is the middle."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(256, size=(count, 3, 3), dtype=np.uint8)
    inputs = blocks.repeat(SIDE // 3, axis=1).repeat(SIDE // 3, axis=2)
    mask = np.zeros(inputs.shape, bool)
    mask[:, 2:10, 2:10] = True
    ids = np.arange(count)
    return Samples(inputs, 255 - inputs, ids, ids % (patients or max(count, 1)), mask)


def parts(task: Translation | None = None, **changes: Any) -> Parts:
    table: dict[str, Any] = {
        "facts": DataFacts(Kind.PAIRED_IMAGE, ()),
        "hospitals": (
            Hospital(0, "large", pairs(0, 8), pairs(1, 2), pairs(2, 12)),
            Hospital(1, "few patients", pairs(3, 8), pairs(4, 2), pairs(5, 20, patients=9)),
        ),
        "task": task or Translation(),
        "model": build("model", {"name": "unet", "channels": 2, "depth": 1}),
        "trainer": build("trainer", {"name": "sgd", "steps": 2, "batch_size": 4}),
        "pipeline": build_pipeline(["mean"]),
        "server": build("server-optimizer", "fedavg"),
        "threat": ThreatModel(),
        "attack": None,
        "schedule": Schedule(rounds=5),
        "streams": Streams(0),
    }
    return Parts(**{**table, **changes})


def played(made: Parts, rounds: int = 1, engine: str = "serial") -> tuple[Scorer, RoundState]:
    federation, oracle = assemble(made)
    runs = make_engine(engine)
    runs.start(federation.plan)
    state = federation.begin()
    for _ in range(rounds):
        state, _ = play_round(federation, runs, state)
    runs.close()
    return oracle, state


def test_a_round_is_scored_and_too_few_patients_are_no_figure() -> None:
    oracle, state = played(parts())
    scores = oracle.score(state.row, 0)
    assert list(scores) == ["ssim", "mae", "psnr"]
    assert all(np.isfinite(value) for value in scores.values())
    figures, worst = oracle.hospitals(state.row)
    assert np.isnan(list(figures["few patients"].values())).all()
    assert worst == figures["large"]


@pytest.mark.parametrize("engine", ["serial", "batched"])
def test_it_learns_and_any_engine_does(engine: str) -> None:
    trainer = build("trainer", {"name": "prox", "steps": 20, "batch_size": 4, "lr": 0.05})
    model = build("model", {"name": "unet", "channels": 4, "depth": 1})
    oracle, state = played(parts(trainer=trainer, model=model), rounds=4, engine=engine)
    assert oracle.score(state.row, 3)["mae"] < 0.8 * oracle.prior()["mae"]


def test_the_prior_is_the_mean_training_image_of_all_hospitals() -> None:
    made = parts()
    oracle, _ = assemble(made)[::-1]
    train = np.concatenate([h.train.targets for h in made.hospitals]).mean(axis=0)
    gaps = [
        np.abs(image - train)[2:10, 2:10].mean() / 255
        for h in made.hospitals
        for image in h.test.targets
    ]
    assert oracle.prior()["mae"] == pytest.approx(np.mean(gaps), rel=1e-4)


def test_other_tasks_have_no_prior_and_no_unseen_figures() -> None:
    table = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    own = Samples(table, np.arange(20) % 2, np.arange(20), np.arange(20))
    made = parts(
        facts=DataFacts(Kind.TABLE, ("a", "b")),
        hospitals=(Hospital(0, "a", own, own, own), Hospital(1, "b", own, own, own)),
        task=build("task", "tabular"),
        model=build("model", "logistic"),
        unseen=Hospital(2, "c", own.take(np.arange(0)), own.take(np.arange(0)), own),
    )
    oracle, state = played(made)
    assert oracle.prior() == {}
    scores = oracle.score(state.row, 0)
    assert scores["unseen/accuracy"] == scores["accuracy"]


def test_the_unseen_hospital_is_scored_apart_and_changes_nothing() -> None:
    none = pairs(9, 0)
    apart = Hospital(2, "unseen", none, none, pairs(8, 6))
    oracle, state = played(parts(unseen=apart))
    other, same = played(parts())
    assert torch.equal(state.row, same.row)
    scores, without = oracle.score(state.row, 0), other.score(state.row, 0)
    assert {name: scores[name] for name in without} == without
    assert set(scores) - set(without) == {"unseen/ssim", "unseen/mae", "unseen/psnr"}
    here, _ = played(
        parts(hospitals=(*parts().hospitals[:1], Hospital(1, "b", *[pairs(8, 6)] * 3)))
    )
    assert isinstance(here, Oracle)
    assert here._exam.targets[12:] == pytest.approx(pairs_prepared(apart.test))
    assert "unseen/mae" in oracle.prior()
    assert list(oracle.hospitals(state.row)[0]) == ["large", "few patients"]


def pairs_prepared(samples: Samples) -> Array:
    made = Translation().fit([], DataFacts(Kind.PAIRED_IMAGE, ()))(samples).targets.numpy()
    return np.asarray(made)


def test_ssim_is_computed_once_for_all_bootstraps(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle, state = played(parts())
    seen: list[int] = []
    real = Translation.per_sample

    def counted(self: Translation, probabilities: Array, targets: Array) -> Any:
        seen.append(len(targets))
        return real(self, probabilities, targets)

    monkeypatch.setattr(Translation, "per_sample", counted)
    found = oracle.over_patients(state.row)
    assert seen == [32]
    assert found["value"] == pytest.approx(oracle.score(state.row, 0)["ssim"])
    assert found["low"] < found["value"] < found["high"]


def test_volumes_are_scored_whole() -> None:
    cube = pairs(0, 3 * SIDE)
    facts = DataFacts(Kind.PAIRED_IMAGE, (), volume=SIDE)
    hospitals = tuple(Hospital(k, str(k), cube, cube, cube) for k in range(2))
    oracle, state = played(parts(facts=facts, hospitals=hospitals))
    scores = oracle.score(state.row, 0)
    assert {"fused_ssim", "fused_mae", "fused_psnr"} < set(scores)
    assert oracle.prior()["mae"] == pytest.approx(0, abs=1e-6)  # every slice's place has its own


def test_a_model_that_makes_no_numbers_says_gray() -> None:
    images = np.ones((2, 1, 2, 2), np.float32)
    images[1, 0, 0, 1] = np.nan
    made, share = answered(images)
    assert share == 0.5
    assert made[:, 0].tolist() == [[[1, 1], [1, 1]], [[0, 0], [0, 0]]]
    oracle, state = played(parts())
    scores = oracle.score(torch.full_like(state.row, torch.nan), 0)
    assert scores["unanswered"] == 1
    assert np.isfinite(scores["mae"])


@pytest.mark.parametrize("name", ["badnets", "dba", "model-replacement", "label-flip"])
def test_attacks_on_classes_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="does not work on data of kind 'paired-image'"):
        assemble(parts(attack=build("attack", name), threat=ThreatModel(clients=(0,))))
    if name != "label-flip":
        with pytest.raises(ConfigError, match=r"probes\.one: the attack does not work"):
            assemble(parts(probes={"one": build("attack", name)}))


def test_noise_is_not() -> None:
    noise = build("attack", {"name": "noise", "on": "both"})
    oracle, state = played(parts(attack=noise, threat=ThreatModel(clients=(0,))))
    assert np.isfinite(oracle.score(state.row, 0)["ssim"])


def test_nobody_votes_on_images() -> None:
    oracle, state = played(parts(pipeline=build_pipeline(["mean", "crfl"])))
    assert oracle.certificates(state) == {}
