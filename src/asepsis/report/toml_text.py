"""A study as TOML text: reading it back gives the same study."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from asepsis.experiments.spec import Study
from asepsis.report.provenance import without_files

BARE = re.compile(r"[A-Za-z0-9_-]+")
CONTROL = re.compile(r"[\x7f-\x9f]")


def study_toml(study: Study, *, hide_files: bool = False) -> str:
    """Write a study as TOML, leaving out what has its default.

    With ``hide_files`` no place on the machine is named; the text is then not the whole study.
    """
    table = study.model_dump(mode="json", exclude_defaults=True)
    scenarios = table.pop("scenarios")
    if hide_files:
        scenarios = [
            {name: part if name == "title" else without_files(part) for name, part in item.items()}
            for item in scenarios
        ]
    claims = [_block("[[claims]]", claim) for claim in table.pop("claims", [])]
    return "\n\n".join([_lines(table), *claims, *(_scenario(item) for item in scenarios)]) + "\n"


def _scenario(table: dict[str, Any]) -> str:
    nested = {name: table.pop(name) for name in ("experiment", "over") if name in table}
    blocks = [_block("[[scenarios]]", table)]
    blocks += [_block(f"[scenarios.{name}]", inner) for name, inner in nested.items()]
    return "\n\n".join(blocks)


def _block(head: str, table: Mapping[str, Any]) -> str:
    return "\n".join([head, _lines(table)]).strip()


def _lines(table: Mapping[str, Any]) -> str:
    known = {name: value for name, value in table.items() if value is not None}
    return "\n".join(f"{key(name)} = {value_toml(value)}" for name, value in known.items())


def key(name: str) -> str:
    """Write a key, quoted where it must be."""
    return name if BARE.fullmatch(name) else string(name)


def string(text: str) -> str:
    """Write a basic string."""
    quoted = json.dumps(text, ensure_ascii=False)
    return CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", quoted)


def value_toml(value: Any) -> str:
    """Write one value; tables are written inline.

    Example:
        >>> value_toml({"name": "krum", "f": 3, "ok": [True, 0.5]})
        '{ name = "krum", f = 3, ok = [true, 0.5] }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return string(value)
    if isinstance(value, Mapping):
        inner = [f"{key(k)} = {value_toml(v)}" for k, v in value.items() if v is not None]
        return f"{{ {', '.join(inner)} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(value_toml(item) for item in value)}]"
    return repr(value)
