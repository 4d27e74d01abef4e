"""Nested progress bars: the whole study above, the runs in progress below, with time left."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from asepsis.experiments.plan import Cell, Plan
    from asepsis.experiments.sweep import Progress as Event


class Bars:
    """Shows a plan's progress on standard error; says the plan's notes first."""

    def __init__(self, plan: Plan, *, quiet: bool = False) -> None:
        self._plan = plan
        self._quiet = quiet
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
            transient=True,
        )
        self._rounds: dict[Cell, int] = {}
        self._running: dict[Cell, TaskID] = {}
        self._total: TaskID | None = None

    def __enter__(self) -> Bars:
        if not self._quiet:
            self._introduce()
        self._progress.start()
        work = sum(cell.spec.federation.rounds for cell in self._plan.cells)
        self._total = self._progress.add_task("all rounds", total=work)
        return self

    def _introduce(self) -> None:
        study = self._plan.study
        seeds = len({cell.seed for cell in self._plan.cells})
        self._console.print(f"[bold]{escape(study.title or study.name)}[/bold]")
        self._console.print(
            f"{len(self._plan.cells)} runs: {_count(len(study.scenarios), 'scenario')}, "
            f"{_count(seeds, 'seed')}, attack-free twins included"
        )
        for note in self._plan.notes:
            self._console.print(f"[bold yellow]NOTE[/bold yellow] {escape(note)}", highlight=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Remove the bars."""
        self._progress.stop()

    def listen(self, event: Event) -> None:
        """Take note of a round played, a run ended or a run failed."""
        cell = event.cell
        if event.kind == "failed":
            if not self._quiet:
                self._console.print(
                    f"[red]failed[/red] {escape(f'{_title(cell)}: {event.message}')}"
                )
        elif event.kind == "round" and cell not in self._running:
            self._running[cell] = self._progress.add_task(
                f"  {escape(_title(cell))}", total=cell.spec.federation.rounds
            )
        done = cell.spec.federation.rounds if event.kind != "round" else event.round
        self._rounds[cell] = done
        if self._total is not None:
            self._progress.update(self._total, completed=sum(self._rounds.values()))
        if cell in self._running:
            self._progress.update(self._running[cell], completed=done)
            if event.kind != "round":
                self._progress.remove_task(self._running.pop(cell))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _title(cell: Cell) -> str:
    return f"{cell.scenario}: {cell.attack} / {cell.defense} / seed {cell.seed}"
