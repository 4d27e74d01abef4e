"""What the catalog says of attacks and triggers is what their classes do."""

from __future__ import annotations

import pytest

from asepsis.core.registry import Entry, build, entries, lookup
from asepsis.core.samples import Kind

NAMES = """
label-flip noise inverted-loss hyperdimensional feature-collision gradient-matching
badnets blended sinusoidal wanet edge-case semantic dba a3fl model-replacement
alternating-minimization neurotoxin chameleon perdoor durable sign-flip gaussian zero
random non-finite alie ipm fang-krum fang-trimmed-mean min-max min-sum mimic rop
poisonedfl free-rider sybil
property-inference attribute-inference label-leakage model-inversion gan-reconstruction
dlg idlg inverting-gradients analytic robbing-the-fed
trigger-images generator-membership intercept
"""
SHOWN = entries("attack", "trigger", "task", "model")


def test_every_attack_of_the_studies_is_there() -> None:
    assert not set(NAMES.split()) - {entry.name for entry in entries("attack")}


@pytest.mark.parametrize("entry", SHOWN, ids=[f"{entry.kind}-{entry.name}" for entry in SHOWN])
def test_the_tasks_it_lists_are_the_kinds_it_takes(entry: Entry) -> None:
    kinds = getattr(lookup(entry.kind, entry.name), "kinds", frozenset(Kind))
    listed = {kind.strip() for kind in entry.tasks.split(",") if kind.strip()} or set(Kind)
    if isinstance(kinds, property):  # its options decide; the list says what they can make of it
        assert {str(kind) for kind in build(entry.kind, entry.name).kinds} <= listed
    else:
        assert listed == {str(kind) for kind in kinds}


@pytest.mark.parametrize("entry", SHOWN, ids=[f"{entry.kind}-{entry.name}" for entry in SHOWN])
def test_it_names_its_source_and_how_sure_we_are_of_it(entry: Entry) -> None:
    assert entry.paper
    assert entry.fidelity in ("code", "paper", "abstract", "own")
