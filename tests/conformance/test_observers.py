"""Every attack that watches, or holds the released model, keeps its promises."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from asepsis.core.registry import build
from asepsis.core.samples import Kind
from asepsis.core.threat import Evidence, ServerView
from asepsis.core.updates import Grouped, State
from asepsis.testing.observers import check_observer

ATTACKS: tuple[dict[str, Any], ...] = (
    {"name": "loss-mia"},
    {"name": "gradient-cosine-mia"},
    {"name": "fedmia"},
    {"name": "label-leakage"},
    {"name": "label-leakage", "client": 2, "samples": 1},
    {"name": "property-inference", "shadows": 5},
    {"name": "property-inference", "shadows": 4, "client": 1, "spread": 0.1},
    {"name": "model-inversion", "steps": 3},
    {"name": "model-inversion", "steps": 2, "restarts": 2, "start": 0.0},
    {"name": "gan-reconstruction", "steps": 2, "batch": 4},
    {"name": "attribute-inference"},
    {"name": "attribute-inference", "attribute": 5, "values": 2, "prior": "imputed"},
    {"name": "dlg", "iterations": 1},
    {"name": "dlg", "iterations": 1, "client": 3, "simulate": 2},
    {"name": "idlg", "iterations": 2},
    {"name": "inverting-gradients", "iterations": 3},
    {"name": "inverting-gradients", "iterations": 2, "labels": "optimized", "variation": 0.0},
    {"name": "analytic"},
    {"name": "analytic", "client": 4},
    {"name": "robbing-the-fed"},
    {"name": "robbing-the-fed", "measure": "random"},
    {"name": "model-inconsistency"},
    {"name": "model-inconsistency", "client": 2, "fresh": True},
    {"name": "cohort-difference", "client": 1},
    {"name": "cohort-difference", "replay": True},
    {"name": "colluding-server"},
    {"name": "fedmia", "variant": "II"},
    {"name": "fedmia", "reads": "messages"},
    {"name": "loss-mia", "model": "global"},
    {"name": "lira", "shadows": 4, "rounds": 1},
    {"name": "lira", "shadows": 4, "rounds": 2, "public": 0, "variance": "per-example"},
    {"name": "rmia", "references": 2, "rounds": 1},
    {"name": "generator-membership"},
    {"name": "generator-membership", "images": 3, "draws": 4},
)


@pytest.mark.parametrize("options", ATTACKS, ids=str)
def test_it_keeps_the_promises_of_an_observer(options: dict[str, Any]) -> None:
    check_observer(build("attack", options))


class NamesStrangers:
    """Claims something of a hospital that never came, where it is told to."""

    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.PAIRED_IMAGE})

    def __init__(self, where: str) -> None:
        self.where = where

    def observe(
        self, state: State, view: ServerView, rng: np.random.Generator
    ) -> tuple[State, Evidence | None]:
        seen = {
            "anywhere": True,
            "groups": isinstance(view.delivery, Grouped),
            "messages": view.wire is not None,
            "colluders": bool(view.colluders),
        }
        if not seen[self.where]:
            return state, None
        return state, Evidence("inversion", {"inputs": torch.zeros(1)}, about=99)


@pytest.mark.parametrize("where", ["anywhere", "groups", "messages", "colluders"])
def test_pairs_of_images_and_every_channel_are_looked_at(where: str) -> None:
    with pytest.raises(AssertionError, match="names only clients"):
        check_observer(NamesStrangers(where))
