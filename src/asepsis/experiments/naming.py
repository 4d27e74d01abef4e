"""What runs are called in tables, and which of them a claim means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from asepsis.core.errors import ConfigError
from asepsis.experiments.spec import Claim, Component

EACH = " · *"
"""Behind an attack's name in a claim: all rows of it, wherever they stand on other axes."""
Labels = tuple[tuple[str, str], ...]
"""Where a run stands on the axes of its scenario, apart from attack and defenses."""


class Named(Protocol):
    """What has a place in a table: a cell, or a group of runs."""

    @property
    def scenario(self) -> str:
        """Title of the scenario."""
        ...

    @property
    def attack(self) -> str:
        """Name of the attack."""
        ...

    @property
    def defense(self) -> str:
        """Name of the stack."""
        ...

    @property
    def labels(self) -> Labels:
        """Where it stands on other axes."""
        ...


def label_of(value: object, *, options: bool = False) -> str:
    """Name a component or an axis value in a table.

    Example:
        >>> label_of({"name": "krum", "f": 3}), label_of({"name": "krum", "f": 3}, options=True)
        ('krum', 'krum (f=3)')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, dict):
        return str(value)
    given = ", ".join(
        f"{key}={label_of(item, options=True)}" for key, item in value.items() if key != "name"
    )
    name = value.get("name", "")
    return f"{name} ({given})".strip() if options and given else str(name)


def watcher_label(asked: Component) -> str:
    """Name an observer, with its options and what it sees, whenever it looks.

    Example:
        >>> watcher_label({"name": "fedmia", "variant": "I", "when": {"every": 5}})
        'fedmia (variant=I)'
    """
    return label_of({key: value for key, value in asked.items() if key != "when"}, options=True)


def row_label(attack: str, labels: Labels) -> str:
    """Name a row of a table: the attack, and where it stands on other axes.

    Example:
        >>> row_label("ipm", (("partition.alpha", "0.5"),))
        'ipm · partition.alpha=0.5'
    """
    return " · ".join([attack, *(f"{key}={value}" for key, value in labels)])


def stack_names(labels: Sequence[Labels], stacks: Sequence[list[Component]]) -> list[str]:
    """Name stacks so that those with equal labels differ: an axis that has a label says enough."""
    names = []
    for label, stack in zip(labels, stacks, strict=True):
        others = [s for other, s in zip(labels, stacks, strict=True) if other == label]
        namesakes = [part for other in others for part in other]
        names.append(" + ".join(_distinct(part, namesakes) for part in stack))
    return names


def _distinct(part: Component, among: Sequence[Component]) -> str:
    """Name a component, with those options in which it differs from its namesakes."""
    namesakes = [other for other in among if other.get("name") == part.get("name")]
    shared = {
        key
        for key, value in part.items()
        if all(key in other and other[key] == value for other in namesakes)
    }
    kept = {key: value for key, value in part.items() if key == "name" or key not in shared}
    return label_of(kept, options=True)


def names_cell(claim: Claim, attack: str, cell: Named) -> bool:
    """Whether a claim about this attack is about this cell.

    A scenario is still meant when its fallback data set stands behind its title in brackets.
    """
    here = claim.scenario in (None, cell.scenario) or cell.scenario.startswith(
        f"{claim.scenario} ("
    )
    rows = (cell.attack, row_label(cell.attack, cell.labels))
    wide = attack.endswith(EACH) and rows[1].startswith(attack.removesuffix("*"))
    return here and (attack in rows or wide) and claim.defense == cell.defense


def check_claims(claims: Sequence[Claim], cells: Sequence[Named]) -> None:
    """Refuse claims about what a study does not run.

    Raises:
        ConfigError: a claim names no cell, or more than one; every such claim is reported.
    """
    found = [
        str(problem)
        for number, claim in enumerate(claims)
        for attack in filter(None, (claim.attack, claim.against))
        for stack in filter(None, (claim.defense, claim.instead_of))
        if (
            problem := _misnamed(
                claim.model_copy(update={"defense": stack}), attack, cells, f"claims[{number}]"
            )
        )
    ]
    if found:
        raise ConfigError("\n".join(found))


def _misnamed(claim: Claim, attack: str, cells: Sequence[Named], place: str) -> ConfigError | None:
    named = [cell for cell in cells if names_cell(claim, attack, cell)]
    whole = attack.endswith(EACH) and len({cell.scenario for cell in named}) == 1
    if len(named) == 1 or whole:
        return None
    asked = [attack, claim.defense, *([claim.scenario] if claim.scenario else [])]
    fitting = [
        f"{row_label(cell.attack, cell.labels)} / {cell.defense} / {cell.scenario}"
        for cell in named or cells
    ]
    return ConfigError(
        "names several cells" if named else "names no cell of the study",
        place=place,
        got=" / ".join(asked),
        fix=f"name one attack, defense and scenario of: {', '.join(dict.fromkeys(fitting))}",
    )
