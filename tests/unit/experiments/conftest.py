"""What several tests of this folder start from."""

from __future__ import annotations

from typing import Any

import pytest
from ledger_runs import serial, spec

from asepsis.experiments.run import run_experiment
from asepsis.experiments.store import Store


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Any]]:
    store = Store(tmp_path_factory.mktemp("whole")).open()
    return store, run_experiment(spec(), store, serial())
