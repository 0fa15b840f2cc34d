"""The `trainer` command: each command parses, calls the library, prints where the result is."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        typer.echo("interrupted; the same command goes on after the last whole epoch", err=True)
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
    start: Annotated[Path | None, typer.Option(metavar="RUN", help="A finished run, to take stages from.")] = None,
    stage: Annotated[str | None, typer.Option(help="With --start: the first stage to train.")] = None,
    device: Device = "auto",
    manifests_dir: ManifestsDir = MANIFESTS,
    runs_dir: Annotated[Path, typer.Option("--runs", help="Where runs are kept.")] = RUNS,
    as_json: AsJson = False,
) -> None:
    """Train a method on one fold or on all, judge it on people it never saw, and write its report.

    An interrupted run goes on after its last whole epoch, with the same bits; a finished one says so.

    Example: trainer fit --fold 3
    """
    with refusals():
        if fold is not None and all_folds:
            raise TrainerError("--fold and --all-folds exclude each other")
        if (start is None) != (stage is None):
            raise TrainerError("--start RUN and --stage NAME go together: the run, and the first stage to train")
        manifest = only_manifest(manifests_dir, dataset)
        from trainer import fit as library
        from trainer import report, summary

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
                start=start,
                stage=stage,
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
    names: Annotated[list[str] | None, typer.Argument(metavar="ITEM...", help="dice-fer, dice-fer/table2, ...")] = None,
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

        grid = library.Grid(
            manifests=manifests_dir, runs=runs_dir, preset=preset, folds=numbers(folds or ""), seeds=numbers(seeds),
            device=pick_device(device),
            datasets=tuple(files.dataset_name(name) for name in (datasets or "").split(",") if name.strip()),
        )  # fmt: skip
        items = library.find(names or ["dice-fer"])
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
