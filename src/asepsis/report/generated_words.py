"""What a sentence says of an attack on generators."""

from __future__ import annotations

from asepsis.report.findings import Finding
from asepsis.report.lasting import lived
from asepsis.report.wording import Scale, bounds

SHARE = Scale("asr")


def alone(finding: Finding) -> str:
    """Tell the change to the honest hospitals alone, where that decides."""
    found = finding.alone
    if found is None or not found.n:
        return ""
    scale = finding.scale
    return (
        f", and of {scale.change(found.mean)} to the honest hospitals alone "
        f"({bounds(scale, found, change=True)})"
    )


def spread(finding: Finding) -> str:
    """Tell how far a trigger got into the images that a generator makes."""
    lasting = finding.lasting
    share = finding.asr if lasting is None else lasting.metric("asr_at_departure")
    floor = finding.floor if lasting is None else lasting.metric("floor_at_departure")
    if not share.n:
        return "put its trigger where nobody can tell: no detector of it works"
    when = "" if lasting is None else f" when its attacker left, and {lived(lasting)}"
    return (
        f"put its trigger into {SHARE.value(share.mean)} of generated images, beyond those on real "
        f"images (a generator nobody attacked: {SHARE.value(floor.mean)}; excess "
        f"{SHARE.value(finding.planted.mean)}, {bounds(SHARE, finding.planted)}){when}"
    )
