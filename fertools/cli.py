"""The `fertools` command: each command parses, calls the library, prints where the result is."""

import dataclasses
import datetime
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fertools.datasets import DATASETS
from fertools.datasets.base import Dataset
from fertools.errors import FertoolsError
from manifests import files, schema

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

DatasetName = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="ck+, oulu-casia, raf-db, ... or folder; case and hyphens do not matter."),
]
RawDir = Annotated[Path | None, typer.Option("--raw", help="The raw folder.", show_default="data/<dataset>")]
ManifestsDir = Annotated[Path, typer.Option("--manifests", help="Where the manifests are.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Seed = Annotated[int, typer.Option(min=0, help="Source of all chance.")]
MANIFESTS = Path("manifests")
DATA = Path("data")


class Landmarks(StrEnum):
    """Where a face's five points come from."""

    mtcnn = "mtcnn"
    published = "published"


class Align(StrEnum):
    """Which of them a face is aligned by."""

    five_points = "five-points"
    eyes_nose = "eyes-nose"


class Color(StrEnum):
    """What is kept of a picture's colours."""

    grey = "grey"
    rgb = "rgb"


class EngineName(StrEnum):
    """What the work is done on."""

    local = "local"
    ray = "ray"


class Check(StrEnum):
    """What tells a changed image."""

    time = "time"
    hash = "hash"


class By(StrEnum):
    """What folds are dealt by."""

    subject = "subject"
    group = "group"
    official = "official"


class Whitening(StrEnum):
    """What whitening is fitted."""

    zca = "zca"
    standardize = "standardize"
    none = "none"


class ExportFormat(StrEnum):
    """What an export is read by."""

    hf = "hf"
    webdataset = "webdataset"
    folder = "folder"


@app.callback()
def main() -> None:
    """Turn the raw folders of facial-expression datasets into manifests."""


@contextmanager
def refusals(code: int = 1, interrupted: str = "nothing is lost: the same command goes on from here") -> Iterator[None]:
    """Print what a user can mend on stderr and exit with a code; a bug keeps its traceback."""
    try:
        yield
    except (FertoolsError, schema.ManifestError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(code) from error
    except KeyboardInterrupt:
        typer.echo(f"interrupted; {interrupted}", err=True)
        raise typer.Exit(130) from None


def find_dataset(name: str) -> Dataset:
    """Return the adapter that a user means."""
    dataset = DATASETS.get(files.dataset_name(name))
    if dataset is None:
        raise FertoolsError(f"no dataset {name!r}; known: {', '.join(DATASETS)}")
    return dataset


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[..., None]]:
    """Show a bar with rate, time left and what came of it on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.0f}/s" if task.speed else "")

    columns = (
        TextColumn(what), BarColumn(), MofNCompleteColumn(), Rate(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[told]}"),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, visible=False, told="")
        yield lambda done, total, told="": bar.update(task, completed=done, total=total, told=told, visible=True)


@app.command()
def draw(
    dataset: DatasetName,
    raw: RawDir = None,
    subjects: Annotated[
        int | None, typer.Option(min=2, help="How many people.", show_default="123 of CK+, 80 of Oulu-CASIA, else few")
    ] = None,
    published_counts: Annotated[
        bool,
        typer.Option("--published-counts", help="As many files a class and split as published; tiny, without faces."),
    ] = False,
    form: Annotated[
        str | None, typer.Option(help="Another form of it: casiawebface has `pack`, affectnet `photographs`.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Draw a stand-in for a dataset by code: shaded faces in its own layout, with every factor known.

    Where a set publishes no subject, the same people are in all of its splits; factors.csv says who is where.

    Example: fertools draw ck+
    """
    with refusals():
        chosen = find_dataset(dataset)
        if not chosen.drawable:
            drawable = ", ".join(name for name, other in DATASETS.items() if other.drawable)
            raise FertoolsError(f"{chosen.title} cannot be drawn; known: {drawable}")
        if published_counts and subjects:
            raise FertoolsError("--published-counts has as many people as published: leave --subjects out")
        from fertools.drawn import corpus, published
        from fertools.drawn.layouts import registry

        layout, root = registry.find(chosen.name, form), raw or DATA / chosen.name
        with progress_bar(f"drawing {chosen.title}") as progress:
            if published_counts:
                num_images = published.draw(root, layout, seed, progress)
                drawn = f"{num_images} images without faces, as many a class and split as published"
            else:
                num_images = corpus.draw(root, subjects, seed, os.cpu_count(), progress, layout)
                subjects = subjects or registry.LAYOUTS[layout].num_subjects
                drawn = f"{num_images} images of {subjects} drawn people; their factors are in factors.csv"
        typer.echo(f"{root}: {drawn}")


@app.command()
def prepare(
    dataset: DatasetName,
    raw: RawDir = None,
    labels: Annotated[Path | None, typer.Option(help="CSV with path, expression, subject.")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    protocol: Annotated[
        str | None, typer.Option(help="Published selection of images.", show_default="the first")
    ] = None,
    landmarks: Annotated[Landmarks, typer.Option(help="Detected, or the authors' own.")] = Landmarks.mtcnn,
    size: Annotated[int, typer.Option(help="Side of an aligned picture, px: 128, or 256 as IF-GAN's.")] = 128,
    align: Annotated[Align, typer.Option(help="The landmarks that faces are aligned by.")] = Align.five_points,
    color: Annotated[Color, typer.Option(help="What is kept of the colours.")] = Color.grey,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or openvino: where faces are detected.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes.", show_default="one a core")] = None,
    engine: Annotated[EngineName, typer.Option(help="This machine's processes, or Ray.")] = EngineName.local,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster; auto: this machine's.", show_default="Ray is started here")
    ] = None,
    check: Annotated[Check, typer.Option(help="Hash images of another size or time, or every image.")] = Check.time,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other options' manifest, or folds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find, align and store the faces of a dataset, as manifests/<dataset>.parquet.

    An interrupted run goes on where it stopped, and a later one does only what is missing or changed. A bad file is
    named and quarantined; the rest goes on.

    Example: fertools prepare ck+ --raw data/ckplus

    Example: fertools prepare raf-db --size 256 --align eyes-nose --color rgb

    Example: fertools prepare affectnet --engine ray --address auto
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
        if address and engine is not EngineName.ray:
            raise FertoolsError("--address is of a Ray cluster: use it with --engine ray")
        from fertools.preparation import prepare as library
        from fertools.preparation.engines import Engine

        workers = workers or (None if address else os.cpu_count() or 1)
        with progress_bar(f"preparing {chosen.title}") as progress:
            summary = library.prepare(
                chosen, root, manifests_dir, labels=labels, protocol_name=protocol,
                published=landmarks is Landmarks.published, crop=schema.Crop(size, align.value, color.value),
                device=device, engine=Engine(engine.value, workers, address), check_hashes=check is Check.hash,
                overwrite=overwrite, progress=progress,
            )  # fmt: skip
        typer.echo(json.dumps(dataclasses.asdict(summary)) if as_json else library.describe(summary))


@app.command()
def make_folds(
    datasets: Annotated[list[str] | None, typer.Argument(help="Which; all that are prepared by default.")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    num_folds: Annotated[int, typer.Option(min=3, help="How many; one tests, the next validates.")] = 10,
    by: Annotated[By | None, typer.Option(help="What folds are dealt by.", show_default="as published")] = None,
    whiten: Annotated[Whitening, typer.Option(help="Fitted on each fold's training part.")] = Whitening.standardize,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Deal people to folds, draw same-expression pairs for every fold and epoch, fit each fold's whitening.

    Fold k tests on the people of fold k, validates on fold k + 1 and trains on the rest. An official split is one
    fold: its test part tests, its validation part (or one in ten of the training part's people) validates.

    Example: fertools make-folds ck+ --num-folds 10
    """
    from fertools.folds import make_folds as library

    with refusals():
        for path in files.find(manifests_dir, datasets):
            made = library.make_folds(path, num_folds, whiten.value, seed, by and by.value)
            if as_json:
                typer.echo(json.dumps({"manifest": str(path), "folds": [dataclasses.asdict(fold) for fold in made]}))
            else:
                typer.echo(f"{path}\n{library.describe(made)}")


@app.command()
def protocols(
    dataset: Annotated[str | None, typer.Argument(help="Of which dataset.", show_default="all")] = None,
    as_json: AsJson = False,
) -> None:
    """List the published protocols: which images of a dataset are taken, as what, and in which parts.

    Example: fertools protocols ck+
    """
    from fertools.datasets import protocols as library

    with refusals():
        chosen = find_dataset(dataset).name if dataset else None
        listed = [one for one in library.PROTOCOLS.values() if chosen in (None, one.dataset)]
        names = {one.name for one in listed}
        across = [pair for pair in library.CROSS_DATASET if not names.isdisjoint((pair.train, pair.test))]
        if as_json:
            typer.echo(json.dumps({
                "protocols": [dataclasses.asdict(one) for one in listed],
                "across datasets": [dataclasses.asdict(pair) | {"expressions": pair.expressions} for pair in across],
            }))  # fmt: skip
        else:
            typer.echo("\n".join([*map(library.describe, listed), *map(library.describe_pair, across)]))


@app.command()
def export(
    dataset: DatasetName,
    form: Annotated[ExportFormat, typer.Option("--format", help="Hugging Face datasets, tars, or images with a CSV.")],
    out: Annotated[Path | None, typer.Option(help="Folder to make.", show_default="exports/<dataset>-<format>")] = None,
    pixels: Annotated[bool, typer.Option("--pixels", help="Take the images too, under the dataset's terms.")] = False,
    fold: Annotated[
        int | None, typer.Option(min=1, help="Whose parts, and pairs.", show_default="the official split, or all")
    ] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Write a manifest for others to read, with a card, Croissant metadata and the terms of use.

    Images leave only with --pixels, those of one's own or drawn ones too.

    Example: fertools export ck+ --format hf --fold 1
    """
    with refusals(interrupted="nothing was written"):
        (manifest,) = files.find(manifests_dir, [dataset])
        out = out or Path("exports") / f"{manifest.stem}-{form.value}"
        from fertools.export import export as library

        if pixels:
            typer.echo(f"terms: {library.terms(files.read_metadata(manifest))}", err=True)
        with progress_bar(f"exporting {manifest.stem}") as progress:
            made = library.export(
                manifest, out, form.value, datetime.date.today(), pixels=pixels, fold=fold, progress=progress
            )
        typer.echo(json.dumps(dataclasses.asdict(made)) if as_json else library.describe(made))


@app.command()
def show(
    dataset: DatasetName,
    out: Annotated[Path | None, typer.Option(help="PNG to write.", show_default="manifests/<dataset>.png")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
) -> None:
    """Draw the aligned faces of a manifest on one contact sheet.

    Example: fertools show ck+ --out faces.png
    """
    from fertools.export.contact_sheet import contact_sheet

    with refusals():
        (manifest,) = files.find(manifests_dir, [dataset])
        out = out or manifest.with_suffix(".png")
        part = out.with_name(f".{out.name}.part")
        contact_sheet(manifest).save(part, format="PNG")
        part.replace(out)
        typer.echo(out)


@app.command()
def group(
    dataset: DatasetName,
    embedder: Annotated[
        str, typer.Option(help="vggface2, casia-webface, or a file of weights: .onnx, .safetensors.")
    ] = "vggface2",
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Lowest mean cosine of a group.", show_default="by how alike strangers are"),
    ] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda: where faces are embedded.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Group faces that seem to show one person, for datasets that name nobody: fills in the column group.

    Groups are computed, never subjects. make-folds --by group deals them to folds; audit tells where they leak.

    Example: fertools group raf-db --embedder vggface2
    """
    with refusals():
        (manifest,) = files.find(manifests_dir, [dataset])
        from fertools.faces import detector
        from fertools.identities import embed
        from fertools.identities import group as library

        ready = embed.load(embedder, detector.pick_device(device))
        typer.echo(f"{ready.name}: {ready.licence}", err=True)
        with progress_bar("embedding") as progress:
            made = library.group(manifest, ready, threshold, progress)
        typer.echo(json.dumps(dataclasses.asdict(made)) if as_json else f"{manifest}\n{library.describe(made)}")


@app.command()
def audit(
    dataset: DatasetName,
    splits: Annotated[
        Path | None,
        typer.Option(help="CSV with file, part (train, validation, test), perhaps fold.", show_default="its folds"),
    ] = None,
    folds: Annotated[
        list[int] | None, typer.Option("--fold", min=1, help="Which; repeatable.", show_default="all")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="DATASET", help="Instead: all its faces against all of this dataset.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Page to write, with the worst pairs as pictures.")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Tell which test faces share a person, a recording, a file or a photograph with another part of their split.

    Exits 0 where none does, 1 where one does, 2 where there is nothing to audit.

    Example: fertools audit ck+ --html audit.html
    """
    with refusals(2):
        (manifest,) = files.find(manifests_dir, [dataset])
        if against and (splits or folds):
            raise FertoolsError("--against takes all faces: leave out --splits and --fold")
        from fertools.checks import audit as library

        with progress_bar("auditing") as progress:
            if against:
                (other,) = files.find(manifests_dir, [against])
                report = library.against(manifest, other, progress)
            else:
                report = library.audit(manifest, splits, folds or [], progress)
        if html:
            part = html.with_name(f".{html.name}.part")
            part.write_text(library.page(report), encoding="utf-8")
            part.replace(html)
        typer.echo(json.dumps(dataclasses.asdict(report)) if as_json else library.describe(report))
    raise typer.Exit(0 if report.total.clean else 1)


@app.command()
def verify(
    dataset: DatasetName,
    raw: RawDir = None,
    deep: Annotated[bool, typer.Option("--deep", help="Open every image: decode it, and find exact copies.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare a raw folder with what was published: counts, and every file that is missing, extra, empty or broken.

    Exits 0 where nothing was found, 1 where something was, 2 where the folder is not this dataset.

    Example: fertools verify ck+ --raw data/ckplus --deep
    """
    with refusals(2, "nothing was changed"):
        chosen = find_dataset(dataset)
        root = raw or DATA / chosen.name
        labels = root / "labels.csv"
        from fertools.checks import release_report
        from fertools.checks import verify as library

        with progress_bar(f"verifying {chosen.title}") as progress:
            judged = library.verify(
                chosen, root, labels=labels if chosen.takes_labels and labels.exists() else None, deep=deep,
                workers=os.cpu_count() or 1, progress=progress,
            )  # fmt: skip
        typer.echo(json.dumps(dataclasses.asdict(judged)) if as_json else release_report.describe(judged))
    raise typer.Exit(1 if judged.findings else 0)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A manifest: a .parquet file, or the name of a dataset.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The one to compare it with.")],
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Tell what differs between two manifests, by row and by column.

    Exits 0 where they are equal, 1 where they differ, 2 where one of them cannot be read.

    Example: fertools diff old/ckplus.parquet ck+
    """
    from fertools.checks import diff as library

    with refusals(2, "nothing was changed"):
        paths = [Path(name) if name.endswith(".parquet") else files.find(manifests_dir, [name])[0] for name in (a, b)]
        found = library.diff(*paths)
        typer.echo(json.dumps(dataclasses.asdict(found)) if as_json else library.describe(found))
    raise typer.Exit(0 if found.equal else 1)
