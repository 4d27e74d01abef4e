"""Guesses at a hidden column whose quality is known by construction."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from asepsis.core.rng import Streams
from asepsis.core.samples import Array, Samples, Shard
from asepsis.core.threat import Evidence, ThreatModel
from asepsis.federation.candidates import Candidates
from asepsis.federation.scoring.attribute import score
from asepsis.federation.scoring.truth import Truth

N = 80
MEMBER = np.arange(N) % 2 == 0
TRUE = np.arange(N) // 2 % 2


def figures(right: Array, imputed: Array, missing: Array | None = None) -> dict[str, float]:
    """Score guesses that are right where told so; the column is the second."""
    table = np.stack([np.zeros(N), TRUE], axis=1).astype(np.float32)
    raw_table = table.copy()
    if missing is not None:
        raw_table[missing, 1] = np.nan
    raw = Samples(raw_table, np.zeros(N), np.arange(N), np.arange(N))
    shard = Shard(torch.from_numpy(table), torch.zeros(N))
    asked = Candidates(shard, raw, np.zeros(N, int), MEMBER)
    guesses = {
        "values": torch.from_numpy(np.where(right, TRUE, 1 - TRUE)).double(),
        "imputed": torch.from_numpy(np.where(imputed, TRUE, 1 - TRUE)).double(),
        "majority": torch.zeros(N).double(),
        "support": torch.tensor([0.0, 1.0]).double(),
    }
    evidence = Evidence("attribute", guesses, measurements={"attribute": 1.0})
    federation = SimpleNamespace(streams=Streams(0), attack=None, threat=ThreatModel())
    nothing = torch.zeros(1)
    truth = Truth(cast("Any", federation), 0, (0,), nothing, nothing, None, asked)
    return score(evidence, truth).scores


def of(mask: Array, share: float) -> Array:
    """The first so many of those in the mask."""
    chosen = np.zeros(N, bool)
    where = np.flatnonzero(mask)
    chosen[where[: int(share * len(where))]] = True
    return chosen


def test_what_only_members_lose_is_leakage() -> None:
    right = of(MEMBER, 0.9) | of(~MEMBER, 0.6)
    imputed = of(MEMBER, 0.6) | of(~MEMBER, 0.5)
    found = figures(right, imputed)
    assert found["accuracy/members"] == pytest.approx(0.9)
    assert found["accuracy/others"] == pytest.approx(0.6)
    assert found["imputed/members"] == pytest.approx(0.6)
    assert found["majority/members"] == pytest.approx(0.5)
    assert found["member_gap"] == pytest.approx(0.3)
    assert found["excess/members"] == pytest.approx(0.3)
    assert found["excess/others"] == pytest.approx(0.1)
    assert found["leakage"] == pytest.approx(0.2)
    assert found["leakage_low"] < 0.2 < found["leakage_high"]


def test_knowing_people_in_general_is_no_leakage() -> None:
    everybody = np.ones(N, bool)
    found = figures(everybody, of(everybody, 0.5))
    assert found["excess/members"] == pytest.approx(0.5)
    assert found["member_gap"] == 0
    assert found["leakage"] == pytest.approx(0.0)


def test_records_without_the_column_are_left_out() -> None:
    missing = of(MEMBER, 0.25)
    found = figures(~missing, ~missing, missing)
    assert found["members"] == 30
    assert found["others"] == 40
    assert found["accuracy/members"] == 1.0
