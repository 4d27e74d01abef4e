"""Results on disk: append-only JSONL records, checkpoints, artifacts; private to their owner.

A results folder holds ``study.json`` (the plan), ``runs/HASH.jsonl`` (one record each),
``checkpoints/HASH.safetensors``, ``prefixes/`` (rounds before an attack starts, shared),
``traces/`` (a twin's models, kept where a trigger that changes has to be tried on them),
``ledgers/`` (what an audit wrote) and ``artifacts/`` (reconstructed inputs). Files appear whole
or not at all; a record that was cut off loses only its last line.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, contiguous_format

from asepsis.core.errors import StoreError
from asepsis.defenses.audit.files import plain_file
from asepsis.experiments.line_shape import misshapen

Line = dict[str, Any]
SCHEMA = 1
HALF_WRITTEN = ".part"
WRITER = re.compile(rf"\..+\.(\d+){re.escape(HALF_WRITTEN)}")
"""A half-written file's name: what it was to become, and which process wrote it."""
PARTS = ("runs", "checkpoints", "prefixes", "traces", "artifacts")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LARGEST_CHECKPOINT = 4 << 30
LARGEST_RECORD = 1 << 30


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn an operating system's error into one clear message."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot use the results folder: {error.strerror or error}",
            place=str(path),
            fix=f"{_mend(error)}, or choose another place with --out DIR",
        ) from None


def _mend(error: OSError) -> str:
    if error.errno in NO_SPACE:
        return "free some space and go on with --resume"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "make it writable and go on with --resume"
    return "see that the disk works and go on with --resume"


class Store:
    """A results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> Store:
        """Create the folder, readable by its owner only."""
        with guarded(self.root):
            for part in PARTS:
                (self.root / part).mkdir(parents=True, exist_ok=True, mode=0o700)
            self.root.chmod(0o700)
        return self

    @property
    def used(self) -> bool:
        """Whether the folder already holds results."""
        return self.plan.exists()

    @property
    def plan(self) -> Path:
        """Path of the study's plan."""
        return self.root / "study.json"

    def check_place(self) -> None:
        """Refuse a place where no folder can be made, without making one.

        Raises:
            StoreError: the folder, or the closest one above it that exists, cannot be written.
        """
        closest = next(
            place for place in (self.root, *self.root.absolute().parents) if place.exists()
        )
        if closest.is_dir() and os.access(closest, os.W_OK | os.X_OK):
            return
        if not closest.is_dir():
            wrong = "a file is in the way"
        elif closest == self.root:
            wrong = "the results folder may not be written"
        else:
            wrong = "no results folder can be made here"
        raise StoreError(
            wrong,
            place=str(self.root),
            got=str(closest),
            fix="choose another place with --out DIR",
        )

    def tidy(self) -> None:
        """Remove the files that processes were writing when they were killed, and no others."""
        rooms = [self.root / part for part in (*PARTS, "ledgers")]
        with guarded(self.root):
            found = [*self.root.iterdir(), *(path for room in rooms for path in room.rglob(".*"))]
            for path in found:
                writer = WRITER.fullmatch(path.name)
                if writer and not _writing(int(writer[1])):
                    path.unlink(missing_ok=True)

    def forget(self, digest: str) -> None:
        """Remove a run's checkpoint."""
        path = self.checkpoint(digest)
        with guarded(path):
            path.unlink(missing_ok=True)

    def record(self, digest: str) -> Path:
        """Path of a run's record."""
        return self.root / "runs" / f"{digest}.jsonl"

    def checkpoint(self, digest: str) -> Path:
        """Path of a run's checkpoint."""
        return self.root / "checkpoints" / f"{digest}.safetensors"

    def prefix(self, digest: str) -> tuple[Path, Path]:
        """Paths of a shared prefix: its record and its state."""
        base = self.root / "prefixes"
        return base / f"{digest}.jsonl", base / f"{digest}.safetensors"

    def trace(self, digest: str) -> Path:
        """Folder of an attack-free twin's global models, a file a round."""
        return self.root / "traces" / digest

    def ledger(self, digest: str) -> Path:
        """Path of what a run's audit wrote."""
        return self.root / "ledgers" / f"{digest}.jsonl"

    def artifact(self, digest: str, round_: int, number: int = 0) -> Path:
        """Path of what an observing attack, the run's ``number``-th, reconstructed in a round."""
        return self.root / "artifacts" / f"{digest}-{round_}-{number}.safetensors"

    def share_artifacts(self, source: str, target: str, rounds: int) -> None:
        """Copy what was reconstructed in the first rounds of a run, or of a prefix, to another."""
        for round_ in range(rounds):
            for path in (self.root / "artifacts").glob(f"{source}-{round_}-*.safetensors"):
                with guarded(path):
                    content = path.read_bytes()
                write_atomic(path.with_name(target + path.name.removeprefix(source)), content)

    def pictures(self, digest: str) -> Path:
        """Path of what an attack has to show of a whole run."""
        return self.root / "artifacts" / f"{digest}-pictures.safetensors"

    @property
    def devices(self) -> Path:
        """Path of what every defense costs one hospital, where that was measured."""
        return self.root / "devices.json"

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Write ``study.json``."""
        write_atomic(self.plan, (json.dumps(plan, indent=1) + "\n").encode())

    def read_plan(self) -> dict[str, Any]:
        """Read ``study.json``.

        Raises:
            StoreError: the folder holds no results.
        """
        content = contents(self.plan, LARGEST_RECORD)
        if content is None:
            raise StoreError(
                "no results here", place=str(self.root), fix="name a folder that a run wrote"
            )
        plan = _line(content)
        if plan is None:
            raise damaged(self.plan)
        return plan


def _writing(process: int) -> bool:
    """Whether another process lives that may still be writing."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def damaged(path: Path) -> StoreError:
    """Return the error of a plan that is not what asepsis wrote."""
    return StoreError(
        "the study's plan is damaged",
        place=str(path),
        fix="delete it and run the study again with --resume: finished runs are kept",
    )


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}{HALF_WRITTEN}")
    with guarded(path):
        try:
            with open(
                os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
            ) as out:
                out.write(content)
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors; two names of one tensor become two tensors.

    Raises:
        StoreError: they are more than :func:`read_tensors` reads.
    """
    if sum(tensor.nbytes for tensor in tensors.values()) > LARGEST_CHECKPOINT:
        raise _too_large(path)  # before it is copied
    own = {name: tensor.clone(memory_format=contiguous_format) for name, tensor in tensors.items()}
    content = save(own)
    if len(content) > LARGEST_CHECKPOINT:
        raise _too_large(path)
    write_atomic(path, content)


def read_tensors(path: Path) -> dict[str, Tensor] | None:
    """Read named tensors, or ``None`` when there are none.

    Raises:
        StoreError: the file is corrupt or too large.
    """
    content = contents(path, LARGEST_CHECKPOINT)
    if content is None:
        return None
    try:
        return load(content)
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        told = (str(error).splitlines() or [""])[0][:200]
        raise StoreError(
            f"the checkpoint is corrupt ({told})", place=str(path), fix="delete it and run again"
        ) from None


def contents(path: Path, most: int) -> bytes | None:
    """Return a file's bytes, ``None`` where there is nothing; never wait for a pipe.

    Raises:
        StoreError: it is no plain file, cannot be read, or has more bytes than ``most``.
    """
    if not path.exists():
        return None
    with guarded(path), open(path, "rb", opener=plain_file) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise StoreError(
                "the file is too large",
                place=str(path),
                got=f"more than {most >> 20:,} MiB",
                fix="delete it and run again",
            )
        return file.read(size)  # of so many bytes room is made before any is read


def _too_large(path: Path) -> StoreError:
    return StoreError(
        "the checkpoint is too large",
        place=str(path),
        got=f"more than {LARGEST_CHECKPOINT >> 20:,} MiB",
        fix="take a smaller model or fewer hospitals (those that train a generator keep its "
        "critic and their optimizers' moments), or run it from Python without a folder",
    )


def write_lines(path: Path, lines: Sequence[bytes]) -> None:
    """Write a file of lines; its folder is made, readable by its owner only."""
    with guarded(path):
        path.parent.mkdir(exist_ok=True, mode=0o700)
    write_atomic(path, b"".join(line + b"\n" for line in lines))


def append_lines(path: Path, lines: Sequence[bytes]) -> None:
    """Append lines to a file, all at once."""
    with guarded(path), path.open("ab") as out:
        out.write(b"".join(line + b"\n" for line in lines))


class Record:
    """A run's record: header, one line a round, footer; kept in memory and appended to a file."""

    def __init__(self, path: Path | None, lines: list[Line]) -> None:
        self.path = path
        self.lines = lines
        if path is not None:
            text = "".join(encode(line) for line in lines)
            write_atomic(path, text.encode())

    def append(self, line: Line) -> None:
        """Add a line."""
        self.lines.append(line)
        if self.path is not None:
            append_lines(self.path, [encode(line).encode().removesuffix(b"\n")])


def encode(line: Line) -> str:
    """Return one line of JSON; NaN and infinities are kept."""
    return json.dumps(line, separators=(",", ":")) + "\n"


def read_record(path: Path) -> list[Line]:
    """Read a record; a last line that was cut off is left out.

    Raises:
        StoreError: a line other than the last is damaged, or one is no line of a record.
    """
    lines = record_lines(path)
    before = None
    for number, line in enumerate(lines, start=1):
        wrong = misshapen(line, before)
        if wrong:
            raise _damaged_line(path, number, f" at {wrong}")
        before = line["type"]
    return lines


def record_lines(path: Path) -> list[Line]:
    """Read the JSON objects of a record as they stand, whatever they say.

    Raises:
        StoreError: a line other than the last is none.
    """
    raw = (contents(path, LARGEST_RECORD) or b"").split(b"\n")
    lines: list[Line] = []
    for number, text in enumerate(raw, start=1):
        line = _line(text)
        if line is None:
            if any(raw[number:]):
                raise _damaged_line(path, number)
            break
        lines.append(line)
    return lines


def _damaged_line(path: Path, number: int, where: str = "") -> StoreError:
    return StoreError(
        f"line {number} of the record is damaged{where}",
        place=str(path),
        fix="delete the record and run again with --resume",
    )


def _line(text: bytes) -> Line | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def rounds_of(lines: list[Line]) -> list[Line]:
    """Return the round lines of a record."""
    return [line for line in lines if line.get("type") == "round"]


def footer_of(lines: list[Line]) -> Line | None:
    """Return a record's footer, if the run ended."""
    return lines[-1] if lines and lines[-1].get("type") == "footer" else None


def results_of(lines: list[Line]) -> list[str]:
    """Return the deterministic parts as text: bit-equality of two runs means these are equal.

    Text, because NaN (not estimable) differs from itself.
    """
    return [encode(line.get("result", {})) for line in lines]
