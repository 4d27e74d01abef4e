"""Costs of one hospital on the page and in the terminal; and monitors, which cost nothing."""

from __future__ import annotations

import io
from dataclasses import replace

from report_study import Maker, make
from rich.console import Console

from asepsis.experiments.device_table import Measured
from asepsis.experiments.devices import DeviceCost
from asepsis.experiments.results import Results
from asepsis.report.devices import LEFT_OUT, devices_grid, print_devices
from asepsis.report.findings import scenarios
from asepsis.report.html import render

COST = DeviceCost(
    bytes_up=3072,
    bytes_down=2048,
    seconds=0.25,
    training=0.2,
    protection=0.01,
    sending=0.04,
    memory_mib=12.34,
    imports_mib=200.0,
    hospital=1,
    samples=40,
)
TITLE = "chest X-rays"


def measured(defense: str, cost: DeviceCost | None, error: str = "") -> Measured:
    return Measured(scenario=TITLE, defense=defense, digest="d", code="c", cost=cost, error=error)


def study(*devices: Measured, study_of: Maker = make) -> Results:
    return replace(study_of(), devices=devices)


def texts(results: Results) -> list[list[str]]:
    return [[cell.text for cell in row] for row in devices_grid(results, TITLE).rows]


def test_bytes_time_and_memory_stand_in_their_units() -> None:
    results = study(measured("mean", COST))
    assert texts(results) == [["mean", "3.0", "2.0", "250.0", "12.3", "200.0", "10.0", "40.0"]]
    grid = devices_grid(results, TITLE)
    assert grid.rows[0][0].hint == "a hospital with 40 training samples"
    assert LEFT_OUT not in grid.heads
    assert devices_grid(results, "another").rows == []


def test_what_is_left_out_or_went_wrong_is_said() -> None:
    results = study(
        measured("secure-sum", replace(COST, note="an ideal", samples=None)),
        measured("broken", None, "it <b>broke</b>"),
    )
    ideal, broken = texts(results)
    assert ideal[-1] == "an ideal"
    assert broken[1:] == ["not measured"] * 7 + ["it <b>broke</b>"]
    assert devices_grid(results, TITLE).rows[0][0].hint == ""
    assert "it &lt;b&gt;broke" in render(results)


def test_page_and_terminal_have_the_table_only_where_something_was_measured() -> None:
    console = Console(file=io.StringIO(), width=100)
    print_devices(study(), console)
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]
    assert "small device" not in render(study())
    results = study(measured("mean", COST))
    print_devices(results, console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "cost to one hospital, per round" in said
    assert "12.3" in said
    assert "Cost to one hospital, per round" in render(results)


def test_a_monitor_is_no_inactive_defense_and_hides_no_baseline() -> None:
    results = make(rules=("monitor", "multi-krum"), active=False, changed=0.0)
    findings = [f for one in scenarios(results) for f in one.findings if f.attacked]
    idle = {finding.defense: finding.idle for finding in findings}
    assert idle == {"monitor": [], "multi-krum": ["multi-krum"]}
    [scenario] = scenarios(make(rules=("multi-krum", "mean")))
    watched = [
        replace(finding, defense=f"monitor + {finding.defense}") for finding in scenario.findings
    ]
    assert replace(scenario, findings=watched).baseline == "monitor + mean"
