"""``asepsis assess``: what breaks our federation, and which defenses should we run?"""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asepsis.cli.results import Device, Engine, Jobs, Pseudonyms, Resume, TrustCode
from asepsis.core.errors import ConfigError

if TYPE_CHECKING:
    from asepsis.assess.outcome import Outcome
    from asepsis.experiments.sweep import Listener

File = Annotated[Path, typer.Argument(help="federation.toml; asepsis init writes one.")]
Out = Annotated[Path | None, typer.Option(help="Folder; results/assess-NAME/TIME by default.")]
Minutes = Annotated[float | None, typer.Option(min=0.1, help="Time budget, instead of the file's.")]
Junit = Annotated[Path | None, typer.Option(help="Write JUnit XML here as well.")]
Sarif = Annotated[Path | None, typer.Option(help="Write SARIF here as well.")]
Json = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, no tables.")]


def assess(
    file: File,
    out: Out = None,
    minutes: Minutes = None,
    junit: Junit = None,
    sarif: Sarif = None,
    jobs: Jobs = None,
    engine: Engine = "threads",
    device: Device = "cpu",
    trust_code: TrustCode = False,
    pseudonyms: Pseudonyms = False,
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """Say what breaks a federation of yours, and which defenses it should run, at what price.

    Exit code: 0 all threats are within the limits, 1 one is not, 3 the intervals straddle a limit,
    2 bad input.
    """
    from asepsis.assess.assessment import assess as assessed
    from asepsis.assess.spec import load_assessment
    from asepsis.core.trust import trusting_code
    from asepsis.engines.worker import cores
    from asepsis.experiments.run import RunOptions

    for option, place in (("--junit", junit), ("--sarif", sarif)):
        _check_place(place, option)
    asked = load_assessment(file, {} if minutes is None else {"minutes": minutes})
    folder = out or _folder(asked.name, resume=resume)
    how = RunOptions(
        engine=engine, device=device, jobs=jobs or cores(), resume=resume, pseudonyms=pseudonyms
    )
    try:
        with trusting_code(trust_code), Lines(60 * asked.minutes, quiet=json_) as lines:
            found = assessed(asked, folder, how, lines.tell, lines.listen)
    except KeyboardInterrupt:
        typer.echo(f"asepsis: stopped; go on with: {_again(out, folder)}", err=True)
        raise typer.Exit(130) from None
    _write(found, folder, junit, sarif, json_=json_)
    raise typer.Exit(found.answer.code)


def _check_place(path: Path | None, option: str) -> None:
    """Refuse a file that could not be written, before hours are spent on what goes into it."""
    if path is None:
        return
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError("no file can be written there", place=option, got=str(path))


class Lines:
    """One line a step, and how many runs and minutes are left, on standard error."""

    def __init__(self, seconds: float, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress, TextColumn, TimeElapsedColumn

        self.bar = Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.completed} runs"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            disable=quiet,
            transient=True,
        )
        self.until, self.quiet = time.monotonic() + seconds, quiet
        self.task: Any = None

    def __enter__(self) -> Lines:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def tell(self, step: str) -> None:
        """Begin a step."""
        left = max(self.until - time.monotonic(), 0) / 60
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = self.bar.add_task(step, total=None)
        if not self.quiet:
            self.bar.console.print(f"{step}  ({left:.0f} min left)")

    @property
    def listen(self) -> Listener:
        """Count the runs that end."""

        def heard(progress: Any) -> None:
            if progress.kind != "round" and self.task is not None:
                self.bar.advance(self.task)

        return heard


def _write(
    found: Outcome, folder: Path, junit: Path | None, sarif: Path | None, *, json_: bool
) -> None:
    from asepsis.assess.outputs import json_text, write_outputs
    from asepsis.assess.terminal import print_outcome

    written = write_outputs(found, folder, junit=junit, sarif=sarif)
    if json_:
        typer.echo(json_text(found), nl=False)
        return
    from rich.console import Console

    print_outcome(found, Console())
    typer.echo("")
    for path in written:
        typer.echo(str(path))


def _folder(name: str, *, resume: bool) -> Path:
    import re

    plain = re.sub(r"[^\w-]+", "-", name).strip("-") or "federation"
    base = Path("results") / f"assess-{plain}"
    earlier = sorted(path.parent for path in base.glob("*/progress.json")) if resume else []
    return earlier[-1] if earlier else base / time.strftime("%Y%m%d-%H%M%S")


def _again(out: Path | None, folder: Path) -> str:
    words = ["asepsis", *sys.argv[1:], *([] if out else ["--out", str(folder)])]
    return shlex.join(words + ([] if "--resume" in words else ["--resume"]))
