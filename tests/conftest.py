"""Shared fixtures: no test may move a global random generator, whatever it runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rich.progress  # noqa: F401 (its first import draws from a global generator)
import sklearn.datasets  # noqa: F401 (likewise)
import torch
from hypothesis import settings

pytest_plugins = ["report_fixtures", "sampling"]

# The same examples every time: a run that fails can be run again.
settings.register_profile("seeded", derandomize=True, deadline=None)
settings.load_profile("seeded")


def numpys_state() -> Any:
    """State of NumPy's global generator."""
    return np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002


@pytest.fixture(autouse=True)
def global_generators_stay_put() -> Iterator[None]:
    """Fail a test that moves the global generator of torch, NumPy or Python."""
    before = (torch.get_rng_state(), numpys_state(), random.getstate())
    yield
    assert torch.equal(before[0], torch.get_rng_state()), "torch's global generator moved"
    assert (before[1] == numpys_state()).all(), "NumPy's global generator moved"
    assert before[2] == random.getstate(), "Python's global generator moved"
