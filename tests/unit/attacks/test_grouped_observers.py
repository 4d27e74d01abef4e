"""Behind sums of groups a server learns of groups, and is judged by all who are in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from inference_bench import hospitals, parts, watched

from asepsis.core.registry import build
from asepsis.core.samples import Array
from asepsis.core.threat import Evidence
from asepsis.defenses.stack import build_pipeline
from asepsis.federation.scoring.truth import Leak

SHARES = [0.1, 0.9, 0.5, 0.2, 0.8, 0.4, 0.6]
GROUPS = ((0, 1, 2, 3), (4, 5, 6))


def seen(name: str, transport: str = "grouped", **options: Any) -> tuple[Evidence, Leak]:
    stack: dict[str, list[Any]] = {
        "grouped": [{"name": "grouped-secure-sum", "regroup": False}, "mean"],
        "plain": ["mean"],
    }
    sites = hospitals(SHARES)
    trainer = {"name": "sgd", "batch_size": 40, "steps": 1, "momentum": 0.0, "lr": 0.5}
    made = parts(
        sites,
        build("attack", {"name": name, **options}),
        pipeline=build_pipeline(stack[transport]),
        trainer=build("trainer", trainer),
    )
    evidence, leak = watched(made)
    assert evidence is not None
    assert leak is not None
    return evidence, leak


def by_client(evidence: Evidence, name: str, axis: int) -> dict[int, Array]:
    values = np.moveaxis(evidence.guesses[name].numpy(), axis, 0)
    return dict(zip(evidence.clients, values, strict=True))


@pytest.mark.parametrize(
    ("attack", "guess", "axis"),
    [
        ("loss-mia", "scores", 1),
        ("gradient-cosine-mia", "scores", 1),
        ("fedmia", "scores", 1),
        ("label-leakage", "counts", 0),
        ("property-inference", "shares", 0),
        ("property-inference", "closed_form", 0),
    ],
)
def test_all_in_a_group_share_what_is_found_of_it(attack: str, guess: str, axis: int) -> None:
    given: dict[str, Any] = {"shadows": 8} if "property" in attack else {}
    evidence, leak = seen(attack, **given)
    assert evidence.about is None
    assert sorted(evidence.clients) == list(range(7))
    found = by_client(evidence, guess, axis)
    for group in GROUPS:
        first = min(group)
        assert all((found[client] == found[first]).all() for client in group)
    assert (found[0] != found[4]).any()
    if axis:
        assert leak.scores["unscored"] == 0
        assert leak.scores["few_clients"] == 1, "two groups are told apart"
        assert leak.scores["held-out/members"] == 7 * 20
    else:
        assert leak.scores["hospitals"] == 7


def test_counts_of_a_group_are_its_mean_hospitals() -> None:
    evidence, leak = seen("label-leakage")
    counts = by_client(evidence, "counts", 0)
    for group in GROUPS:
        share = np.mean([SHARES[i] for i in group])
        assert counts[min(group)].sum() == 40, "one hospital's, not the group's"
        assert counts[min(group)] == pytest.approx([40 * (1 - share), 40 * share], abs=4)
    alone = seen("label-leakage", "plain")[1].scores
    assert leak.scores["count_error"] > 2 * alone["count_error"]


@pytest.mark.parametrize(("client", "group"), [(None, GROUPS[0]), (5, GROUPS[1])])
def test_an_inversion_is_about_all_of_a_group(client: int | None, group: tuple[int, ...]) -> None:
    given: dict[str, Any] = {} if client is None else {"client": client}
    evidence, leak = seen("dlg", iterations=1, **given)
    assert (evidence.about, evidence.clients) == (None, group)
    assert evidence.measurements["samples"] == 40
    assert leak.scores["used"] == 40 * len(group)
    assert torch.isfinite(evidence.guesses["inputs"]).all()
