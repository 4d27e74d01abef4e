from __future__ import annotations

from pathlib import Path

import pytest
from report_study import Maker, inversion, make

from asepsis.experiments.results import Results


@pytest.fixture
def study() -> Maker:
    """Make a study; options change one thing each."""
    return make


@pytest.fixture
def curious(tmp_path: Path) -> Results:
    """A study of one gradient inversion."""
    return inversion(tmp_path / "results")
