"""What MkDocs calls while it builds the documentation site: see ``hooks`` in ``mkdocs.yml``.

The front page is the README, the component pages and those of the examples are generated. Links
between files of the repository become links between pages; what is no page is named, not linked.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

import component_pages

ROOT = Path(__file__).resolve().parent.parent
FROM_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
CODE = r"^```.*?^```$|``.+?``|`[^`\n]+`"
LINK = r"(?P<picture>!?)\[(?P<label>[^\]]*)\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)"
LINK_OR_CODE = re.compile(f"{LINK}|{CODE}", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """Put the components into the navigation."""
    config.nav = [*config.nav, {"Components": component_pages.navigation()}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that do not lie in ``docs/``."""
    from mkdocs.structure.files import File

    made = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in FROM_ROOT.items()}
    made |= component_pages.pages() | {"examples.md": examples_page()}
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files into links between pages."""
    place = page.file.src_uri
    return markdown if place.startswith("components/") else relinked(markdown, place)


def relinked(markdown: str, place: str) -> str:
    """Rewrite the links of a page, leaving its code alone."""
    return LINK_OR_CODE.sub(lambda found: _link(found, place), markdown)


def _link(found: re.Match[str], place: str) -> str:
    """Write one link as seen from the page at ``place``."""
    if found["path"] is None:
        return found[0]
    origin = {page: name for name, page in FROM_ROOT.items()}.get(place, f"docs/{place}")
    lies = os.path.normpath(os.path.join(os.path.dirname(origin), found["path"]))
    to = page_of(lies)
    if to is None:
        return found["label"]
    address = os.path.relpath(to, os.path.dirname(place) or ".") + (found["anchor"] or "")
    return f"{found['picture']}[{found['label']}]({address})"


def page_of(path: str) -> str | None:
    """Return the page, or the file of the site, that a file of the repository becomes."""
    if path in FROM_ROOT:
        return FROM_ROOT[path]
    if path.split("/")[0] == "examples":
        return "examples.md"
    return path.removeprefix("docs/") if path.startswith("docs/") else None


def examples_page() -> str:
    """Show every script in ``examples/``, under the first line of its docstring."""
    parts = [
        "# Examples",
        "Each is a script in `examples/` that runs offline in less than a minute.",
    ]
    for path in sorted((ROOT / "examples").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        doc = ast.get_docstring(ast.parse(text)) or path.stem
        code = text.split('"""', 2)[2].strip()
        title, _, about = doc.partition("\n\n")
        parts += [f"## {title.rstrip('.')}", f"`python examples/{path.name}`"]
        parts += [about] if about else []
        parts.append(f"```python\n{code}\n```")
    return "\n\n".join(parts) + "\n"
