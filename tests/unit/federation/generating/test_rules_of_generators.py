"""Every stage of the catalog plays rounds of a federated GAN, or is refused for what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asepsis.core.errors import ConfigError
from asepsis.core.registry import Entry, build, entries
from asepsis.core.rng import Streams
from asepsis.core.samples import DataFacts, Hospital, Kind, Samples
from asepsis.core.threat import ThreatModel
from asepsis.defenses.stack import build_pipeline
from asepsis.engines import make_engine
from asepsis.federation.build import assemble
from asepsis.federation.federation import RoundState, Schedule
from asepsis.federation.parts import Parts
from asepsis.federation.round import RoundOutcome, play_round
from asepsis.testing.promises import same

HOSPITALS = 7
"""As many as Bulyan needs with f = 1."""
ROUNDS = 2
REFUSED: dict[str, str] = {
    "deepsight": "without head, network",
    "lfighter": "without head",
    "smpc-verify": "without network, root",
    "fltrust": "without root",
    "soteria": "a last fully connected layer",
}
"""What a generator's server does not have: a classifier's outputs, and training of its own."""
STACKS: dict[str, list[Any]] = {
    "adaptive-clip": [{"name": "adaptive-clip", "initial": 1e-3}, "mean"],
    "norm-clip": [{"name": "norm-clip", "max_norm": 1e-3}, "mean"],
    "exclude": [{"name": "exclude", "hospitals": [HOSPITALS - 1]}, "mean"],
    "feddetect": [{"name": "feddetect", "warmup": 0}],
}
"""Options with which a stage has something to do in two rounds."""
BESIDE: dict[str, tuple[list[str], list[str]]] = {
    "aggregator": ([], []),
    "recipe": ([], []),
    "release": (["mean"], []),
    "audit": (["mean"], []),
}
"""What stands before and behind a stage of a room; elsewhere the mean stands behind."""
ROOMS = ("client", "transport", "screen", "aggregator", "release", "recipe", "audit")
CATALOG = [entry for entry in entries(*ROOMS) if entry.origin == "asepsis"]
EXTRAS = {"homomorphic-sum": "tenseal"}


def images(seed: int, count: int) -> Samples:
    """Noise about one gray or the other, by class."""
    rng, targets = np.random.default_rng(seed), np.arange(count) % 2
    noise = rng.normal(70, 25, size=(count, 8, 8)) + 90 * targets[:, None, None]
    ids = 1000 * seed + np.arange(count)
    return Samples(np.clip(noise, 0, 255).astype(np.uint8), targets, ids, ids)


def parts(stack: list[Any], **changes: Any) -> Parts:
    sites = [
        Hospital(i, f"h{i}", images(3 * i, 12), images(3 * i + 1, 4), images(3 * i + 2, 4))
        for i in range(HOSPITALS)
    ]
    given: dict[str, Any] = {
        "facts": DataFacts(Kind.IMAGE, ("dark", "bright")),
        "hospitals": tuple(sites),
        "task": build("task", "generation"),
        "model": build("model", {"name": "dcgan", "width": 8, "critic_width": 8, "z_dim": 4}),
        "trainer": build("trainer", {"name": "gan", "steps": 1, "batch_size": 4}),
        "pipeline": build_pipeline(stack),
        "server": build("server-optimizer", "fedavg"),
        "threat": ThreatModel(),
        "attack": None,
        "schedule": Schedule(rounds=ROUNDS),
        "streams": Streams(0),
        "root": (images(99, 8), "public"),
    }
    return Parts(**{**given, **changes})


def stack_of(entry: Entry) -> list[Any]:
    before, behind = BESIDE.get(entry.kind, ([], ["mean"]))
    return STACKS.get(entry.name, [*before, entry.name, *behind])


def played(stack: list[Any], **changes: Any) -> tuple[RoundState, list[RoundOutcome]]:
    federation, _ = assemble(parts(stack, **changes))
    engine = make_engine("serial")
    engine.start(federation.plan)
    state, outcomes = federation.begin(), []
    for _ in range(ROUNDS):
        state, outcome = play_round(federation, engine, state)
        outcomes.append(outcome)
    engine.close()
    return state, outcomes


def named(found: list[Entry]) -> list[Any]:
    return [pytest.param(entry, id=f"{entry.kind}-{entry.name}") for entry in found]


@pytest.mark.parametrize("entry", named([e for e in CATALOG if e.name not in REFUSED]))
def test_it_plays_two_rounds_of_a_generator(entry: Entry) -> None:
    if entry.name in EXTRAS:
        pytest.importorskip(EXTRAS[entry.name])
    state, outcomes = played(stack_of(entry))
    assert [outcome.void for outcome in outcomes] == [None] * ROUNDS
    assert bool(state.row.isfinite().all())
    assert [len(outcome.cohort.present) for outcome in outcomes] == [HOSPITALS] * ROUNDS


@pytest.mark.parametrize("entry", named([e for e in CATALOG if e.name in REFUSED]))
def test_it_is_refused_before_the_first_round(entry: Entry) -> None:
    with pytest.raises(ConfigError, match=rf"^defenses: {entry.name} .*{REFUSED[entry.name]}"):
        assemble(parts(stack_of(entry)))


def test_the_refused_are_in_the_catalog_and_most_are_not_refused() -> None:
    assert REFUSED.keys() <= {entry.name for entry in CATALOG}
    assert len(CATALOG) > 50


def test_foolsgold_looks_at_whole_updates_here() -> None:
    """The last matrix of a generator is its first layer, and no layer has a neuron a class."""
    played(["foolsgold"])
    with pytest.raises(ConfigError, match=r"foolsgold .*without head"):
        assemble(parts([{"name": "foolsgold", "last_layer": True}]))


def test_the_plain_mean_is_what_others_differ_from() -> None:
    mean, _ = played(["mean"])
    again, _ = played(["mean"])
    assert same(mean.row, again.row)
    for name in ("median", "krum", "norm-clip", "exclude", "dp-mean"):
        entry = next(entry for entry in CATALOG if entry.name == name)
        assert not same(mean.row, played(stack_of(entry))[0].row), name


def test_a_blocklist_gives_what_the_others_train_without_the_named() -> None:
    """The oracle defense: from the first round on as if the hospital had never come."""
    excluded, outcomes = played(stack_of(next(e for e in CATALOG if e.name == "exclude")))
    sites = parts(["mean"]).hospitals[:-1]
    alone, _ = played(["mean"], hospitals=sites)
    assert same(excluded.row, alone.row)
    for outcome in outcomes:
        assert outcome.server is not None
        [verdicts] = [stage.verdicts for stage in outcome.server.stages if stage.name == "exclude"]
        assert verdicts == {client: float(client < HOSPITALS - 1) for client in range(HOSPITALS)}


def test_feddetect_reads_the_losses_of_generators() -> None:
    _, outcomes = played(stack_of(next(e for e in CATALOG if e.name == "feddetect")))
    scores = []
    for outcome in outcomes:
        assert outcome.server is not None
        scores.append(outcome.server.stages[-1].scores)
    assert [len(found) for found in scores] == [0, HOSPITALS]  # it judges after its warmup
    assert len(set(scores[1].values())) > 1


@pytest.mark.parametrize("travels", ["generator", "both"])
def test_a_row_holds_what_travels(travels: str) -> None:
    model = build("model", {"name": "dcgan", "width": 8, "critic_width": 8, "travels": travels})
    federation, _ = assemble(parts(["mean"], model=model))
    names = {slot.name.partition(".")[0] for slot in federation.plan.layout.slots}
    assert names == ({"generator"} if travels == "generator" else {"generator", "critic"})
    with pytest.raises(ConfigError, match="lfighter"):
        assemble(parts(["lfighter", "mean"], model=model))
