"""The `fertools` command: each command parses, calls the library, prints where the result is."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fertools.dataset import Dataset
from fertools.datasets import DATASETS
from fertools.errors import FertoolsError
from manifests import files, schema

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

DatasetName = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="ck+, oulu-casia, bu3dfe, jaffe or folder; case and hyphens do not matter."),
]
RawDir = Annotated[Path | None, typer.Option("--raw", help="The raw folder.", show_default="data/<dataset>")]
ManifestsDir = Annotated[Path, typer.Option("--manifests", help="Where the manifests are.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Seed = Annotated[int, typer.Option(min=0, help="Source of all chance.")]
MANIFESTS = Path("manifests")
DATA = Path("data")


class Whitening(StrEnum):
    """What whitening is fitted."""

    zca = "zca"
    standardize = "standardize"
    none = "none"


@app.callback()
def main() -> None:
    """Turn the raw folders of facial-expression datasets into manifests."""


@contextmanager
def refusals() -> Iterator[None]:
    """Print what a user can mend on stderr and exit 1; a bug keeps its traceback."""
    try:
        yield
    except (FertoolsError, schema.ManifestError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing is lost: the same command goes on from here", err=True)
        raise typer.Exit(130) from None


def find_dataset(name: str) -> Dataset:
    """Return the adapter that a user means."""
    dataset = DATASETS.get(files.dataset_name(name))
    if dataset is None:
        raise FertoolsError(f"no dataset {name!r}; known: {', '.join(DATASETS)}")
    return dataset


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with rate and time left on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


@app.command()
def draw(
    dataset: DatasetName,
    raw: RawDir = None,
    subjects: Annotated[int | None, typer.Option(min=2, help="How many people.", show_default="as published")] = None,
    seed: Seed = 0,
) -> None:
    """Draw a stand-in for a dataset by code: shaded faces in its own layout, with every factor known.

    Example: fertools draw ck+
    """
    with refusals():
        chosen = find_dataset(dataset)
        if not chosen.drawable:
            drawable = ", ".join(name for name, other in DATASETS.items() if other.drawable)
            raise FertoolsError(f"{chosen.title} cannot be drawn; known: {drawable}")
        from fertools.drawn import corpus

        root = raw or DATA / chosen.name
        with progress_bar(f"drawing {chosen.title}") as progress:
            num_images = corpus.draw(root, subjects, seed, os.cpu_count(), progress, chosen.name)
        subjects = subjects or corpus.LAYOUTS[chosen.name].num_subjects
        typer.echo(f"{root}: {num_images} images of {subjects} drawn people; their factors are in factors.csv")


@app.command()
def prepare(
    dataset: DatasetName,
    raw: RawDir = None,
    labels: Annotated[Path | None, typer.Option(help="CSV with path, expression, subject.")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    protocol: Annotated[
        str | None, typer.Option(help="Published selection of images.", show_default="the first")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda: where faces are detected.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one a core")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a manifest made from other files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find, align and store the faces of a dataset, as manifests/<dataset>.parquet.

    An interrupted run goes on where it stopped. A bad file is named and quarantined; the rest goes on.

    Example: fertools prepare ck+ --raw data/ckplus
    """
    with refusals():
        chosen = find_dataset(dataset)
        root = raw or DATA / chosen.name
        if labels and not chosen.takes_labels:
            raise FertoolsError(f"{chosen.title} has labels of its own; --labels is for `fertools prepare folder`")
        if chosen.takes_labels:
            labels = next(
                (path for path in (labels, root / (labels or "labels.csv")) if path and path.exists()), labels
            )
        from fertools import prepare as library

        with progress_bar(f"preparing {chosen.title}") as progress:
            summary = library.prepare(
                chosen, root, manifests_dir, labels=labels, protocol_name=protocol, device=device,
                workers=workers or os.cpu_count() or 1, overwrite=overwrite, progress=progress,
            )  # fmt: skip
        typer.echo(json.dumps(dataclasses.asdict(summary)) if as_json else library.describe(summary))


@app.command()
def make_folds(
    datasets: Annotated[list[str] | None, typer.Argument(help="Which; all that are prepared by default.")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    num_folds: Annotated[int, typer.Option(min=3, help="How many; one tests, the next validates.")] = 10,
    whiten: Annotated[Whitening, typer.Option(help="Fitted on each fold's training part.")] = Whitening.standardize,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Deal people to folds, draw same-expression pairs for every fold and epoch, fit each fold's whitening.

    Fold k tests on the people of fold k, validates on fold k + 1 and trains on the rest.

    Example: fertools make-folds ck+ --num-folds 10
    """
    from fertools import make_folds as library

    with refusals():
        for path in files.find(manifests_dir, datasets):
            made = library.make_folds(path, num_folds, whiten.value, seed)
            if as_json:
                typer.echo(json.dumps({"manifest": str(path), "folds": [dataclasses.asdict(fold) for fold in made]}))
            else:
                typer.echo(f"{path}\n{library.describe(made)}")


@app.command()
def show(
    dataset: DatasetName,
    out: Annotated[Path | None, typer.Option(help="PNG to write.", show_default="manifests/<dataset>.png")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
) -> None:
    """Draw the aligned faces of a manifest on one contact sheet.

    Example: fertools show ck+ --out faces.png
    """
    from fertools.show import contact_sheet

    with refusals():
        (manifest,) = files.find(manifests_dir, [dataset])
        out = out or manifest.with_suffix(".png")
        part = out.with_name(f".{out.name}.part")
        contact_sheet(manifest).save(part, format="PNG")
        part.replace(out)
        typer.echo(out)
