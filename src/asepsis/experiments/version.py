"""Which code and which packages made a figure."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "monai")


@cache
def code_version() -> str:
    """Return the version and a hash of asepsis's own sources."""
    root = Path(__file__).resolve().parent.parent
    sums = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        sums.update(path.relative_to(root).as_posix().encode())
        sums.update(path.read_bytes())
    return f"{metadata.version('asepsis')}+{sums.hexdigest()[:12]}"


@cache
def packages() -> dict[str, str]:
    """Return the versions of Python and of the packages that shape numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
