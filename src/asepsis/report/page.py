"""A page that loads nothing: template, style and scripts in one file, under a strict policy.

Any page of asepsis is made here: :func:`page` renders one of the ``.j2`` files of this folder,
which extends ``base.html.j2`` and imports what it is made of from ``macros.html.j2``.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

SCRIPTS = ("sort.js", "save.js")


def page(template: str, **values: Any) -> str:
    """Render a page; whatever text it is given is escaped.

    Args:
        template: a ``.j2`` file of this folder.
        values: what the template asks for; ``style``, ``script`` and ``script_hash`` are added.
    """
    script = "\n".join(map(asset, SCRIPTS))
    return (
        environment()
        .get_template(template)
        .render(
            **values,
            style=Markup(asset("style.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


@cache
def asset(name: str) -> str:
    """Return a file of this folder."""
    return resources.files("asepsis.report").joinpath(name).read_text(encoding="utf-8").strip()


@cache
def environment() -> Environment:
    """Return the templates: all text is escaped, and a name that is not given is an error."""
    return Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
