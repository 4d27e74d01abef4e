"""What stands in the files of an app folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTROL = re.compile(r"[\x7f-\x9f]")
EXPERIMENT = "experiment.toml"
SITES = "sites"
SAID = "asepsis: "
"""How lines of the server's app begin that are for whoever started it."""


@dataclass(frozen=True)
class Settings:
    """What one run of an app is told: a place on the server's machine, and how to write there."""

    results: str = ""
    resume: bool = False
    pseudonyms: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Settings:
        """Read what Flower hands to an app."""
        return cls(
            results=str(config.get("results", "")),
            resume=config.get("resume") is True,
            pseudonyms=config.get("pseudonyms") is True,
        )

    def toml(self) -> str:
        """Write it as Flower reads it from a file."""
        flags = {"resume": self.resume, "pseudonyms": self.pseudonyms}
        lines = [f"{name} = {'true' if on else 'false'}" for name, on in flags.items()]
        return "\n".join([f"results = {string(self.results)}", *lines, ""])


def string(text: str) -> str:
    """Write a TOML string."""
    quoted = json.dumps(text, ensure_ascii=False)
    return CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", quoted)


def project(name: str, version: str) -> str:
    """Return the app's ``pyproject.toml``: asepsis's own apps, and the experiment beside it."""
    return f"""\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = {string(name)}
version = "1.0.0"
description = "An asepsis federation, between machines"
license = "Apache-2.0"
dependencies = ["asepsis[flower]=={version}"]

[tool.flwr.app]
publisher = "asepsis"
fab-include = ["{EXPERIMENT}"]

[tool.flwr.app.components]
serverapp = "asepsis.deploy.server:app"
clientapp = "asepsis.deploy.client:app"

[tool.flwr.app.config]
results = ""    # folder on the server's machine that records are written to
resume = false  # go on in a folder that a stopped run left
pseudonyms = false  # call the sites "site 1", "site 2", ... in all that is written
"""


def site(number: int, count: int, data: Path | None = None) -> str:
    """Return one hospital's node configuration."""
    place = string("" if data is None else str(data))
    return (
        f"# Hospital {number} of {count}, numbered from 0. This file stays at the hospital.\n"
        f"partition-id = {number}\n"
        f"num-partitions = {count}\n"
        f"data-root = {place}  # the folder with the data; $ASEPSIS_DATA when empty\n"
    )
