"""The commands of `trainer` that fill tables: a paper's, methods side by side, what a method's steps cost."""

import json
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import (
    MANIFESTS,
    RUNS,
    AsJson,
    Compiled,
    Device,
    ManifestsDir,
    NumWorkers,
    Precision,
    RunsDir,
    numbers,
    only_manifest,
    refusals,
)
from trainer.cli.progress import JobBars

EncoderWeights = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="Start the encoders from a ResNet-18: resnet18, timm/NAME, or a file."),
]
FromScratch = Annotated[
    bool, typer.Option("--from-scratch", help="Start at random where a preset asks for pre-trained encoders.")
]


def reproduce(
    names: Annotated[list[str] | None, typer.Argument(metavar="ITEM...", help="dice-fer, if-gan/table1, ...")] = None,
    show: Annotated[bool, typer.Option("--list", help="Show every table and figure, and what is left to run.")] = False,
    measure: Annotated[
        bool, typer.Option("--price", help="Measure a few steps of all that is left, and tell its minutes here.")
    ] = False,
    preset: Annotated[str, typer.Option(help="Where a method has it; see `trainer methods`.")] = "default",
    folds: Annotated[str | None, typer.Option(help="Numbers, separated by commas.", show_default="all")] = None,
    seeds: Annotated[str, typer.Option(help="Numbers, separated by commas.")] = "0,1,2",
    datasets: Annotated[str | None, typer.Option(help="Names, separated by commas.", show_default="all")] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Run nothing: tabulate what there is.")] = False,
    out: Annotated[Path, typer.Option(help="Where tables and figures are written.")] = Path("results"),
    encoder_weights: EncoderWeights = None,
    from_scratch: FromScratch = False,
    side_by_side: NumWorkers = None,
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    runs_dir: RunsDir = RUNS,
    as_json: AsJson = False,
) -> None:
    """Fill a paper's tables and figures anew: run what is missing, set what is printed beside what was measured.

    Datasets that are not prepared are left out and named. What was interrupted goes on.

    Example: trainer reproduce dice-fer/table2 --preset demo --folds 1,2 --seeds 0
    """
    with refusals():
        from manifests import files
        from trainer.evaluation.reporting import tables
        from trainer.experiments import estimate, paper_tables
        from trainer.experiments import reproduce as library
        from trainer.experiments.jobs import run_jobs
        from trainer.experiments.papers import ITEMS
        from trainer.experiments.starts import Start
        from trainer.runs.device import pick_device

        grid = library.Grid(
            manifests=manifests_dir, runs=runs_dir, preset=preset, folds=numbers(folds or ""), seeds=numbers(seeds),
            device=pick_device(device),
            datasets=tuple(files.dataset_name(name) for name in (datasets or "").split(",") if name.strip()),
            start=Start(encoder_weights, from_scratch),
        )  # fmt: skip
        items = library.find(names or list(ITEMS))
        if measure:
            failed = run_jobs(estimate.measurements(items, grid), grid.device, JobBars, 1)
            estimated = estimate.estimate(items, grid)
            typer.echo(json.dumps(estimated) if as_json else estimate.estimate_text(estimated))
            raise typer.Exit(1 if failed else 0)
        if show or not names:
            outlines = [estimate.outline(name, item, grid) for name, item in items.items()]
            typer.echo(json.dumps(outlines) if as_json else "\n".join(map(estimate.outline_text, outlines)))
            return
        failed = {}
        for name, item in items.items():
            failed |= {} if dry else run_jobs(library.jobs(item, grid), grid.device, JobBars, side_by_side)
            table = paper_tables.write(name, item, grid, out)
            typer.echo(tables.to_json(table) if as_json else tables.to_markdown(table))
            typer.echo(f"written: {out / name}.*, {out / name.partition('/')[0]}.html", err=True)
        if failed:
            raise typer.Exit(1)


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
    encoder_weights: EncoderWeights = None,
    from_scratch: FromScratch = False,
    side_by_side: NumWorkers = None,
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    runs_dir: RunsDir = RUNS,
    as_json: AsJson = False,
) -> None:
    """Set methods side by side on the same folds and seeds: accuracy, identity leak, cost; run what is missing.

    Each is compared with the first, run by run. What a method costs is measured on this device, first and alone, in a
    process of its own: let nothing else run beside it.

    Example: trainer compare --methods dicefer,resnet --preset demo --folds 1,2 --seeds 0
    """
    with refusals():
        manifest = only_manifest(manifests_dir, dataset)
        from trainer.evaluation.reporting import tables
        from trainer.experiments import compare as library
        from trainer.experiments.jobs import run_jobs
        from trainer.experiments.starts import Start
        from trainer.runs.device import pick_device

        comparison = library.Comparison(
            manifest=manifest, methods=tuple(name.strip() for name in names.split(",") if name.strip()), preset=preset,
            folds=numbers(folds or ""), seeds=numbers(seeds), runs=runs_dir, device=pick_device(device),
            start=Start(encoder_weights, from_scratch),
        )  # fmt: skip
        jobs = library.jobs(comparison)
        failed = {} if dry else run_jobs(jobs, comparison.device, JobBars, side_by_side)
        table = library.write(comparison, out)
        typer.echo(tables.to_json(table) if as_json else tables.to_markdown(table))
        typer.echo(f"written: {out / table.name}.*", err=True)
        if failed:
            raise typer.Exit(1)


def bench(
    dataset: Annotated[str | None, typer.Option(help="Which manifest.", show_default="the only one")] = None,
    method: Annotated[str, typer.Option(help="See `trainer methods`.")] = "dicefer",
    preset: Annotated[str, typer.Option(help="See `trainer methods`.")] = "default",
    settings: Annotated[list[str] | None, typer.Option("--set", help="name=value; may be repeated.")] = None,
    precision: Precision = "auto",
    compiled: Compiled = False,
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    as_json: AsJson = False,
) -> None:
    """Measure how fast each stage of a method trains here, and what share that is of what the device can do.

    A stage's steps on the faces of fold 1 are held against the same steps on one batch that is on the device, and their
    arithmetic against a large product. Nothing is kept; let nothing else run beside it.

    Example: trainer bench --method dicefer --preset demo
    """
    with refusals():
        manifest = only_manifest(manifests_dir, dataset)
        from trainer.experiments import throughput as library
        from trainer.runs.device import pick_device
        from trainer.training.fit import RunSpec
        from trainer.training.precision import StepRunner

        spec = RunSpec(
            manifest=manifest, method=method, preset=preset, settings=tuple(settings or ()), epochs=None, fold=1,
            seed=0, step_runner=StepRunner(precision, compiled),
        )  # fmt: skip
        result = library.bench(spec, pick_device(device))
        typer.echo(json.dumps(result) if as_json else library.text(result))


COMMANDS = (reproduce, compare, bench)
