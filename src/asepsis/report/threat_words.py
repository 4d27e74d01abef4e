"""The threat model of a scenario in words: who attacks, what they see and know, and when."""

from __future__ import annotations

from asepsis.experiments.spec import ThreatSpec
from asepsis.experiments.threats import Threat, threat_of
from asepsis.report.brief import gloss
from asepsis.report.findings import Finding, Scenario
from asepsis.report.grids import Cell, Grid
from asepsis.report.wording import counted

SIGHT = {
    "own": "each sees only its own data and the model that the server sends",
    "colluders": "they see each other's updates",
    "omniscient": "before they send theirs, they see the updates of all hospitals, honest ones too",
}
ROLES = {
    "server": "The server is curious: it does its work and looks at whatever it receives.",
    "eavesdropper": "Somebody listens on the wire and changes nothing.",
    "interceptor": "Somebody on the wire reads, alters, drops and replays messages.",
}


def threat_lines(scenario: Scenario) -> list[str]:
    """Say once for every threat model of a scenario what attackers may do."""
    attacked = [f for f in scenario.findings if f.attacked or _watched(f)]
    return list(dict.fromkeys(_said(finding) for finding in attacked))


def _watched(finding: Finding) -> bool:
    return bool(finding.group.runs[0].cell.spec.observe)


def _said(finding: Finding) -> str:
    run = finding.group.runs[0]
    spec, hospitals = run.cell.spec.threat, len(run.resolved.get("hospitals", []))
    role = str(run.resolved.get("role") or spec.role or "client")
    said = [ROLES[role]] if role in ROLES else []
    if role not in ROLES and finding.attacked:
        said = [_clients(spec, hospitals)]
    if _watched(finding):
        said.append("Observers look at what is delivered to the server, or at the messages.")
    return " ".join(said)


def _clients(spec: ThreatSpec, hospitals: int) -> str:
    hostile = spec.hostile if isinstance(spec.hostile, int) else len(spec.hostile)
    of = f" of {hospitals}" if hospitals else ""
    when = f"from round {spec.starts_at + 1} on"
    when += f", for {counted(spec.rounds, 'attacked round')}" if spec.rounds else ""
    when += f", every {spec.every} rounds" if spec.every > 1 else ""
    knows = "They know" if spec.knows_defense else "They do not know"
    lies = " They report the loss of honest hospitals." if spec.telemetry == "mimic" else ""
    return (
        f"{hostile}{of} hospitals are hostile and attack {when}; {SIGHT[spec.sees]}. "
        f"{knows} the defenses in use. The server is honest.{lies}"
    )


def threats_grid(scenario: Scenario) -> Grid:
    """Name every attack of a scenario: its family, who makes it, what it touches, what it wants."""
    rows = []
    seen: set[str] = set()
    for finding in scenario.findings:
        name = str((finding.group.runs[0].cell.spec.attack or {}).get("name", ""))
        if finding.attacked and finding.attack not in seen:
            seen.add(finding.attack)
            rows.append(_row(gloss(finding.attack, name), finding.attack, threat_of(name)))
    return Grid(["attack", "family", "who", "what it touches", "what it is after"], rows)


def _row(shown: str, name: str, threat: Threat | None) -> list[Cell]:
    parts = ["–"] * 4
    if threat is not None:
        parts = [threat.title, threat.attacker, threat.target, str(threat.goal)]
    return [Cell(shown, name), *(Cell(part, part) for part in parts)]
