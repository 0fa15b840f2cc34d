"""The `trainer` command: each command parses, calls the library, prints where the result is."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from manifests import files, schema
from trainer.errors import TrainerError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

RUNS, MANIFESTS = Path("runs"), Path("manifests")
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
ManifestsDir = Annotated[Path, typer.Option("--manifests", help="Where the manifests are.")]


@app.callback()
def main() -> None:
    """Train and judge methods on manifests that `fertools` has prepared."""
    # Before torch is loaded: its idle threads must not spin, or two trainings on a machine's cores all but stop.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextmanager
def refusals() -> Iterator[None]:
    """Print what a user can mend on stderr and exit 1; a bug keeps its traceback."""
    try:
        yield
    except (TrainerError, schema.ManifestError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where it stopped", err=True)
        raise typer.Exit(130) from None


@app.command()
def fit(
    dataset: Annotated[str | None, typer.Option(help="Which manifest.", show_default="the only one")] = None,
    fold: Annotated[int | None, typer.Option(help="Test on this fold, validate on the next.", show_default="1")] = None,
    all_folds: Annotated[bool, typer.Option("--all-folds", help="One run a fold.")] = False,
    method: Annotated[str, typer.Option(help="See `trainer methods`.")] = "dicefer",
    preset: Annotated[str, typer.Option(help="See `trainer methods`.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", help="name=value; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of every stage.", show_default="the preset's")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Source of all chance.")] = 0,
    expressions: Annotated[
        str | None, typer.Option(help="Only these, separated by commas.", show_default="all")
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option(metavar="DATASET", help="Train on this dataset, too; may be repeated.")
    ] = None,
    averages: Annotated[
        str | None, typer.Option(metavar="DATASET,...", help="IF-GAN's average faces.", show_default="the fold's own")
    ] = None,
    start: Annotated[Path | None, typer.Option(metavar="RUN", help="A finished run, to take stages from.")] = None,
    stage: Annotated[str | None, typer.Option(help="With --start: the first stage to train.")] = None,
    encoder_weights: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Start the encoders from a ResNet-18: resnet18, timm/NAME, or a file."),
    ] = None,
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    runs_dir: Annotated[Path, typer.Option("--runs", help="Where runs are kept.")] = RUNS,
    as_json: AsJson = False,
) -> None:
    """Train a method on one fold or on all, judge it on people it never saw, and write its report.

    An interrupted run goes on where it stopped, and ends with the same bits; a finished one says so.

    Example: trainer fit --fold 3
    """
    with refusals():
        if fold is not None and all_folds:
            raise TrainerError("--fold and --all-folds exclude each other")
        if (start is None) != (stage is None):
            raise TrainerError("--start RUN and --stage NAME go together: the run, and the first stage to train")
        manifest = only_manifest(manifests_dir, dataset)
        from trainer import fit as library
        from trainer import layouts, report, summary

        folds = range(1, library.num_folds(manifest) + 1) if all_folds else [fold or 1]
        asked = [
            library.Asked(
                manifest=manifest,
                method=method,
                preset=preset,
                settings=tuple(settings or ()),
                epochs=epochs,
                fold=number,
                seed=seed,
                expressions=tuple(expressions.split(",")) if expressions else (),
                extra=tuple(only_manifest(manifests_dir, name) for name in extra or ()),
                averages=tuple(only_manifest(manifests_dir, name) for name in averages.split(",")) if averages else (),
                start=start,
                stage=stage,
                encoder_weights=encoder_weights,
            )  # fmt: skip
            for number in folds
        ]
        runs = []
        for one in asked:
            finished = (runs_dir / one.name() / "scores.json").exists()
            with progress_bars(f"fold {one.fold}") as progress:
                runs.append(library.fit(one, runs_dir, library.pick_device(device), progress))
            if not as_json:
                typer.echo(f"{runs[-1].folder}{' was finished already' if finished else ''}")
                if taken := runs[-1].read_json("provenance.json").get("encoder_weights"):
                    typer.echo(layouts.text(taken))
                typer.echo(report.text(runs[-1].read_json("scores.json")))
                typer.echo(f"  report: {runs[-1].folder / 'report.html'}")
        if as_json:
            typer.echo(json.dumps([{"run": str(run.folder)} | run.read_json("scores.json") for run in runs]))
        elif len(runs) > 1:
            typer.echo(summary.write(runs, runs_dir / "report.html"))


@contextmanager
def progress_bars(what: str) -> Iterator[Callable[[str, int, int, dict[str, float]], None]]:
    """Show a bar a stage on stderr, with the last epoch's values; where that is no terminal, a line a stage."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, TaskID] = {}
    console = Console(stderr=True)
    shown = console.is_terminal
    with Progress(*columns, TextColumn("{task.fields[values]}"), console=console, disable=not shown) as progress:

        def tell(stage: str, epoch: int, epochs: int, logged: dict[str, float]) -> None:
            values = "  ".join(f"{name} {value:.3f}" for name, value in logged.items() if name != "seconds")
            if stage not in bars:
                bars[stage] = progress.add_task(f"{what}, {stage}", total=epochs, values="")
            progress.update(bars[stage], completed=epoch, values=values)
            if epoch == epochs and not shown:
                typer.echo(f"{what}, {stage} {epoch}/{epochs}  {values}", err=True)

        yield tell


def only_manifest(manifests: Path, dataset: str | None) -> Path:
    """Return the manifest that is meant: the named one, or the only one there is."""
    found = files.find(manifests, [dataset] if dataset else None)
    if len(found) > 1:
        raise TrainerError(f"several datasets are prepared; choose one: --dataset {' or '.join(p.stem for p in found)}")
    return found[0]


@app.command()
def pretrain(
    dataset: Annotated[str, typer.Argument(help="Faces of people who are named, such as casia-webface.")],
    preset: Annotated[str, typer.Option(help="default (CosFace), arcface or demo.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", help="name=value; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="How many.", show_default="the preset's")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Source of all chance.")] = 0,
    pairs: Annotated[
        list[Path] | None, typer.Option(help="Judge it on these pairs too: lfw.bin of a face pack; may be repeated.")
    ] = None,
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    runs_dir: Annotated[Path, typer.Option("--runs", help="Where runs are kept.")] = RUNS,
    as_json: AsJson = False,
) -> None:
    """Teach an encoder people, and judge it on people it never saw: weights for `fit --encoder-weights`.

    An interrupted training goes on where it stopped; a finished one is judged anew. For several devices:
    torchrun --nproc-per-node 4 --no-python trainer pretrain casia-webface

    Example: trainer pretrain casia-webface --pairs data/casiawebface/faces_webface_112x112/lfw.bin
    """
    with refusals():
        from trainer import pretrain as library
        from trainer.fit import pick_device
        from trainer.together import together

        asked = library.Asked(
            manifest=only_manifest(manifests_dir, dataset), preset=preset, settings=tuple(settings or ()),
            epochs=epochs, seed=seed, pairs=tuple(pairs or ()),
        )  # fmt: skip
        with together(pick_device(device)) as where, progress_bars(asked.manifest.stem) as progress:
            found = library.pretrain(asked, runs_dir, where, progress)
        if found and as_json:
            typer.echo(json.dumps(found))
        elif found:
            typer.echo(f"{found['run']}\n{library.text(found)}")


@app.command()
def evaluate(
    run: RunFolder,
    thorough: Annotated[bool, typer.Option("--thorough", help="Also MIG, DCI, SAP: about a minute a run.")] = False,
    factors: Annotated[Path | None, typer.Option(help="With --thorough: table of known factors (CSV).")] = None,
    on: Annotated[str | None, typer.Option(help="Judge it on every face of this other dataset.")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Judge a trained run again on its test fold, which it records, or on another dataset.

    Example: trainer evaluate runs/ckplus-dicefer-default-fold03-seed0 --thorough
    """
    with refusals():
        if factors and not thorough:
            raise TrainerError("--factors are read by --thorough only; add it")
        from trainer import evaluate as library
        from trainer import report
        from trainer.fit import pick_device
        from trainer.run import load_run

        trained = load_run(run)
        method, data = library.load(trained, manifests_dir, pick_device(device))
        if on:
            found = library.judge_elsewhere(trained, method, data, only_manifest(manifests_dir, on))
            text = report.elsewhere(on, found)
        else:
            found = library.judge(trained, method, data)
            text = report.text(found)
        if thorough:
            found["examination"] = library.examine(trained, method, data, factors)
            text += "\n" + report.examination(found["examination"])
        typer.echo(json.dumps(found) if as_json else text)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL|RUN", help="What trainer export or trainer fit has written.")],
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Photographs, videos, or folders of them.")
    ] = None,
    camera: Annotated[int | None, typer.Option(min=0, help="Look through this camera instead, until Ctrl-C.")] = None,
    largest: Annotated[bool, typer.Option("--largest", help="Only the largest face of each picture: faster.")] = False,
    variants: Annotated[
        bool, typer.Option("--variants", help="Average over a face's 14 variants; of IF-GAN, over it and its mirror.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A table of faces: .csv, .parquet or .jsonl.")] = None,
    annotated: Annotated[
        Path | None, typer.Option(help="A folder, or one picture or video, for boxes and labels drawn on what is read.")
    ] = None,
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Tell the expressions of all faces in photographs, videos or what a camera sees; calibrated on validation faces.

    A row a face: on stdout, with --json as JSON lines; with --out in a table, and stdout has the summary. What gives no
    face is named on stderr. Exits 1 where no face was found. No link in a folder is followed.

    Example: trainer predict runs/ckplus-dicefer-default-fold03-seed0 photos clip.mp4 --out faces.csv
    """
    with refusals():
        from trainer import interrupts, predictions
        from trainer import predict as library
        from trainer.fit import pick_device
        from trainer.model import load

        asked = library.Asked(
            paths=tuple(paths or ()), camera=camera, largest=largest, variants=variants, out=out, annotated=annotated
        )
        where = str(pick_device(device))
        loaded = load(model, where, manifests_dir)

        def show(row: predictions.Row) -> None:
            if out is None:
                typer.echo(json.dumps(row) if as_json else predictions.line(row))

        def complain(text: str) -> None:
            typer.echo(text, err=True)

        try:
            with interrupts.held_back() as stop:
                with pictures_bar(asked.num_files()) as advance:
                    summary = library.predict(loaded, asked, where, library.Listener(show, complain, advance), stop)
                told = json.dumps(dataclasses.asdict(summary)) if as_json and out else summary.text()
                typer.echo(told, err=out is None)
        except KeyboardInterrupt:
            if camera is None:  # which ends in no other way
                raise typer.Exit(130) from None
        if not summary.faces:
            raise typer.Exit(1)


@contextmanager
def pictures_bar(num_files: int | None) -> Iterator[Callable[[Path, int | None], None]]:
    """Show on stderr, where that is a terminal, how many files were begun, and the picture that was last looked at."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    at = TextColumn("{task.fields[at]}", markup=False)
    columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), at)
    console = Console(stderr=True)
    last = None
    with Progress(
        *columns, console=console, disable=not console.is_terminal, redirect_stdout=sys.stdout.isatty()
    ) as progress:
        task = progress.add_task("", total=num_files, at="")

        def advance(path: Path, frame: int | None) -> None:
            nonlocal last
            at = path.name + ("" if frame is None else f" {frame}")
            progress.update(task, advance=path != last, at=at)
            last = path

        yield advance


@app.command()
def transfer(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photographs, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Where the picture is written, as PNG.")] = Path("transfer.png"),
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Make of each photograph's face the average face with its expression, as a run of IF-GAN has learnt to.

    The picture shows faces, what is made of them and average faces. A photograph without a face is named on stderr.

    Example: trainer transfer runs/ckplus-ifgan-default-fold01-seed0 portrait.jpg
    """
    with refusals():
        from trainer import board, photos, pictures
        from trainer import evaluate as library
        from trainer.fit import pick_device
        from trainer.run import load_run

        board.check_name(out)
        trained, where = load_run(run), pick_device(device)
        painter = pictures.painter(trained, library.load_method(trained, where))
        expressions = trained.read_json("config.json")["expressions"]
        found = photos.read(images, library.crop_of(trained), str(where))
        seen = [photo for photo in found if photo.faces]
        shown = pictures.transfer(painter, pictures.prepared([photo.faces[0].crop for photo in seen], where))
        sheet = pictures.transfer_sheet([photo.path.name for photo in seen], shown, painter, expressions)
        board.write(board.draw(sheet), out)
        for photo in found:
            if photo.reason:
                typer.echo(f"{photo.path}: {photo.reason}", err=True)
        if len(seen) > pictures.NUM_SHOWN:
            typer.echo(f"{out} shows the first {pictures.NUM_SHOWN} of {len(seen)} faces", err=True)
        told = {photo.path: read for photo, read in zip(seen, pictures.records(shown, expressions), strict=True)}
        if as_json:
            rows = [{"image": str(photo.path)} | told.get(photo.path, {"reason": photo.reason}) for photo in found]
            typer.echo(json.dumps({"picture": str(out), "images": rows}))
            return
        for path, read in told.items():
            likely = f"{read['expression']} {read['probability']:.3f}"
            typer.echo(f"  {path}: {likely}, nearest average face {read['nearest_average']}")
        typer.echo(out)


@app.command()
def attention(
    run: RunFolder,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A photograph.")],
    at: Annotated[
        list[str] | None,
        typer.Option(help="x,y as shares of the aligned face, from its upper left; may be repeated.",
                     show_default="eyes, mouth, forehead, background"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the picture is written, as PNG.")] = Path("attention.png"),
    device: Device = "auto",
) -> None:  # fmt: skip
    """Show where the generator of a run of IF-GAN looks: points of a photograph's face, and where their attention goes.

    A map's title tells its largest share as a multiple of an even one; gamma is how much a place of attention counts.

    Example: trainer attention runs/ckplus-ifgan-default-fold01-seed0 portrait.jpg --at 0.5,0.8
    """
    with refusals():
        from trainer import board, photos, pictures
        from trainer import evaluate as library
        from trainer.fit import pick_device
        from trainer.run import load_run

        board.check_name(out)
        points = {text: pictures.point(text) for text in at or ()} or pictures.POINTS
        trained, where = load_run(run), pick_device(device)
        painter = pictures.painter(trained, library.load_method(trained, where), attends=True)
        found = photos.read([image], library.crop_of(trained), str(where))
        crop = next(photo.faces[0].crop for photo in found if photo.faces)
        rows = pictures.attention_rows(painter, pictures.prepared([crop], where), points)
        board.write(board.draw(rows), out)
        typer.echo(out)


@app.command()
def export(
    run: RunFolder,
    form: Annotated[str, typer.Option("--format", help="safetensors, onnx or torch-export.")] = "safetensors",
    precision: Annotated[str, typer.Option(help="Of onnx: fp32, fp16 or int8.")] = "fp32",
    out: Annotated[Path | None, typer.Option(help="The folder to make.", show_default="RUN/export-FORMAT")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Write a finished run as a folder that needs neither the run nor its manifest: weights, graph, model card.

    From uint8 pixels of aligned faces to probabilities, calibrated on the validation fold. What is written is held
    against the run on its validation and test faces; that the test part was opened, the run records.

    Example: trainer export runs/ckplus-dicefer-default-fold03-seed0 --format onnx
    """
    with refusals():
        from trainer import export as library
        from trainer.run import load_run

        written = library.export(load_run(run), manifests_dir, form, out, precision)
        typer.echo(json.dumps(dataclasses.asdict(written)) if as_json else library.describe(written))


@app.command()
def demo(
    path: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run's folder, or an exported model's.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page.", show_default="a free one")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser with the page.")] = True,
    manifests_dir: ManifestsDir = MANIFESTS,
    device: Device = "auto",
) -> None:
    """Open a page on this machine that reads a photo or the webcam: faces, probabilities, nearest training faces.

    Only this machine reaches it, and what is shown to it is not kept. Ctrl-C ends it. Training faces are shown of a run
    only, whose manifest must be there.

    Example: trainer demo runs/ckplus-dicefer-default-fold03-seed0
    """
    with refusals():
        import webbrowser
        from threading import Thread

        from trainer import page
        from trainer.reader import reader

        with page.Server(reader(path, manifests_dir, device), port) as server, suppress(KeyboardInterrupt):
            typer.echo(f"{server.url}  Ctrl-C ends it")
            if browser:  # beside the server: one that runs in the terminal returns when it is closed
                Thread(target=webbrowser.open, args=[server.url], daemon=True).start()
            server.serve_forever()


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs.")], as_json: AsJson = False
) -> None:
    """Compare finished runs: mean and spread over folds and seeds, and paired tests, as text and as a page beside them.

    Example: trainer report runs/ckplus-*
    """
    with refusals():
        from trainer import summary
        from trainer.run import load_run

        loaded = [load_run(folder) for folder in runs]
        if as_json:
            typer.echo(json.dumps({"groups": summary.table(loaded), "comparisons": summary.comparisons(loaded)}))
            return
        page = runs[0].parent / "report.html"
        typer.echo(summary.write(loaded, page))
        typer.echo(page)


@app.command()
def reproduce(
    names: Annotated[list[str] | None, typer.Argument(metavar="ITEM...", help="dice-fer, if-gan/table1, ...")] = None,
    show: Annotated[bool, typer.Option("--list", help="Show every table and figure, and what is left to run.")] = False,
    preset: Annotated[str, typer.Option(help="Where a method has it; see `trainer methods`.")] = "default",
    folds: Annotated[str | None, typer.Option(help="Numbers, separated by commas.", show_default="all")] = None,
    seeds: Annotated[str, typer.Option(help="Numbers, separated by commas.")] = "0,1,2",
    datasets: Annotated[str | None, typer.Option(help="Names, separated by commas.", show_default="all")] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Run nothing: tabulate what there is.")] = False,
    out: Annotated[Path, typer.Option(help="Where tables and figures are written.")] = Path("results"),
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    runs_dir: Annotated[Path, typer.Option("--runs", help="Where runs are kept.")] = RUNS,
    as_json: AsJson = False,
) -> None:
    """Fill a paper's tables and figures anew: run what is missing, set what is printed beside what was measured.

    Datasets that are not prepared are left out and named. What was interrupted goes on.

    Example: trainer reproduce dice-fer/table2 --preset demo --folds 1,2 --seeds 0
    """
    with refusals():
        from trainer import reproduce as library
        from trainer import tables
        from trainer.fit import pick_device
        from trainer.papers import ITEMS

        grid = library.Grid(
            manifests=manifests_dir, runs=runs_dir, preset=preset, folds=numbers(folds or ""), seeds=numbers(seeds),
            device=pick_device(device),
            datasets=tuple(files.dataset_name(name) for name in (datasets or "").split(",") if name.strip()),
        )  # fmt: skip
        items = library.find(names or list(ITEMS))
        if show or not names:
            listed = [library.outline(name, item, grid) for name, item in items.items()]
            typer.echo(json.dumps(listed) if as_json else "\n".join(library.outline_text(one) for one in listed))
            return
        for name, item in items.items():
            missing = [] if dry else [job for job in library.jobs(item, grid) if not job.done]
            for number, job in enumerate(missing, start=1):
                with progress_bars(f"{name} {number}/{len(missing)}: {job.title}") as progress:
                    job.work(progress)
            table = library.write(name, item, grid, out)
            typer.echo(tables.to_json(table) if as_json else tables.to_markdown(table))
            typer.echo(f"written: {out / name}.*", err=True)


@app.command()
def compare(
    names: Annotated[
        str, typer.Option("--methods", help="Separated by commas.")
    ] = "dicefer,ifgan,resnet,resnet_island",
    dataset: Annotated[str | None, typer.Option(help="Which manifest.", show_default="the only one")] = None,
    preset: Annotated[str, typer.Option(help="Of every method; see `trainer methods`.")] = "default",
    folds: Annotated[str | None, typer.Option(help="Numbers, separated by commas.", show_default="all")] = None,
    seeds: Annotated[str, typer.Option(help="Numbers, separated by commas.")] = "0,1,2",
    dry: Annotated[bool, typer.Option("--dry", help="Run nothing: tabulate what there is.")] = False,
    out: Annotated[Path, typer.Option(help="Where the table is written.")] = Path("results"),
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    runs_dir: Annotated[Path, typer.Option("--runs", help="Where runs are kept.")] = RUNS,
    as_json: AsJson = False,
) -> None:
    """Set methods side by side on the same folds and seeds: accuracy, identity leak, cost; run what is missing.

    Each is compared with the first, run by run. What a method costs is measured on this device, in a process of its
    own: let nothing else run beside it.

    Example: trainer compare --methods dicefer,resnet --preset demo --folds 1,2 --seeds 0
    """
    with refusals():
        manifest = only_manifest(manifests_dir, dataset)
        from trainer import compare as library
        from trainer import tables
        from trainer.fit import pick_device
        from trainer.reproduce import write_forms

        comparison = library.Comparison(
            manifest=manifest, methods=tuple(name.strip() for name in names.split(",") if name.strip()), preset=preset,
            folds=numbers(folds or ""), seeds=numbers(seeds), runs=runs_dir, device=pick_device(device),
        )  # fmt: skip
        missing = [] if dry else [job for job in library.jobs(comparison) if not job.done]
        for number, job in enumerate(missing, start=1):
            with progress_bars(f"compare {number}/{len(missing)}: {job.title}") as progress:
                job.work(progress)
        table = library.tabulate(comparison)
        write_forms(table, out, {})
        typer.echo(tables.to_json(table) if as_json else tables.to_markdown(table))
        typer.echo(f"written: {out / table.name}.*", err=True)


def numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a list like 1,2,3."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise TrainerError(f"{text!r} is no list of numbers; expected one like 1,2,3") from error


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the methods, their presets and settings.

    Example: trainer methods
    """
    from trainer.methods import METHODS

    known = {
        name: {preset: dataclasses.asdict(config) for preset, config in method.PRESETS.items()}
        for name, method in METHODS.items()
    }
    if as_json:
        typer.echo(json.dumps(known))
        return
    for name, presets in known.items():
        typer.echo(f"{name}: {(METHODS[name].__doc__ or '').splitlines()[0]}")
        for setting in next(iter(presets.values())):
            values = "  ".join(f"{preset} {settings[setting]}" for preset, settings in presets.items())
            typer.echo(f"  {setting:<22} {values}")
