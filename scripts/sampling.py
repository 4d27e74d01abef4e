"""A pytest plugin: so many seconds a file, and beyond that a sample that rotates with the day.

``--budget 240`` lets every file start tests for 240 s, in an order drawn by ``--rotation`` (today's
date, unless said otherwise); ``--until 40`` starts none after 40 minutes. What is left out is
skipped by name, and another day's turn. Every file plays at least one test in its budget.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

OF_DAY = datetime.now(UTC).toordinal()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("sampling")
    group.addoption("--budget", type=float, default=None, help="seconds a file may start tests")
    group.addoption("--until", type=float, default=None, help="minutes the session may start tests")
    group.addoption("--rotation", type=int, default=OF_DAY, help="seed of the order")


def pytest_configure(config: pytest.Config) -> None:
    """Sample only where a budget is given."""
    if config.getoption("--budget") is not None or config.getoption("--until") is not None:
        config.pluginmanager.register(Sampling(config), "asepsis-sampling")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say how to play the same sample again."""
    if config.getoption("--budget") is None:
        return None
    seconds, seed = config.getoption("--budget"), config.getoption("--rotation")
    return f"sampling: {seconds:g} s a file, --rotation {seed}"


class Sampling:
    """What has been spent, by file."""

    def __init__(self, config: pytest.Config) -> None:
        self._budget: float | None = config.getoption("--budget")
        self._until: float | None = config.getoption("--until")
        self._seed: int = config.getoption("--rotation")
        self._began = time.monotonic()
        self._spent: dict[str, float] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Draw the order of files, and of the tests in each."""
        rng = Random(self._seed)
        files: dict[str, list[pytest.Item]] = {}
        for item in items:
            files.setdefault(_file(item), []).append(item)
        order = sorted(files)
        rng.shuffle(order)
        for name in order:
            rng.shuffle(files[name])
        items[:] = [item for name in order for item in files[name]]

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip what would begin beyond the budget."""
        spent = self._spent.get(_file(item), 0.0)
        if self._budget is not None and spent > self._budget:
            pytest.skip(f"another day's turn: the file has spent {spent:.0f} s")
        if self._until is not None and time.monotonic() - self._began > 60 * self._until:
            pytest.skip("another day's turn: the time is over")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, None]:
        """Count a test's time, fixtures and all."""
        began = time.monotonic()
        yield
        spent = time.monotonic() - began
        self._spent[_file(item)] = self._spent.get(_file(item), 0.0) + spent


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]
