"""The strategy in a plain Flower app: the same aggregates, attackers stopped, nothing lost."""

from __future__ import annotations

import inspect
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_grid import NODES, FakeGrid
from flower_fixtures import app_folder as app_folder  # used by every test

import asepsis
from asepsis.core.errors import ConfigError, QuorumError, StoreError
from asepsis.defenses.audit.verify import verify_ledger

pytest.importorskip("flwr")
STACK = ["norm-clip", "reputation", {"name": "trimmed-mean", "f": 2}]


def strategy(defenses: Any = STACK, **options: Any) -> Any:
    from asepsis.flower import RobustStrategy

    return RobustStrategy(defenses, **{"min_train_nodes": 7, "seed": 0, **options})


def initial() -> Any:
    from flwr.app import Array, ArrayRecord
    from hospital_app import task

    return ArrayRecord({name: Array(array) for name, array in task.initial().items()})


def play(chosen: Any, rounds: int = 5, arrays: Any = None, **settings: Any) -> Any:
    from hospital_app import client_app

    made = FakeGrid(client_app.app, settings, order=settings.pop("order", list))
    first = initial() if arrays is None else arrays
    return chosen.start(grid=made, initial_arrays=first, num_rounds=rounds)


def accuracy(result: Any) -> float:
    from hospital_app import task

    return task.accuracy({name: array.numpy() for name, array in result.arrays.items()})


def bits(arrays: Any) -> dict[str, bytes]:
    return {name: array.numpy().tobytes() for name, array in arrays.items()}


def fedavg() -> Any:
    from flwr.serverapp.strategy import FedAvg

    return FedAvg(min_train_nodes=7)


@pytest.mark.parametrize(("attack", "hostile"), [("sign-flip", 2), ("label-flip", 2)])
def test_an_attack_that_ruins_fedavg_is_stopped(attack: str, hostile: int) -> None:
    clean = accuracy(play(fedavg()))
    harmed = accuracy(play(fedavg(), attack=attack, hostile=hostile))
    chosen = strategy()
    defended = accuracy(play(chosen, attack=attack, hostile=hostile))
    assert clean > 0.95
    assert harmed < clean - 0.3  # or there was nothing to stop
    assert defended > clean - 0.03
    ruined = {2**64 - 5, 40}
    assert set(chosen.reports[-1].stopped) == ruined
    changed = {stage.name: stage.changed for stage in chosen.reports[-1].stages}
    assert changed["reputation"] > 0 or changed["norm-clip"] > 0
    assert changed["trimmed-mean"] > 0


def test_without_attack_mean_is_fedavg() -> None:
    one, other = play(strategy(["mean"])).arrays, play(fedavg()).arrays
    for name in one:
        np.testing.assert_allclose(one[name].numpy(), other[name].numpy(), rtol=1e-4, atol=1e-6)


RULES: list[Any] = [
    ["mean"],
    ["median"],
    [{"name": "krum", "f": 2}],
    ["norm-clip", {"name": "trimmed-mean", "f": 2}],
    ["feddetect"],
    ["norm-clip", "median", {"name": "gaussian-noise", "std": 0.01}],
]


@pytest.mark.parametrize("stages", RULES, ids=str)
def test_a_round_is_the_aggregate_of_its_rows_bit_for_bit(stages: list[Any]) -> None:
    from hospital_app import task

    chosen = strategy(stages)
    result = play(chosen, rounds=1, hostile=2)

    start, order = task.initial(), sorted(range(7), key=lambda i: signed(NODES[i]))
    rows, weights, losses = [], [], []
    for place in order:
        inputs, labels = task.hospital(place, 7)
        model, loss = task.train(start, inputs, labels)
        if place < 2:
            model = {name: start[name] - 5 * (model[name] - start[name]) for name in model}
        rows.append(np.concatenate([model[name] - start[name] for name in ("weight", "bias")]))
        weights.append(len(labels))
        losses.append(loss)
    delta = asepsis.aggregate(
        np.stack(rows),
        stages,
        weights=weights,
        clients=[signed(NODES[i]) for i in order],
        side={"loss": losses},
        received=np.zeros(31, np.float32),
    )
    got = np.concatenate([result.arrays[name].numpy() for name in ("weight", "bias")])
    assert got.tobytes() == (np.zeros(31, np.float32) + delta).tobytes()


def signed(node: int) -> int:
    return node if node < 2**63 else node - 2**64


def test_order_of_arrival_changes_nothing() -> None:
    one = play(strategy(), hostile=2)
    other = play(strategy(), hostile=2, order=lambda replies: replies[::-1])
    assert bits(one.arrays) == bits(other.arrays)


def test_what_is_remembered_follows_the_hospital_and_not_its_slot() -> None:
    """Reputation blocks two hospitals; with other neighbors drawn first it is still these two."""
    chosen = strategy(["reputation"], hospital_key=None)
    play(chosen, rounds=4, hostile=2)
    late = chosen.reports[-1]
    assert set(late.stopped) == {2**64 - 5, 40}
    assert late.metrics()["asepsis/stopped"] == 2


def test_random_stages_have_a_secret_seed_unless_one_is_given() -> None:
    stages = ["mean", {"name": "gaussian-noise", "std": 0.1}]
    runs = [bits(play(strategy(stages, seed=seed), rounds=1).arrays) for seed in (None, None, 3, 3)]
    assert runs[0] != runs[1]
    assert runs[2] == runs[3]


def test_metrics_reports_and_log_tell_the_same(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("flwr").propagate = True
    chosen = strategy()
    with caplog.at_level(logging.INFO, logger="flwr"):
        result = play(chosen, rounds=4, hostile=2)
    report = chosen.reports[-1]
    metrics = dict(result.train_metrics_clientapp[4])
    assert {k: v for k, v in metrics.items() if k.startswith("asepsis/")} == report.metrics()
    assert metrics["asepsis/stopped"] == 2
    assert metrics["train_loss"] > 0
    assert "reputation changed" in caplog.text
    assert str(2**64 - 5) in caplog.text
    assert json.loads(json.dumps(report.record()))["asked"] == 7


def test_a_stopped_federation_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    stages = [*STACK, {"name": "gaussian-noise", "std": 0.001}, "ledger"]
    whole = strategy(stages, seed=None, ledger=tmp_path / "whole.jsonl")
    whole.server.seed = 5
    straight = play(whole, rounds=6, hostile=2)

    state, ledger = tmp_path / "state.safetensors", tmp_path / "halves.jsonl"
    first = strategy(stages, seed=5, ledger=ledger, checkpoint=state)
    first._closed = False
    first.close = lambda: None  # it is killed before it can close its ledger
    play(first, rounds=3, hostile=2)
    with ledger.open("ab") as out:  # a line that was written after the checkpoint
        out.write(b'{"entry":{"half')
    second = strategy(stages, seed=77, ledger=ledger, checkpoint=state)
    halves = play(second, rounds=3, hostile=2, arrays=second.restore(state))

    assert bits(halves.arrays) == bits(straight.arrays)
    assert ledger.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert state.stat().st_mode & 0o077 == 0


def test_the_ledger_holds_and_a_changed_line_shows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    play(strategy([*STACK, "ledger"], ledger=path), rounds=3, hostile=2)
    verdict = verify_ledger(path)
    assert not verdict.findings
    assert (verdict.rounds, verdict.closed) == (3, True)
    path.write_bytes(path.read_bytes().replace(b'"client":40', b'"client":41', 1))
    assert verify_ledger(path).findings


def test_a_ledger_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text("somebody's\n")
    with pytest.raises(StoreError, match="never written over"):
        play(strategy(["median", "ledger"], ledger=path), rounds=1)
    assert path.read_text() == "somebody's\n"


@pytest.mark.parametrize(
    "content", [b"", b"pickle", b"\x80\x04K\x01.", b"\xff" * 64], ids=["empty", "text", "pk", "ff"]
)
def test_a_damaged_state_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        strategy().restore(path)


def test_the_state_of_other_defenses_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    play(strategy(["reputation"], checkpoint=path), rounds=1)
    with pytest.raises(ConfigError, match="other defenses"):
        strategy(["median"]).restore(path)
    with pytest.raises(StoreError):
        strategy().restore(tmp_path / "nothing")


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (["deepsight"], {}, "deepsight needs head and network.*give network=TorchNetwork"),
    (["fltrust"], {}, r"fltrust needs root.*give root=.*rules that need nothing more: .*median"),
    (["client-clip", "mean"], {}, "client-clip is done at hospitals"),
    (["secure-sum", "mean"], {}, "secure-sum needs clients that take part"),
    (["median", "ledger"], {}, 'ledger="ledger.jsonl"'),
    (["median"], {"ledger": "x"}, "none among the defenses"),
    (["median"], {"integers": "mean"}, '"keep" or "median"'),
    (["median"], {"root": (torch.zeros(1), torch.zeros(1))}, "no network"),
    (["kum"], {}, "did you mean 'krum'"),
    (["activation-clustering"], {}, "inspector"),
]


@pytest.mark.parametrize(("stages", "options", "told"), REFUSED, ids=lambda one: str(one)[:30])
def test_what_a_plain_app_cannot_do_is_refused_at_once(
    stages: Any, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        strategy(stages, **options)


def test_too_few_hospitals_for_a_rule_are_refused_at_once() -> None:
    with pytest.raises(QuorumError, match="min_train_nodes: krum with f = 2 needs at least 7"):
        strategy([{"name": "krum", "f": 2}], min_train_nodes=6)


def test_the_example_server_says_how_well_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    from hospital_app import client_app, server_app

    said = {}
    for defended in (True, False):
        made = FakeGrid(client_app.app, {"hostile": 2, "defended": defended})
        server_app.main(made, made.context_of(NODES[0]))
        said[defended] = float(capsys.readouterr().out.split()[-1])
    assert said[True] > 0.95
    assert said[False] < 0.5


def test_the_clients_of_the_example_know_nothing_of_asepsis() -> None:
    from hospital_app import client_app, task

    for module in (client_app, task):
        source = inspect.getsource(module)
        assert "import asepsis" not in source
        assert "from asepsis" not in source


def test_the_page_shows_what_can_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asepsis.defenses.audit.keys import new_key

    new_key(str(tmp_path / "key.pem"))
    monkeypatch.setenv("ASEPSIS_LEDGER_KEY", str(tmp_path / "key.pem"))
    page = Path(__file__).resolve().parents[3] / "docs" / "flower-strategy.md"
    shown = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names = {
        "inputs": torch.zeros(4, 1, 28, 28),
        "targets": torch.zeros(4),
        "module": torch.nn.ReLU(),
    }
    for block in shown:
        lines = block.splitlines()
        kept = [line for line in lines if ".start(" not in line and ".restore(" not in line]
        exec("\n".join(["from asepsis.flower import *", *kept]), names)
    assert len(shown) == 3
    assert "strategy" in names
