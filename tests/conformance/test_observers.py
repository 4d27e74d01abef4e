"""Every attack that watches, or holds the released model, keeps its promises."""

from __future__ import annotations

from typing import Any

import pytest

from asepsis.core.registry import build
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
    {"name": "cohort-difference", "replay": True},
    {"name": "colluding-server"},
    {"name": "fedmia", "variant": "II"},
    {"name": "fedmia", "reads": "messages"},
    {"name": "loss-mia", "model": "global"},
    {"name": "lira", "shadows": 4, "rounds": 1},
    {"name": "lira", "shadows": 4, "rounds": 2, "public": 0, "variance": "per-example"},
    {"name": "rmia", "references": 2, "rounds": 1},
)


@pytest.mark.parametrize("options", ATTACKS, ids=str)
def test_it_keeps_the_promises_of_an_observer(options: dict[str, Any]) -> None:
    check_observer(build("attack", options))
