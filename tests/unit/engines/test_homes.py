"""What stays at a hospital: its local parts of the model, and what its trainer remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from asepsis.core.contracts import Task
from asepsis.core.engine import Job, Plan
from asepsis.core.layout import Layout
from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard
from asepsis.core.updates import Reply, State
from asepsis.engines import make_engine
from asepsis.federation.federation import part_of
from asepsis.federation.sending import kept
from asepsis.tasks.tabular import Tabular
from asepsis.training.sgd import Sgd

CLIENTS, ROUNDS = 4, 3


class Remembering(Sgd):
    """SGD that counts its rounds, and shrinks its steps with them."""

    def train_on(
        self,
        module: nn.Module,
        layout: Layout,
        received: Tensor,
        shard: Shard,
        task: Task,
        rng: np.random.Generator,
        work: float,
        home: State,
    ) -> tuple[Tensor, Mapping[str, float], State]:
        rounds = home.get("rounds", torch.zeros(()))
        row, side = self.train(module, layout, received, shard, task, rng, work)
        return row / (1 + rounds), {**side, "rounds": float(rounds)}, {"rounds": rounds + 1}


class Blowing(Remembering):
    """Remembers what is no number in its hospital's second round."""

    def train_on(
        self,
        module: nn.Module,
        layout: Layout,
        received: Tensor,
        shard: Shard,
        task: Task,
        rng: np.random.Generator,
        work: float,
        home: State,
    ) -> tuple[Tensor, Mapping[str, float], State]:
        row, side, home = super().train_on(module, layout, received, shard, task, rng, work, home)
        return row, side, {"rounds": home["rounds"] * (1 if home["rounds"] < 2 else float("nan"))}


def plan(trainer: Sgd) -> Plan:
    with building_modules(0):
        module = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    draws = torch.Generator().manual_seed(1)
    shards = {
        (client, "clean"): Shard(
            torch.randn(12 + client, 6, generator=draws),
            torch.randint(2, (12 + client,), generator=draws),
        )
        for client in range(CLIENTS)
    }
    layout = Layout.of(module, local=("1.", "3."))
    weights = dict.fromkeys(range(CLIENTS), 1.0)
    return Plan(module, layout, Tabular(), trainer, 3, shards, weights)


def played(name: str, made: Plan, rounds: int = ROUNDS) -> tuple[list[list[Reply]], State]:
    """Every round's replies, and what all hospitals have in the end."""
    engine = make_engine(name, 2)
    engine.start(made)
    homes: State = {}
    received, seen = made.layout.flatten(made.module), []
    try:
        for t in range(rounds):
            jobs = [Job(client, t, home=part_of(homes, client)) for client in range(CLIENTS)]
            replies = engine.train(received, jobs)
            homes = kept(homes, replies)
            received = received + torch.stack([reply.row for reply in replies]).mean(0)
            seen.append(replies)
    finally:
        engine.close()
    return seen, homes


def same(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("name", ["threads", "pool"])
def test_what_stays_at_home_is_the_same_on_every_engine(name: str) -> None:
    made = plan(Remembering(lr=0.1, steps=2))
    (usual, homes), (other, others) = played("serial", made), played(name, made)
    rows = [[reply.row for reply in replies] for replies in usual]
    assert all(
        torch.equal(a, reply.row)
        for line, replies in zip(rows, other, strict=True)
        for a, reply in zip(line, replies, strict=True)
    )
    assert same(homes, others)


def test_local_parts_are_no_part_of_a_row() -> None:
    made = plan(Sgd())
    assert {slot.name for slot in made.layout.slots} == {"0.weight", "0.bias"}
    assert {name.split(".")[0] for name in made.layout.local} == {"1", "3"}
    assert "1.num_batches_tracked" in made.layout.local


def test_every_hospital_goes_on_with_its_own_local_parts() -> None:
    made = plan(Sgd(lr=0.1, steps=2))
    [first], homes = played("serial", made, 1)
    heads = [part_of(homes, client)["local/3.weight"] for client in range(CLIENTS)]
    assert not any(torch.equal(heads[0], head) for head in heads[1:])
    engine = make_engine("serial")
    engine.start(made)
    received = made.layout.flatten(made.module)

    def answer(jobs: Sequence[Job]) -> Tensor:
        return engine.train(received, jobs)[-1].row

    alone = answer([Job(2, 1, home=first[2].home)])
    after_others = answer([Job(0, 1, home=first[0].home), Job(2, 1, home=first[2].home)])
    without = answer([Job(0, 1, home=first[0].home), Job(2, 1)])
    assert torch.equal(alone, after_others)
    assert not torch.equal(alone, without)


def test_a_trainer_is_handed_what_it_kept() -> None:
    seen, _ = played("serial", plan(Remembering(steps=1)))
    assert [replies[0].side["rounds"] for replies in seen] == [0.0, 1.0, 2.0]


def test_what_is_no_number_is_thrown_away_and_the_hospital_begins_afresh() -> None:
    seen, homes = played("serial", plan(Blowing(steps=1)))
    assert [[reply.afresh for reply in replies] for replies in seen] == [
        [False] * 4,
        [True] * 4,
        [False] * 4,
    ]
    assert [replies[1].side["rounds"] for replies in seen][2] == 0.0
    assert all(bool(torch.isfinite(value).all()) for value in homes.values())


def test_who_did_not_train_keeps_what_it_had() -> None:
    one = torch.ones(1)
    before = {"1/local/a": one, "2/local/a": one}
    after = kept(before, [replace(Reply(2, one, 1.0), home={"local/a": 2 * one})])
    assert same(after, {"1/local/a": one, "2/local/a": 2 * one})
