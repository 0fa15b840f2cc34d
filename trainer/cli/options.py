"""What the commands of `trainer` share: options, refusals, and how a user's words are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from manifests.errors import ManifestError
from trainer.errors import TrainerError

RUNS, MANIFESTS = Path("runs"), Path("manifests")
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
RunsDir = Annotated[Path, typer.Option("--runs", help="Where runs are kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
ManifestsDir = Annotated[Path, typer.Option("--manifests", help="Where the manifests are.")]
Precision = Annotated[str, typer.Option(help="Of steps: float32, bf16, or auto: bf16 on CUDA, else float32.")]
Compiled = Annotated[bool, typer.Option("--compile/--no-compile", help="Compile networks; not yet measured on a GPU.")]
SideBySide = Annotated[
    int | None,
    typer.Option(min=1, help="How many at once, each in a process of its own.", show_default="as many as pay"),
]


@contextmanager
def refusals() -> Iterator[None]:
    """Print what a user can mend on stderr and exit 1; a bug keeps its traceback."""
    try:
        yield
    except (TrainerError, ManifestError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None


def only_manifest(manifests: Path, dataset: str | None) -> Path:
    """Return the manifest that is meant: the named one, or the only one there is."""
    from manifests import files

    found = files.find(manifests, [dataset] if dataset else None)
    if len(found) > 1:
        raise TrainerError(f"several datasets are prepared; choose one: --dataset {' or '.join(p.stem for p in found)}")
    return found[0]


def numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a list like 1,2,3."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise TrainerError(f"{text!r} is no list of numbers; expected one like 1,2,3") from error
