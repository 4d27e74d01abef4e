"""A network that the user brings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from math import prod
from typing import Any, ClassVar

from torch import nn

from asepsis.core.errors import ConfigError, did_you_mean
from asepsis.core.registry import register
from asepsis.core.samples import Kind
from asepsis.models.user_code import digest_of, load_class, source_file, split_at, telling
from asepsis.models.user_weights import load_weights, weights_digest, weights_file

FILLED: dict[str, Callable[[tuple[int, ...], int], object]] = {
    "{classes}": lambda _, classes: classes,
    "{input_shape}": lambda shape, _: shape,
    "{channels}": lambda shape, _: shape[0],
    "{features}": lambda shape, _: prod(shape),
}
"""What an option may say instead of a number that the data decide."""


@register("model", "module")
class UserModule:
    """Your own PyTorch network: a class in a file or module of yours, with options of yours.

    ``at`` is ``package.module:Class`` or ``path/to/net.py:Class``; ``options`` are the arguments
    of its constructor. An option that is ``"{classes}"``, ``"{channels}"``, ``"{features}"`` or
    ``"{input_shape}"`` is filled in: the number of classes, the channels and the number of values
    of one prepared sample, its shape ``(channels, ...)``. ``[n, *input_shape] -> [n, classes]``
    (logits). ``weights`` names a ``.safetensors`` file with all tensors of its ``state_dict``;
    without, training starts from what the constructor draws, seeded.

    The code runs only with ``--trust-code``. Whether the network can be trained is checked on
    real samples before anything else runs. ``source`` is filled in: SHA-256 of the file (what it
    imports is not in it) and of the weights; a file that changed is another experiment.

    Raises ConfigError when the file, the class or the weights are not there or do not fit.

    Source: the user's; no paper

    Fidelity: own

    Tasks: image, multilabel-image, volume, table, sequence, paired-image

    Example:
        >>> UserModule(at="asepsis.models.imprinted:Imprint", options={"bins": 8}).source[:8] != ""
        True
    """

    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)

    at: str | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    weights: str | None = None
    source: str = dataclasses.field(default="", init=False)

    def __post_init__(self) -> None:
        if self.at is None:
            return
        parts = [digest_of(source_file(split_at(self.at)[0]))]
        if self.weights is not None:
            parts.append(weights_digest(weights_file(self.weights)))
        object.__setattr__(self, "source", "+".join(parts))

    @property
    def file(self) -> str:
        """The name of the file, without its folders."""
        return source_file(split_at(self._at)[0]).name

    @property
    def _at(self) -> str:
        if self.at is None:
            raise ConfigError("say which class", place="model.at", fix='at = "net.py:Net"')
        return self.at

    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Build the network; only where the user's code is trusted."""
        make = load_class(self._at, self.source.partition("+")[0])
        options = {
            name: _filled(value, name, input_shape, classes) for name, value in self.options.items()
        }
        name = split_at(self._at)[1]
        with telling(f"{name}(...)", self.file, "model", "check model.options"):
            made = make(**options)
        if not isinstance(made, nn.Module):
            raise ConfigError(
                "this is not a torch.nn.Module",
                place="model.at",
                got=type(made).__name__,
                fix="name a class that extends torch.nn.Module",
            )
        if self.weights is not None:
            load_weights(made, weights_file(self.weights), self.source.partition("+")[2])
        return made


def _filled(value: Any, name: str, shape: tuple[int, ...], classes: int) -> Any:
    if isinstance(value, list):
        return [_filled(item, name, shape, classes) for item in value]
    if not (isinstance(value, str) and value.startswith("{") and value.endswith("}")):
        return value
    if value not in FILLED:
        raise ConfigError(
            "nothing of this name can be filled in",
            place=f"model.options.{name}",
            got=value,
            fix=did_you_mean(value, FILLED),
        )
    return FILLED[value](shape, classes)
