"""What went wrong, said in words."""

from __future__ import annotations

import pytest
from generator_study import generators

from asepsis.report.troubled import sentence


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (("diverged", None, [4, 5, 6]), "the federation diverged in rounds 5 to 7"),
        (("diverged hospital", 1, [2]), "{} diverged in round 3"),
        (("no answer", 1, [2, 3]), "{} did not answer as asked in rounds 3 and 4"),
        (("too few answers", None, [2]), "too few answers in round 3"),
        (("mode collapse", None, [0, 4]), "mode collapse in rounds 1 and 5"),
    ],
)
def test_a_trouble_is_a_sentence(trouble: tuple[str, int | None, list[int]], said: str) -> None:
    what, hospital, rounds = trouble
    run = generators(seeds=(0,)).runs[0]
    found = sentence(run, {"what": what, "hospital": hospital, "rounds": rounds})
    assert found == said.format(run.resolved["hospitals"][1])
