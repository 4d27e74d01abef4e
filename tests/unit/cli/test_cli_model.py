"""``asepsis model``: what is printed of an exported network."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from cli_command import asepsis, refused
from safetensors.torch import save_file


def test_tables_and_json(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save_file({"layer.weight": torch.zeros(3, 4), "layer.bias": torch.zeros(3)}, file)
    done = asepsis("model", str(file))
    assert done.code == 0
    assert "3×4" in done.out
    assert "--trust-code" in done.out
    told = json.loads(asepsis("model", str(file), "--json").out)
    assert told["parameters"] == 15
    assert told["layers"][0]["name"] == "layer"


def test_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "net.h5").write_text("")
    assert "not a kind of file" in refused(asepsis("model", str(tmp_path / "net.h5")))
