"""The defenses as a strategy for Flower apps that know nothing else of asepsis (extra ``flower``).

>>> from asepsis.flower import RobustStrategy  # doctest: +SKIP
>>> strategy = RobustStrategy(["norm-clip", "trimmed-mean"], min_train_nodes=5)  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asepsis.flower.network import TorchNetwork
    from asepsis.flower.reports import RoundReport
    from asepsis.flower.strategy import RobustStrategy

_HOMES = {
    "RobustStrategy": "asepsis.flower.strategy",
    "RoundReport": "asepsis.flower.reports",
    "TorchNetwork": "asepsis.flower.network",
}

__all__ = ["RobustStrategy", "RoundReport", "TorchNetwork"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: Flower is an optional extra.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'asepsis.flower' has no attribute '{name}'")
