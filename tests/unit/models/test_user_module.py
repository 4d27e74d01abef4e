"""A network that a user brings: what runs when, and what is said when it cannot be trained."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import asepsis
from asepsis.core.errors import AsepsisError, ConfigError
from asepsis.core.registry import build, options_of
from asepsis.core.rng import building_modules
from asepsis.core.samples import DataFacts, Kind, Shard
from asepsis.core.trust import VARIABLE, trusted, trusting_code
from asepsis.models.user_check import check_model

HEAD = "import torch\nfrom torch import nn\n"
SOUND = """
class Net(nn.Module):
    def __init__(self, features, classes, wide=4):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(features, wide), nn.ReLU(), nn.Linear(wide, classes))

    def forward(self, x):
        return self.body(x)
"""
FILLED = {"features": "{features}", "classes": "{classes}"}
BODY = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        {init}

    def forward(self, x):
        {forward}
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def written(folder: Path, text: str, name: str = "net.py") -> str:
    (folder / name).write_text(HEAD + text)
    return f"{folder / name}:Net"


def component(folder: Path, text: str, **options: Any) -> Any:
    return build("model", {"name": "module", "at": written(folder, text), **options})


def built(builder: Any, shape: tuple[int, ...] = (6,), classes: int = 3) -> nn.Module:
    with trusting_code(True), building_modules(0):
        module: nn.Module = builder.build(shape, classes)
    return module


def facts() -> DataFacts:
    return DataFacts(Kind.TABLE, ("a", "b", "c"))


def shard() -> Shard:
    inputs = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    return Shard(inputs, torch.arange(10) % 3)


def checked(builder: Any) -> None:
    with trusting_code(True):
        check_model(builder, build("task", "tabular"), facts(), shard())


def refusal(folder: Path, init: str = "pass", forward: str = "return self.layer(x)") -> ConfigError:
    builder = component(folder, BODY.format(init=init, forward=forward))
    with pytest.raises(ConfigError) as caught:
        checked(builder)
    return caught.value


def test_nothing_runs_without_the_grant(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    builder = component(tmp_path, f"open({str(ran)!r}, 'w').close()\n{SOUND}", options=FILLED)
    with pytest.raises(ConfigError, match=r"net\.py.*--trust-code"):
        builder.build((6,), 3)
    assert not ran.exists()
    built(builder)
    assert ran.exists()
    assert not trusted()


def test_looking_for_a_module_imports_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hospital_nets").mkdir()
    (tmp_path / "hospital_nets" / "__init__.py").write_text("raise RuntimeError('ran')\n")
    written(tmp_path / "hospital_nets", SOUND)
    monkeypatch.chdir(tmp_path)
    builder: Any = build("model", {"name": "module", "at": "hospital_nets.net:Net"})
    assert len(builder.source) == 64
    with pytest.raises(ConfigError, match="RuntimeError: ran"):
        built(builder)


def test_options_are_filled_in_by_name_only(tmp_path: Path) -> None:
    builder = component(tmp_path, SOUND, options={**FILLED, "wide": 7})
    module = built(builder, (2, 3), 5)
    shapes = [tuple(part.shape) for part in module.parameters()]
    assert shapes == [(7, 6), (7,), (5, 7), (5,)]


def test_a_sound_network_passes(tmp_path: Path) -> None:
    checked(component(tmp_path, SOUND, options=FILLED))


@pytest.mark.parametrize(
    ("init", "forward", "words"),
    [
        ("pass", "return self.layer(x)[:, :2]", r"another shape.*\(8, 2\).*\(8, 3\)"),
        ("pass", "return self.layer(x).squeeze(0)", r"another shape.*\(3,\).*\(1, 3\)"),
        ("pass", "return self.layer(x).double()", "float64"),
        ("pass", "return self.layer(x), x", "no tensor; got 'tuple'"),
        ("pass", "return self.layer(x) / 0 * 0", "NaN or infinite values.*24 of 24"),
        ("pass", "return self.layer(x).detach()", "no gradient: .*detached"),
        ("pass", "return self.layer(x) * 0", "all gradients are zero"),
        ("self.other = nn.Linear(2, 2)", "return self.layer(x)", "no gradient reaches.*other"),
        ("self.layer.requires_grad_(False)", "return self.layer(x)", "no parameter can be trained"),
        ("pass", "return self.layer(x[:, :5])", r"forward on \(8, 6\).*RuntimeError.*line 11"),
        ("raise ValueError('no')", "return 1", r"Net\(\.\.\.\) raised ValueError: no.*line 8"),
        ("self.layer.double()", "return self.layer(x)", "layer.weight is float64"),
        (
            "self.c = nn.Parameter(torch.zeros(2, dtype=torch.complex64))",
            "return self.layer(x)",
            "c is complex64",
        ),
        (
            "self.i = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)",
            "return self.layer(x)",
            "i is int64",
        ),
        ("self.layer = nn.LazyLinear(3)", "return self.layer(x)", "lazy layers"),
        (
            "self.d = nn.Dropout(0.5)",
            "return self.layer(self.d(x))",
            r"d \(Dropout\).*dropout of 0",
        ),
        ("pass", "return self.layer(x + torch.rand(1))", "draws from a global generator"),
        ("pass", "x += 1; return self.layer(x)", "changes its input in place"),
        (
            "self.n = 0",
            "self.n += 1; return self.layer(x) + self.n",
            "another answer the second time",
        ),
        (
            "self.layer.weight.data.normal_(generator=torch.Generator().manual_seed(id(self)))",
            "return self.layer(x)",
            "the network differs.*layer.weight",
        ),
        (
            "nn.init.constant_(self.layer.bias, float('nan'))",
            "return self.layer(x)",
            "start as NaN",
        ),
    ],
)
def test_what_cannot_be_trained_is_said(
    tmp_path: Path, init: str, forward: str, words: str
) -> None:
    error = refusal(tmp_path, init, forward)
    assert error.place == "model"
    with pytest.raises(ConfigError, match=words):
        raise error


def test_a_constructor_that_draws_from_numpy(tmp_path: Path) -> None:
    before = np.random.get_state()  # noqa: NPY002 (put back below)
    init = "import numpy; self.scale = float(numpy.random.rand())"
    try:
        with pytest.raises(ConfigError, match="constructor draws from a global generator of NumPy"):
            raise refusal(tmp_path, init)
    finally:
        np.random.set_state(before)  # noqa: NPY002


def test_a_class_that_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not a torch\.nn\.Module; got 'Net'"):
        checked(component(tmp_path, "class Net:\n    pass\n"))


def test_shared_parameters_train_as_one(tmp_path: Path) -> None:
    init = "self.same = nn.Linear(6, 3); self.same.weight = self.layer.weight"
    forward = "return self.layer(x) + self.same(x)"
    checked(component(tmp_path, BODY.format(init=init, forward=forward)))


def test_weights_replace_what_was_drawn(tmp_path: Path) -> None:
    plain = component(tmp_path, SOUND, options=FILLED)
    wanted = {k: torch.full_like(v, 0.5) for k, v in built(plain).state_dict().items()}
    save_file(wanted, tmp_path / "net.safetensors")
    trained = component(tmp_path, SOUND, options=FILLED, weights=str(tmp_path / "net.safetensors"))
    found = built(trained).state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert trained.source.startswith(plain.source + "+")


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    save_file({"body.0.weight": torch.zeros(4, 5), "x": torch.zeros(1)}, tmp_path / "w.safetensors")
    builder = component(tmp_path, SOUND, options=FILLED, weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(ConfigError) as caught:
        built(builder)
    assert "body.0.bias is missing" in str(caught.value)
    assert "and 2 more" in str(caught.value)


@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.pkl", "net.bin", "net.ckpt"])
def test_pickled_weights_are_refused_unread(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"never read.*save_file"):
        component(tmp_path, SOUND, weights=str(tmp_path / name))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 64)
    builder = component(tmp_path, SOUND, options=FILLED, weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(ConfigError, match="not a sound safetensors file"):
        built(builder)


def test_a_file_that_changed_in_between_does_not_run(tmp_path: Path) -> None:
    builder = component(tmp_path, SOUND + "\nUNSEEN = True\n", options=FILLED)
    written(tmp_path, SOUND + "\nopen('/nowhere/at/all')\n")
    with pytest.raises(ConfigError, match="changed"):
        built(builder)


def experiment(at: str) -> dict[str, Any]:
    return {
        "dataset": "breast-cancer",
        "model": {"name": "module", "at": at, "options": FILLED},
        "federation": {"hospitals": 3, "rounds": 2},
        "trainer": {"name": "sgd", "steps": 2},
    }


@pytest.mark.parametrize("engine", ["serial", "pool", "batched"])
def test_every_engine_trains_it(tmp_path: Path, engine: str) -> None:
    asked = experiment(written(tmp_path, SOUND))
    with pytest.raises(ConfigError, match="--trust-code"):
        asepsis.run(copy.deepcopy(asked), engine=engine, out=tmp_path / "never")
    results = asepsis.run(asked, engine=engine, trust_code=True)
    assert results.frame()["status"].tolist() == ["success"]


@pytest.mark.slow  # two processes begin, and import PyTorch
def test_worker_processes_have_the_grant(tmp_path: Path) -> None:
    asked = experiment(written(tmp_path, SOUND))
    results = asepsis.run(asked, seeds=2, jobs=2, trust_code=True)
    assert results.frame()["status"].tolist() == ["success"] * 2


def test_a_changed_file_is_another_run(tmp_path: Path) -> None:
    asked, out = experiment(written(tmp_path, SOUND)), tmp_path / "out"
    one = asepsis.run(copy.deepcopy(asked), out=out, trust_code=True).runs[0]
    same = asepsis.run(copy.deepcopy(asked), out=out, trust_code=True, resume=True).runs[0]
    assert same.lines == one.lines
    written(tmp_path, SOUND.replace("nn.ReLU", "nn.Tanh"))
    other = asepsis.run(asked, out=out, trust_code=True, resume=True).runs[0]
    assert other.resolved["protocol"] != one.resolved["protocol"]


def test_the_record_has_the_digest(tmp_path: Path) -> None:
    builder = component(tmp_path, SOUND, options=FILLED)
    assert json.loads(json.dumps(options_of(builder)))["source"] == builder.source


def test_an_error_names_no_folder(tmp_path: Path) -> None:
    with pytest.raises(AsepsisError) as caught:
        build("model", {"name": "module", "at": f"{tmp_path}/nothing.py:Net"})
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("where", ["~no_such_user_here/net.py", "outer.inner.net"])
def test_a_place_that_leads_nowhere_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    (tmp_path / "outer" / "inner").mkdir(parents=True)  # namespace packages
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no such Python file or module"):
        build("model", {"name": "module", "at": f"{where}:Net"})
    with pytest.raises(ConfigError, match="no such file"):
        component(tmp_path, SOUND, options=FILLED, weights="~no_such_user_here/w.safetensors")


def test_no_value_of_a_sample_is_in_a_message(tmp_path: Path) -> None:
    value = f"{float(shard().inputs[0, 0]):.3f}"
    raised = "raise ValueError(f'too large: {x.flatten()[0]:.3f}')"
    error = refusal(tmp_path, forward=f"if x.any(): {raised}\n        return self.layer(x)")
    assert value not in str(error)
    assert "ValueError" in str(error)
    assert "net.py, line" in str(error)


def test_what_blank_samples_raise_too_is_repeated(tmp_path: Path) -> None:
    error = refusal(tmp_path, forward="return self.layer(x[:, :4])")
    assert "mat1 and mat2 shapes cannot be multiplied" in str(error)


def test_weights_that_changed_in_between_are_not_used(tmp_path: Path) -> None:
    module = built(component(tmp_path, SOUND, options=FILLED))
    file = tmp_path / "w.safetensors"
    save_file(module.state_dict(), file)
    builder = component(tmp_path, SOUND, options=FILLED, weights=str(file))
    save_file({name: tensor + 1 for name, tensor in module.state_dict().items()}, file)
    with pytest.raises(ConfigError, match="changed while this was running"):
        built(builder)
