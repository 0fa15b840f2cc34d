"""The commands of `trainer` that use a run: photographs read, pictures drawn, models written and judged."""

import dataclasses
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.options import MANIFESTS, AsJson, Device, ManifestsDir, RunFolder, only_manifest, refusals
from trainer.cli.progress import pictures_bar
from trainer.errors import TrainerError

if TYPE_CHECKING:
    from trainer.inference.model import Model
    from trainer.inference.onnx_model import OnnxModel

ModelCard = Annotated[
    Path | None, typer.Option("--model-card", metavar="FILE.json", help="Of an ONNX model of others: docs/models.md.")
]


def _load(path: Path, card: Path | None, device: str, manifests: Path) -> "Model | OnnxModel":
    """Return a model of any of the kinds there are."""
    from trainer.inference import model, onnx_model

    if path.suffix.lower() == ".onnx":
        return onnx_model.load(path, card)
    _refuse_card(card, path)
    return model.load(path, device, manifests)


def _refuse_card(card: Path | None, path: Path) -> None:
    if card:
        raise TrainerError(f"--model-card is of an ONNX model; {path} is none, whose name would end in .onnx")


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL|RUN", help="What trainer export or trainer fit has written, or any .onnx.")
    ],
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH...", help="Photographs, videos, or folders of them.")
    ] = None,
    camera: Annotated[int | None, typer.Option(min=0, help="Look through this camera instead, until Ctrl-C.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Of a video, look at one in so many frames.")] = 1,
    largest: Annotated[bool, typer.Option("--largest", help="Only the largest face of each picture: faster.")] = False,
    min_score: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out faces that the detector is less sure of.")
    ] = 0.0,
    variants: Annotated[
        bool, typer.Option("--variants", help="Average over a face's 14 variants; of IF-GAN, over it and its mirror.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A table of faces: .csv, .parquet or .jsonl.")] = None,
    annotated: Annotated[
        Path | None, typer.Option(help="A folder, or one picture or video, for boxes and labels drawn on what is read.")
    ] = None,
    card: ModelCard = None,
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
        from trainer.inference import predict as library
        from trainer.inference import predictions
        from trainer.runs import signals
        from trainer.runs.device import pick_device

        spec = library.PredictSpec(
            paths=tuple(paths or ()), camera=camera, every=every, largest=largest, min_score=min_score,
            variants=variants, out=out, annotated=annotated,
        )  # fmt: skip
        where = str(pick_device(device))
        loaded = _load(model, card, where, manifests_dir)

        def show(row: predictions.Row) -> None:
            if out is None:
                typer.echo(json.dumps(row) if as_json else predictions.line(row))

        def complain(text: str) -> None:
            typer.echo(text, err=True)

        try:
            with signals.deferred_signals() as stop:
                with pictures_bar(spec.num_files()) as advance:
                    summary = library.predict(loaded, spec, where, library.Listener(show, complain, advance), stop)
                message = json.dumps(dataclasses.asdict(summary)) if as_json and out else summary.text()
                typer.echo(message, err=out is None)
        except KeyboardInterrupt:
            if camera is None:  # which ends in no other way
                raise typer.Exit(130) from None
        if not summary.faces:
            raise typer.Exit(1)


def embed(
    model: Annotated[Path, typer.Argument(metavar="MODEL|RUN", help="What trainer export or trainer fit has written.")],
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Photographs, videos, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The table, .parquet.")] = Path("codes.parquet"),
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Write the codes of all faces in photographs and videos: expression and, where the method has it, identity.

    A row a face, with its box and score; a column a code, each a list of numbers. What gives no face is named on
    stderr. Exits 1 where no face was found.

    Example: trainer embed runs/ckplus-dicefer-default-fold03-seed0 photos --out codes.parquet
    """
    with refusals():
        from trainer.inference import embed as library
        from trainer.inference.model import load
        from trainer.runs import signals
        from trainer.runs.device import pick_device

        where = str(pick_device(device))
        loaded = load(model, where, manifests_dir)
        with signals.deferred_signals() as stop, pictures_bar(None) as advance:
            num = library.embed(loaded, paths, out, where, lambda text: typer.echo(text, err=True), advance, stop)
        told = f"{out}: the codes of {num} face{'s' * (num != 1)}"
        typer.echo(json.dumps({"out": str(out), "faces": num}) if as_json else told)
        if not num:
            raise typer.Exit(1)


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
        from trainer.evaluation import evaluate as library
        from trainer.evaluation.reporting import image_grid, pictures
        from trainer.inference import photos
        from trainer.runs.device import pick_device
        from trainer.runs.run import load_run

        image_grid.check_name(out)
        trained, where = load_run(run), pick_device(device)
        painter = pictures.painter(trained, library.load_method(trained, where))
        expressions = trained.read_json("config.json")["expressions"]
        found = photos.read(images, library.crop_of(trained), str(where))
        with_face = [photo for photo in found if photo.faces]
        shown = pictures.transfer(painter, pictures.prepared([photo.faces[0].crop for photo in with_face], where))
        sheet = pictures.transfer_sheet([photo.path.name for photo in with_face], shown, painter, expressions)
        image_grid.write(image_grid.draw(sheet), out)
        for photo in found:
            if photo.reason:
                typer.echo(f"{photo.path}: {photo.reason}", err=True)
        if len(with_face) > pictures.NUM_SHOWN:
            typer.echo(f"{out} shows the first {pictures.NUM_SHOWN} of {len(with_face)} faces", err=True)
        readings = {
            photo.path: read for photo, read in zip(with_face, pictures.records(shown, expressions), strict=True)
        }
        if as_json:
            rows = [{"image": str(photo.path)} | readings.get(photo.path, {"reason": photo.reason}) for photo in found]
            typer.echo(json.dumps({"picture": str(out), "images": rows}))
            return
        for path, read in readings.items():
            likely = f"{read['expression']} {read['probability']:.3f}"
            typer.echo(f"  {path}: {likely}, nearest average face {read['nearest_average']}")
        typer.echo(out)


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
        from trainer.evaluation import evaluate as library
        from trainer.evaluation.reporting import image_grid, pictures
        from trainer.inference import photos
        from trainer.runs.device import pick_device
        from trainer.runs.run import load_run

        image_grid.check_name(out)
        points = {text: pictures.point(text) for text in at or ()} or pictures.POINTS
        trained, where = load_run(run), pick_device(device)
        painter = pictures.painter(trained, library.load_method(trained, where), attends=True)
        found = photos.read([image], library.crop_of(trained), str(where))
        crop = next(photo.faces[0].crop for photo in found if photo.faces)
        rows = pictures.attention_rows(painter, pictures.prepared([crop], where), points)
        image_grid.write(image_grid.draw(rows), out)
        typer.echo(out)


def export(
    run: RunFolder,
    form: Annotated[str, typer.Option("--format", help="safetensors, onnx, torch-export or bundle.")] = "safetensors",
    precision: Annotated[str, typer.Option(help="Of onnx: fp32, fp16 or int8.")] = "fp32",
    out: Annotated[Path | None, typer.Option(help="The folder to make.", show_default="RUN/export-FORMAT")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Write a finished run as a folder that needs neither the run nor its manifest: weights, graph, model card.

    From uint8 pixels of aligned faces to probabilities, calibrated on the validation fold. What is written is held
    against the run on its validation and test faces; that the test part was opened, the run records.

    A bundle reads photographs without this code: detector and model as ONNX, and a script that needs numpy,
    onnxruntime and Pillow alone.

    Example: trainer export runs/ckplus-dicefer-default-fold03-seed0 --format onnx
    """
    with refusals():
        from trainer.inference import export as library
        from trainer.runs.run import load_run

        written = library.export(load_run(run), manifests_dir, form, out, precision)
        typer.echo(json.dumps(dataclasses.asdict(written)) if as_json else library.describe(written))


def judge(
    predictions: Annotated[
        Path, typer.Argument(metavar="TABLE|MODEL.onnx", help="A .csv or .parquet, a row a face; or a model to run.")
    ],
    dataset: Annotated[str | None, typer.Option(help="The manifest's name.", show_default="the only one")] = None,
    fold: Annotated[
        int | None, typer.Option(min=1, help="Judge the test part of this fold.", show_default="all usable faces")
    ] = None,
    trained_on: Annotated[
        Path | None, typer.Option(metavar="LIST", help="What was trained on: a table with face_id or path.")
    ] = None,
    card: ModelCard = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Judge what other code or an ONNX model makes of a manifest's faces, by the measures of our own runs.

    The table names faces by face_id, or by path as the manifest's source has it, and has a column of probabilities for
    each expression (anger or p_anger, ...), or a column label. Unknown faces, faces named twice and probabilities that
    do not sum to 1 are refused; faces that are missing are counted and named. With --trained-on, faces that share a
    person, group, recording or file with the training list are counted, and the others' accuracy is told.

    Example: trainer judge predictions.csv --dataset ckplus --fold 3 --trained-on train.csv

    Example: trainer judge model.onnx --model-card card.json --dataset ckplus
    """
    with refusals():
        manifest = only_manifest(manifests_dir, dataset)
        from manifests import files
        from trainer.evaluation import submission as library
        from trainer.evaluation.reporting import submission_report

        faces = files.read(manifest)
        if predictions.suffix.lower() == ".onnx":
            from trainer.inference import onnx_model

            model, rows = onnx_model.load(predictions, card), library.asked(faces, fold)
            with pictures_bar(len(rows)) as advance:
                submitted = onnx_model.submission(model, manifest, faces, rows, lambda name: advance(Path(name), None))
        else:
            _refuse_card(card, predictions)
            submitted = library.read(predictions, faces)
        scores = library.judge(submitted, manifest, faces, fold, trained_on)
        typer.echo(json.dumps(scores) if as_json else submission_report.text(scores))


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

        from trainer.inference import server
        from trainer.inference.demo import reader

        with server.Server(reader(path, manifests_dir, device), port) as opened, suppress(KeyboardInterrupt):
            typer.echo(f"{opened.url}  Ctrl-C ends it")
            if browser:  # beside the server: one that runs in the terminal returns when it is closed
                Thread(target=webbrowser.open, args=[opened.url], daemon=True).start()
            opened.serve_forever()


COMMANDS = (predict, embed, transfer, attention, export, judge, demo)
