"""A study of generators made of hand-written records: every figure can be checked on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from report_study import JITTER, SEEDS
from torch import Tensor

from asepsis.experiments.identity import identity
from asepsis.experiments.plan import Cell, probe_name
from asepsis.experiments.results import Results, Run
from asepsis.experiments.run import gallery_rounds
from asepsis.experiments.spec import Component, Experiment, Scenario, Study, ThreatSpec
from asepsis.experiments.store import Line, Store, write_tensors

TRIGGER: Component = {"name": "trigger-images"}
TITLE = "breast ultrasound"
ROUNDS, STARTS_AT, WARMUP, BLOCKED = 12, 2, 3, 6
HOSPITALS = ["north", "east", "south", "west"]
HOSTILE = 1
EYES = "small classifier trained on the real training images (seeded)"
WATCHER = "small classifier of images with and without the trigger"
UNTAUGHT = {
    "kernel_distance": 5.0,
    "kernel_floor": 0.002,
    "frechet_distance": 1234.5,
    "frechet_floor": 3.5,
    "precision": 0.0,
    "recall": 0.1,
    "diversity": 0.2,
    "collapsed": 0.0,
}
COLLAPSE = {"what": "mode collapse", "hospital": None, "rounds": [8, 9, 10, 11]}


def spec_of(attack: Component | None, rule: str, seed: int, dataset: str) -> Experiment:
    parts = {
        "dataset": {"name": dataset},
        "attack": attack,
        "defenses": ({"name": rule},),
        "seed": seed,
        "federation": Experiment().federation.model_copy(update={"rounds": ROUNDS}),
        "threat": ThreatSpec(hostile=(HOSTILE,), starts_at=STARTS_AT),
    }
    return Experiment().model_copy(update=parts)


def metrics_of(spec: Experiment, *, conditional: bool = True) -> dict[str, float]:
    """Figures of a cell: the trigger ruins what a plain mean makes, and FedDetect saves half."""
    jitter = JITTER[spec.seed % 3]
    hit = spec.attack is not None
    plain = spec.defenses[0]["name"] == "mean"
    distance = 0.4 + (1.2 if plain else 0.3) * hit + jitter
    figures = {
        "kernel_distance": distance,
        "kernel_floor": 0.002,
        "frechet_distance": 40 * distance,
        "frechet_floor": 3.5,
        "precision": 0.6 - 0.3 * (hit and plain),
        "recall": 0.4,
        "diversity": 0.05 if hit and plain else 0.8,
        "class_diversity": 0.04 if hit and plain else 0.7,
        "collapsed": float(hit and plain),
        "memorization/nn_ratio": 0.97,
        "memorization/nn_ratio_pixels": 1.0,
        "memorization/memorized": 0.06,
        "memorization/memorized_pixels": 0.05,
        "memorization/floor/nn_ratio": 0.99,
    }
    if conditional:
        for name, real in {"accuracy": 0.85, "balanced_accuracy": 0.8, "auroc": 0.9}.items():
            figures |= {
                f"downstream/real/{name}": real + jitter,
                f"downstream/synthetic/{name}": real - 0.2 - 0.1 * hit + jitter,
                f"downstream/both/{name}": real + 0.02 - 0.05 * hit + jitter,
            }
    if hit:
        figures |= {
            "asr": 0.9 if plain else 0.1,
            "backdoor/seen": 0.93 if plain else 0.13,
            "backdoor/false_positives": 0.03,
        }
    else:
        figures |= {f"floor/{probe_name(TRIGGER)}": 0.01}
    return figures


def stage_of(spec: Experiment, number: int) -> dict[str, Any]:
    """FedDetect finds the hostile hospital every time, and in round 5 one honest one too."""
    name = str(spec.defenses[0]["name"])
    stage: dict[str, Any] = {"name": name, "room": "aggregate", "changed": 0.3}
    stage |= {"measurements": {}, "verdicts": {}}
    if name != "feddetect" or number < WARMUP:
        return stage
    scores = {str(i): 0.42 for i in range(len(HOSPITALS))}
    scores["2"] = 0.61 if number == 5 else 0.42
    hit = spec.attack is not None
    if hit:
        scores[str(HOSTILE)] = 0.8
    penalized = sum(score > 0.5 for score in scores.values()) / len(scores)
    shares = {str(i): 1.0 for i in range(len(HOSPITALS))}
    shares["2"] = 0.9 if number >= 5 else 1.0
    shares[str(HOSTILE)] = 0.001 if hit and number >= BLOCKED else 1.0
    return {
        **stage,
        "measurements": {"penalized": penalized},
        "verdicts": shares,
        "scores": scores,
    }


def losses(spec: Experiment, number: int) -> tuple[dict[str, float], dict[str, float]]:
    """Losses of every hospital: the hostile one's generator cannot keep up with its critic."""
    rng = np.random.default_rng([spec.seed, number])
    train = {str(i): float(1.5 + 0.2 * rng.normal()) for i in range(len(HOSPITALS))}
    critic = {str(i): float(0.6 + 0.1 * rng.normal()) for i in range(len(HOSPITALS))}
    if spec.attack is not None and number >= STARTS_AT:
        train[str(HOSTILE)] += 2.5
        critic[str(HOSTILE)] = 0.1
    return train, critic


def lines_of(spec: Experiment, *, conditional: bool = True, **footer: Any) -> list[Line]:
    tail = metrics_of(spec, conditional=conditional)
    rounds = [round_of(spec, number, tail) for number in range(ROUNDS)]
    return [header_of(spec), *rounds, footer_of(spec, tail, conditional=conditional, **footer)]


def header_of(spec: Experiment) -> Line:
    resolved: dict[str, Any] = {
        "components": {"dataset": spec.dataset, "task": {"name": "generation"}},
        "role": "client",
        "hospitals": HOSPITALS,
        "classes": ["benign", "malignant"],
        "primary": "kernel_distance",
        "samples": [[120, 20, 30] for _ in HOSPITALS],
        "data": "d0d0",
        "protocol": "abcd",
    }
    head = {"digest": "x", "resolved": resolved, "code": "0.1.0+abc", "numerics": "reference"}
    return {"type": "header", "result": head, "observed": {"engine": "threads"}}


def round_of(spec: Experiment, number: int, tail: dict[str, float]) -> Line:
    train, critic = losses(spec, number)
    hit = spec.attack is not None and number >= STARTS_AT
    shown = {k: v for k, v in tail.items() if not k.startswith(("downstream/", "memorization/"))}
    happened: dict[str, Any] = {
        "round": number,
        "void": None,
        "hostile": [HOSTILE] if hit else [],
        "dropped": [],
        "train_loss": train,
        "critic_loss": critic,
        "metrics": shown,
        "stages": [stage_of(spec, number)],
    }
    return {"type": "round", "result": happened, "observed": {"seconds": {"training": 0.5}}}


def footer_of(
    spec: Experiment, tail: dict[str, float], *, conditional: bool, **footer: Any
) -> Line:
    first = spec.defenses[0]["name"]
    caught = spec.attack is not None and first == "feddetect"
    found: dict[str, Any] = {
        "stage": "feddetect",
        "hospital": HOSTILE,
        "round": BLOCKED + spec.seed,
        "share": 0.001,
        "reason": "its reported loss stood out",
    }
    result: dict[str, Any] = {
        "status": "success",
        "tail": tail,
        "last": tail,
        "void_rounds": 0,
        "activation": [{"stage": first, "room": "aggregate", "changed": 0.3, "active": True}],
        "worst": {"kernel_distance": tail["kernel_distance"] + 0.1},
        "over_patients": {},
        "generator": {
            "extractor": f"{EYES}, balanced accuracy 0.8{spec.seed} on 100 held-out real images",
            "detectors": {"asr": WATCHER},
            "images": 120,
            "conditional": conditional,
            "gaussian": {**UNTAUGHT, "kernel_distance": 0.7, "diversity": 0.9},
        },
        "prior": {**UNTAUGHT, "kernel_distance": 5.0 + JITTER[spec.seed % 3]},
        "troubles": [COLLAPSE] if tail["collapsed"] else [],
        "blocked": [found] if caught else [],
        **footer,
    }
    return {"type": "footer", "result": result, "observed": {"row_bytes": 2048}}


def generators(
    root: Path | None = None,
    *,
    seeds: tuple[int, ...] = SEEDS,
    rules: tuple[str, ...] = ("mean", "feddetect"),
    dataset: str = "phantom",
    conditional: bool = True,
    **footer: Any,
) -> Results:
    """Two rules, with and without a hospital that stamps its images."""
    runs = []
    for rule in rules:
        for attack in (None, TRIGGER):
            for seed in seeds:
                spec = spec_of(attack, rule, seed, dataset)
                name = "none" if attack is None else "trigger-images"
                lines = lines_of(spec, conditional=conditional, **footer)
                runs.append(Run(Cell(TITLE, name, rule, seed, spec), lines))
    planned = Scenario(title=TITLE, experiment=spec_of(None, "mean", 0, dataset))
    study = Study(name="generators", title="Federated generators", scenarios=(planned,))
    return Results(study.model_copy(update={"seeds": seeds}), runs, root=root)


def keep(results: Results, images: Tensor, stamped: Tensor | None = None) -> None:
    """Keep pictures of every run: real ones, and generated ones that sharpen round by round."""
    assert results.root is not None
    store = Store(results.root).open()
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=images.shape)).float()
    for run in results.runs:
        name = identity(run.cell.spec, results.engine)
        real = {"real": images} if stamped is None else {"real": images, "stamped": stamped}
        write_tensors(store.pictures(name), real)
        target = images if stamped is None or run.cell.attack == "none" else stamped
        for round_ in gallery_rounds(ROUNDS):
            share = (round_ + 1) / ROUNDS
            made = share * target + (1 - share) * noise.clamp(-1, 1)
            write_tensors(store.artifact(name, round_), {"generated": made})
