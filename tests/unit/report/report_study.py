"""A small study made of hand-written records: every figure can be checked on paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from asepsis.experiments.identity import identity
from asepsis.experiments.plan import Cell, probe_name
from asepsis.experiments.results import Results, Run
from asepsis.experiments.spec import Component, Experiment, Scenario, Study, ThreatSpec
from asepsis.experiments.store import Line, Store, write_tensors

FLIP: Component = {"name": "label-flip"}
PATCH: Component = {"name": "badnets", "target": 0}
LOOK: Component = {"name": "dlg"}
SEEDS = (0, 1, 2)
STARTS_AT = 2
ROUNDS = 6
CLASSES = ["normal", "pneumonia"]
JITTER = (-0.01, 0.0, 0.01)

Maker = Callable[..., Results]


def experiment(attack: Component | None, rule: str, seed: int, dataset: str) -> Experiment:
    parts = {
        "dataset": {"name": dataset},
        "attack": attack,
        "defenses": ({"name": rule},),
        "seed": seed,
        "threat": ThreatSpec(hostile=3, starts_at=STARTS_AT),
    }
    return Experiment().model_copy(update=parts)


def header(spec: Experiment, classes: list[str], hospitals: list[str]) -> Line:
    resolved = {
        "components": {
            "dataset": spec.dataset,
            "model": {"name": "small-cnn"},
            "attack": spec.attack or {"name": "none"},
        },
        "role": "server" if (spec.attack or {}).get("name") == "dlg" else "client",
        "hospitals": hospitals,
        "classes": classes,
        "primary": "balanced_accuracy",
        "samples": [[40, 5, 12] for _ in hospitals],
        "data": "d0d0",
        "protocol": "abcd",
    }
    result = {"digest": "x", "resolved": resolved, "code": "0.1.0+abc", "numerics": "reference"}
    observed = {"engine": "threads", "packages": {"torch": "2.13.0"}}
    return {"type": "header", "result": result, "observed": observed}


def _hostile(spec: Experiment, number: int) -> list[int]:
    """Clients attack from the first attacked round on; a curious server is no hostile client."""
    return [0] if spec.attack not in (None, LOOK) and number >= STARTS_AT else []


def spare(results: Results, attack: str, *seeds: int) -> None:
    """Let the hostile hospital of some runs never be drawn."""
    for run in results.runs:
        if run.cell.attack == attack and run.cell.seed in seeds:
            for item in run.rounds:
                item["hostile"] = []


def record(spec: Experiment, tail: dict[str, float], **about: Any) -> list[Line]:
    """A record whose every round scores ``tail``."""
    hospitals = about.get("hospitals", ["north", "south"])
    lines = [header(spec, about.get("classes", CLASSES), hospitals)]
    for number in range(ROUNDS):
        hit = number >= STARTS_AT or spec.attack is None
        metrics = {k: v for k, v in tail.items() if hit or k != "asr"}
        lines.append(
            {
                "type": "round",
                "result": {
                    "round": number,
                    "void": None,
                    "hostile": _hostile(spec, number),
                    "metrics": metrics,
                    **about.get("round", {}),
                },
                "observed": {"seconds": {"training": 0.5, "server": 0.25}},
            }
        )
    stage = {"stage": spec.defenses[0]["name"], "room": "aggregate"}
    active = {"changed": about.get("changed", 0.4), "active": about.get("active", True)}
    worst = {name: value - 0.1 for name, value in tail.items() if name == "balanced_accuracy"}
    result = {
        "status": about.get("status", "success"),
        "tail": tail,
        "last": tail,
        "void_rounds": 0,
        "activation": [{**stage, **active}],
        "detection": {"precision": 0.75, "auc": 0.875} if spec.attack else {},
        "evidence": about.get("evidence", []),
        "worst": worst,
        "hospitals": {hospitals[0]: worst, hospitals[1]: {"balanced_accuracy": float("nan")}},
    }
    observed = {"row_bytes": 2048, "peak_memory_mib": 300.0}
    lines.append({"type": "footer", "result": result, "observed": observed})
    return lines


def failed(spec: Experiment, message: str) -> list[Line]:
    footer = {"type": "footer", "result": {"status": "error", "message": message}}
    return [{"type": "header", "result": {"digest": "x"}}, footer]


def make(
    *,
    title: str = "chest X-rays",
    study_title: str = "A first look",
    dataset: str = "phantom",
    seeds: tuple[int, ...] = SEEDS,
    mean_drop: float = 0.3,
    broken: str = "",
    root: Path | None = None,
    rules: tuple[str, ...] = ("mean", "multi-krum"),
    **about: Any,
) -> Results:
    """Two rules; no attack 0.85, a label flip that breaks the mean alone, a backdoor likewise."""
    runs = []
    floor = f"floor/{probe_name(PATCH)}"
    for rule in rules:
        for seed in seeds:
            jitter = JITTER[seed % 3]
            cells = {
                "none": (None, {"balanced_accuracy": 0.85 + jitter, floor: 0.1}),
                "label-flip": (
                    FLIP,
                    {"balanced_accuracy": 0.85 - mean_drop * (rule == "mean") + 2 * jitter},
                ),
                "badnets": (
                    PATCH,
                    {
                        "balanced_accuracy": 0.85 + jitter,
                        "asr": (0.91 + jitter) if rule == "mean" else 0.1,
                    },
                ),
            }
            for attack, (component, tail) in cells.items():
                spec = experiment(component, rule, seed, dataset)
                cell = Cell(title, attack, rule, seed, spec)
                bad = broken and attack == "label-flip" and rule == "multi-krum"
                lines = failed(spec, broken) if bad else record(spec, dict(tail), **about)
                runs.append(Run(cell, lines))
    study = Study(
        name="small",
        title=study_title,
        summary="Two rules",
        seeds=seeds,
        scenarios=(Scenario(title=title, experiment=experiment(None, "mean", 0, dataset)),),
    )
    return Results(study, runs, root=root)


def inversion(root: Path) -> Results:
    """A curious server behind a plain channel and behind a secure sum, with its artifacts."""
    runs = []
    store = Store(root).open()
    for channel, psnr in (("plain", 24.0), ("secure-sum", 8.0)):
        for attack in (None, LOOK):
            spec = experiment(attack, "mean", 0, "phantom").model_copy(
                update={"defenses": ({"name": channel}, {"name": "mean"})}
            )
            name = "none" if attack is None else "dlg"
            cell = Cell("curious server", name, f"{channel} + mean", 0, spec)
            scores = {"psnr": psnr, "ssim": 0.5}
            evidence = {"by": "attack", "round": 0, "kind": "inversion", "scores": scores}
            about = {"evidence": [evidence], "round": {"evidence": [evidence]}} if attack else {}
            lines = record(spec, {"balanced_accuracy": 0.8}, **about)
            runs.append(Run(cell, lines))
            if attack:
                truth = torch.zeros(2, 1, 4, 4)
                path = store.artifact(identity(spec, "threads"), 0)
                write_tensors(path, {"truth": truth, "guess": truth + 1})
    study = Study(
        name="curious", scenarios=(Scenario(title="curious server", experiment=Experiment()),)
    )
    return Results(study, runs, root=root)


def several_findings(results: Results, attacked: float, clean: float, asr: float) -> Results:
    """Let a backdoor reach a paired AUROC and a success, beside a clean model's paired AUROC."""
    for run in results.runs:
        jitter = JITTER[run.cell.seed % 3]
        for item in [*run.rounds, {"metrics": run.footer["tail"]}]:
            metrics = item["metrics"]
            if run.cell.attack == "badnets":
                metrics |= {"asr": asr, "backdoor/paired_auroc": attacked + jitter}
            elif run.cell.attack == "none":
                metrics |= {f"floor/{probe_name(PATCH)}": 0.0}
                metrics |= {f"floor:paired_auroc/{probe_name(PATCH)}": clean}
    return results
