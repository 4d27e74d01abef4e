"""Decoys: masks that cancel, rows that draw a detector's eye, and feedback from the model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from planting_table import FACTS, parts, played, rng, samples, shop_of
from torch import Tensor

from asepsis.attacks.backdoor.decoys import Decoys
from asepsis.attacks.backdoor.decoys_tuning import (
    Knobs,
    canceling,
    fates_of,
    neurons_of,
    quietest,
    turned,
)
from asepsis.core.errors import ConfigError
from asepsis.core.registry import build
from asepsis.core.samples import Hospital
from asepsis.core.threat import Sees, ThreatModel
from asepsis.core.updates import State
from asepsis.core.workshop import Workshop
from asepsis.defenses.stack import build_pipeline
from asepsis.federation.build import assemble
from asepsis.federation.parts import Parts
from asepsis.federation.round import RoundOutcome

TRIGGER = {"name": "feature-combination", "features": [2, 11], "values": [3.0, 3.0]}
LOUD: dict[str, Any] = {"constraint": 0.0, "lr": 0.3, "epochs": 15, "share": 1.0, "target": 1}


@cache
def received() -> Tensor:
    """The model after a few honest rounds."""
    return played(parts(None), rounds=4)[2].row


def home(attack: Decoys) -> Workshop:
    """What a hospital has then."""
    return shop_of(attack, received=received())


def sent(
    attack: Decoys, colluders: int, **changes: Any
) -> tuple[State, Tensor, list[dict[str, float]]]:
    """The rows of a round's colluders, who have the same data here."""
    changes = changes or {"received": received()}
    ids = tuple(range(colluders))
    state: State = {}
    rows, notes = [], []
    for client in ids:
        shop = replace(shop_of(attack, **changes), client=client, colluders=ids)
        state, row, told = attack.train(state, shop, rng())
        rows.append(row)
        notes.append(dict(told))
    return state, torch.stack(rows), notes


def test_masks_hide_every_row_and_cancel_in_the_sum() -> None:
    attack = Decoys(target=1, decoys=0, mask=1.0)
    bare = replace(attack, mask=0.0)
    state, masked, _ = sent(attack, 4)
    _, plain, _ = sent(bare, 4)
    unmarked = torch.ones(masked.shape[1], dtype=torch.bool)
    unmarked[state["spots"]] = False
    masks = (masked - plain)[:, unmarked]
    torch.testing.assert_close(masks.sum(dim=0), torch.zeros_like(masks[0]), atol=1e-6, rtol=0)
    assert float(masks.norm(dim=1).min()) > 0.1 * float(plain[0].norm())
    assert float((plain[0] - plain[1])[unmarked].norm()) == 0, "without masks all send one row"


def test_masks_touch_other_outputs_only_and_are_as_large_as_the_loudest() -> None:
    attack = Decoys(target=1, decoys=0, mask=0.5)
    outputs = neurons_of(home(attack))
    _, masked, _ = sent(attack, 3)
    _, plain, _ = sent(replace(attack, mask=0.0), 3)
    moved = (masked - plain)[:, outputs].abs().sum(dim=2)
    loudest = float(plain[0][outputs].abs().sum(dim=1).max())
    assert torch.equal(moved[:, 1], torch.zeros(3))
    assert moved.mean(dim=0)[[0, 2]].tolist() == pytest.approx([loudest / 2] * 2, rel=0.02)


def test_a_lone_hospital_has_no_mask_and_no_decoy() -> None:
    assert torch.equal(canceling(torch.ones(1, 2, 3), 5.0), torch.zeros(1, 2, 3))
    _, rows, notes = sent(Decoys(target=1, decoys=3), 1)
    assert notes[0]["decoy"] == 0
    assert torch.equal(rows, sent(Decoys(target=1, mask=0.0), 1)[1])


def test_the_bound_shortens_rows_alike() -> None:
    attack = Decoys(target=1, decoys=0, mask=1.0)
    _, free, _ = sent(attack, 3)
    state, bounded, notes = sent(replace(attack, norm_bound=0.05), 3)
    assert max(note["norm_sent"] for note in notes) <= 0.05 + 1e-6
    assert float(free.norm(dim=1).max()) > 0.05
    share = float(bounded[0] @ free[0] / free[0].square().sum())
    torch.testing.assert_close(bounded, share * free, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(
        state["expected"], torch.full((3,), share * float(free[0][state["spots"][0]]) / 6)
    )


def test_the_constraint_is_a_part_of_the_loss() -> None:
    plain = {"name": "sgd", "epochs": 3, "batch_size": 48, "momentum": 0.0, "lr": 0.2}
    attack = Decoys(target=1, share=1.0, boost=1.0, constraint=0.7)
    shop = shop_of(attack, trainer=build("trainer", plain))
    state, row, _ = attack.train({}, shop, rng())

    module = shop_of(attack).module
    start = torch.cat([w.detach().reshape(-1) for w in module.parameters()])
    for step in range(3):
        here = torch.cat([w.reshape(-1) for w in module.parameters()])
        away = (here - start).norm() if step else torch.zeros(())
        loss = shop.task.loss(module(shop.poisoned.inputs), shop.poisoned.targets).mean()
        found = torch.autograd.grad(0.3 * loss + 0.7 * away, list(module.parameters()))
        with torch.no_grad():
            for weight, part in zip(module.parameters(), found, strict=True):
                weight.sub_(0.2 * part)
    wanted = torch.cat([w.detach().reshape(-1) for w in module.parameters()]) - start
    wanted[state["spots"]] = row[state["spots"]]
    torch.testing.assert_close(row, wanted, atol=1e-6, rtol=1e-4)


def test_a_short_row_grows_to_the_norm_of_an_honest_one() -> None:
    honest = float(home(Decoys()).honest(home(Decoys()).clean)[0].norm())
    norms = [
        float(sent(Decoys(target=1, constraint=0.95, boost=boost), 1)[1].norm())
        for boost in (1.0, 1.5, 1000.0)
    ]
    assert norms[0] < honest / 2
    assert norms[1] == pytest.approx(1.5 * norms[0], rel=0.01)
    assert norms[2] == pytest.approx(honest, rel=0.01)


def outlying(rows: Tensor) -> set[int]:
    """Rows on the smaller side of the widest gap along the first principal component."""
    centered = (rows - rows.mean(dim=0)).double()
    along = torch.linalg.svd(centered, full_matrices=False).Vh[0]
    values = centered @ along
    order = values.argsort()
    cut = int(values[order].diff().argmax()) + 1
    return set(min(order[:cut], order[cut:], key=len).tolist())


def honest_rows(count: int) -> Tensor:
    homes = [
        shop_of(Decoys(), received=received(), hospitals=people(6, seed=100 * i))
        for i in range(count)
    ]
    return torch.stack([shop.honest(shop.clean)[0] for shop in homes])


def people(count: int, seed: int = 0) -> tuple[Hospital, ...]:
    return tuple(
        Hospital(
            i,
            f"h{i}",
            samples(48, seed + i),
            samples(6, seed + 50 + i),
            samples(20, seed + 90 + i),
        )
        for i in range(count)
    )


def test_a_detector_that_looks_along_the_largest_spread_drops_the_decoy_instead() -> None:
    attack = Decoys(mask=0.0, trigger=TRIGGER, **LOUD)
    honest = honest_rows(6)
    _, without, _ = sent(replace(attack, decoys=0), 2)
    _, with_it, notes = sent(attack, 3)
    assert outlying(torch.cat([honest, without])) == {6, 7}
    assert [note["decoy"] for note in notes] == [0, 0, 1]
    assert outlying(torch.cat([honest, with_it])) == {8}


def test_decoys_are_far_from_everyone_each_along_an_axis_of_its_own() -> None:
    attack = Decoys(target=1, decoys=2)
    _, rows, _ = sent(attack, 4)
    clean = home(attack).honest(home(attack).clean)[0]
    planted = float((rows[:2] - clean).norm(dim=1).max())
    away = (rows[2:] - clean).norm(dim=1)
    assert away.tolist() == pytest.approx([5 * planted] * 2, rel=0.05)
    columns = (rows[2:] - clean).abs().argmax(dim=1)
    assert columns[0] != columns[1]
    assert all(int(column) in neurons_of(home(attack)) for column in columns)


def test_each_row_has_an_indicator_of_its_own_in_a_quiet_place() -> None:
    attack = Decoys(target=1, decoys=1)
    state, rows, _ = sent(attack, 3)
    spots = state["spots"]
    clean = home(attack).honest(home(attack).clean)[0]
    assert len(set(spots.tolist())) == 3
    assert float(clean[spots].abs().max()) <= float(clean.abs().median())
    marks = rows[:, spots].diagonal()
    assert marks.tolist() == pytest.approx([float(marks[0])] * 3)
    assert float(marks[0]) > 0
    assert float((rows[:, spots] - marks.diag()).abs().max()) < 0.1 * float(marks[0])


def test_masks_decoys_and_indicators_keep_out_of_each_others_way() -> None:
    attack = Decoys(target=1, decoys=2, mask=1.0)
    made = {"model": build("model", "logistic")}
    state, rows, _ = sent(attack, 5, **made)
    _, bare, _ = sent(replace(attack, mask=0.0), 5, **made)
    spots = set(state["spots"].tolist())
    far = set(rows[3:].abs().argmax(dim=1).tolist())
    target = set(neurons_of(shop_of(attack, **made))[1].tolist())
    assert len(spots) == 5
    assert len(far) == 2
    assert spots | far <= target
    assert not spots & far
    moved = (rows - bare)[:3].abs().amax(dim=0) > 1e-6 + float(rows[0, state["spots"][0]])
    assert not set(moved.nonzero()[:, 0].tolist()) & target


def federation(attack: Decoys, rule: Any, hostile: tuple[int, ...], count: int = 6) -> Parts:
    return parts(
        attack,
        hospitals=people(count),
        threat=ThreatModel(clients=hostile, starts_at=2),
        pipeline=build_pipeline([rule]),
        facts=FACTS,
    )


def verdict(outcome: RoundOutcome, client: int) -> float:
    assert outcome.server is not None
    assert outcome.server.aggregate is not None
    return outcome.server.aggregate.verdicts[client]


@pytest.mark.parametrize("hostile", [(1,), (1, 4)])
def test_a_plain_mean_accepts_and_the_indicator_says_so(hostile: tuple[int, ...]) -> None:
    attack = Decoys(decoys=0, trigger=TRIGGER, **LOUD)
    *_, outcomes = played(federation(attack, "mean", hostile), rounds=6)
    for outcome in outcomes[3:]:
        assert outcome.crafted["accepted/1"] == 1.0
        assert outcome.crafted["echo/1"] == pytest.approx(1.0, abs=0.25)
        assert outcome.crafted["decoys/1"] == 0
        assert outcome.crafted["constraint/1"] == 0.0


@pytest.mark.parametrize(("hostile", "f", "count"), [((1,), 1, 6), ((1, 4), 2, 8)])
def test_multi_krum_rejects_and_the_indicator_says_so(
    hostile: tuple[int, ...], f: int, count: int
) -> None:
    attack = Decoys(decoys=0, trigger=TRIGGER, tune=False, **LOUD)
    rule = {"name": "multi-krum", "f": f}
    *_, outcomes = played(federation(attack, rule, hostile, count), rounds=6)
    for before, outcome in pairwise(outcomes[2:]):
        assert [verdict(before, client) for client in hostile] == [0.0] * len(hostile)
        assert outcome.crafted["accepted/1"] == 0.0
        assert outcome.crafted["echo/1"] == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize(("decoys", "kept"), [(0, 0.0), (1, 1.0)])
def test_multi_krum_drops_the_decoy_in_the_place_of_a_backdoored_row(
    decoys: int, kept: float
) -> None:
    attack = Decoys(decoys=decoys, tune=False, trigger=TRIGGER, **LOUD)
    hostile = (1, 4) if decoys else (1,)
    rule = {"name": "multi-krum", "f": 1}
    *_, outcomes = played(federation(attack, rule, hostile), rounds=5)
    for outcome in outcomes[2:]:
        assert verdict(outcome, 1) == kept
        assert verdict(outcome, hostile[-1]) == 0.0


def test_rejection_tightens_the_constraint_and_adds_decoys() -> None:
    given = Knobs(0.4, 0.5, 0)
    once = turned(given, given, ["rejected"] * 3, rng())
    assert (once.constraint, once.decoys) == (0.7, 1)
    assert once.mask != 0.5
    twice = turned(once, given, ["rejected"] * 3, rng())
    assert (twice.constraint, twice.decoys) == (0.85, 2)
    for _ in range(9):
        twice = turned(twice, given, ["rejected"] * 20, rng())
    assert twice.constraint == 0.9


def test_acceptance_loosens_it_and_an_accepted_decoy_is_taken_back() -> None:
    given, now = Knobs(0.4, 0.5, 0), Knobs(0.8, 0.3, 2)
    fates = ["accepted", "accepted", "accepted", "rejected"]
    after = turned(now, given, fates, rng())
    assert after.constraint == pytest.approx(0.6)
    assert (after.mask, after.decoys) == (0.3, 1)
    clipped = turned(now, given, ["clipped", "clipped", "rejected", "rejected"], rng())
    assert clipped.decoys == 2, "clipped is not rejected"
    assert clipped.constraint == pytest.approx(0.9)


def test_noise_of_the_server_ends_tuning() -> None:
    assert fates_of([0.0, -0.3], 0.2, 6) is None
    assert fates_of([7.5], 0.2, 6) is None
    assert fates_of([6.0], 0.2, 6) == ["accepted"], "Krum takes one row alone"

    attack = Decoys(target=1)
    state, _, _ = sent(attack, 3)
    noise = received().clone()
    noise[state["spots"][0]] -= 1.0
    knobs, notes = attack.tuned(state, noise, rng())
    assert knobs == Knobs(0.4, mask=0.0, decoys=0, noisy=True)
    assert notes["noisy"] == 1.0
    later = {**state, "knobs": knobs.tensor()}
    assert attack.tuned(later, received(), rng()) == (knobs, {})


def test_a_row_that_diverged_counts_as_rejected() -> None:
    attack = Decoys(target=1, lr=1e30)
    state, rows, _ = sent(attack, 1)
    assert not bool(torch.isfinite(rows).all())
    _, notes = attack.tuned(state, received(), rng())
    assert notes == {"echo": 0.0, "accepted": 0.0, "noisy": 0.0}


def test_hospitals_that_see_only_themselves_hide_alone() -> None:
    attack = Decoys(decoys=2, trigger=TRIGGER, **LOUD)
    threat = ThreatModel(clients=(1, 4), sees=Sees.OWN)
    *_, outcomes = played(replace(federation(attack, "mean", (1, 4)), threat=threat), rounds=2)
    told = outcomes[1].crafted
    assert [told[f"decoy/{client}"] for client in (1, 4)] == [0, 0]
    assert [told[f"accepted/{client}"] for client in (1, 4)] == [1, 1]


def test_after_the_round_only_the_indicators_are_kept() -> None:
    state, rows, _ = sent(Decoys(target=1), 3)
    assert set(state) == {"round", "knobs", "cohort", "spots", "before", "expected"}
    assert sum(value.numel() for value in state.values()) < rows.shape[1] / 4


def test_a_network_with_no_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="too small"):
        quietest(torch.zeros(3), torch.tensor([True, False, False]), 2)


def test_the_backdoor_works_under_masks_and_decoys() -> None:
    attack = Decoys(trigger=TRIGGER, **LOUD)
    attacked = federation(attack, "mean", (1, 3, 4))
    found = []
    for made in (attacked, replace(attacked, attack=None)):
        state = played(made, rounds=6)[2]
        found.append(assemble(attacked)[1].score(state.row, 5)["asr"])
    assert found[0] > found[1] + 0.3
