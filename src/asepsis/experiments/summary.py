"""From what happened to what is recorded: a line a round, and the run's summary."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asepsis.experiments.attacked import attacked, cut_off, hostile_rows
from asepsis.experiments.store import Line, rounds_of
from asepsis.experiments.troubles import blocked, troubles
from asepsis.federation.round import RoundOutcome
from asepsis.metrics.detection import detection_metrics

CHANGED = 1e-6
"""A defense whose rule moves the aggregate by less than this share of it changed nothing."""


def round_line(
    outcome: RoundOutcome,
    metrics: dict[str, float],
    revealed: list[dict[str, Any]],
    seconds: dict[str, float],
    small: Collection[int] = (),
) -> Line:
    """Return the record line of one round; ``small`` hospitals have no losses in it."""
    server = outcome.server
    result: dict[str, Any] = {
        "round": outcome.round,
        "drawn": list(outcome.cohort.drawn),
        "present": [i for i in outcome.cohort.present if i not in outcome.lost],
        "hostile": list(outcome.hostile),
        "train_loss": _losses(outcome.train_loss, small),
        "crafted": outcome.crafted,
        "void": outcome.void,
        "channel": dict(outcome.channel or {}),
        "metrics": metrics,
        "stages": [
            *(item.record() for item in outcome.protected),
            *(server.record() if server else []),
        ],
        "dropped": list(server.dropped) if server else [],
    }
    if outcome.intercepted is not None:
        result["intercepted"] = {str(i): what for i, what in sorted(outcome.intercepted.items())}
    if outcome.critic_loss:
        result["critic_loss"] = _losses(outcome.critic_loss, small)
    if outcome.told_loss:
        result["told_loss"] = _losses(outcome.told_loss, small)
    if outcome.lost:
        result["lost"] = {str(i): why for i, why in sorted(outcome.lost.items())}
    if outcome.afresh:
        result["afresh"] = list(outcome.afresh)
    if server and (monitors := server.monitors()):
        result["monitors"] = monitors
    if revealed:
        result["evidence"] = revealed
    return {"type": "round", "result": result, "observed": {"seconds": seconds}}


def _losses(told: Mapping[int, float], small: Collection[int]) -> dict[str, float]:
    return {str(client): loss for client, loss in told.items() if client not in small}


def summarize(
    lines: list[Line],
    tail: int,
    start: int = 0,
    unusual: Sequence[int] = (),
    why: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the footer's deterministic part: status, last round, mean of the last rounds.

    The mean is over the last ``tail`` scored rounds from round ``start`` on, the attack's first:
    rounds before it say nothing of the attack, and its twin is averaged over the same ones.
    ``unusual`` are honest hospitals that are unusual on purpose, ``why`` is what stages have to
    say when they block.
    """
    rounds = [line["result"] for line in rounds_of(lines)]
    scored = [item["metrics"] for item in rounds if item["metrics"]]
    last = scored[-1] if scored else {}
    ending = [item["metrics"] for item in rounds if item["metrics"] and item["round"] >= start]
    ending = ending[-tail:]
    mean = {
        name: _mean([item[name] for item in ending if name in item])
        for name in last
        if name != "unanswered"
    }
    bad = "unanswered" in last or any(_blown_up(item) for item in rounds)
    idle, all_attacked = idle_rounds(rounds)
    return {
        "status": "diverged" if bad else "success",
        "rounds": len(rounds),
        "void_rounds": sum(item["void"] is not None for item in rounds),
        "last": last,
        "tail": mean,
        "activation": activation(rounds),
        "attack_inactive": idle / all_attacked if all_attacked else 0.0,
        "detection": detection(rounds, unusual),
        "troubles": troubles(rounds),
        "blocked": blocked(rounds, why or {}),
        "evidence": [one for item in rounds for one in item.get("evidence", ())],
    }


def _blown_up(item: dict[str, Any]) -> bool:
    """Whether a round overflowed, or honest hospitals sent what is no number."""
    return item["void"] == "overflow" or not set(item["dropped"]) <= hostile_rows(item)


def idle_rounds(rounds: list[dict[str, Any]]) -> tuple[int, int]:
    """Return in how many attacked rounds the attack says that it did nothing, and all of them.

    Hospitals that attack apart did nothing in a round when each of them says so.
    """
    found = [item for item in rounds if attacked(item)]
    return sum(_idle(item) for item in found), len(found)


def _idle(item: dict[str, Any]) -> bool:
    said = item.get("crafted", {})
    apart = bool(item["hostile"]) and all(
        said.get(f"inactive/{client}") == 1 for client in item["hostile"]
    )
    return said.get("inactive") == 1 or apart


def activation(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say of every defense whether it changed anything in the attacked rounds (else in all).

    A screen is active when it changed or dropped a row, a rule when its result differs from the
    plain mean of what it received.
    """
    counted = [item for item in rounds if attacked(item)] or rounds
    stages = [stage for item in counted for stage in item["stages"]]
    found = []
    for name in dict.fromkeys(stage["name"] for stage in stages):
        own = [stage for stage in stages if stage["name"] == name]
        changed = [float(stage["changed"]) for stage in own]
        found.append(
            {
                "stage": name,
                "room": own[0]["room"],
                "changed": _mean(changed),
                "active": any(value > CHANGED for value in changed),
            }
        )
    return found


def detection(rounds: list[dict[str, Any]], unusual: Sequence[int] = ()) -> dict[str, float]:
    """Score what all stages together let through of each hospital against the truth.

    A hospital's verdict is the product of the shares that the front door, the screens and the
    rule let through, its score that of the last stage that gives any; the mean over the attacked
    rounds, or all where nobody attacks, in which any stage spoke of single hospitals. A row that
    somebody on the wire put in a hospital's place counts as hostile, and one that never arrived
    not at all. Rounds in which honest hospitals sent what is no number are left out: the model had
    blown up before.
    """
    found = [
        detection_metrics(_let_through(item), sorted(hostile_rows(item)), _scores(item), unusual)
        for item in [item for item in rounds if attacked(item)] or rounds
        if _judges(item) and set(item["dropped"]) <= hostile_rows(item)
    ]
    names = found[0] if found else {}
    return {name: _mean([scores[name] for scores in found]) for name in names}


def _judges(item: dict[str, Any]) -> bool:
    return bool(item["dropped"]) or any(_speaks(stage) for stage in item["stages"])


def _speaks(stage: dict[str, Any]) -> bool:
    return bool(stage["verdicts"] or stage.get("scores"))


def _scores(item: dict[str, Any]) -> dict[int, float]:
    given = [stage["scores"] for stage in item["stages"] if stage.get("scores")]
    return {int(client): score for client, score in given[-1].items()} if given else {}


def _let_through(item: dict[str, Any]) -> dict[int, float]:
    here = set(item["present"]) - cut_off(item)
    shares = {client: float(client not in item["dropped"]) for client in sorted(here)}
    for stage in item["stages"]:
        for client, share in stage["verdicts"].items():
            if int(client) in shares:
                shares[int(client)] *= float(share)
    return shares


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
