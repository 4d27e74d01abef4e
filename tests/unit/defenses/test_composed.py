"""A promise of privacy is refused where the noise would not cover what it is said to cover."""

from __future__ import annotations

from typing import Any

import pytest

from asepsis.core.errors import ConfigError
from asepsis.defenses.stack import build_pipeline

SHARED_OUT = {"name": "client-noise", "parties": 3}
ALIKE = {"name": "secure-sum", "weighted": False}


def masked(**options: Any) -> dict[str, Any]:
    return {"name": "secure-aggregation", "weighted": False, **options}


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        (["norm-clip", "dp-mean"], "leave norm-clip out"),
        (["client-clip", "plain", "nnm", "dp-mean"], "leave nnm out"),
        (["client-clip", "grouped-secure-sum", "dp-mean"], "use plain or a secure sum of all"),
        (["secure-sum", "dp-mean"], "put client-clip first"),
        (["secure-sum", {"name": "dp-mean", "quantile": None}], "put client-clip first"),
        ([SHARED_OUT, "mean"], "use parties = 1"),
        ([SHARED_OUT, "grouped-secure-sum", "mean"], "use parties = 1"),
        ([SHARED_OUT, "secure-sum", "mean"], "weighted = false"),
        (["client-noise", "soteria"], "put soteria before client-noise"),
        ([SHARED_OUT, "soteria", ALIKE], "put soteria before client-noise"),
        ([SHARED_OUT, "gradient-pruning", ALIKE], "put client-noise last"),
        ([SHARED_OUT, "client-clip", ALIKE], "put client-noise last"),
        ([{**SHARED_OUT, "max_norm": 100.0}, masked()], "a clip of at least 446.4"),
        ([SHARED_OUT, masked(clip=4.4)], "a clip of at least 4.464"),
        ([SHARED_OUT, masked(bits=8)], "more bits"),
        (["client-clip", "client-noise", "secure-sum", "dp-mean"], "put client-clip behind"),
    ],
    ids=str,
)
def test_it_is_refused_with_what_would_do(stack: list[Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_pipeline(stack)


@pytest.mark.parametrize(
    "stack",
    [
        ["dp-mean"],
        ["secure-sum", "dp-fedavg"],
        ["client-clip", "secure-aggregation", "dp-mean"],
        [SHARED_OUT, ALIKE, "mean"],
        ["soteria", SHARED_OUT, masked(clip=4.5)],
        ["client-noise", "client-clip", "secure-sum", "dp-mean"],
        ["client-clip", "client-noise", "plain", "dp-mean"],
        ["client-noise", "norm-clip", "median"],
    ],
    ids=str,
)
def test_what_holds_is_built(stack: list[Any]) -> None:
    assert build_pipeline(stack).rule
