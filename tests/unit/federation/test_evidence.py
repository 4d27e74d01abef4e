"""A claim that cannot be scored or stored is refused when it is made, naming who made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from test_round import parts, played

from asepsis.core.errors import ConfigError
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ReleaseView, ServerView, When
from asepsis.core.updates import State
from asepsis.federation.federation import Watch
from asepsis.federation.observing import inferred

ASKED = 36
"""Six hospitals, of each three members and as many others."""
FEATURES = 5
SCORES = {"scores": torch.zeros(ASKED)}
VALUES = {name: torch.zeros(ASKED) for name in ("values", "majority", "imputed")}


@dataclass
class Claims:
    """Claims what the test says."""

    evidence: Any = None
    state: Any = None
    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        return {} if self.state is None else self.state, self.evidence

    def infer(self, view: ReleaseView, rng: np.random.Generator) -> Evidence | None:
        claim: Evidence | None = self.evidence
        return claim


def claimed(attack: Claims) -> tuple[Evidence, Evidence]:
    """Return the claim of a round and the one on the released model, as they are handed on."""
    made = parts(observers={"somebody": Watch(attack, When())}, candidates=3)
    federation, _, state, outcome = played(made)
    assert federation.candidates is not None
    assert len(federation.candidates.shard) == ASKED
    facts = federation.facts_of(0, outcome.cohort, state.row)
    return outcome.seen[0].evidence, inferred(federation, state.row, facts)[0].evidence


@pytest.mark.parametrize(
    ("evidence", "says"),
    [
        (Evidence("gossip", SCORES), "unknown kind"),
        ({"scores": 1}, "no Evidence"),
        (Evidence("membership", {}), "needs 'scores'"),
        (Evidence("membership", {"scores": [0.0] * ASKED}), "no tensor"),  # type: ignore[dict-item]
        (Evidence("membership", {"scores": torch.zeros(3)}), "wrong shape"),
        (Evidence("membership", {"scores": torch.zeros(ASKED, 2)}, clients=(1,)), r"\(36, 1\)"),
        (Evidence("membership", SCORES, about=6), "no hospital"),
        (Evidence("membership", SCORES, clients=(0, 9)), "no hospital"),
        (Evidence("membership", SCORES, measurements={"x": float("inf")}), "'x' is no number"),
        (Evidence("membership", SCORES, measurements={"x": "much"}), "'x'"),  # type: ignore[dict-item]
        (Evidence("inversion", {"inputs": torch.zeros(0, FEATURES)}), "wrong shape"),
        (Evidence("inversion", {"inputs": torch.zeros(2, FEATURES + 1)}), "wrong shape"),
        (
            Evidence(
                "inversion", {"inputs": torch.zeros(2, FEATURES), "labels": torch.zeros(3, 2)}
            ),
            "'labels' has the wrong shape",
        ),
        (Evidence("labels", {"counts": torch.zeros(3)}), "wrong shape"),
        (Evidence("property", {"shares": torch.zeros(6, 3)}), "wrong shape"),
        (Evidence("classes", {"inputs": torch.zeros(1, FEATURES)}), "wrong shape"),
        (Evidence("isolation", {"row": torch.zeros(11)}), "wrong shape"),
        (Evidence("attribute", {**VALUES, "support": torch.zeros(2)}), "which attribute"),
    ],
)
def test_a_claim_that_cannot_be_scored_names_who_made_it(evidence: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^observer somebody: .*{says}"):
        claimed(Claims(evidence))


@pytest.mark.parametrize("state", [[], {"seen": 3.0}, {3: torch.zeros(1)}])
def test_a_memory_that_no_checkpoint_holds_is_refused(state: Any) -> None:
    with pytest.raises(ConfigError, match=r"^observer somebody: .*state"):
        claimed(Claims(Evidence("membership", SCORES), state))


def test_tensors_and_numbers_of_other_types_become_plain_ones() -> None:
    scores = torch.full((ASKED, 2), torch.nan, requires_grad=True)
    made = Evidence(
        "membership",
        {"scores": scores},
        about=np.int64(2),  # type: ignore[arg-type]
        clients=(np.int64(1), 2),  # type: ignore[arg-type]
        measurements={"x": torch.tensor(1.5), "y": np.float32(2), "z": float("nan")},  # type: ignore[dict-item]
    )
    for claim in claimed(Claims(made)):
        assert not claim.guesses["scores"].requires_grad
        assert (claim.about, claim.clients) == (2, (1, 2))
        assert type(claim.about) is int
        assert {type(value) for value in claim.measurements.values()} == {float}
        assert claim.measurements["x"] == 1.5
