"""Every example in a docstring runs, and no module needs an optional package to be imported."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import asepsis
from asepsis.core.rng import building_modules

importlib.import_module("sklearn.datasets")  # moves Python's global generator, which tests watch

NAMES = [
    "asepsis",
    *(
        module.name
        for module in pkgutil.walk_packages(asepsis.__path__, "asepsis.")
        if not module.name.endswith("__main__")
    ),
]
OPTIONAL = (
    *("monai", "nibabel", "pydicom", "PIL", "opacus", "captum", "matplotlib"),
    *("web3", "eth_tester", "vyper", "flwr", "ray"),
)
WITH_FLOWER = (
    "asepsis.engines.flower.internals",
    "asepsis.flower.strategy",
    "asepsis.testing.wire.protocol",
)
"""Made of Flower's own classes, and loaded only where somebody asks for Flower."""


@pytest.mark.parametrize("name", NAMES)
def test_examples_run_as_printed(name: str) -> None:
    if name in WITH_FLOWER:
        pytest.importorskip("flwr")
    module = importlib.import_module(name)
    with building_modules(0):  # examples may build networks
        outcome = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.failed == 0


def test_no_module_imports_an_optional_package() -> None:
    names = [name for name in NAMES if name not in WITH_FLOWER]
    code = (
        f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
        f"print([name for name in {OPTIONAL} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
