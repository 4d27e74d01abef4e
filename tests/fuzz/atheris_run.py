"""Fuzz readers under coverage: ``python tests/fuzz/atheris_run.py TARGETS SECONDS [FOLDER]``.

``TARGETS`` are names with commas between them, or ``all``; each runs for so many seconds.

Needs atheris (``pip install atheris``), which nothing else of asepsis does. What is neither read
nor refused with a message of ours is written to the folder, its traceback beside it, once for
every place in the code; the number of executions is printed at the end, and the exit code is 1
where anything was found. A reader that hangs is stopped by libFuzzer, which keeps its input.
Without arguments the names of the targets are printed.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from targets import Target

MEBIBYTES = 2048
SECONDS = 10
LONGEST = 1 << 16
INSTRUMENTED = (
    *("asepsis.data", "asepsis.defenses.audit", "asepsis.defenses.masking"),
    *("asepsis.defenses.stored", "asepsis.experiments", "asepsis.assess", "asepsis.report"),
    *("asepsis.models.exported", "asepsis.models.user_weights", "pydicom", "nibabel", "PIL"),
    *("zipfile", "tomllib", "json", "csv", "gzip", "pickletools", "numpy.lib._format_impl"),
)


def main(names: list[str], seconds: int, found: Path) -> bool:
    """Run targets one after the other, each in a process of its own: libFuzzer ends it.

    Returns:
        Whether nothing was found.
    """
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
        from targets import TARGETS
    found.mkdir(parents=True, exist_ok=True)
    ended = True
    for target in TARGETS:
        if target.name in names or names == ["all"]:
            corpus = list(target.corpus())
            child = os.fork()
            if child == 0:
                _run(target, corpus, seconds, found)
            status = os.waitpid(child, 0)[1]
            ended &= status == 0
            print(f"{target.name}: ended with {status}", flush=True)
    return ended and not any(found.glob("*.txt"))


def _run(target: Target, corpus: list[bytes], seconds: int, found: Path) -> None:
    import atheris
    from mutate import damaged

    here = Path(tempfile.mkdtemp())
    (here / "corpus").mkdir()
    (here / "laid").mkdir()
    for number, content in enumerate(corpus):
        (here / "corpus" / str(number)).write_bytes(content)
    place = target.lay(here / "laid")
    place.write_bytes(target.wrap(corpus[0]))
    target.attempt(place)  # whatever is imported late is there from now on
    warnings.simplefilter("ignore")
    _confine()

    def once(content: bytes) -> None:
        place.write_bytes(target.wrap(content))
        try:
            target.attempt(place)
        except BaseException as error:  # noqa: BLE001 (whatever it is, it is what is looked for)
            _keep(found, target.name, content, error)

    def mutated(content: bytes, most: int, seed: int) -> bytes:
        """Let libFuzzer change bytes, or change what the text or header says."""
        if not target.form or seed % 2:
            return bytes(atheris.Mutate(content, most))
        edit = (1, seed >> 1, seed * 2654435761 >> 3)
        return damaged(content, corpus, [edit], target.form)[:most]

    flags = [f"-max_total_time={seconds}", f"-timeout={SECONDS}", f"-max_len={LONGEST}", "-seed=1"]
    flags += ["-rss_limit_mb=0", "-print_final_stats=1", "-verbosity=0"]
    flags.append(f"-artifact_prefix={found}/{target.name}-")
    atheris.Setup([sys.argv[0], *flags, str(here / "corpus")], once, custom_mutator=mutated)
    atheris.Fuzz()


def _confine() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        data = int(file.read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (data + (MEBIBYTES << 20),) * 2)


def _keep(found: Path, name: str, content: bytes, error: BaseException) -> None:
    """Write what was found, once for every kind of error and place in the code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/asepsis/" in frame.filename] or frames
    where = f"{type(error).__name__} {ours[-1].filename}:{ours[-1].lineno}"
    key = hashlib.sha256(where.encode()).hexdigest()[:8]
    report = found / f"{name}-{key}.txt"
    if not report.exists():
        (found / f"{name}-{key}.bin").write_bytes(content)
        report.write_text(
            "".join(traceback.format_exception(error)), encoding="utf-8", errors="replace"
        )
        print(f"found: {where}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        from targets import TARGETS as KNOWN

        print("\n".join(one.name for one in KNOWN))
    else:
        place = Path(sys.argv[3] if len(sys.argv) > 3 else "build/fuzz")
        sys.exit(not main(sys.argv[1].split(","), int(sys.argv[2]), place))
