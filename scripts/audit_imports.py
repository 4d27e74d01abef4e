"""Whether the sources import what is declared, and nothing else."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from audit_pins import BUILD

OWN = "asepsis"
IMPORTED_AS = {
    "PIL": "pillow",
    "google": "protobuf",
    "grpc": "grpcio",
    "mlflow": "mlflow-skinny",
    "sklearn": "scikit-learn",
}
TOOLS = (BUILD, "dev", "docs")  # run, not imported
NEVER_IMPORTED = {
    "sqlalchemy": "MLflow keeps runs in a database through it",
    "alembic": "MLflow makes that database's tables with it",
}


def strangers(sources: Path, asked: Mapping[str, list[Requirement]]) -> list[str]:
    """Say what is imported and neither declared nor part of Python."""
    known = {
        canonicalize_name(wanted.name)
        for extra, lines in asked.items()
        if extra not in TOOLS
        for wanted in lines
    }
    return [
        f"{path.relative_to(sources)}: imports {name}, which pyproject.toml does not declare"
        for path in sorted(sources.rglob("*.py"))
        for name in sorted(names_in(path)[0])
        if package_of(name) not in known
    ]


def unused(sources: Path, asked: Mapping[str, list[Requirement]]) -> list[str]:
    """Say what is declared for use and not imported anywhere, not even by name."""
    used = {
        package_of(name)
        for path in sources.rglob("*.py")
        for name in frozenset().union(*names_in(path))
    }
    return [
        f"{wanted.name}: declared in pyproject.toml, and nothing imports it"
        for extra, lines in asked.items()
        if extra not in TOOLS
        for wanted in lines
        if (name := canonicalize_name(wanted.name)) not in used and name not in NEVER_IMPORTED
    ]


def package_of(name: str) -> str:
    """Return the package that an imported name comes from."""
    return canonicalize_name(IMPORTED_AS.get(name, name))


@cache
def names_in(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Return the first names of a file's imports, and those of strings that could name a module.

    What is ours or Python's is left out of the imports.
    """
    imports, texts = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and node.value.replace(".", "_").isidentifier():
                texts.add(node.value.partition(".")[0])
        elif isinstance(node, ast.Import):
            imports |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.add(node.module.partition(".")[0])
    return frozenset(imports - sys.stdlib_module_names - {OWN}), frozenset(texts)
