"""Membership scores whose quality is known by construction."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from asepsis.core.errors import ConfigError
from asepsis.core.rng import Streams
from asepsis.core.samples import Array, Samples, Shard
from asepsis.core.threat import Evidence, ThreatModel
from asepsis.federation.candidates import Candidates
from asepsis.federation.scoring import membership
from asepsis.federation.scoring.kinds import judged
from asepsis.federation.scoring.truth import Leak, Truth
from asepsis.metrics.utility import binary_auroc

HOMES = 5
EACH = 12
N = 2 * HOMES * EACH
HOME = np.arange(N) % HOMES


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("asepsis.metrics.blind.TREES", 10)
    membership._blind.cache_clear()
    yield
    membership._blind.cache_clear()


def candidates(shift: float = 0.0, member: Array | None = None) -> Candidates:
    """Tables of noise, members shifted by nature; half of every home are members."""
    known = (np.arange(N) // HOMES) % 2 == 0 if member is None else member
    rng = np.random.default_rng(1)
    table = (rng.normal(size=(N, 4)) + shift * known[:, None]).astype(np.float32)
    raw = Samples(table, rng.integers(2, size=N), np.arange(N), np.arange(N))
    return Candidates(Shard(torch.from_numpy(table), torch.zeros(N)), raw, HOME, known)


def truth(asked: Candidates | None) -> Truth:
    federation = cast("Any", SimpleNamespace(streams=Streams(0), attack=None, threat=ThreatModel()))
    return Truth(federation, 0, tuple(range(HOMES)), torch.zeros(1), torch.zeros(1), None, asked)


def leak(
    scores: Array, clients: tuple[int, ...] = tuple(range(HOMES)), **made: Any
) -> dict[str, float]:
    return whole(scores, clients, candidates(**made)).scores


def whole(scores: Array, clients: tuple[int, ...], asked: Candidates) -> Leak:
    evidence = Evidence("membership", {"scores": torch.from_numpy(scores)}, clients=clients)
    return judged(evidence, truth(asked))


def noise(*shape: int) -> Array:
    return np.random.default_rng(2).normal(size=shape)


def test_a_column_that_knows_its_own_members_is_right_in_every_protocol() -> None:
    asked = candidates()
    knows = (asked.member[:, None] & (HOME[:, None] == np.arange(HOMES))).astype(float)
    found = whole(knows + 0.01 * noise(N, HOMES), tuple(range(HOMES)), asked)
    for name in ("held-out/auc", "elsewhere/auc", "which-hospital/auc", "held-out/advantage"):
        assert found.scores[name] == 1.0
    assert found.scores["held-out/excess_low"] > 0.3
    assert found.scores["held-out/members"] == found.scores["held-out/nonmembers"] == N // 2
    assert found.scores["few_clients"] == 0
    assert found.scores["unscored"] == 0
    assert found.curves["held-out"][:2] == [[0.0, 0.0], [0.0, pytest.approx(2 / N)]]
    assert set(found.curves) == {"held-out", "elsewhere", "held-out (blind)", "elsewhere (blind)"}


def test_noise_leaks_nothing() -> None:
    found = leak(noise(N, HOMES))
    for name in ("held-out", "elsewhere", "which-hospital", "federation"):
        assert found[f"{name}/low"] < 0.5 < found[f"{name}/high"]
    assert found["held-out/excess_low"] < 0 < found["held-out/excess_high"]


def test_knowing_the_site_is_no_membership_where_others_are_held_out_at_the_same_site() -> None:
    site = (HOME[:, None] == np.arange(HOMES)) + 0.01 * noise(N, HOMES)
    found = leak(site)
    assert found["elsewhere/auc"] == 1.0
    assert found["held-out/low"] < 0.5 < found["held-out/high"]


def test_one_score_for_all_cannot_tell_which_hospital() -> None:
    found = leak(candidates().member + 0.01 * noise(N), ())
    assert found["held-out/auc"] == found["elsewhere/auc"] == found["federation/auc"] == 1.0
    bounds = [found[f"which-hospital/{key}"] for key in ("auc", "low", "high")]
    assert bounds == [0.5, 0.5, 0.5]


def test_a_wrong_sign_is_as_good_as_a_right_one_and_said_to_be() -> None:
    found = leak(0.01 * noise(N) - candidates().member, ())
    assert found["held-out/auc"] == 0.0
    assert found["held-out/either"] == 1.0


def test_what_differs_by_nature_is_no_leakage() -> None:
    shifted = candidates(shift=3.0)
    found = leak(shifted.raw.inputs.sum(axis=1).astype(float), (), shift=3.0)
    assert found["held-out/auc"] > 0.95
    assert found["held-out/blind"] > 0.95
    assert found["held-out/excess_low"] <= 0.01


def test_the_federation_as_a_whole_has_a_blind_classifier_beside_it() -> None:
    shifted = leak(noise(N), (), shift=3.0)
    assert shifted["federation/blind"] > 0.95
    assert shifted["federation/excess_high"] < 0
    assert leak(noise(N), ())["federation/blind"] < 0.75


def test_scores_that_compare_hospitals_find_the_members_of_any() -> None:
    asked = candidates()
    own = HOME[:, None] == np.arange(HOMES)
    relative = np.where(asked.member[:, None] & own, 0.9, 0.5) + 0.01 * noise(N, HOMES)
    relative[asked.member] -= relative[asked.member].mean(axis=1, keepdims=True) - 0.5
    assert leak(relative)["federation/auc"] > 0.95


def test_elsewhere_the_blind_classifier_names_the_site() -> None:
    asked = candidates()
    table = asked.raw.inputs + 4.0 * np.eye(HOMES, 4, dtype=np.float32)[HOME]
    raw = Samples(table, asked.raw.targets, asked.raw.ids, asked.raw.groups)
    sites = Candidates(asked.shard, raw, HOME, asked.member)
    found = whole(noise(N, HOMES), tuple(range(HOMES)), sites).scores
    assert found["elsewhere/blind"] > 0.9
    assert found["held-out/blind"] < 0.65


def test_the_columns_of_both_protocols_by_brute_force() -> None:
    asked, scores = candidates(), noise(N, HOMES)
    found = leak(scores)
    own = scores[np.arange(N), HOME]
    assert found["held-out/auc"] == pytest.approx(binary_auroc(own, asked.member))
    pairs = [
        (scores[i, k], HOME[i] == k)
        for i in range(N)
        for k in range(HOMES)
        if asked.member[i] == (HOME[i] == k)
    ]
    values, members = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    assert found["elsewhere/auc"] == pytest.approx(binary_auroc(values, members))
    wins = [
        np.mean([scores[i, HOME[i]] > scores[i, k] for k in range(HOMES) if k != HOME[i]])
        for i in np.flatnonzero(asked.member)
    ]
    assert found["which-hospital/auc"] == pytest.approx(np.mean(wins))
    most = scores.max(axis=1)
    assert found["federation/auc"] == pytest.approx(binary_auroc(most, asked.member))


def test_rates_count_non_members_once_however_often_they_are_asked_about() -> None:
    found = leak(noise(N, HOMES))
    assert found["elsewhere/nonmembers"] == N // 2
    assert isnan(found["elsewhere/tpr@1%"])
    assert isnan(found["held-out/tpr@0.1%"])


def test_hospitals_that_never_came_have_no_column_and_their_candidates_no_score() -> None:
    asked = candidates()
    known = (asked.member[:, None] & (HOME[:, None] == [0, 3])).astype(float)
    found = leak(known, (0, 3))
    assert found["held-out/auc"] == 1.0
    assert found["held-out/members"] == 2 * EACH
    assert found["few_clients"] == 1
    assert found["unscored"] == 0


def test_a_score_that_is_no_number_knows_nothing() -> None:
    asked = candidates()
    scores = asked.member.astype(float)
    scores[np.flatnonzero(asked.member)[:6]] = np.nan
    found = leak(scores, ())
    assert found["held-out/auc"] == pytest.approx(1 - 6 / (N // 2) / 2, abs=0.06)
    assert found["held-out/members"] == N // 2
    lost = leak(np.full(N, np.nan), ())
    assert isnan(lost["held-out/auc"])
    assert lost["unscored"] == 1


def test_infinite_scores_are_the_highest() -> None:
    scores = np.where(candidates().member, np.inf, 0.0)
    assert leak(scores, ())["held-out/auc"] == 1.0


@pytest.mark.parametrize("shape", [(N - 1,), (N, 3), (N, HOMES, 1)])
def test_scores_must_be_the_candidates(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="do not fit the candidates"):
        leak(np.zeros(shape))


def test_without_candidates_there_is_nothing_to_score() -> None:
    with pytest.raises(ConfigError, match="needs candidates"):
        judged(Evidence("membership", {"scores": torch.zeros(0)}), truth(None))


def test_groups_whose_members_share_a_column_are_not_told_apart() -> None:
    alike = np.repeat(noise(N, 2), [3, 2], axis=1)
    assert leak(alike)["few_clients"] == 1
    assert leak(noise(N, HOMES))["few_clients"] == 0
