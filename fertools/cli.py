"""The `fertools` command: each command parses, calls the library, prints where the result is."""

import dataclasses
import datetime
import inspect
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fertools.datasets import DATASETS, find_dataset
from fertools.errors import FertoolsError
from manifests.atomic import atomic_file, write_atomic
from manifests.errors import ManifestError
from manifests.text import printable, printable_lines

if TYPE_CHECKING:
    from fertools.datasets.base import Dataset

app = typer.Typer(  # plain help: rich's costs more to import than all else that --help needs
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)

DatasetName = Annotated[
    str,
    typer.Argument(metavar="DATASET", help="ck+, oulu-casia, raf-db, ... or folder; case and hyphens do not matter."),
]
RawDir = Annotated[Path | None, typer.Option("--raw", help="The raw folder.", show_default="data/<dataset>")]
ManifestsDir = Annotated[Path, typer.Option("--manifests", help="The folder of manifests.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Map = Annotated[
    str | None,
    typer.Option("--map", metavar="PAIRS|FILE", help="What labels mean: joy=happiness,0=anger, or a table of these."),
]
LabelsFrom = Annotated[
    int | None,
    typer.Option(min=0, max=1, help="The number that the classes of a list count from.", show_default="as published"),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Follow links out of the raw folder (DVC, git-annex, caches).")
]
Seed = Annotated[int, typer.Option(min=0, help="Random seed.")]
MANIFESTS = Path("manifests")
DATA = Path("data")


class Landmarks(StrEnum):
    """Where a face's five landmarks come from."""

    mtcnn = "mtcnn"
    published = "published"


class Align(StrEnum):
    """The landmarks that a face is aligned by."""

    five_points = "five-points"
    eyes_nose = "eyes-nose"


class Color(StrEnum):
    """The colours that crops keep."""

    grey = "grey"
    rgb = "rgb"


class EngineName(StrEnum):
    """Where the work runs."""

    local = "local"
    ray = "ray"


class Check(StrEnum):
    """How a changed image is detected."""

    time = "time"
    hash = "hash"


class By(StrEnum):
    """What stays together in a fold."""

    subject = "subject"
    group = "group"
    official = "official"


class Whitening(StrEnum):
    """The kind of whitening."""

    zca = "zca"
    standardize = "standardize"
    none = "none"


class ExportFormat(StrEnum):
    """Formats that others read."""

    hf = "hf"
    webdataset = "webdataset"
    folder = "folder"


def _print_version(asked: bool) -> bool:
    if asked:
        from importlib.metadata import version

        typer.echo(version("fertools"))
        raise typer.Exit
    return asked


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Turn the raw folders of facial expression datasets into manifests: aligned faces, folds, pairs, leak audits."""


@contextmanager
def refusals(code: int = 1, interrupted: str = "nothing is lost: the same command resumes from here") -> Iterator[None]:
    """Print user-facing errors on stderr and exit with a code; a bug keeps its traceback."""
    try:
        yield
    except (FertoolsError, ManifestError) as error:
        typer.echo(f"error: {printable_lines(error)}", err=True)
        raise typer.Exit(code) from error
    except KeyboardInterrupt:
        typer.echo(f"interrupted; {interrupted}", err=True)
        raise typer.Exit(130) from None


def label_reading(dataset: "Dataset", labels_from: int | None, mapping: str | None) -> dict[str, str] | None:
    """Return what the labels of a raw folder are to be read as; null: as published."""
    from fertools.datasets.survey import reading
    from fertools.inputs.expressions import read_map

    return reading(dataset, labels_from, read_map(mapping) if mapping else {})


def raw_folder(raw: Path | None, dataset: "Dataset", follow_links: bool) -> Path:
    """Return the raw folder; a `FollowedFolder` where its links may be followed."""
    from fertools.inputs.links import FollowedFolder

    root = raw or DATA / dataset.name
    return FollowedFolder(root) if follow_links else root


def say(text: str) -> None:
    """Print a result on standard output as a terminal may show it."""
    typer.echo(printable_lines(text))


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[..., None]]:
    """Show a bar with rate, remaining time and counts on stderr, where that is a terminal."""
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
        TextColumn("{task.fields[message]}"),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None, visible=False, message="")
        yield lambda done, total, message="": bar.update(
            task, completed=done, total=total, message=message, visible=True
        )


@app.command()
def draw(
    dataset: DatasetName,
    raw: RawDir = None,
    subjects: Annotated[
        int | None, typer.Option(min=2, help="Number of people.", show_default="123 of CK+, 80 of Oulu-CASIA, else few")
    ] = None,
    published_counts: Annotated[
        bool,
        typer.Option(
            "--published-counts", help="The published number of files per class and split; tiny images without faces."
        ),
    ] = False,
    form: Annotated[
        str | None,
        typer.Option(help="Another layout of the same dataset: casiawebface has `pack`, affectnet `photographs`."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Draw a stand-in for a dataset by code: rendered faces in its own layout, with every factor known.

    Where a dataset publishes no subjects, the same people are in all of its splits; factors.csv lists who is where.

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
    labels: Annotated[
        Path | None, typer.Option(help="Table with path, expression, subject, split, gender, age, race.")
    ] = None,
    labels_from: LabelsFrom = None,
    mapping: Map = None,
    follow_links: FollowLinks = False,
    manifests_dir: ManifestsDir = MANIFESTS,
    protocol: Annotated[
        str | None, typer.Option(help="Published selection of images.", show_default="the first")
    ] = None,
    landmarks: Annotated[
        Landmarks, typer.Option(help="Detected by MTCNN, or published by the authors.")
    ] = Landmarks.mtcnn,
    size: Annotated[int, typer.Option(help="Side of an aligned face in px: 128, or 256 as in IF-GAN.")] = 128,
    align: Annotated[Align, typer.Option(help="The landmarks that faces are aligned by.")] = Align.five_points,
    color: Annotated[Color, typer.Option(help="Grey or colour crops.")] = Color.grey,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or openvino, for detection.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of worker processes.", show_default="one per core")
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="Local processes, or Ray.")] = EngineName.local,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster; auto: the one on this machine.", show_default="a new one"),
    ] = None,
    check: Annotated[
        Check, typer.Option(help="How to detect changed images: size and mtime, or content hash.")
    ] = Check.time,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite a manifest made with other options, or one that has folds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find, align and store the faces of a dataset, as manifests/<dataset>.parquet.

    An interrupted run resumes where it stopped, and a later one processes only what is missing or changed. A bad file
    is named and quarantined; the rest goes on.

    Example: fertools prepare ck+ --raw data/ckplus

    Example: fertools prepare raf-db --size 256 --align eyes-nose --color rgb

    Example: fertools prepare affectnet --engine ray --address auto

    Example: fertools prepare folder --raw photos --labels labels.csv --map joy=happiness,0=anger
    """
    with refusals():
        chosen = find_dataset(dataset)
        root = raw_folder(raw, chosen, follow_links)
        recode = label_reading(chosen, labels_from, mapping)
        if address and engine is not EngineName.ray:
            raise FertoolsError("--address is of a Ray cluster: use it with --engine ray")
        from fertools.datasets.survey import labels_table
        from fertools.preparation import prepare as library
        from fertools.preparation.engines import Engine
        from manifests.schema import Crop

        labels = labels_table(chosen, root, labels)

        workers = workers or (None if address else os.cpu_count() or 1)
        with progress_bar(f"preparing {chosen.title}") as progress:
            summary = library.prepare(
                chosen, root, manifests_dir, labels=labels, recode=recode, protocol_name=protocol,
                published=landmarks is Landmarks.published, crop=Crop(size, align.value, color.value),
                device=device, engine=Engine(engine.value, workers, address), check_hashes=check is Check.hash,
                overwrite=overwrite, progress=progress,
            )  # fmt: skip
        say(json.dumps(dataclasses.asdict(summary)) if as_json else library.describe(summary))


@app.command()
def make_folds(
    datasets: Annotated[list[str] | None, typer.Argument(help="Datasets; by default all that are prepared.")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    num_folds: Annotated[int, typer.Option(min=3, help="Number of folds; fold k tests, fold k + 1 validates.")] = 10,
    by: Annotated[By | None, typer.Option(help="What stays together in a fold.", show_default="as published")] = None,
    splits: Annotated[
        Path | None, typer.Option(help="Instead: a table of path or face_id, and fold or part.", show_default="none")
    ] = None,
    whiten: Annotated[
        Whitening, typer.Option(help="Whitening, fitted on each fold's training part.")
    ] = Whitening.standardize,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Assign people to folds, draw same-expression pairs for every fold and epoch, fit each fold's whitening.

    Fold k tests on the people of fold k, validates on fold k + 1 and trains on the rest. An official split is one
    fold: its test part tests, its validation part (or one in ten of the training part's people) validates.

    Example: fertools make-folds ck+ --num-folds 10

    Example: fertools make-folds folder --splits partition.csv
    """
    from fertools.folds import listed
    from fertools.folds import make_folds as library
    from manifests import files

    with refusals():
        if splits and by:
            raise FertoolsError("--splits says who is in which fold: leave out --by")
        for path in files.find(manifests_dir, datasets):
            dealt = listed.read(splits, files.read(path)) if splits else None
            for note in dealt.notes if dealt else ():
                typer.echo(printable(note, 1000), err=True)
            made = library.make_folds(path, num_folds, whiten.value, seed, by and by.value, dealt)
            if as_json:
                typer.echo(json.dumps({"manifest": str(path), "folds": [dataclasses.asdict(fold) for fold in made]}))
            else:
                typer.echo(f"{path}\n{library.describe(made)}")


@app.command()
def augment(
    dataset: DatasetName,
    fold: Annotated[int, typer.Option(min=1, help="Augment the training faces of this fold.")] = 1,
    variants: Annotated[
        int | None, typer.Option(help="The 14 variants that trainer shows of a face.", show_default="14")
    ] = None,
    pipeline: Annotated[
        Path | None, typer.Option(help="Instead: a pipeline of albumentations (to_dict), as JSON.", show_default="none")
    ] = None,
    copies: Annotated[
        int | None, typer.Option(min=1, help="Copies of each face, of a pipeline.", show_default="1")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of a pipeline.")] = 0,
    whiten: Annotated[
        bool, typer.Option("--whiten", help="Also write grey faces of 112 px as the fold's whitening makes them.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes of a pipeline.", show_default="one per core")
    ] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Write the augmented training faces of a fold as a file, for trainers other than ours.

    They are at manifests/<dataset>.augmented/fold01.parquet. `trainer` needs no such file: it augments on the device.
    The same options a second time do nothing.

    Example: fertools augment ck+ --fold 3

    Example: fertools augment ck+ --pipeline pipeline.json --copies 5
    """
    from manifests import files

    with refusals(interrupted="nothing was written"):
        (manifest,) = files.find(manifests_dir, [dataset])
        from fertools.augmentation import augment as library

        how = library.chosen(variants, pipeline, copies, seed)
        workers = workers or (os.cpu_count() or 1 if pipeline else 1)
        with progress_bar(f"augmenting {manifest.stem}") as progress:
            made = library.augment(manifest, fold, how, whiten=whiten, workers=workers, progress=progress)
        for note in made.notes:
            typer.echo(f"note: {printable(note, 1000)}", err=True)
        say(json.dumps(dataclasses.asdict(made)) if as_json else library.describe(made))


@app.command()
def protocols(
    dataset: Annotated[str | None, typer.Argument(help="Only of this dataset.", show_default="all")] = None,
    as_json: AsJson = False,
) -> None:
    """List the published protocols: which images of a dataset are used, with which labels, and in which parts.

    Example: fertools protocols ck+
    """
    from fertools.datasets import protocols as library

    with refusals():
        chosen = [find_dataset(dataset).name] if dataset else list(DATASETS)
        listed = [one for name in chosen for one in library.of_dataset(name).values()]
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
    form: Annotated[
        ExportFormat, typer.Option("--format", help="Hugging Face datasets, WebDataset tars, or images with a CSV.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The folder to create.", show_default="exports/<dataset>-<format>")
    ] = None,
    pixels: Annotated[bool, typer.Option("--pixels", help="Include the images, under the dataset's terms.")] = False,
    fold: Annotated[
        int | None,
        typer.Option(min=1, help="Export the parts and pairs of this fold.", show_default="the official split, or all"),
    ] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Write a manifest in a format that others read, with a card, Croissant metadata and the terms of use.

    Images are included only with --pixels, even your own or drawn ones.

    Example: fertools export ck+ --format hf --fold 1
    """
    from manifests import files

    with refusals(interrupted="nothing was written"):
        (manifest,) = files.find(manifests_dir, [dataset])
        out = out or Path("exports") / f"{manifest.stem}-{form.value}"
        from fertools.export import export as library

        if pixels:
            typer.echo(f"terms: {library.terms(files.read_metadata(manifest, library.EXPORTED))}", err=True)
        with progress_bar(f"exporting {manifest.stem}") as progress:
            made = library.export(
                manifest, out, form.value, datetime.date.today(), pixels=pixels, fold=fold, progress=progress
            )
        typer.echo(json.dumps(dataclasses.asdict(made)) if as_json else library.describe(made))


@app.command()
def show(
    dataset: DatasetName,
    out: Annotated[Path | None, typer.Option(help="The PNG to write.", show_default="manifests/<dataset>.png")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
) -> None:
    """Draw the aligned faces of a manifest on one contact sheet.

    Example: fertools show ck+ --out faces.png
    """
    from fertools.export.contact_sheet import contact_sheet
    from manifests import files

    with refusals():
        (manifest,) = files.find(manifests_dir, [dataset])
        out = out or manifest.with_suffix(".png")
        with atomic_file(out) as temporary:
            contact_sheet(manifest).save(temporary, format="PNG")
        typer.echo(out)


@app.command()
def group(
    dataset: DatasetName,
    embedder: Annotated[
        str, typer.Option(help="vggface2, casia-webface, or a file of weights: .onnx, .safetensors.")
    ] = "vggface2",
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1,
            max=1,
            help="Lowest mean cosine within a group.",
            show_default="estimated from how similar strangers are",
        ),
    ] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, for the embedder.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Group faces that seem to show one person, for datasets that name nobody: fills the column `group`.

    Groups are estimates, never subjects. make-folds --by group keeps them within a fold; audit reports where they leak.

    Example: fertools group raf-db --embedder vggface2
    """
    from manifests import files

    with refusals():
        (manifest,) = files.find(manifests_dir, [dataset])
        from fertools.faces import detector
        from fertools.folds.identities import embed
        from fertools.folds.identities import group as library

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
        list[int] | None, typer.Option("--fold", min=1, help="Audit this fold; may be repeated.", show_default="all")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="DATASET", help="Instead: compare all its faces with all of this dataset.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="An HTML page to write, with pictures of the worst pairs.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 3 where it is not known of all test faces who they show.")
    ] = False,
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Report test faces that share a person, a recording, a file or a photograph with another part of their split.

    Exits 0 if none does, as far as is known; 1 if one does; 2 if there is nothing to audit.

    Example: fertools audit ck+ --html audit.html

    Example: fertools audit raf-db --strict
    """
    from manifests import files

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
            write_atomic(html, library.page(report))
        found = dataclasses.asdict(report) | {"verdict": library.verdict(report)}
        say(json.dumps(found) if as_json else library.describe(report))
    total = report.total
    raise typer.Exit(1 if not total.clean else 3 if strict and total.num_known < total.num_test else 0)


@app.command()
def verify(
    dataset: Annotated[
        str | None, typer.Argument(metavar="DATASET", help="As for prepare; leave it out with --manifest.")
    ] = None,
    raw: RawDir = None,
    manifest: Annotated[
        str | None, typer.Option(metavar="DATASET", help="Instead: read every byte of this manifest.")
    ] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    deep: Annotated[bool, typer.Option("--deep", help="Also decode every image, and find exact copies.")] = False,
    labels_from: LabelsFrom = None,
    mapping: Map = None,
    follow_links: FollowLinks = False,
    as_json: AsJson = False,
) -> None:
    """Compare a raw folder with what was published: counts, and every file that is missing, extra, empty or broken.

    With --manifest, read instead all that was prepared, and name each part that is damaged and the command that makes
    it again. Exits 0 if nothing was found, 1 if something was, 2 if the folder is not this dataset.

    Example: fertools verify ck+ --raw data/ckplus --deep

    Example: fertools verify --manifest ck+
    """
    with refusals(2, "nothing was changed"):
        if (dataset is None) == (manifest is None):
            raise FertoolsError("name a DATASET, whose raw folder is compared, or --manifest DATASET")
        if manifest:
            from fertools.checks import whole
            from manifests import files

            (path,) = files.find(manifests_dir, [manifest])
            with progress_bar(f"reading {path.stem}") as progress:
                found = whole.examine(path, progress)
            say(json.dumps(dataclasses.asdict(found)) if as_json else whole.describe(found))
            raise typer.Exit(1 if found.damage else 0)
        assert dataset
        chosen = find_dataset(dataset)
        root = raw_folder(raw, chosen, follow_links)
        recode = label_reading(chosen, labels_from, mapping)
        from fertools.checks import release_report
        from fertools.checks import verify as library
        from fertools.datasets.survey import labels_table

        with progress_bar(f"verifying {chosen.title}") as progress:
            judged = library.verify(
                chosen, root, labels=labels_table(chosen, root), recode=recode,
                deep=deep, workers=os.cpu_count() or 1, progress=progress,
            )  # fmt: skip
        say(json.dumps(dataclasses.asdict(judged)) if as_json else release_report.describe(judged))
    raise typer.Exit(1 if judged.findings else 0)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A manifest: a .parquet file, or the name of a dataset.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The one to compare it with.")],
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Report what differs between two manifests, by row and by column.

    Exits 0 if they are equal, 1 if they differ, 2 if one of them cannot be read.

    Example: fertools diff old/ckplus.parquet ck+
    """
    from fertools.checks import diff as library
    from manifests import files

    with refusals(2, "nothing was changed"):
        paths = [Path(name) if name.endswith(".parquet") else files.find(manifests_dir, [name])[0] for name in (a, b)]
        found = library.diff(*paths)
        say(json.dumps(dataclasses.asdict(found)) if as_json else library.describe(found))
    raise typer.Exit(0 if found.equal else 1)


for described in app.registered_commands:  # in full: plain help would cut it
    described.short_help = str(inspect.getdoc(described.callback)).partition("\n\n")[0]
