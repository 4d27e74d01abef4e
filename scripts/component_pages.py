"""One page of the documentation site for each component, made from its docstring and options.

Nothing here is committed text: the pages are generated when the site is built, by ``docs_site.py``.
"""

from __future__ import annotations

import dataclasses
import html
import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

from asepsis.core.registry import Entry, catalog, lookup
from asepsis.report.toml_text import value_toml

SHELVES: dict[str, dict[str, str]] = {
    "Attacks": {
        "attack/data": "On a hospital's data",
        "attack/backdoor": "Backdoors",
        "trigger": "Triggers of backdoors",
        "attack/update": "On a hospital's update",
        "attack/channel": "On the wire",
        "attack/observe": "Who watches the training",
        "attack/infer": "Who holds the released model",
    },
    "Defenses": {
        "client": "At the hospitals",
        "transport": "Transports",
        "screen": "Screens",
        "aggregator": "Rules",
        "release": "Releases",
        "audit": "Audit",
        "inspect": "Inspectors",
        "recipe": "Recipes",
    },
    "Data and training": {
        "dataset": "Data sets",
        "partition": "Partitions",
        "task": "Tasks",
        "model": "Models",
        "trainer": "Trainers",
        "server-optimizer": "Server optimizers",
    },
}
FIDELITY = {
    "code": "the authors' code was read",
    "paper": "the paper's text was read",
    "abstract": "our interpretation of an abstract",
    "own": "our own design, or a method as the field commonly states it",
}
BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "multipleOf": "a multiple of",
}
ITEMS = {"integer": "integers", "number": "numbers", "string": "texts"}
ROLE = re.compile(r":\w+:`~?\.?([^`]+)`")
CODE = re.compile(r"(``.*?``|`[^`\n]+`)", re.DOTALL)
LISTED = re.compile(r"(- |\d+\. )")
SECTION = re.compile(r"(Raises|Args|Returns|Yields):\n(?= )")


def room_of(entry: Entry) -> str:
    """Return the key of the room in ``SHELVES`` that a component stands in."""
    return f"attack/{entry.module.split('.')[2]}" if entry.kind == "attack" else entry.kind


def place_of(entry: Entry) -> str:
    """Return the path of a component's page."""
    return f"components/{room_of(entry)}/{entry.name}.md"


def pages() -> dict[str, str]:
    """Return every generated page by its path: one a component, one a room with a table."""
    made = {place_of(entry): component_page(entry) for entry in catalog()}
    for rooms in SHELVES.values():
        for room, title in rooms.items():
            if found := [entry for entry in catalog() if room_of(entry) == room]:
                made[f"components/{room}/index.md"] = _room_page(title, found)
    return made


def navigation() -> list[dict[str, Any]]:
    """Return the part of the site's navigation that leads to the components."""
    return [
        {shelf: [{title: places} for room, title in rooms.items() if (places := _places(room))]}
        for shelf, rooms in SHELVES.items()
    ]


def _places(room: str) -> list[str]:
    found = [place_of(entry) for entry in catalog() if room_of(entry) == room]
    return [f"components/{room}/index.md", *found] if found else []


def _room_page(title: str, found: Iterable[Entry]) -> str:
    rows = [
        f"| [{entry.name}]({entry.name}.md) | {cell(entry.summary)} | "
        f"{cell(entry.tasks or 'all')} | {entry.fidelity} |"
        for entry in found
    ]
    head = "| name | what it does | tasks | fidelity |\n|---|---|---|---|"
    said = "\n".join(f"- *{name}*: {meaning}" for name, meaning in FIDELITY.items())
    return "\n".join([f"# {title}\n", head, *rows, f"\nWhat *fidelity* says:\n\n{said}\n"])


def component_page(entry: Entry) -> str:
    """Write the page of one component."""
    cls = lookup(entry.kind, entry.name)
    summary, text, example = split(inspect.cleandoc(cls.__doc__ or ""))
    parts = [
        f"# {entry.name}",
        f"*{title_of(entry)}* · `asepsis show {entry.kind} {entry.name}`",
        f"**{prose(summary)}**",
        *text,
        _facts(entry, cls),
        "## Options",
        options_table(cls),
        "## In an experiment",
        "Every option with its default; leave out what you do not change.",
        f"```toml\n{snippet(entry, cls)}\n```",
    ]
    if example:
        parts += ["## Example", f"```pycon\n{example}\n```"]
    parts.append(f"Defined by `{entry.module}.{entry.qualname}`")
    return "\n\n".join(parts) + "\n"


def title_of(entry: Entry) -> str:
    """Return what the room of a component is called."""
    return next(rooms[room_of(entry)] for rooms in SHELVES.values() if room_of(entry) in rooms)


def split(doc: str) -> tuple[str, list[str], str]:
    """Part a docstring into its summary, the text between as Markdown, and the example."""
    doc, _, example = doc.partition("\n\nExample:\n")
    summary, *rest = doc.split("\n\n")
    known = ("Source:", "Fidelity:", "Tasks:")
    text = [paragraph(part) for part in rest if not part.startswith(known)]
    return " ".join(summary.split()), text, textwrap.dedent(example).strip("\n")


def paragraph(text: str) -> str:
    """Write one paragraph of a docstring, a list or a section such as ``Raises:``, as Markdown."""
    if SECTION.match(text):
        head, _, body = text.partition("\n")
        lines = textwrap.dedent(body).splitlines()
        return f"**{head}**\n\n" + "\n".join(
            line if line.startswith(" ") else f"- {line}"
            for line in prose("\n".join(lines)).splitlines()
        )
    return prose(text) if LISTED.match(text) else prose(" ".join(text.split()))


def prose(text: str) -> str:
    """Escape text for Markdown, leaving its code as it is.

    Example:
        >>> prose("x ``[n, d]`` < [1] _y_")
        'x ``[n, d]`` &lt; \\\\[1\\\\] \\\\_y\\\\_'
    """
    parts = CODE.split(ROLE.sub(r"``\1``", text))
    return "".join(part if number % 2 else _escaped(part) for number, part in enumerate(parts))


def _escaped(text: str) -> str:
    return re.sub(r"([\\\[\]_`{}])", r"\\\1", html.escape(text, quote=False))


def cell(text: str) -> str:
    """Escape text for a cell of a table."""
    return prose(" ".join(text.split())).replace("|", "&#124;")


def _facts(entry: Entry, cls: type) -> str:
    rows = {
        "Source": prose(entry.paper),
        "Fidelity": f"{entry.fidelity}: {FIDELITY[entry.fidelity]}",
        "Tasks": entry.tasks or ("all" if entry.kind in ("attack", "trigger") else ""),
        "Sees": str(getattr(cls, "sees", "")) if entry.kind == "attack" else "",
        "Knows besides updates": _needs(cls),
    }
    return "\n".join(f"- **{name}**: {text}" for name, text in rows.items() if text)


def _needs(cls: type) -> str:
    needs = getattr(cls, "needs", ())
    return ", ".join(sorted(map(str, needs))) if isinstance(needs, frozenset | tuple) else ""


def options_table(cls: type) -> str:
    """Write a component's options with their types, bounds and defaults."""
    schema, defaults = TypeAdapter(cls).json_schema(), defaults_of(cls)
    rows = [
        f"| `{name}` | {words(option, schema.get('$defs', {}))} | `{_default(defaults[name])}` |"
        for name, option in schema.get("properties", {}).items()
        if name in defaults
    ]
    return "\n".join(["| option | value | default |", "|---|---|---|", *rows]) if rows else "None."


def defaults_of(cls: type) -> dict[str, Any]:
    """Return a component's options as they are when none is given."""
    made: Any = cls()
    asked = {field.name for field in dataclasses.fields(made) if field.init}
    return {name: value for name, value in dataclasses.asdict(made).items() if name in asked}


def _default(value: object) -> str:
    return "none" if value is None else value_toml(value).replace("|", "&#124;")


def words(option: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Say in words what a JSON schema allows.

    Example:
        >>> words({"type": "integer", "minimum": 1, "maximum": 9}, {})
        'integer, ≥ 1, ≤ 9'
        >>> words({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, {})
        '`"a"`, `"b"`; or none'
    """
    if "anyOf" in option:
        return "; or ".join(words(member, known) for member in option["anyOf"])
    if "$ref" in option:
        return words(known[option["$ref"].rsplit("/", 1)[1]], known)
    if values := option.get("enum", [option["const"]] if "const" in option else []):
        return ", ".join(f"`{value_toml(value)}`" for value in values)
    return ", ".join([_type(option, known), *_bounds(option)])


def _bounds(option: Mapping[str, Any]) -> list[str]:
    return [f"{sign} {option[key]:g}" for key, sign in BOUNDS.items() if key in option]


def _type(option: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    kind = option.get("type", "")
    if kind == "array":
        return _array(option, known)
    if kind == "object" and "properties" in option:
        return f"table of {', '.join(f'`{name}`' for name in option['properties'])}"
    return str({"string": "text", "object": "table", "null": "none"}.get(kind, kind))


def _array(option: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    if "prefixItems" in option:
        return f"list of {len(option['prefixItems'])}: {words(option['prefixItems'][0], known)}"
    items = words(option.get("items", {}), known)
    kind, _, bounds = items.partition(", ")
    most = f", at most {option['maxItems']}" if "maxItems" in option else ""
    return f"list of {ITEMS.get(kind, kind)}{f' ({bounds})' if bounds else ''}{most}"


def snippet(entry: Entry, cls: type) -> str:
    """Write a component into an experiment, every option with its default."""
    head, before = _head(entry, cls)
    options = defaults_of(cls).items()
    lines = [f"{name} = {value_toml(value)}" for name, value in options if value is not None]
    return "\n".join([*before, head, f'name = "{entry.name}"', *lines])


def _head(entry: Entry, cls: type) -> tuple[str, list[str]]:
    if entry.kind == "trigger":
        return "[attack.trigger]", ["[attack]", 'name = "badnets"', ""]
    if entry.kind == "inspect":
        return "[[inspect]]", []
    if entry.kind == "server-optimizer":
        return "[federation.server]", []
    if entry.kind == "attack":
        watches = hasattr(cls, "observe") or hasattr(cls, "infer")
        return ("[[observe]]" if watches and not hasattr(cls, "tamper") else "[attack]"), []
    return ("[[defenses]]" if entry.kind in SHELVES["Defenses"] else f"[{entry.kind}]"), []
