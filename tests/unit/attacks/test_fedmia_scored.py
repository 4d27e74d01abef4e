"""FedMIA beside the truth, on a federation that remembers every record it trained on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from membership_bench import a_learner, a_view, part, samples, summed, trained_rows

from asepsis.attacks.observe.fedmia import FedMia, likelihoods
from asepsis.core.rng import Streams
from asepsis.core.samples import Samples
from asepsis.core.threat import ServerView, ThreatModel
from asepsis.federation.candidates import Candidates
from asepsis.federation.scoring.membership import score
from asepsis.federation.scoring.truth import Truth

HOSPITALS, EACH = 8, 6
N = 2 * HOSPITALS * EACH
HOME = np.arange(N) % HOSPITALS
MEMBER = np.arange(N) < N // 2
POOL = samples(N, seed=1)


@pytest.fixture(scope="module")
def view() -> ServerView:
    learner = a_learner(epochs=6)
    sent = learner.fresh(np.random.default_rng(7))
    shards = [part(POOL, np.flatnonzero(MEMBER & (k == HOME))) for k in range(HOSPITALS)]
    return a_view(learner, trained_rows(learner, sent, shards), POOL, sent)


def figures(attack: FedMia, view: ServerView) -> dict[str, float]:
    _, evidence = attack.observe({}, view, np.random.default_rng(0))
    assert evidence is not None
    table = POOL.inputs.numpy()
    raw = Samples(table, POOL.targets.numpy(), np.arange(N), np.arange(N))
    federation = SimpleNamespace(streams=Streams(0), attack=None, threat=ThreatModel())
    present = tuple(range(HOSPITALS))
    nothing = torch.zeros(1)
    asked = Candidates(POOL, raw, HOME, MEMBER)
    truth = Truth(cast("Any", federation), 0, present, nothing, nothing, None, asked)
    return score(evidence, truth).scores


# A loss that is unusually low at one of eight hospitals by chance is not rare, a cosine is.
@pytest.mark.parametrize(("variant", "least"), [("I", 0.7), ("II", 0.95)])
def test_members_of_any_hospital_are_found_where_each_hospitals_are(
    view: ServerView, variant: Any, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asepsis.metrics.blind.TREES", 5)
    found = figures(FedMia(variant=variant), view)
    assert found["held-out/auc"] > 0.9
    assert found["federation/auc"] > least
    assert found["federation/blind"] < 0.75
    behind = figures(FedMia(variant=variant), summed(view))
    assert behind["federation/auc"] > 0.7


def test_records_that_are_all_unusual_beyond_doubt_are_still_told_from_one_another() -> None:
    measured = torch.tensor([[z, 1.0, 2.0] for z in (20.0, 50.0, 300.0, 310.0)])
    top = likelihoods(measured.double()).scores[:, 0]
    assert bool((top.diff() > 0).all())
    assert bool((top <= 1).all())


def test_an_infinite_measurement_is_the_most_unusual() -> None:
    found = likelihoods(torch.tensor([[float("inf"), 1.0, 2.0]], dtype=torch.float64)).scores
    assert float(found[0, 0]) == 1.0
