"""A lint: no source may draw from a global random generator."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import asepsis

ROOT = Path(asepsis.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
BANNED_IMPORTS = {"random", "secrets"}
HARMLESS = {
    ("report/view.py", "import secrets"): "the address of a local page must not be guessed",
    ("defenses/masking/holder.py", "import secrets"): "masks cancel: no result depends on them",
    ("defenses/masking/carrying.py", "import secrets"): "nor on the name of a round of masks",
    ("engines/flower/client.py", "import secrets"): "nor on a hospital's identity key",
    ("deploy/certificates.py", "import secrets"): "keys of a deployment",
    ("deploy/local.py", "import secrets"): "names and ports of a rehearsal on this machine",
    ("flower/strategy.py", "import secrets"): "noise in a team's own app, unless a seed is said",
    ("models/user_check.py", "from random import getstate"): "it looks whether others have drawn",
}
"""What stays out of every experiment, and why."""
DRAWS = {
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like",
    "normal", "bernoulli", "multinomial", "poisson", "manual_seed", "seed",
    "normal_", "uniform_", "bernoulli_", "random_", "exponential_",
}  # fmt: skip


def modules(node: ast.stmt) -> set[str]:
    """Return the modules that a statement imports, or imports from."""
    if isinstance(node, ast.ImportFrom):
        return {node.module or ""}
    return {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()


def offenses(tree: ast.AST) -> list[str]:
    """Return the lines that draw without a generator of their own."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and modules(node) & BANNED_IMPORTS:
            found.append(f"{node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, name = ast.unparse(node.func.value), node.func.attr
            keyed = any(keyword.arg == "generator" for keyword in node.keywords)
            legacy = owner in ("np.random", "numpy.random") and name not in (
                "Generator", "Philox", "default_rng", "get_state",
            )  # fmt: skip
            torch_draw = name in DRAWS and owner.startswith(("torch", "nn.init", "init"))
            if legacy or (torch_draw and not keyed and owner != "torch.default_generator"):
                allowed = owner == "torch.Generator()" and name == "manual_seed"
                if not allowed:
                    found.append(f"{node.lineno}: {owner}.{name}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_global_generator(path: Path) -> None:
    found = offenses(ast.parse(path.read_text(encoding="utf-8")))
    if path.parent.name == "models":  # built inside core.rng.building_modules only
        found = [offense for offense in found if "nn.init." not in offense]
    place = path.relative_to(ROOT).as_posix()
    assert [text for text in found if (place, text.partition(": ")[2]) not in HARMLESS] == []


@pytest.mark.parametrize(
    "code",
    [
        "import random", "from random import shuffle", "torch.randn(3)",
        "np.random.normal(0, 1)", "torch.manual_seed(0)",
    ],
)  # fmt: skip
def test_the_lint_can_fail(code: str) -> None:
    assert offenses(ast.parse(code))
