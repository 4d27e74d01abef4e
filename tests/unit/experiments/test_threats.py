"""Every attack of the catalog belongs to one family of threats, and every family has one."""

from asepsis.core.registry import catalog
from asepsis.experiments.threats import COMPONENTS, THREATS, threat_of


def test_every_attack_of_the_catalog_belongs_to_a_family() -> None:
    names = {entry.name for entry in catalog() if entry.kind == "attack"}
    assert {name for name in names if threat_of(name) is None} == set()


def test_no_attack_belongs_to_two_families() -> None:
    listed = [name for names in COMPONENTS.values() for name in names]
    assert len(listed) == len(set(listed))


def test_every_family_has_components() -> None:
    assert [threat.key for threat in THREATS] == list(COMPONENTS)
    assert all(COMPONENTS.values())
