"""``asepsis doctor``: what this machine offers and what is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Annotated

import typer

EXTRAS = {
    "medical": ("monai", "nibabel", "pydicom", "PIL"),
    "privacy": ("opacus",),
    "explain": ("captum",),
    "plots": ("matplotlib",),
    "parquet": ("pyarrow",),
    "mlflow": ("mlflow",),
}


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check Python, PyTorch, optional extras, data and disk."""
    found = examine()
    if json_:
        typer.echo(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        typer.echo(f"{name:<14} {value}")


def examine() -> dict[str, str]:
    """Return one line of findings for each thing examined."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cores": str(os.cpu_count()),
        "gpu": gpu,
        **{f"[{extra}]": _extra(extra, modules) for extra, modules in EXTRAS.items()},
        "data": _data(),
        "disk": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB free here",
    }


def _extra(extra: str, modules: tuple[str, ...]) -> str:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return "installed"
    return f"missing {', '.join(missing)}; pip install 'asepsis[{extra}]'"


def _data() -> str:
    folder = os.environ.get("ASEPSIS_DATA")
    if folder is None:
        return "ASEPSIS_DATA is not set: data sets are downloaded or synthetic"
    state = "found" if Path(folder).is_dir() else "not a folder"
    return f"ASEPSIS_DATA={folder} ({state})"
