from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from asepsis.core.engine import Job, Plan
from asepsis.core.errors import ConfigError
from asepsis.core.layout import Layout
from asepsis.core.rng import building_modules
from asepsis.core.samples import Shard
from asepsis.core.trust import trusting_code
from asepsis.engines import make_engine
from asepsis.models.user_code import digest_of, load_class
from asepsis.tasks.tabular import Tabular
from asepsis.training.sgd import Prox, Sgd


class Counting(nn.Module):
    """A network whose BatchNorm averages over all batches seen: its counter must not leak."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6, momentum=None)
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.norm(x))
        return out


def plan(module: nn.Module, trainer: Sgd, clients: int = 5) -> Plan:
    generator = torch.Generator().manual_seed(1)
    sizes = [7 + 5 * client for client in range(clients)]
    shards = {
        (client, "clean"): Shard(
            torch.randn(size, 6, generator=generator),
            torch.randint(2, (size,), generator=generator),
        )
        for client, size in enumerate(sizes)
    }
    weights = {client: float(size) for client, size in enumerate(sizes)}
    layout = Layout.of(module)
    return Plan(module, layout, Tabular(), trainer, 3, shards, weights)


def mlp() -> nn.Module:
    with building_modules(0):
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def rows(
    name: str, made: Plan, order: list[int], rounds: int = 3, workers: int = 2
) -> list[torch.Tensor]:
    engine = make_engine(name, workers)
    engine.start(made)
    received, seen = made.layout.flatten(made.module), []
    try:
        for t in range(rounds):
            replies = engine.train(received, [Job(client, t) for client in order])
            assert [reply.client for reply in replies] == sorted(order)
            stacked = torch.stack([reply.row for reply in replies])
            received = received + stacked.mean(0)
            seen.append(stacked)
    finally:
        engine.close()
    return seen


@pytest.mark.parametrize("name", ["threads", "pool"])
@pytest.mark.parametrize("counting", [False, True])
def test_reference_engines_are_bit_equal_over_ten_rounds(name: str, counting: bool) -> None:
    with building_modules(0):
        module: nn.Module = Counting() if counting else mlp()
    made = plan(module, Sgd(batch_size=4))
    reference = rows("serial", made, [0, 1, 2, 3, 4], rounds=10)
    other = rows(name, made, [4, 2, 0, 3, 1], rounds=10)
    assert all(torch.equal(a, b) for a, b in zip(reference, other, strict=True))


@pytest.mark.parametrize("trainer", [Sgd(batch_size=4, weight_decay=0.1), Prox(mu=0.5)])
def test_batched_agrees_with_serial_in_one_round(trainer: Sgd) -> None:
    made = plan(mlp(), trainer)
    serial, batched = rows("serial", made, [0, 1, 2], 1), rows("batched", made, [0, 1, 2], 1)
    torch.testing.assert_close(batched[0], serial[0], atol=1e-5, rtol=1e-4)


def test_a_straggler_does_part_of_its_work() -> None:
    made = plan(mlp(), Sgd(batch_size=4, steps=4))
    engine = make_engine("serial")
    engine.start(made)
    received = made.layout.flatten(made.module)
    full, half = (engine.train(received, [Job(0, 0, work=work)])[0].row for work in (1.0, 0.5))
    short = plan(mlp(), Sgd(batch_size=4, steps=2))
    engine.start(short)
    assert torch.equal(half, engine.train(received, [Job(0, 0)])[0].row)
    assert not torch.equal(half, full)


def test_batched_refuses_buffers() -> None:
    with building_modules(0):
        made = plan(Counting(), Sgd())
    with pytest.raises(ConfigError, match="BatchNorm"):
        make_engine("batched").start(made)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'threads'"):
        make_engine("thread")


def test_threads_use_one_intra_op_thread_and_restore_the_setting() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rows("threads", plan(mlp(), Sgd()), [0, 1], 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


NET = """
from torch import nn
class Net(nn.Linear):
    def __init__(self):
        super().__init__(6, 2)
"""


@pytest.mark.parametrize("kept", [True, False])
def test_a_network_trusted_once_trains_in_workers_and_one_that_is_gone_disturbs_none(
    tmp_path: Path, kept: bool
) -> None:
    file = tmp_path / "net.py"
    file.write_text(NET + f"# {kept}")
    with trusting_code(True), building_modules(0):
        net = load_class(f"{file}:Net", digest_of(file))()
    if not kept:
        file.unlink()
    made = plan(net if kept else mlp(), Sgd(batch_size=4))
    serial, pool = rows("serial", made, [0, 1]), rows("pool", made, [1, 0])
    for mine, theirs in zip(serial, pool, strict=True):
        assert torch.equal(mine, theirs)
