"""Seconds of aggregation rules beside plain PyTorch that computes the same, in one run.

Usage: python benchmarks/aggregation.py [--rows 100] [--columns 1000000] [--f 20] [--json]

The references are what one would write first: sort along the clients, `torch.cdist` for
distances, with PyTorch's own number of threads. Calls go through `asepsis.aggregate`, front door
and activation proof included. Ratios hold within one run only; calls are interleaved, the median
is reported, and results must agree.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import asepsis

Reference = Callable[[Tensor, int], Tensor]


def median(x: Tensor, f: int) -> Tensor:
    n = len(x)
    return x.sort(dim=0).values[(n - 1) // 2 : n // 2 + 1].mean(dim=0)


def trimmed_mean(x: Tensor, f: int) -> Tensor:
    return x.sort(dim=0).values[f : len(x) - f].mean(dim=0)


def scores(x: Tensor, f: int) -> Tensor:
    squared = torch.cdist(x, x).square().fill_diagonal_(torch.inf)
    return squared.sort(dim=1).values[:, : len(x) - f - 2].sum(dim=1)


def krum(x: Tensor, f: int) -> Tensor:
    return x[scores(x, f).argmin()]


def multi_krum(x: Tensor, f: int) -> Tensor:
    return x[scores(x, f).argsort()[: len(x) - f]].mean(dim=0)


REFERENCES: dict[str, Reference] = {
    "median": median,
    "trimmed-mean": trimmed_mean,
    "krum": krum,
    "multi-krum": multi_krum,
}


def seconds(call: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.perf_counter()
    made = call()
    return time.perf_counter() - start, made


def measure(x: Tensor, name: str, f: int, repeats: int) -> dict[str, float | str]:
    stage = {"name": name} if name == "median" else {"name": name, "f": f}
    ours: list[float] = []
    plain: list[float] = []
    difference = 0.0
    for _ in range(repeats):
        took, made = seconds(lambda: asepsis.aggregate(x, stage))
        reference_took, reference = seconds(lambda: REFERENCES[name](x, f))
        ours.append(took)
        plain.append(reference_took)
        difference = max(difference, float((made - reference).abs().max()))
    mine, theirs = statistics.median(ours), statistics.median(plain)
    return {
        "rule": name,
        "seconds": mine,
        "plain_seconds": theirs,
        "ratio": theirs / mine,
        "difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--columns", type=int, default=1_000_000)
    parser.add_argument("--f", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    # Hospitals differ in spread, so that Krum's choice does not hang on the last digit.
    spread = torch.linspace(0.5, 1.5, asked.rows)[:, None]
    x = torch.randn(asked.rows, asked.columns, generator=generator) * spread
    results = [measure(x, name, asked.f, asked.repeats) for name in REFERENCES]
    if asked.json:
        print(json.dumps(results, indent=1))
        return
    print(f"n = {asked.rows}, d = {asked.columns}, f = {asked.f}")
    print(f"{'rule':<14}{'asepsis':>10}{'plain':>10}{'ratio':>8}{'difference':>12}")
    for row in results:
        print(
            f"{row['rule']:<14}{row['seconds']:>9.2f}s{row['plain_seconds']:>9.2f}s"
            f"{row['ratio']:>8.2f}{row['difference']:>12.1e}"
        )


if __name__ == "__main__":
    main()
