"""Reconstructions are scored against what hospitals really trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from asepsis.core.contracts import ServerAttack
from asepsis.core.registry import build
from asepsis.core.rng import Draw, Streams
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples
from asepsis.core.threat import Evidence, Role, ThreatModel
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import assemble
from asepsis.federation.federation import Federation, Schedule
from asepsis.federation.parts import Parts
from asepsis.federation.round import RoundOutcome, play_round
from asepsis.federation.scoring.kinds import judged
from asepsis.federation.scoring.truth import Leak, Truth

TABLE: dict[str, Any] = {"task": "tabular", "model": {"name": "mlp", "hidden": [64, 8]}}
PAIRS: dict[str, Any] = {
    "task": "translation",
    "model": {"name": "unet", "channels": 4, "depth": 1},
}


def samples(kind: Kind, count: int, seed: int) -> Samples:
    rng, ids = np.random.default_rng(seed), np.arange(count)
    if kind is Kind.TABLE:
        inputs = rng.normal(size=(count, 5)).astype(np.float32)
        return Samples(inputs, rng.integers(2, size=count), ids, ids)
    pixels = rng.integers(0, 256, (2, count, 12, 12), dtype=np.uint8)
    mask = np.zeros((count, 12, 12), bool)
    mask[:, 2:10, 2:10] = True
    return Samples(pixels[0], pixels[1], ids, ids, mask)


def played(
    attack: ServerAttack, kind: Kind = Kind.TABLE, *, steps: int = 1, transport: str = "plain"
) -> tuple[Federation, RoundOutcome, Truth]:
    chosen = TABLE if kind is Kind.TABLE else PAIRS
    trainer = {"name": "sgd", "steps": steps, "batch_size": 1, "momentum": 0.0}
    classes = ("no", "yes") if kind is Kind.TABLE else ()
    parts = Parts(
        facts=DataFacts(kind, classes),
        hospitals=tuple(
            Hospital(i, f"h{i}", *(samples(kind, n, 10 * i + n) for n in (8, 6, 7)))
            for i in range(3)
        ),
        task=build("task", chosen["task"]),
        model=build("model", chosen["model"]),
        trainer=build("trainer", trainer),
        pipeline=build_pipeline([transport, "mean"]),
        server=build("server-optimizer", "fedavg"),
        threat=ThreatModel(role=Role.SERVER),
        attack=attack,
        schedule=Schedule(rounds=1),
        streams=Streams(0),
    )
    federation, _ = assemble(parts)
    engine = make_engine("serial")
    engine.start(federation.plan)
    state, outcome = play_round(federation, engine, federation.begin())
    assert outcome.received is not None
    truth = Truth(
        federation=federation,
        round=0,
        present=outcome.cohort.present,
        received=outcome.received,
        row=state.row,
        public=federation.public,
    )
    return federation, outcome, truth


def leak(attack: ServerAttack, **how: Any) -> Leak:
    _, outcome, truth = played(attack, **how)
    return judged(outcome.seen[0].evidence, truth)


def test_the_exact_attack_scores_as_exact() -> None:
    found = leak(build("attack", "analytic"))
    assert found.scores["mse"] < 1e-8
    assert found.scores["success"] == found.scores["top1"] == found.scores["rank"] == 1
    assert found.scores["candidates"] == 1 + 3 * 6, "the sample itself, and all public ones"
    assert found.scores["excess/mse"] > 0
    assert torch.allclose(found.pictures["truth"], found.pictures["guess"], atol=1e-4)


def test_the_truth_are_all_samples_of_all_steps() -> None:
    attack = build("attack", {"name": "dlg", "iterations": 1})
    federation, outcome, truth = played(attack, steps=3)
    shard = federation.plan.shards[0, "clean"]
    order = federation.streams.at(Draw.BATCH, 0, 0).permutation(len(shard))
    used = shard.inputs[torch.from_numpy(order[:3])]
    claim = replace(outcome.seen[0].evidence, guesses={"inputs": used.flip(0)})
    scores = judged(claim, truth).scores
    assert scores["used"] == scores["guessed"] == 3
    assert scores["mse"] == 0
    unused = shard.inputs[torch.from_numpy(order[3:6])]
    assert judged(replace(claim, guesses={"inputs": unused}), truth).scores["mse"] > 0.1


def test_behind_a_sum_every_hospital_counts() -> None:
    found = leak(build("attack", {"name": "dlg", "iterations": 1}), transport="secure-sum")
    assert found.scores["used"] == 3
    assert found.scores["guessed"] == 1


def test_a_malicious_server_robs_a_secure_sum_in_a_real_round() -> None:
    attack = build("attack", {"name": "robbing-the-fed", "measure": "random"})
    found = leak(attack, transport="secure-sum")
    assert found.scores["used"] == 3
    assert found.scores["guessed"] >= 2
    assert found.scores["mse"] < 1e-6


def test_of_pairs_both_images_are_scored_inside_the_mask_too() -> None:
    attack = build("attack", {"name": "inverting-gradients", "iterations": 2})
    _, outcome, truth = played(attack, Kind.PAIRED_IMAGE)
    evidence = outcome.seen[0].evidence
    found = judged(evidence, truth)
    for name in ("psnr", "inside/psnr", "target/psnr", "target/inside/ssim", "target/top1"):
        assert np.isfinite(found.scores[name])
    assert found.pictures["truth_target"].shape == found.pictures["guess_target"].shape
    real = {"inputs": found.pictures["truth"], "targets": found.pictures["truth_target"]}
    exact = judged(Evidence("inversion", real, evidence.about), truth).scores
    assert exact["target/inside/mae"] == exact["inside/mae"] == exact["mse"] == 0
    around = real["inputs"].clone()
    around[:, :, :2], around[:, :, 10:] = 1, -1
    outside = {"inputs": around, "targets": real["targets"]}
    inner = judged(Evidence("inversion", outside, evidence.about), truth).scores
    assert inner["inside/mae"] == 0
    assert inner["mse"] > 0.1
    wrong = {"inputs": real["inputs"], "targets": -real["targets"]}
    off = judged(Evidence("inversion", wrong, evidence.about), truth).scores
    assert off["mse"] == 0
    assert off["target/inside/mae"] > 0.1


def test_pixels_are_cut_to_where_they_lie_before_they_are_scored() -> None:
    attack = build("attack", {"name": "dlg", "iterations": 1})
    _, outcome, truth = played(attack, Kind.PAIRED_IMAGE)
    about = outcome.seen[0].evidence.about
    rng = np.random.default_rng(0)
    shape = (1, 1, 12, 12)
    loud = {
        name: torch.from_numpy(rng.normal(0, 3, shape).astype(np.float32))
        for name in ("inputs", "targets")
    }
    cut = {name: guess.clamp(-1, 1) for name, guess in loud.items()}
    scores = [judged(Evidence("inversion", g, about), truth).scores for g in (loud, cut)]
    assert scores[0] == pytest.approx(scores[1], nan_ok=True)
    nothing = {name: torch.full(shape, torch.inf) for name in loud}
    bad = judged(Evidence("inversion", nothing, about), truth).scores
    assert bad["success"] == bad["top1"] == 0


def test_tables_are_not_cut() -> None:
    _, outcome, truth = played(build("attack", {"name": "dlg", "iterations": 1}))
    claim = outcome.seen[0].evidence
    far = {"inputs": torch.full_like(claim.guesses["inputs"], 5.0)}
    assert judged(replace(claim, guesses=far), truth).scores["mse"] > 9


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_reconstruction_that_is_no_number_is_a_bad_one(value: float) -> None:
    _, outcome, truth = played(build("attack", {"name": "dlg", "iterations": 1}))
    claim = outcome.seen[0].evidence
    bad = {"inputs": torch.full_like(claim.guesses["inputs"], value)}
    scores = judged(replace(claim, guesses=bad), truth).scores
    assert scores["success"] == 0
    assert scores["top1"] == 0
