"""A few dozen stacks of defenses that an assessment tries, those that did well elsewhere first."""

from __future__ import annotations

from asepsis.core.errors import AsepsisError, MissingExtraError
from asepsis.experiments.naming import label_of
from asepsis.experiments.resolve import resolve
from asepsis.experiments.spec import Component, Experiment, component
from asepsis.federation.build import assemble

Stack = tuple[Component, ...]


def menu(hostile: int, *, signed: bool = True) -> list[Stack]:
    """Return the built-in stacks, told how many hospitals may be hostile.

    Rules that see single updates, filters before them, sums that hide single updates, hidden sums
    of clipped updates and of groups, and noise with a promise of privacy.

    Example:
        >>> len(menu(2)) >= 24
        True
    """
    f = {"f": hostile}
    visible: list[list[str | Component]] = [
        ["median"],
        [{"name": "trimmed-mean", **f}],
        ["norm-clip", "median"],
        ["fltrust"],
        ["trust-weighted"],
        ["flame"],
        [{"name": "nnm", **f}, {"name": "trimmed-mean", **f}],
        [{"name": "multi-krum", **f}],
        ["norm-clip", "mean"],
        ["geometric-median"],
        ["norm-clip", {"name": "trimmed-mean", **f}],
        ["norm-clip", "trust-weighted"],
        ["norm-clip", "fltrust"],
        ["signguard", "mean"],
        [{"name": "bulyan", **f}],
        [{"name": "slsgd", **f}],
        [{"name": "nnm", **f}, "geometric-median"],
        ["norm-clip", "geometric-median"],
        ["bucketing", "median"],
        [{"name": "centered-clipping", "radius": 0.3}],
        [{"name": "krum", **f}],
        [{"name": "mda", **f}],
        [{"name": "meamed", **f}],
        ["caf"],
        [{"name": "foundationfl", **f}],
        ["three-sigma", "mean"],
        ["norm-clip", {"name": "robust-lr", "threshold": 0.5}],
        ["mean"],
    ]
    signs: list[list[str | Component]] = [
        ["signed", "mean"],
        ["signed", "median"],
        ["signed", {"name": "trimmed-mean", **f}],
        ["signed", "norm-clip", "median"],
        ["signed", "norm-clip", "trust-weighted"],
        ["signed", "fltrust"],
    ]
    hidden: list[list[str | Component]] = [
        ["secure-aggregation", "mean"],
        [{"name": "client-clip", "max_norm": 1.0}, "secure-aggregation", "mean"],
        ["grouped-secure-sum", "median"],
        ["grouped-secure-sum", {"name": "multi-krum", **f}],
        ["grouped-secure-sum", "geometric-median"],
    ]
    private: list[list[str | Component]] = [
        [{"name": "client-noise", "max_norm": 1.0, "noise_multiplier": 0.01}, "median"],
        ["norm-clip", "median", {"name": "gaussian-noise", "std": 0.001}],
        [{"name": "dp-fedavg", "noise_multiplier": 0.3}],
        [{"name": "gradient-pruning", "share": 0.9}, "median"],
    ]
    stacks = [*(signs if signed else []), *visible[:6], *hidden, *visible[6:], *private]
    return [tuple(_component(stage) for stage in stack) for stack in stacks]


def _component(stage: str | Component) -> Component:
    made = component(stage)
    assert isinstance(made, dict)
    return made


def fitting(stacks: list[Stack], spec: Experiment) -> tuple[list[Stack], dict[int, str]]:
    """Put every stack together with a federation, and tell those apart that do not fit.

    Returns:
        The stacks that fit, and the reason of every other one by its position.
    """
    kept: list[Stack] = []
    refused: dict[int, str] = {}
    for number, stack in enumerate(stacks):
        try:
            assemble(resolve(spec.model_copy(update={"defenses": stack}))[0])
        except MissingExtraError as error:
            refused[number] = str(error)
        except AsepsisError as error:
            refused[number] = error.message
        else:
            kept.append(stack)
    return kept, refused


def name_of(stack: Stack) -> str:
    """Name a stack in a table, with its options.

    Example:
        >>> name_of(({"name": "norm-clip"}, {"name": "krum", "f": 1}))
        'norm-clip + krum (f=1)'
    """
    return " + ".join(label_of(stage, options=True) for stage in stack)
