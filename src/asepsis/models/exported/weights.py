"""Read the description in a safetensors file."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from safetensors import SafetensorError, safe_open

from asepsis.core.errors import ConfigError
from asepsis.models.exported.reading import Layer, Reading


def read_weights(file: Path) -> Reading:
    """Return the tensors of a safetensors file, by the layer that their names begin with.

    Raises:
        ConfigError: it is damaged.
    """
    layers: dict[str, list[tuple[str, tuple[int, ...]]]] = defaultdict(list)
    try:
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                layer, _, last = name.rpartition(".")
                layers[layer].append((last, tuple(tensors.get_slice(name).get_shape())))
    except (SafetensorError, OSError) as error:
        words = f"not a sound safetensors file ({type(error).__name__})"
        raise ConfigError(words, place=file.name) from None
    found = (Layer(name, "?", tuple(parts)) for name, parts in layers.items())
    return Reading("safetensors", tuple(found))
