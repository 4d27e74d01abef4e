"""Matrices of the caller's: PyTorch or NumPy in, the same kind, dtype and device out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asepsis.core.errors import ConfigError

M = TypeVar("M", Tensor, NDArray[np.floating])

GiveBack = Callable[[Tensor], Tensor | NDArray[np.floating]]


def take_matrix(matrix: object, place: str) -> tuple[Tensor, GiveBack]:
    """Return ``matrix`` ``[n, d]`` as float32 or float64 rows, and how to give a result back.

    Half precision is computed in float32, extended precision in float64; devices without float64
    hand over to the CPU. The result never aliases the caller's memory unless it was float32 or
    float64 already: do not write to it.

    Raises:
        ConfigError: not a PyTorch tensor or NumPy array, not real floating point, not 2-D, or
            without columns.

    Example:
        >>> rows, give_back = take_matrix(np.zeros((2, 3), np.float16), "matrix")
        >>> rows.dtype, give_back(rows[0]).dtype
        (torch.float32, dtype('float16'))
    """
    rows, give_back = _take(matrix, place)
    if rows.ndim != 2:
        raise ConfigError(
            "a matrix of updates has two dimensions, [clients, coordinates]",
            place=place,
            got=tuple(rows.shape),
            fix="one row for each client",
        )
    if not rows.shape[1]:
        raise ConfigError(
            "an update has at least one coordinate", place=place, got=tuple(rows.shape)
        )
    return rows, give_back


def _take(matrix: object, place: str) -> tuple[Tensor, GiveBack]:
    if isinstance(matrix, Tensor):
        return _from_torch(matrix, place)
    if isinstance(matrix, np.ndarray) and not isinstance(matrix, np.ma.MaskedArray):
        return _from_numpy(matrix, place)
    raise ConfigError(
        "a matrix is a PyTorch tensor or a NumPy array",
        place=place,
        got=type(matrix).__name__,
        fix="convert it with numpy.asarray(..., dtype=numpy.float32)",
    )


def _from_torch(matrix: Tensor, place: str) -> tuple[Tensor, GiveBack]:
    if not matrix.is_floating_point() or matrix.layout is not torch.strided:
        raise _not_floats(place, f"{matrix.layout} {matrix.dtype}", "matrix.to_dense().float()")
    dtype, device = matrix.dtype, matrix.device
    rows = matrix.detach()
    if device.type == "mps":
        rows = rows.cpu()
    rows = rows if dtype in (torch.float32, torch.float64) else rows.float()
    return rows, lambda result: result.to(device, dtype)


def _from_numpy(matrix: NDArray[np.generic], place: str) -> tuple[Tensor, GiveBack]:
    if not np.issubdtype(matrix.dtype, np.floating):
        raise _not_floats(place, str(matrix.dtype), "matrix.astype(numpy.float32)")
    dtype = matrix.dtype
    wide = np.float64 if dtype.itemsize > 4 else np.float32
    rows = np.require(matrix, dtype=wide, requirements=["C"])
    rows = rows if rows.flags.writeable else rows.copy()
    return torch.from_numpy(rows), lambda result: result.numpy().astype(dtype)


def _not_floats(place: str, got: str, fix: str) -> ConfigError:
    return ConfigError("updates are floating-point numbers", place=place, got=got, fix=fix)
