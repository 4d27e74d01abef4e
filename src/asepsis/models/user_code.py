"""Find, identify and import the file that holds a user's network; it runs only when trusted."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from asepsis.core.errors import ConfigError, did_you_mean
from asepsis.core.trust import demand_trust, trusting_code

MOST_SOURCE = 2**20
PLACE = "model.at"
_FORM = 'write "package.module:Class" or "path/to/net.py:Class"'
_loaded: dict[str, str] = {}
"""What has been imported here, with the digest that it had."""


def split_at(at: str) -> tuple[str, str]:
    """Split ``module:Class`` or ``file.py:Class``.

    Raises:
        ConfigError: it is of another form.

    Example:
        >>> split_at("nets/mine.py:Net")
        ('nets/mine.py', 'Net')
    """
    where, colon, name = at.rpartition(":")
    if not colon or not where or not name.isidentifier():
        raise ConfigError("not the place of a class", place=PLACE, got=at, fix=_FORM)
    return where, name


def source_file(where: str) -> Path:
    """Return the source file of a module or file, without running anything of it.

    Raises:
        ConfigError: there is none.
    """
    try:
        file = Path(where).expanduser() if _is_file(where) else _of_module(where)
    except (RuntimeError, LookupError):  # nobody's home; packages inside packages without a file
        file = None
    if file is None or not file.is_file():
        raise ConfigError("there is no such Python file or module", place=PLACE, got=_told(where))
    return file


def _is_file(where: str) -> bool:
    return where.endswith(".py") or "/" in where or "\\" in where


def _told(where: str) -> str:
    """Return what messages call a file: its name alone, as its folders may be private."""
    return Path(where).name if _is_file(where) else where


def _of_module(dotted: str) -> Path | None:
    """Walk down the packages as importing would, but import none."""
    path: Iterable[str] | None = [*sys.path, str(Path.cwd())]
    parts, spec = dotted.split("."), None
    for number in range(len(parts)):
        if path is None:
            return None
        spec = PathFinder.find_spec(".".join(parts[: number + 1]), list(path))
        path = None if spec is None else spec.submodule_search_locations
    return (
        None if spec is None or not spec.has_location or spec.origin is None else Path(spec.origin)
    )


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a source file.

    Raises:
        ConfigError: it is too large for one.
    """
    return hashlib.sha256(content_of(file)).hexdigest()


def content_of(file: Path) -> bytes:
    """Return a source file's bytes.

    Raises:
        ConfigError: it is too large for one.
    """
    with file.open("rb") as stream:
        content = stream.read(MOST_SOURCE + 1)
    if len(content) > MOST_SOURCE:
        raise ConfigError(f"over {MOST_SOURCE} bytes of source", place=PLACE, got=file.name)
    return content


def load_class(at: str, digest: str) -> Callable[..., Any]:
    """Import the file and return the class; only where the user's code is trusted.

    Raises:
        ConfigError: it is not trusted, changed since ``digest`` was taken, cannot be imported, or
            holds no such class.
    """
    where, name = split_at(at)
    demand_trust(_told(where), PLACE)
    file = source_file(where)
    module = _from_file(file, digest) if _is_file(where) else _import(where, file, digest)
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if _is_network(value)]
        hint = did_you_mean(name, known) if known else None
        raise ConfigError(f"{_told(where)} holds no such class", place=PLACE, got=name, fix=hint)
    made: Callable[..., Any] = found
    _loaded[at] = digest
    return made


def _is_network(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _from_file(file: Path, digest: str) -> ModuleType:
    """Run exactly the bytes whose digest is on record."""
    key = f"asepsis_user_{digest[:16]}"
    if key in sys.modules:
        return sys.modules[key]
    content = content_of(file)
    if hashlib.sha256(content).hexdigest() != digest:
        raise _changed(file.name)
    module = ModuleType(key)
    module.__file__ = str(file)
    sys.modules[key] = module  # classes find their module there when they are pickled
    try:
        with _findable(file.resolve().parent), telling(file.name, file.name):
            exec(compile(content, str(file), "exec"), vars(module))
    except BaseException:
        del sys.modules[key]
        raise
    return module


def _import(dotted: str, file: Path, digest: str) -> ModuleType:
    known = {split_at(at)[0]: seen for at, seen in _loaded.items()}
    if known.get(dotted, digest) != digest or digest_of(file) != digest:
        raise _changed(dotted)
    with _findable(Path.cwd()), telling(dotted, file.name):
        return importlib.import_module(dotted)


def _changed(name: str) -> ConfigError:
    return ConfigError(
        "the file changed while this was running", place=PLACE, got=name, fix="start again"
    )


@contextmanager
def _findable(folder: Path) -> Iterator[None]:
    """Let imports find the files beside it."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


@contextmanager
def telling(
    what: str,
    file: str,
    place: str = PLACE,
    fix: str | None = None,
    words: Callable[[Exception], str] | None = None,
) -> Iterator[None]:
    """Turn whatever the user's code raises inside into one message with its line.

    ``words`` says what may be repeated of an error; without, its first line.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 (any fault of the user's code is theirs to read)
        told = (words or first_line)(error)
        raise ConfigError(
            f"{what} raised {type(error).__name__}: {told}{_line(error, file)}",
            place=place,
            fix=fix,
        ) from None


def first_line(error: Exception) -> str:
    """Return the first line of an error's text."""
    return (str(error).strip().splitlines() or ["no message"])[0][:300]


def _line(error: Exception, file: str) -> str:
    """Return the last line of the user's file that the error went through."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == file:
            found = f" ({file}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def loaded() -> dict[str, str]:
    """Return what was imported here and stands unchanged, for a process that imports the same."""
    return {at: digest for at, digest in _loaded.items() if _stands(at, digest)}


def _stands(at: str, digest: str) -> bool:
    try:
        return digest_of(source_file(split_at(at)[0])) == digest
    except (ConfigError, OSError):
        return False


def load_again(known: dict[str, str]) -> None:
    """Import in this process what another one had imported, so that its networks unpickle.

    The user trusted exactly these bytes, there: the child of that process need not be told again.
    """
    with trusting_code(bool(known)):
        for at, digest in known.items():
            load_class(at, digest)
