"""What went wrong without ending a run, and whom defenses shut out: read off a run's rounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

BLOCKED = 0.01
"""A hospital of whose updates less than this share is let through is blocked."""
LASTING = 5
"""A rule that selects drops an honest hospital too in some rounds in a row, seldom in so many."""
CHANCE = 1e-3
"""Whom a rule drops so often in a row by chance, more rarely than this, is shut out."""
BLOCKLIST = "exclude"
"""This one drops by name: no chance plays a part."""
DIVERGED = 1e3
"""A hospital whose loss is so many times the others' has diverged."""
ENORMOUS = 1e4
"""No loss that means something is larger: a Wasserstein critic's is less than the distance between
two images, 900 for 256 x 256 pixels of three colors."""
NO_ANSWER, TOO_FEW = "no answer", "too few answers"
OF_HOSPITALS = (NO_ANSWER, TOO_FEW)
"""What happens where hospitals are processes of their own, whatever they train."""
STOOD_OUT = "its update stood out"

Round = Mapping[str, Any]
Found = dict[str, Any]


def troubles(rounds: Sequence[Round]) -> list[Found]:
    """Return what went wrong: ``what``, at which ``hospital`` (None: all), in which ``rounds``.

    ``mode collapse``: generated images are nearly all one. ``loss is no number``, ``began
    afresh`` (what a hospital had kept was no number, and it started over), ``diverged`` (more than
    half of the losses of generators, or of critics, exceed 10,000), ``diverged hospital`` (else:
    its generator's loss is more than 1,000 times the larger of 1 and the median of the others', or
    its critic's exceeds 10,000), ``update is no number`` (dropped at the door). Of hospitals that
    are processes of their own: ``no answer`` (or none that was one), ``too few answers``.
    """
    seen: dict[tuple[str, int | None], list[int]] = {}
    for item in rounds:
        for what, hospital in _of(item):
            seen.setdefault((what, hospital), []).append(item["round"])
    return [
        {"what": what, "hospital": hospital, "rounds": when}
        for (what, hospital), when in seen.items()
    ]


def _of(item: Round) -> Iterable[tuple[str, int | None]]:
    if item["metrics"].get("collapsed") == 1:
        yield "mode collapse", None
    yield from (("update is no number", client) for client in item["dropped"])
    yield from (("began afresh", client) for client in item.get("afresh", ()))
    lost = item.get("lost", {})
    yield from ((NO_ANSWER, int(client)) for client in lost)
    if lost and item["void"]:
        yield TOO_FEW, None
    if "critic_loss" not in item:
        return
    generators, critics = _losses(item["train_loss"]), _losses(item["critic_loss"])
    yield from (
        ("loss is no number", client)
        for client in dict.fromkeys((*generators, *critics))
        if not all(math.isfinite(losses.get(client, 0.0)) for losses in (generators, critics))
    )
    if _most_enormous(generators) or _most_enormous(critics):
        yield "diverged", None
        return
    for client in sorted({*_far_from_others(generators), *_enormous(critics)}):
        yield "diverged hospital", client


def _losses(told: Mapping[str, float]) -> dict[int, float]:
    return {int(client): abs(float(loss)) for client, loss in told.items()}


def _finite(losses: Mapping[int, float]) -> dict[int, float]:
    return {client: loss for client, loss in losses.items() if math.isfinite(loss)}


def _enormous(losses: Mapping[int, float]) -> list[int]:
    return [client for client, loss in _finite(losses).items() if loss > ENORMOUS]


def _most_enormous(losses: Mapping[int, float]) -> bool:
    return 2 * len(_enormous(losses)) > len(_finite(losses))


def _far_from_others(losses: Mapping[int, float]) -> Iterable[int]:
    """Return whose loss is far beyond what is usual among the others."""
    known = _finite(losses)
    for client, loss in known.items():
        others = [other for one, other in known.items() if one != client]
        if others and loss > DIVERGED * max(1.0, median(others)):
            yield client


def blocked(rounds: Sequence[Round], why: Mapping[str, str]) -> list[Found]:
    """Return who was blocked by which stage, from which round on, for which reason.

    A hospital is blocked from the first round after which the stage never lets through 1 % of its
    updates again, to the end, if it was judged in at least five rounds since then, or in as many as
    the stage judged in at all: a rule that selects drops somebody else in every round, the last
    among them. In so many rounds, ``k``, that chance does not do it: the share of hospitals that
    the stage drops in a round, to the power of ``k``, is below 0.001. A blocklist needs no proof.
    ``share`` is what is let through in the last round the hospital was judged in.
    ``why`` is what each stage has to say for itself.
    """
    judged: dict[str, int] = {}
    since: dict[tuple[str, int], list[int]] = {}
    last: dict[tuple[str, int], float] = {}
    dropped: dict[str, list[bool]] = {}
    for item in rounds:
        for stage in item["stages"]:
            name = stage["name"]
            judged[name] = judged.get(name, 0) + bool(stage["verdicts"])
            for client, share in stage["verdicts"].items():
                key, last[name, int(client)] = (name, int(client)), float(share)
                shut = float(share) < BLOCKED
                dropped.setdefault(name, []).append(shut)
                since[key] = [*since.get(key, []), item["round"]] if shut else []
    return [
        {
            "stage": stage,
            "hospital": client,
            "round": since[stage, client][0],
            "share": share,
            "reason": why.get(stage, STOOD_OUT),
        }
        for (stage, client), share in sorted(last.items())
        if len(since[stage, client]) >= min(LASTING, judged[stage])
        and (stage == BLOCKLIST or _improbable(dropped[stage], len(since[stage, client])))
    ]


def _improbable(dropped: Sequence[bool], streak: int) -> bool:
    return float(sum(dropped) / len(dropped)) ** streak < CHANCE
