"""The `trainer` command: each command parses, calls one library function, and prints the result or where it is."""

import dataclasses
import inspect
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli import models, tables
from trainer.cli.options import (
    MANIFESTS,
    RUNS,
    AsJson,
    Compiled,
    Device,
    ManifestsDir,
    NumWorkers,
    Precision,
    RunFolder,
    RunsDir,
    only_manifest,
    refusals,
)
from trainer.cli.progress import JobBars, progress_bars
from trainer.errors import TrainerError

if TYPE_CHECKING:
    from trainer.experiments.jobs import FitResult

app = typer.Typer(  # plain help: rich's costs more to import than all else that --help needs
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)


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
    """Train and evaluate methods on manifests that `fertools` has prepared."""
    del version
    # Before torch is imported: spinning idle threads would all but stop two trainings on the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@app.command()
def fit(
    dataset: Annotated[str | None, typer.Option(help="The manifest's name.", show_default="the only one")] = None,
    fold: Annotated[int | None, typer.Option(help="Test on this fold, validate on the next.", show_default="1")] = None,
    all_folds: Annotated[bool, typer.Option("--all-folds", help="Train one run per fold.")] = False,
    method: Annotated[str, typer.Option(help="See `trainer methods`.")] = "dicefer",
    preset: Annotated[str, typer.Option(help="See `trainer methods`.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", help="name=value; may be repeated.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of every stage.", show_default="the preset's")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of seeds; trains one run per seed, starting at --seed.")
    ] = 1,
    side_by_side: NumWorkers = None,
    expressions: Annotated[
        str | None, typer.Option(help="Only these expressions, separated by commas.", show_default="all")
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option(metavar="DATASET", help="Also train on this dataset; may be repeated.")
    ] = None,
    averages: Annotated[
        str | None,
        typer.Option(
            metavar="DATASET,...", help="Compute IF-GAN's average faces from these.", show_default="the training part"
        ),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Take the stages before --stage from this finished run.")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="With --start: the first stage to train.")] = None,
    encoder_weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="Initialise the encoders from a ResNet-18: resnet18, timm/NAME, or a file."
        ),
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Start at random where the preset asks for pre-trained encoders.")
    ] = False,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Bit-identical results on a GPU, too; slower.")
    ] = False,
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB", min=0, help="Device memory for crops; larger sets are streamed.", show_default="half of it"
        ),
    ] = None,
    precision: Precision = "auto",
    compiled: Compiled = False,
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    runs_dir: RunsDir = RUNS,
    as_json: AsJson = False,
) -> None:
    """Train a method on one fold or on all, evaluate it on people held out, and write a report.

    Run the command again to resume an interrupted run; results are bit-identical. A finished run is not trained again.
    Several runs are trained in parallel, each with an equal share of the threads; a run that fails is reported and does
    not stop the others.
    To train one run after the other on several devices (data parallelism; batch_size is that of all devices together):
    torchrun --nproc-per-node 4 --no-python trainer fit

    Example: trainer fit --all-folds --seeds 5
    """
    with refusals():
        if fold is not None and all_folds:
            raise TrainerError("--fold and --all-folds exclude each other")
        if (start is None) != (stage is None):
            raise TrainerError("--start RUN and --stage NAME go together: the run, and the first stage to train")
        manifest = only_manifest(manifests_dir, dataset)
        from trainer.experiments.jobs import fit_all
        from trainer.training.fit import RunSpec, num_folds
        from trainer.training.precision import StepRunner

        base = RunSpec(
            manifest=manifest,
            method=method,
            preset=preset,
            settings=tuple(settings or ()),
            epochs=epochs,
            fold=fold or 1,
            seed=seed,
            expressions=tuple(expressions.split(",")) if expressions else (),
            extra=tuple(only_manifest(manifests_dir, name) for name in extra or ()),
            averages=tuple(only_manifest(manifests_dir, name) for name in averages.split(",")) if averages else (),
            start=start,
            stage=stage,
            encoder_weights=encoder_weights,
            from_scratch=from_scratch,
            deterministic=deterministic,
            memory=memory,
            step_runner=StepRunner(precision, compiled),
        )
        base.refuse_random_start()
        folds = range(1, num_folds(manifest) + 1) if all_folds else [base.fold]
        specs = [
            dataclasses.replace(base, fold=index, seed=number)
            for index in folds for number in range(seed, seed + seeds)
        ]  # fmt: skip
        result = fit_all(specs, runs_dir, device, JobBars, side_by_side)
        if result:
            print_runs(result, as_json)
        if result and result.failed:
            raise typer.Exit(1)


def print_runs(result: "FitResult", as_json: bool) -> None:
    """Print the scores of each run, then of all; with --json, also the errors of failed ones."""
    from trainer.evaluation.reporting import comparison_page, score_rows
    from trainer.methods.pretrained import key_layouts
    from trainer.runs.run import Run

    runs = [Run(folder) for folder in result.folders if folder.name not in result.failed]
    if as_json:
        scores = {run.folder: run.read_json("scores.json") for run in runs}
        errors = {path: {"error": result.failed.get(path.name)} for path in result.folders}
        typer.echo(json.dumps([{"run": str(path)} | scores.get(path, errors[path]) for path in result.folders]))
        return
    for run in runs:
        typer.echo(f"{run.folder}{' was finished already' if run.folder.name in result.finished else ''}")
        if weights := run.read_json("provenance.json").get("encoder_weights"):
            typer.echo(key_layouts.text(weights))
        typer.echo(score_rows.text(run.read_json("scores.json")))
        typer.echo(f"  report: {run.folder / 'report.html'}")
    if len(runs) > 1:
        typer.echo(comparison_page.write(runs, result.folders[0].parent / "report.html"))


@app.command()
def pretrain(
    dataset: Annotated[str, typer.Argument(help="A dataset with identities, such as casia-webface.")],
    preset: Annotated[str, typer.Option(help="default (CosFace), arcface or demo.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", help="name=value; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs.", show_default="the preset's")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    pairs: Annotated[
        list[Path] | None,
        typer.Option(help="Also evaluate it on pairs: lfw.bin of a face pack; may be repeated."),
    ] = None,
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    runs_dir: RunsDir = RUNS,
    as_json: AsJson = False,
) -> None:
    """Pretrain an encoder on face identification, and evaluate it on people held out: for `fit --encoder-weights`.

    Run the command again to resume an interrupted training; a finished one is evaluated again. For several devices:
    torchrun --nproc-per-node 4 --no-python trainer pretrain casia-webface

    Example: trainer pretrain casia-webface --pairs data/casiawebface/faces_webface_112x112/lfw.bin
    """
    with refusals():
        from trainer.runs.device import pick_device
        from trainer.training import pretrain as library
        from trainer.training.data_parallel import init_process_group

        spec = library.PretrainSpec(
            manifest=only_manifest(manifests_dir, dataset), preset=preset, settings=tuple(settings or ()),
            epochs=epochs, seed=seed, pairs=tuple(pairs or ()),
        )  # fmt: skip
        with init_process_group(pick_device(device)) as local, progress_bars(spec.manifest.stem) as progress:
            result = library.pretrain(spec, runs_dir, local, progress)
        if result and as_json:
            typer.echo(json.dumps(result))
        elif result:
            typer.echo(f"{result['run']}\n{library.text(result)}")


@app.command()
def evaluate(
    run: RunFolder,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Also MIG, DCI and SAP: about a minute per run.")
    ] = False,
    factors: Annotated[Path | None, typer.Option(help="With --thorough: CSV table of known factors.")] = None,
    on: Annotated[str | None, typer.Option(help="Evaluate it on all faces of this other dataset.")] = None,
    manifests_dir: ManifestsDir = MANIFESTS,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Evaluate a trained run again on its test fold, which its provenance records, or on another dataset.

    Example: trainer evaluate runs/ckplus-dicefer-default-fold03-seed0 --thorough
    """
    with refusals():
        if factors and not thorough:
            raise TrainerError("--factors is used only with --thorough; add --thorough")
        from trainer.evaluation import evaluate as library
        from trainer.evaluation.reporting import run_report, score_rows
        from trainer.runs.device import pick_device
        from trainer.runs.run import load_run

        trained = load_run(run)
        with trained.writer():
            method, data = library.load(trained, manifests_dir, pick_device(device))
            if on:
                scores = library.judge_elsewhere(trained, method, data, only_manifest(manifests_dir, on))
                text = score_rows.elsewhere(on, scores)
            else:
                scores = run_report.judge_and_report(trained, method, data)
                text = score_rows.text(scores)
            if thorough:
                scores["examination"] = library.examine(trained, method, data, factors)
                text += "\n" + score_rows.examination(scores["examination"])
        typer.echo(json.dumps(scores) if as_json else text)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs.")], as_json: AsJson = False
) -> None:
    """Compare finished runs: mean and spread over folds and seeds, and paired tests, as text and as a page.

    Example: trainer report runs/ckplus-*
    """
    with refusals():
        from trainer.evaluation.reporting import comparison, comparison_page
        from trainer.runs.run import load_run

        loaded = [load_run(folder) for folder in runs]
        if as_json:
            found = {"groups": comparison.table(loaded), "comparisons": comparison.comparisons(loaded)}
            typer.echo(json.dumps(found | {"by_group": comparison.by_group(loaded)}))
            return
        page = runs[0].parent / "report.html"
        typer.echo(comparison_page.write(loaded, page))
        typer.echo(page)


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List the methods, their presets and settings.

    Example: trainer methods
    """
    from trainer.methods import find_presets, names, title

    known = {
        name: {preset: dataclasses.asdict(config) for preset, config in find_presets(name).items()} for name in names()
    }
    if as_json:
        typer.echo(json.dumps(known))
        return
    for name, presets in known.items():
        typer.echo(f"{name}: {title(name)}")
        for setting in next(iter(presets.values())):
            values = "  ".join(f"{preset} {settings[setting]}" for preset, settings in presets.items())
            typer.echo(f"  {setting:<22} {values}")


for command in (*models.COMMANDS, *tables.COMMANDS):
    app.command()(command)


for described in app.registered_commands:  # in full: plain help would cut it
    described.short_help = str(inspect.getdoc(described.callback)).partition("\n\n")[0]
