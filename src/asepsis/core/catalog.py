"""Generate ``catalog.json`` by parsing the sources: listing components imports none of them.

Run ``python -m asepsis.core.catalog`` after adding a component; a test checks that the file is
up to date.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
FIELDS = {"Source:": "paper", "Fidelity:": "fidelity", "Tasks:": "tasks"}


def parse() -> list[dict[str, str]]:
    """Return the catalog's entries, sorted by kind and name."""
    found = [
        entry
        for path in sorted(PACKAGE.rglob("*.py"))
        if "@register(" in (text := path.read_text(encoding="utf-8"))
        for entry in _components(ast.parse(text), _module(path))
    ]
    return sorted(found, key=lambda entry: (entry["kind"], entry["name"]))


def render() -> str:
    """Return the text of ``catalog.json``."""
    return json.dumps(parse(), indent=1, ensure_ascii=False) + "\n"


def _module(path: Path) -> str:
    return ".".join(["asepsis", *path.relative_to(PACKAGE).with_suffix("").parts])


def _components(tree: ast.Module, module: str) -> list[dict[str, str]]:
    return [
        {"kind": kind, "name": name, "module": module, "qualname": node.name, **_about(node)}
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for kind, name in _registrations(node)
    ]


def _registrations(node: ast.ClassDef) -> list[tuple[str, str]]:
    return [
        (str(deco.args[0].value), str(deco.args[1].value))
        for deco in node.decorator_list
        if isinstance(deco, ast.Call)
        and isinstance(deco.func, ast.Name)
        and deco.func.id == "register"
        and len(deco.args) == 2
        and isinstance(deco.args[0], ast.Constant)
        and isinstance(deco.args[1], ast.Constant)
    ]


def _about(node: ast.ClassDef) -> dict[str, str]:
    doc = ast.get_docstring(node) or ""
    about = {"summary": " ".join(doc.split("\n\n")[0].split())}
    for paragraph in doc.split("\n\n"):
        text = " ".join(paragraph.split())
        for head, field in FIELDS.items():
            if text.startswith(head):
                about[field] = text.removeprefix(head).strip()
    return about


def main() -> None:
    """Write the file."""
    (PACKAGE / "catalog.json").write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
