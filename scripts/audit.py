"""Audit what asepsis depends on, without a network: a step of ``./check``.

Usage: python scripts/audit.py [--online]

It refuses a package that is needed and not pinned, or installed in another version than pinned; a
license that is not permissive and was not reviewed; an import that no dependency declares, and a
dependency that nothing imports; a version with a known advisory, among those pinned and those
``pyproject.toml`` allows; and, where CI is set, a PyTorch built for CUDA, which is 3 GB of packages
that no test uses. ``--online`` asks pip-audit about every pin as well, where it is installed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

from audit_advisories import affected, read_advisories
from audit_imports import strangers, unused
from audit_licenses import Policy, refused
from audit_pins import Installed, declared, differing, needed, read_pins

ROOT = Path(__file__).resolve().parent.parent
CUDA_PACKAGES = re.compile(r"nvidia-|cuda-|triton$")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; return 1 if anything was."""
    parser = argparse.ArgumentParser(description="Audit what asepsis depends on.")
    parser.add_argument("--online", action="store_true", help="ask pip-audit about every pin, too")
    online = parser.parse_args(arguments).online
    installed = {package.name: package for package in map(Installed.of, distributions())}
    found, told = audit(ROOT, installed), notes(installed)
    (found if os.environ.get("CI") else told).extend(cuda(distributions(name="torch")))
    for line in [*told, *found]:
        print(line)
    advisories = read_advisories(ROOT / "scripts" / "advisories.toml")
    print(
        f"{len(found)} findings; {len(advisories)} advisories, last reviewed on "
        f"{max(known.reviewed for known in advisories)}"
    )
    return max(int(bool(found)), ask_online() if online else 0)


def audit(root: Path, installed: dict[str, Installed]) -> list[str]:
    """Return a line for everything that is wrong with the project in ``root``."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    asked = declared(project)
    pins, found = read_pins((root / "constraints.txt").read_text(encoding="utf-8"))
    reached = {
        name: package
        for name, package in needed(asked, installed).items()
        if not CUDA_PACKAGES.match(name)
    }
    advisories = read_advisories(root / "scripts" / "advisories.toml")
    policy = Policy.read(root / "scripts" / "licenses.toml")
    return [
        *found,
        *differing(reached, pins),
        *refused(reached.values(), policy),
        *strangers(root / "src" / "asepsis", asked),
        *unused(root / "src" / "asepsis", asked),
        *affected(advisories, pins, asked),
    ]


def notes(installed: dict[str, Installed]) -> list[str]:
    """Say which packages no license could be looked at for, as they come with PyTorch for CUDA."""
    names = sorted(name for name in installed if CUDA_PACKAGES.match(name))
    return [f"note: not audited, as they come with PyTorch for CUDA: {', '.join(names)}"] * bool(
        names
    )


def cuda(found: Iterable[Distribution]) -> list[str]:
    """Say whether the PyTorch that is installed was built for CUDA."""
    lines = []
    for distribution in found:
        version = Path(str(distribution.locate_file("torch/version.py")))
        text = version.read_text(encoding="utf-8") if version.is_file() else ""
        if built := re.search(r"^cuda\b[^=]*= '([^']+)'", text, re.MULTILINE):
            lines.append(f"torch: built for CUDA {built[1]}; CI uses the build for CPUs")
    return lines


def ask_online() -> int:
    """Have pip-audit ask the advisory databases about every pin; return its exit status."""
    if find_spec("pip_audit") is None:
        print("--online needs pip-audit: pip install pip-audit")
        return 2
    command = ["-m", "pip_audit", "--requirement", str(ROOT / "constraints.txt")]
    return subprocess.run([sys.executable, *command, "--no-deps", "--disable-pip"]).returncode


if __name__ == "__main__":
    sys.exit(main())
