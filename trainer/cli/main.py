"""The `trainer` command: each command parses, calls the library, prints where the result is."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli import models, tables
from trainer.cli.options import (
    MANIFESTS,
    RUNS,
    AsJson,
    Compiled,
    Device,
    ManifestsDir,
    Precision,
    RunFolder,
    RunsDir,
    SideBySide,
    only_manifest,
    refusals,
)
from trainer.cli.progress import JobBars, progress_bars
from trainer.errors import TrainerError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)


@app.callback()
def main() -> None:
    """Train and judge methods on manifests that `fertools` has prepared."""
    # Before torch is loaded: its idle threads must not spin, or two trainings on a machine's cores all but stop.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@app.command()
def fit(
    dataset: Annotated[str | None, typer.Option(help="Which manifest.", show_default="the only one")] = None,
    fold: Annotated[int | None, typer.Option(help="Test on this fold, validate on the next.", show_default="1")] = None,
    all_folds: Annotated[bool, typer.Option("--all-folds", help="A run a fold.")] = False,
    method: Annotated[str, typer.Option(help="See `trainer methods`.")] = "dicefer",
    preset: Annotated[str, typer.Option(help="See `trainer methods`.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", help="name=value; may be repeated.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of every stage.", show_default="the preset's")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Source of all chance.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="A run a seed: so many, from --seed on.")] = 1,
    side_by_side: SideBySide = None,
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
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits each time on a GPU, too; slower.")
    ] = False,
    memory: Annotated[
        float | None,
        typer.Option(metavar="GB", min=0, help="Stream faces that take more on the device.", show_default="half of it"),
    ] = None,
    precision: Precision = "auto",
    compiled: Compiled = False,
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    runs_dir: RunsDir = RUNS,
    as_json: AsJson = False,
) -> None:
    """Train a method on one fold or on all, judge it on people it never saw, and write its report.

    An interrupted run goes on where it stopped, and ends with the same bits; a finished one says so. Several runs are
    trained side by side, with a share of the threads each; one that fails is named and does not stop the others.
    For several devices that train one run together, and then the next:
    torchrun --nproc-per-node 4 --no-python trainer fit

    Example: trainer fit --all-folds --seeds 5
    """
    with refusals():
        if fold is not None and all_folds:
            raise TrainerError("--fold and --all-folds exclude each other")
        if (start is None) != (stage is None):
            raise TrainerError("--start RUN and --stage NAME go together: the run, and the first stage to train")
        manifest = only_manifest(manifests_dir, dataset)
        from trainer.experiments.jobs import do_all, training
        from trainer.runs.device import pick_device
        from trainer.runs.distributed import rank
        from trainer.training import fit as library
        from trainer.training.data_parallel import init_process_group
        from trainer.training.precision import StepRunner

        folds = range(1, library.num_folds(manifest) + 1) if all_folds else [fold or 1]
        specs = [
            library.RunSpec(
                manifest=manifest,
                method=method,
                preset=preset,
                settings=tuple(settings or ()),
                epochs=epochs,
                fold=number,
                seed=one_seed,
                expressions=tuple(expressions.split(",")) if expressions else (),
                extra=tuple(only_manifest(manifests_dir, name) for name in extra or ()),
                averages=tuple(only_manifest(manifests_dir, name) for name in averages.split(",")) if averages else (),
                start=start,
                stage=stage,
                encoder_weights=encoder_weights,
                deterministic=deterministic,
                memory=memory,
                step_runner=StepRunner(precision, compiled),
            )  # fmt: skip
            for number in folds for one_seed in range(seed, seed + seeds)
        ]  # fmt: skip
        specs[0].config()
        with init_process_group(pick_device(device)) as where:
            todo = [training(one, runs_dir, where) for one in specs]
            finished = [one for one, job in zip(specs, todo, strict=True) if job.done]
            for one in finished:
                library.fit(one, runs_dir, where, lambda *_: None)  # which refuses what is another run
            failed = do_all(todo, where, JobBars, side_by_side)
            if rank() == 0:
                tell_runs([runs_dir / one.name() for one in specs], {one.name() for one in finished}, failed, as_json)
        if failed:
            raise typer.Exit(1)


def tell_runs(folders: list[Path], finished: set[str], failed: dict[str, str], as_json: bool) -> None:
    """Print what runs have found: each, then all; with --json, why others have failed, too."""
    from trainer.evaluation.reporting import comparison, run_report
    from trainer.methods.pretrained import key_layouts
    from trainer.runs.run import Run

    runs = [Run(folder) for folder in folders if folder.name not in failed]
    if as_json:
        found = {run.folder: run.read_json("scores.json") for run in runs}
        told = [{"run": str(path)} | found.get(path, {"error": failed.get(path.name)}) for path in folders]
        typer.echo(json.dumps(told))
        return
    for run in runs:
        typer.echo(f"{run.folder}{' was finished already' if run.folder.name in finished else ''}")
        if taken := run.read_json("provenance.json").get("encoder_weights"):
            typer.echo(key_layouts.text(taken))
        typer.echo(run_report.text(run.read_json("scores.json")))
        typer.echo(f"  report: {run.folder / 'report.html'}")
    if len(runs) > 1:
        typer.echo(comparison.write(runs, folders[0].parent / "report.html"))


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
    runs_dir: RunsDir = RUNS,
    as_json: AsJson = False,
) -> None:
    """Teach an encoder people, and judge it on people it never saw: weights for `fit --encoder-weights`.

    An interrupted training goes on where it stopped; a finished one is judged anew. For several devices:
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
        with init_process_group(pick_device(device)) as where, progress_bars(spec.manifest.stem) as progress:
            found = library.pretrain(spec, runs_dir, where, progress)
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
        from trainer.evaluation import evaluate as library
        from trainer.evaluation.reporting import run_report
        from trainer.runs.device import pick_device
        from trainer.runs.run import load_run

        trained = load_run(run)
        method, data = library.load(trained, manifests_dir, pick_device(device))
        if on:
            found = library.judge_elsewhere(trained, method, data, only_manifest(manifests_dir, on))
            text = run_report.elsewhere(on, found)
        else:
            found = run_report.judge_and_report(trained, method, data)
            text = run_report.text(found)
        if thorough:
            found["examination"] = library.examine(trained, method, data, factors)
            text += "\n" + run_report.examination(found["examination"])
        typer.echo(json.dumps(found) if as_json else text)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs.")], as_json: AsJson = False
) -> None:
    """Compare finished runs: mean and spread over folds and seeds, and paired tests, as text and as a page beside them.

    Example: trainer report runs/ckplus-*
    """
    with refusals():
        from trainer.evaluation.reporting import comparison
        from trainer.runs.run import load_run

        loaded = [load_run(folder) for folder in runs]
        if as_json:
            typer.echo(json.dumps({"groups": comparison.table(loaded), "comparisons": comparison.comparisons(loaded)}))
            return
        page = runs[0].parent / "report.html"
        typer.echo(comparison.write(loaded, page))
        typer.echo(page)


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


for command in (*models.COMMANDS, *tables.COMMANDS):
    app.command()(command)
