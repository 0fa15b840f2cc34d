"""Options that commands of `trainer` share, parsing of their values, and printing of user errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from manifests.errors import ManifestError
from manifests.text import printable_lines
from trainer.errors import TrainerError

RUNS, MANIFESTS = Path("runs"), Path("manifests")
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
RunsDir = Annotated[Path, typer.Option("--runs", help="The folder of runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
ManifestsDir = Annotated[Path, typer.Option("--manifests", help="The folder of manifests.")]
Precision = Annotated[
    str, typer.Option(help="Of training steps: float32, tf32, bf16, or auto (tf32 on CUDA, else float32).")
]
Compiled = Annotated[bool, typer.Option("--compile/--no-compile", help="Compile networks; not yet measured on a GPU.")]
NumWorkers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Number of worker processes, one run each.", show_default="chosen from cores and free memory"
    ),
]


@contextmanager
def refusals() -> Iterator[None]:
    """Print errors that a user can fix on stderr and exit 1; a bug keeps its traceback."""
    try:
        yield
    except (TrainerError, ManifestError) as error:
        typer.echo(f"error: {printable_lines(error)}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("interrupted; run the same command again to resume", err=True)
        raise typer.Exit(130) from None


def only_manifest(manifests: Path, dataset: str | None) -> Path:
    """Return the manifest of a dataset, or the only one there is.

    Raises:
        TrainerError: no dataset is named and there are several manifests.
    """
    from manifests import files

    paths = files.find(manifests, [dataset] if dataset else None)
    if len(paths) > 1:
        raise TrainerError(f"several datasets are prepared; choose one: --dataset {' or '.join(p.stem for p in paths)}")
    return paths[0]


def numbers(text: str) -> tuple[int, ...]:
    """Parse a list of integers like 1,2,3.

    Raises:
        TrainerError: the text is no such list.
    """
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise TrainerError(f"{text!r} is not a list of integers; expected one like 1,2,3") from error
