"""The words of a page: every attack, defense and measure that it names, each in one sentence."""

from __future__ import annotations

from asepsis.core.errors import AsepsisError
from asepsis.core.registry import DEFENSES, find
from asepsis.report.findings import Scenario

MEASURES = {
    "accuracy": "The share of right answers.",
    "balanced_accuracy": "The share of right answers, every diagnosis counting the same, "
    "however rare; with two diagnoses, guessing gives 50%.",
    "auroc": "How often a sick patient is ranked above a healthy one; guessing gives 50%.",
    "macro_auroc": "How often a patient with a finding is ranked above one without, averaged over "
    "findings; guessing gives 50%.",
    "macro_f1": "How well each diagnosis is found and not claimed falsely, averaged over them.",
    "psnr": "How like two images are, in decibels; above 25 to 30 a person sees the same image.",
    "ssim": "How like the structure of two images is; 1 is the same image.",
    "kernel_distance": "How far generated images are from real ones; 0 is indistinguishable.",
}
ALWAYS = {
    "federated learning": "Hospitals train one model together: each trains on its own patients "
    "and sends changes of the model, never data.",
    "update": "The change of the model that a hospital sends in a round.",
    "seed": "The number that fixes all chance in a run; another seed is a repetition.",
    "attack success (ASR)": "The share of cases with the attacker's mark that get the answer the "
    "attacker wants; excess is what goes beyond an unattacked model.",
}


def words(told_of: list[Scenario]) -> list[tuple[str, str]]:
    """Return every technical name of a page with one sentence about it, in order of first use."""
    found = dict(ALWAYS)
    for scenario in told_of:
        if meaning := MEASURES.get(scenario.scale.name):
            found.setdefault(scenario.scale.label, meaning)
        for finding in scenario.findings:
            spec = finding.group.runs[0].cell.spec
            _add(found, ("attack",), spec.attack)
            for stage in spec.defenses:
                _add(found, DEFENSES, stage)
            for observer in spec.observe:
                _add(found, ("attack",), observer)
    return list(found.items())


def _add(found: dict[str, str], kinds: tuple[str, ...], part: dict[str, object] | None) -> None:
    name = str((part or {}).get("name", ""))
    if not name or name in found:
        return
    try:
        found[name] = find(kinds, name).summary
    except AsepsisError:
        return
