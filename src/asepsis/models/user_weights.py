"""Put weights that a user brings into a network: safetensors only, checked before they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from asepsis.core.errors import ConfigError

MOST_BYTES = 4 * 2**30
PICKLED = frozenset({".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt"})
PLACE = "model.weights"
SHOWN = 3
_CONVERT = (
    "these can hold code; where you trust the file: "
    'safetensors.torch.save_file(torch.load("net.pt", weights_only=True), "net.safetensors")'
)


def weights_file(path: str) -> Path:
    """Return the file, once its kind and size are sound.

    Raises:
        ConfigError: it is of another format, missing, or too large.
    """
    try:
        file = Path(path).expanduser()
    except RuntimeError:  # nobody's home
        file = Path(path)
    if file.suffix.lower() in PICKLED:
        raise ConfigError(
            "pickled weights are never read", place=PLACE, got=file.name, fix=_CONVERT
        )
    if file.suffix != ".safetensors":
        raise ConfigError("weights come as .safetensors", place=PLACE, got=file.name, fix=_CONVERT)
    if not file.is_file():
        raise ConfigError("there is no such file", place=PLACE, got=file.name)
    if file.stat().st_size > MOST_BYTES:
        raise ConfigError(f"over {MOST_BYTES} bytes", place=PLACE, got=file.name)
    return file


def weights_digest(file: Path) -> str:
    """Return the SHA-256 of the file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_weights(module: nn.Module, file: Path, digest: str) -> None:
    """Copy the file's tensors into the module.

    Raises:
        ConfigError: names or shapes differ, or the file is damaged, or no longer that of
            ``digest``.
    """
    if weights_digest(file) != digest:
        raise ConfigError(
            "the file changed while this was running", place=PLACE, got=file.name, fix="start again"
        )
    wanted = module.state_dict()
    try:
        with safe_open(file, framework="pt") as tensors:
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118 (no mapping)
            _compare(wanted, shapes)
            module.load_state_dict({name: tensors.get_tensor(name) for name in wanted})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"not a sound safetensors file ({type(error).__name__})", place=PLACE, got=file.name
        ) from None


def _compare(wanted: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    problems = [f"{name} is missing" for name in wanted if name not in shapes]
    problems += [f"{name} is not in the network" for name in shapes if name not in wanted]
    problems += [
        f"{name} has shape {shapes[name]}, the network {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if shapes.get(name, tuple(tensor.shape)) != tuple(tensor.shape)
    ]
    if problems:
        more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ConfigError(
            f"weights do not fit the network: {'; '.join(problems[:SHOWN])}{more}",
            place=PLACE,
            fix="save module.state_dict() of the same class with the same options",
        )
