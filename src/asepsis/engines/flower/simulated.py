"""The ClientApp of a simulation: worker processes are handed the federation once."""

from __future__ import annotations

import pickle
from typing import Any

from asepsis.engines.flower.client import make_app
from asepsis.engines.flower.site import Site
from asepsis.models.user_code import load_again

_site: Site | None = None


def set_up(federation: bytes, code: dict[str, str]) -> None:
    """Take the federation, in a worker process."""
    global _site
    load_again(code)
    _site = Site(pickle.loads(federation))  # noqa: S301 (our own bytes, from the parent process)


def _here(_: Any) -> Site:
    assert _site is not None, "set_up comes first"
    return _site


def __getattr__(name: str) -> Any:
    """Make the app when it is asked for: Flower need not be there to import this module."""
    if name == "app":
        return make_app(_here, bench=True)
    raise AttributeError(name)
