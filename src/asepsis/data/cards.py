"""A card for each data set: what it is, whose it is, and what can honestly be expected of it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from asepsis.core.samples import Kind


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a reader must know before believing a figure made with these data.

    ``public`` sets may appear in reports as pictures and values; a user's own data may not.
    """

    name: str
    title: str
    kind: Kind
    modality: str
    source: str
    licence: str
    size: str
    sites: str
    expectation: str
    public: bool = True
    synthetic: bool = False

    def rows(self) -> list[tuple[str, str]]:
        """Return ``(field, text)`` pairs for printing."""
        said = {True: "yes", False: "no"}
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return [(name, said.get(value, str(value))) for name, value in values]
