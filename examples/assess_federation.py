"""Assess a federation in half a minute: what breaks it, and which stack would help?

The same as ``asepsis assess federation.toml``. Half a minute and three seeds show how it goes, and
are too little to decide anything on.
"""

import tempfile
from pathlib import Path

from asepsis.assess.assessment import assess
from asepsis.assess.spec import assessment_of
from asepsis.experiments.run import RunOptions

FEDERATION = {
    "data": "breast-cancer",
    "partition": "iid",
    "model": "logistic",
    "federation": {"hospitals": 6, "rounds": 4},
    "threats": ["label-flip", "gradient-manipulation"],
    "hostile": 1,
    "minutes": 0.5,
    "defenses": ["mean"],
}


def main(seeds: int = 3) -> None:
    """Print what may be said of every threat, the recommendation, and the exit code."""
    asked = assessment_of({**FEDERATION, "seeds": seeds})
    with tempfile.TemporaryDirectory() as folder:
        found = assess(asked, Path(folder) / "results", RunOptions(), tell=print)
    print(f"\ntoday: {found.today}; recommended: {found.recommended}")
    for finding in found.findings:
        print(f"  {finding.threat.title}: {finding.ruling} {finding.reason}")
        for part in finding.parts:
            before, after = 100 * part.before.mean, 100 * part.after.mean
            print(f"    {part.attack}: harm {before:.1f} today, {after:.1f} then (points)")
    print(f"{found.answer}: exit code {found.answer.code}")


if __name__ == "__main__":
    main()
