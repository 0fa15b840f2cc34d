"""Progress bars on stderr; where that is no terminal, lines."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from manifests.text import printable, printable_lines


@contextmanager
def progress_bars(title: str) -> Iterator[Callable[[str, int, int, dict[str, float]], None]]:
    """Show one bar per stage, with the last epoch's values; where stderr is no terminal, one line per stage."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, TaskID] = {}
    console = Console(stderr=True)
    shown = console.is_terminal
    with Progress(*columns, TextColumn("{task.fields[values]}"), console=console, disable=not shown) as progress:

        def update(stage: str, epoch: int, epochs: int, logged: dict[str, float]) -> None:
            values = _values(logged)
            if stage not in bars:
                bars[stage] = progress.add_task(f"{title}, {stage}", total=epochs, values="")
            progress.update(bars[stage], completed=epoch, values=values)
            if epoch == epochs and not shown:
                typer.echo(f"{title}, {stage} {epoch}/{epochs}  {values}", err=True)

        yield update


class JobBars:
    """One bar per running job and one of all; where stderr is no terminal, one line per stage and job.

    At the end, the errors of failed jobs are printed.
    """

    def __init__(self, num_jobs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        texts = [
            TextColumn(f"{{task.{name}}}", markup=False)
            for name in ("description", "fields[position]", "fields[values]")
        ]
        columns = (texts[0], BarColumn(20), texts[1], TimeRemainingColumn(), texts[2])
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._num_jobs, self._num_ended, self._num_epochs, self._started = num_jobs, 0, 0, time.perf_counter()
        self._all = self._progress.add_task("all", total=num_jobs, position="", values="")
        self._bars: dict[str, TaskID] = {}
        self._stages: dict[str, tuple[str, ...]] = {}
        self._parts: dict[str, float] = {}  # fraction of each job that is done
        self._errors: dict[str, str] = {}

    def __enter__(self) -> "JobBars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        for title, error in self._errors.items():
            told = f"{printable(title)}: {printable_lines(error)}" if self._num_jobs > 1 else printable_lines(error)
            typer.echo(f"error: {told}", err=True)

    def started(self, title: str, stages: tuple[str, ...]) -> None:
        """Show a bar for a job."""
        self._stages[title] = stages
        self._bars[title] = self._progress.add_task(title, total=None, position="", values="")

    def epoch(self, title: str, stage: str, epoch: int, epochs: int, logged: dict[str, float]) -> None:
        """Advance a job's bar."""
        position, values, stages = f"{stage} {epoch}/{epochs}", _values(logged), self._stages[title]
        self._progress.update(self._bars[title], completed=epoch, total=epochs, position=position, values=values)
        self._parts[title] = (stages.index(stage) + epoch / epochs) / len(stages)
        self._num_epochs += 1
        self._show_all()
        if epoch == epochs and not self._progress.console.is_terminal:
            typer.echo(f"{title}, {position}  {values}", err=True)

    def ended(self, title: str, error: str | None) -> None:
        """Remove a job's bar."""
        self._progress.remove_task(self._bars.pop(title))
        if error:
            self._errors[title] = error
        self._num_ended, self._parts[title] = self._num_ended + 1, 1
        self._show_all()
        if self._num_jobs > 1 and not self._progress.console.is_terminal:
            typer.echo(f"{self._num_ended}/{self._num_jobs} {title}{': failed' if error else ''}", err=True)

    def _show_all(self) -> None:
        rate = 60 * self._num_epochs / (time.perf_counter() - self._started)
        position, values = f"{self._num_ended}/{self._num_jobs}", f"{rate:.1f} epochs per minute"
        self._progress.update(self._all, completed=sum(self._parts.values()), position=position, values=values)


def _values(logged: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in logged.items() if name != "seconds")


@contextmanager
def pictures_bar(num_files: int | None) -> Iterator[Callable[[Path, int | None], None]]:
    """Show the number of files that were started, and the current picture, where stderr is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    current = TextColumn("{task.fields[picture]}", markup=False)
    columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), current)
    console = Console(stderr=True)
    last = None
    with Progress(
        *columns, console=console, disable=not console.is_terminal, redirect_stdout=sys.stdout.isatty()
    ) as progress:
        task = progress.add_task("", total=num_files, picture="")

        def advance(path: Path, frame: int | None) -> None:
            nonlocal last
            picture = path.name + ("" if frame is None else f" {frame}")
            progress.update(task, advance=path != last, picture=picture)
            last = path

        yield advance
