"""What can be told of an exported network without running any of it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

Shape = tuple[int | str, ...]
MOST_DIMS = 16
LINEAR = frozenset({"Linear", "Gemm", "MatMul"})
NORMS = frozenset({"BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "BatchNormalization"})
MEASURED = ("running_mean", "running_var")
"""Tensors that are measured, not learned, and travel all the same."""
COUNTED = "num_batches_tracked"
"""A counter never travels."""


@dataclass(frozen=True)
class Layer:
    """One layer with tensors of its own: where it is, what it does, their names and shapes."""

    name: str
    what: str
    tensors: tuple[tuple[str, tuple[int, ...]], ...]

    def count(self, *, learned: bool) -> int:
        """Return how many numbers it learns, or measures."""
        return sum(
            prod(shape)
            for name, shape in self.tensors
            if name != COUNTED and (name not in MEASURED) == learned
        )


@dataclass(frozen=True)
class Reading:
    """A network as its file describes it; shapes of inputs are empty where it says nothing."""

    format: str
    layers: tuple[Layer, ...]
    inputs: tuple[tuple[str, Shape], ...] = ()
    outputs: tuple[tuple[str, Shape], ...] = ()

    @property
    def parameters(self) -> int:
        """Numbers that are learned."""
        return sum(layer.count(learned=True) for layer in self.layers)

    @property
    def buffers(self) -> int:
        """Numbers that are measured while it trains, such as the statistics of a batch."""
        return sum(layer.count(learned=False) for layer in self.layers)

    def findings(self) -> list[str]:
        """Return what follows for a federation."""
        said = [
            f"an update is {self.parameters + self.buffers} numbers, "
            f"{(self.parameters + self.buffers) * 4 / 2**20:.2f} MiB a hospital and round"
        ]
        linear = next((layer for layer in self.layers if layer.what in LINEAR), None)
        if linear is not None:
            what = "the sample itself" if linear is self.layers[0] else "what reaches it"
            said.append(
                f"{linear.name or 'its first layer'} ({linear.what}) leaks {what} in closed form "
                "to a server that sees the gradient of one sample, where it has a bias"
            )
        if any(layer.what in NORMS for layer in self.layers):
            said.append(
                "batch normalization: statistics of batches travel with the update and leak, "
                "dp-sgd cannot be used, and rules see buffers too"
            )
        return said
