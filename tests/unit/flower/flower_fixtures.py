"""Flower without its servers: this process may make messages, and find the example."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "flower-app"


@pytest.fixture(autouse=True)
def app_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the example importable, and this process a server that may make messages."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    identity = pytest.importorskip("flwr.supercore.task_identity").TaskIdentity
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(identity, name, 1)
    before = random.getstate()  # Flower draws whom to ask from Python's own generator
    yield
    random.setstate(before)
    for name in [name for name in sys.modules if name.partition(".")[0] == "hospital_app"]:
        del sys.modules[name]
