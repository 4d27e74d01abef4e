"""What stands beside a figure is what it is to be compared with, and is called what it is."""

from __future__ import annotations

from asepsis.report.leak_figures import KINDS


def heads(kind: str) -> dict[str, str]:
    return {column.figure: column.head for column in KINDS[kind][1] if column.main}


def test_the_public_share_is_not_the_federations() -> None:
    shown = heads("property")
    assert shown["prior_error"] == "public share"
    assert "federation" in shown["baseline_error"]


def test_chance_stands_beside_what_was_reidentified() -> None:
    shown = list(heads("inversion"))
    assert shown.index("chance/top1") == shown.index("top1") + 1
