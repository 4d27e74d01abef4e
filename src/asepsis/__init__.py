"""asepsis: a security test bench for federated learning in healthcare.

>>> import asepsis
>>> import numpy as np
>>> asepsis.aggregate(np.array([[0.0], [1.0], [9.0]]), "median")
array([1.])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asepsis.api import run, sweep
    from asepsis.attacks.craft import craft
    from asepsis.defenses.call import aggregate
    from asepsis.defenses.stored import stored_rows
    from asepsis.metrics.privacy import epsilon

_HOMES = {
    "aggregate": "asepsis.defenses.call",
    "craft": "asepsis.attacks.craft",
    "epsilon": "asepsis.metrics.privacy",
    "run": "asepsis.api",
    "stored_rows": "asepsis.defenses.stored",
    "sweep": "asepsis.api",
}

__all__ = ["aggregate", "craft", "epsilon", "run", "stored_rows", "sweep"]


def __getattr__(name: str) -> Any:
    # Loaded on first use: listing components must not wait for PyTorch.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'asepsis' has no attribute '{name}'")
