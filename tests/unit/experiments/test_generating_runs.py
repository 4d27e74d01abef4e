"""Federations that train a generator, from specification to record."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asepsis.core.errors import ConfigError
from asepsis.experiments.resolve import resolve
from asepsis.experiments.run import Cancelled, RunOptions, gallery_rounds, run_experiment
from asepsis.experiments.spec import Experiment, parse
from asepsis.experiments.store import Store, read_tensors, results_of, rounds_of
from asepsis.federation.build import assemble
from asepsis.federation.generating import detector, downstream, extractor, kept
from asepsis.federation.generating.oracle import GenerativeOracle
from asepsis.federation.generating.training import training_images

TABLE: dict[str, Any] = {
    "dataset": {"name": "phantom", "n": 240, "size": 16},
    "partition": "iid",
    "task": "generation",
    "model": {"name": "dcgan", "width": 8, "critic_width": 4, "z_dim": 8},
    "trainer": {"name": "gan", "steps": 2, "batch_size": 8},
    "federation": {"hospitals": 4, "rounds": 4},
    "threat": {"hostile": [3]},
}
TRIGGER = {"name": "trigger-images", "trigger": {"name": "patch", "size": 4}}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Judges of images learn for a few steps only: how good they are is tested elsewhere."""
    for module in (extractor, detector, downstream):
        monkeypatch.setattr(module, "STEPS", 40)
    yield
    kept.forget()


def spec(**changes: Any) -> Experiment:
    made: Experiment = parse(Experiment, {**TABLE, **changes})
    return made


def played(made: Experiment, store: Store | None = None, **options: Any) -> list[Any]:
    return run_experiment(made, store, RunOptions(**{"engine": "serial", **options}))


def results(lines: list[Any]) -> list[str]:
    return results_of([*rounds_of(lines), lines[-1]])


def test_every_round_has_distances_beside_their_floors() -> None:
    lines = played(spec())
    for line in rounds_of(lines):
        figures = line["result"]["metrics"]
        assert figures["kernel_distance"] > figures["kernel_floor"]
        assert figures["frechet_distance"] > figures["frechet_floor"]
        named = {"precision", "recall", "diversity", "class_diversity", "collapsed"}
        assert named <= figures.keys()
        assert set(line["result"]["critic_loss"]) == {"0", "1", "2", "3"}
    assert lines[0]["result"]["resolved"]["primary"] == "kernel_distance"


def test_the_end_says_what_images_are_worth_and_with_which_eyes() -> None:
    end = played(spec())[-1]["result"]
    wanted = {f"downstream/{which}/auroc" for which in ("real", "synthetic", "both")}
    given = {"memorization/nn_ratio", "memorization/floor/nn_ratio"}
    assert wanted | given <= end["tail"].keys()
    assert "test images against" in end["generator"]["floor"]
    assert "small classifier" in end["generator"]["extractor"]
    assert end["generator"]["images"] > 0


def test_images_without_a_class_train_no_classifier() -> None:
    end = played(spec(model={**TABLE["model"], "conditional": False}))[-1]["result"]
    assert not end["generator"]["conditional"]
    assert not [name for name in end["tail"] if name.startswith("downstream/")]


@pytest.mark.parametrize("travels", ["generator", "both"])
def test_a_run_stopped_in_the_middle_resumes_bit_equal(tmp_path: Path, travels: str) -> None:
    made = spec(
        model={**TABLE["model"], "travels": travels},
        federation={**TABLE["federation"], "participation": 0.75, "ema": 0.5},
        attack=TRIGGER,
    )
    store, count = Store(tmp_path).open(), iter(range(10))
    with pytest.raises(Cancelled):
        played(made, store, stop=lambda: next(count) == 2)
    assert results(played(made, store, resume=True)) == results(played(made))


@pytest.mark.parametrize("engine", ["threads", pytest.param("pool", marks=pytest.mark.slow)])
def test_engines_make_equal_records(engine: str) -> None:
    assert results(played(spec(), engine=engine)) == results(played(spec()))


def test_a_critic_never_travels_unless_asked_to() -> None:
    alone, _ = assemble(resolve(spec())[0])
    both, _ = assemble(resolve(spec(model={**TABLE["model"], "travels": "both"}))[0])
    names = {slot.name.split(".")[0] for slot in alone.plan.layout.slots}
    assert names == {"generator"}
    assert {slot.name.split(".")[0] for slot in both.plan.layout.slots} == {"generator", "critic"}


def test_the_trigger_of_an_attack_is_looked_for_and_on_the_twin_is_the_floor() -> None:
    figures = played(spec(attack=TRIGGER))[-1]["result"]["last"]
    assert figures["asr"] == pytest.approx(
        max(0.0, figures["backdoor/seen"] - figures["backdoor/false_positives"])
    )
    floor = played(spec(probes={"own": TRIGGER}))[-1]["result"]["last"]
    assert 0 <= floor["floor/own"] <= 1
    assert floor["floor:true_positives/own"] > 0.9


def test_a_detector_that_does_not_tell_images_apart_gives_no_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(detector, "WORKS", 1.1)
    for changes, name in (
        ({"attack": TRIGGER}, "asr"),
        ({"probes": {"own": TRIGGER}}, "floor/own"),
    ):
        end = played(spec(**changes))[-1]["result"]
        assert math.isnan(end["last"][name])
        assert math.isnan(end["tail"][name])
        assert end["generator"]["blind"] == [name]
        assert "does not tell them apart" in end["generator"]["detectors"][name]
    assert {"floor:seen/own", "floor:false_positives/own", "floor:true_positives/own"} <= set(
        end["last"]
    )


def test_too_few_validation_images_for_a_detector_are_told() -> None:
    few = {**TABLE["dataset"], "n": 80}
    end = played(spec(dataset=few, attack=TRIGGER))[-1]["result"]
    assert math.isnan(end["last"]["asr"])
    assert "backdoor/seen" not in end["last"]
    assert "validation images, fewer than the 20" in end["generator"]["detectors"]["asr"]


@pytest.mark.parametrize("attack", [None, TRIGGER])
def test_what_is_given_away_is_asked_of_honest_hospitals(attack: dict[str, Any] | None) -> None:
    """In the twin alike: else an attack would change the figure by being named."""
    federation, oracle = assemble(resolve(spec(attack=attack))[0])
    assert isinstance(oracle, GenerativeOracle)
    reference = oracle._reference
    shards = [federation.plan.shards[i, "clean"].inputs for i in range(4)]
    assert torch.equal(reference.remembered, torch.cat(shards[:3]))
    assert torch.equal(reference.train.inputs, torch.cat(shards))
    assert len(reference.strangers)
    patients = [hospital.train.groups for hospital in federation.hospitals]
    assert (reference.groups == np.concatenate(patients)).all()


def test_of_many_training_images_judges_know_some_and_say_so() -> None:
    federation, _ = assemble(resolve(spec())[0])
    known, every = training_images(federation, most=30), training_images(federation)
    assert known.about == f"; judges know 30 of {every.whole} training images"
    assert every.about == ""
    assert known.shard.targets.shape == known.groups.shape == known.owner.shape == (30,)
    for image, patient, owner in zip(known.shard.inputs, known.groups, known.owner, strict=True):
        [where] = (every.shard.inputs == image).flatten(1).all(1).nonzero()[:1]
        assert (every.groups[where], every.owner[where]) == (patient, owner)


def test_without_the_hostile_hospital_attack_and_twin_are_one() -> None:
    without = [{"name": "exclude", "hospitals": [3]}, {"name": "mean"}]
    one, two = (played(spec(attack=a, defenses=without)) for a in (TRIGGER, None))
    assert one[-1]["result"]["row"] == two[-1]["result"]["row"]
    blocked = one[-1]["result"]["blocked"]
    assert [(who["hospital"], who["round"], who["stage"]) for who in blocked] == [(3, 0, "exclude")]
    assert "blocklist" in blocked[0]["reason"]


def test_pictures_are_kept_in_a_few_rounds(tmp_path: Path) -> None:
    store = Store(tmp_path).open()
    lines = played(spec(attack=TRIGGER), store)
    name = lines[0]["result"]["digest"]
    for round_ in gallery_rounds(4):
        kept = read_tensors(store.artifact(name, round_, 0))
        assert kept is not None
        assert kept["generated"].shape == (8, 1, 16, 16)
    shown = read_tensors(store.pictures(name))
    assert shown is not None
    assert not torch.equal(shown["real"], shown["stamped"])


def test_a_critic_that_is_no_number_is_told_and_does_not_end_the_run() -> None:
    wild = {**TABLE["trainer"], "critic_lr": 1e30}
    end = played(spec(trainer=wild))[-1]["result"]
    told = {(found["what"], found["hospital"]): found["rounds"] for found in end["troubles"]}
    whats = ("update is no number", "began afresh", "loss is no number")
    assert told == {(what, who): [0, 1, 2, 3] for what in whats for who in range(4)}
    assert end["rounds"] == 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trainer": "sgd"}, "needs a trainer of generators"),
        ({"model": "small-cnn"}, "needs a model of generators"),
        ({"task": "classification", "model": "small-cnn"}, "no use for a trainer of generators"),
        ({"attack": "neurotoxin"}, "needs a model that answers to samples"),
        ({"observe": ["loss-mia"]}, "needs a model that answers to samples"),
        ({"inspect": ["neural-cleanse"]}, "inspectors look at answers"),
        ({"defenses": ["fltrust"]}, "needs what the server does not have"),
        ({"probes": {"flip": {"name": "label-flip"}}}, "has no trigger to look for"),
        (
            {"federation": {"hospitals": 4, "rounds": 3, "unseen": 1}, "threat": {"hostile": [0]}},
            "none can be unseen",
        ),
    ],
)
def test_what_does_not_fit_a_generator_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        assemble(resolve(spec(**changes))[0])


def test_an_attack_on_generators_is_refused_elsewhere() -> None:
    plain = {"task": "classification", "model": "small-cnn", "trainer": "sgd"}
    with pytest.raises(ConfigError, match="needs a model that makes samples"):
        assemble(resolve(spec(**plain, attack=TRIGGER))[0])


def test_other_labels_are_no_attack_on_a_generator_without_classes() -> None:
    flip = {"name": "label-flip"}
    assemble(resolve(spec(attack=flip))[0])
    blind = spec(attack=flip, model={**TABLE["model"], "conditional": False})
    with pytest.raises(ConfigError, match=r"changes nothing.*never sees a label"):
        assemble(resolve(blind)[0])


def test_images_that_need_no_network_and_an_untrained_one_stand_beside() -> None:
    end = played(spec())[-1]["result"]
    assert end["generator"]["gaussian"]["kernel_distance"] < end["prior"]["kernel_distance"]


def test_the_last_distance_has_an_interval_over_patients() -> None:
    end = played(spec())[-1]["result"]
    over = end["over_patients"]
    assert over["low"] < over["value"] < over["high"]
    assert over["value"] == pytest.approx(end["last"]["kernel_distance"])
    assert over["patients"] > 20
