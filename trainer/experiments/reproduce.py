"""A paper's table or figure: what is run for it, on which datasets, folds and seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from manifests import files, schema
from trainer.errors import TrainerError
from trainer.evaluation.evaluate import examine, judge_elsewhere, load
from trainer.evaluation.reporting.columns import MEASURES
from trainer.experiments.jobs import folds_of, scores_path, training
from trainer.experiments.papers import ITEMS
from trainer.experiments.papers.item import Item, Variant
from trainer.experiments.starts import RANDOM_START, Start
from trainer.experiments.workers import Job
from trainer.methods import find_presets
from trainer.runs.run import Run
from trainer.training.fit import RunSpec


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where an item is run, and how often."""

    manifests: Path
    runs: Path
    preset: str
    folds: tuple[int, ...]  # none: all that a manifest has
    seeds: tuple[int, ...]
    device: torch.device
    datasets: tuple[str, ...] = ()  # none: all that are at hand
    start: Start = RANDOM_START

    def manifest(self, item: Item, dataset: str) -> Path | None:
        """Return a dataset's manifest, where an item can take it and it is not left out."""
        left_out = self.datasets and dataset not in self.datasets
        return None if left_out or self.lacks(item, dataset) else files.manifest_path(self.manifests, dataset)

    def options(self) -> dict[str, object]:
        """Return what was asked for, by the names of the command's options."""
        return {
            "preset": self.preset, "folds": self.folds, "seeds": self.seeds, "datasets": self.datasets,
            "encoder-weights": self.start.encoder_weights, "from-scratch": self.start.from_scratch,
        }  # fmt: skip

    def lacks(self, item: Item, dataset: str) -> str:
        """Return what must be done before an item can take a dataset; nothing where it can."""
        path, wanted = files.manifest_path(self.manifests, dataset), item.protocols.get(dataset, ())
        option = f" --protocol {wanted[0]}" if wanted else ""
        if not path.exists():
            return f"a licensed copy of {dataset}, prepared by: fertools prepare {dataset}{option}"
        prepared = protocol_of(path)
        if not wanted or prepared in wanted:
            return ""
        return (
            f"another manifest than {path.name}, which was prepared with protocol {prepared}: fertools prepare "
            f"{dataset}{option} (with --manifests elsewhere it keeps both)"
        )

    def others(self, item: Item, dataset: str) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Return the further manifests that are trained on with a dataset, and those its average faces are of."""
        paths = {name: files.manifest_path(self.manifests, name) for name in item.datasets_of(dataset)}
        extra = [paths[name] for name in item.extra.get(dataset, ()) if paths[name].exists()]
        averages = [paths[name] for name in item.averages.get(dataset, ())]
        if not averages or not all(path.exists() for path in averages):
            return tuple(extra), ()
        shown = {name for path in averages for name in _summary(path)["expressions"]}
        own = set(_summary(files.manifest_path(self.manifests, dataset))["expressions"])
        return tuple(extra), tuple(averages) if own <= shown else ()


def _summary(manifest: Path) -> dict[str, Any]:
    summary: dict[str, Any] = files.read_metadata(manifest, schema.PREPARED)["summary"]
    return summary


def protocol_of(manifest: Path) -> str:
    """Return the protocol that a manifest was prepared with."""
    return str(_summary(manifest)["protocol"])


@dataclass(frozen=True)
class Cast:
    """One row's runs on one dataset: asked for, and where they are judged."""

    variant: Variant
    dataset: str
    target: str | None
    specs: tuple[RunSpec, ...]
    bases: tuple[RunSpec, ...]


def find(names: Sequence[str]) -> dict[str, Item]:
    """Return items by name; the name of a paper stands for all of its items.

    Raises:
        TrainerError: there is none.
    """
    found: dict[str, Item] = {}
    for name in names:
        chosen = {key: item for key, item in ITEMS.items() if key == name or key.startswith(f"{name}/")}
        if not chosen:
            raise TrainerError(f"no table or figure {name!r}; known: {', '.join(ITEMS)}")
        found |= chosen
    return found


def casts(item: Item, grid: Grid) -> Iterator[Cast]:
    """Yield what an item's rows are made of; where a dataset is not at hand, nothing is asked."""
    for dataset in item.datasets:
        targets = item.targets.get(dataset, {None: ()} if not item.targets else {})
        for target, expressions in targets.items():
            manifest = grid.manifest(item, dataset)
            here = manifest if target is None or grid.manifest(item, target) else None
            for variant in item.variants:
                runs = _row_specs(item, variant, here, expressions, grid) if here else ((), ())
                yield Cast(variant, dataset, target, *runs)


def _row_specs(
    item: Item, variant: Variant, manifest: Path, expressions: tuple[str, ...], grid: Grid
) -> tuple[tuple[RunSpec, ...], tuple[RunSpec, ...]]:
    """Return the runs of a row, and the runs whose stages they take over."""
    preset = grid.preset if grid.preset in find_presets(variant.method) else "default"
    extra, averages = grid.others(item, manifest.stem)
    specs, bases = [], []
    for seed in grid.seeds:
        for fold in folds_of(manifest, grid.folds):
            base = RunSpec(
                manifest=manifest, method=variant.method, preset=preset, settings=(), epochs=None, fold=fold, seed=seed,
                expressions=expressions, extra=extra, averages=averages if variant.paints else (),
            )  # fmt: skip
            base = grid.start.of(base)
            specs.append(replace(base, settings=variant.settings))
            if variant.branch:
                bases.append(base)
                specs[-1] = replace(specs[-1], start=grid.runs / base.name(), stage=variant.branch)
    return tuple(specs), tuple(bases)


# --- what is missing


def jobs(item: Item, grid: Grid) -> list[Job]:
    """Return all that an item takes, in order, done or not."""
    found: dict[Path, Job] = {}
    for cast in casts(item, grid):
        for spec in (*cast.bases, *cast.specs):
            job = training(spec, grid.runs, grid.device)
            found.setdefault(job.path, job)
        for spec in cast.specs:
            if cast.target:
                job = _elsewhere(spec, files.manifest_path(grid.manifests, cast.target), grid)
                found.setdefault(job.path, job)
            if any(MEASURES[measure].examined for measure in item.measures):
                job = _examination(spec, grid)
                found.setdefault(job.path, job)
    return list(found.values())


def _elsewhere(spec: RunSpec, target: Path, grid: Grid) -> Job:
    run = grid.runs / spec.name()
    return Job(
        f"{spec.name()} on {target.stem}", run / f"scores-on-{target.stem}.json",
        partial(_judge_elsewhere, run, grid.manifests, grid.device, target), spec,
        needs=scores_path(spec, grid.runs),
    )  # fmt: skip


def _judge_elsewhere(run: Path, manifests: Path, device: torch.device, target: Path, *_: object) -> None:
    judge_elsewhere(Run(run), *load(Run(run), manifests, device), target)


def _examination(spec: RunSpec, grid: Grid) -> Job:
    run = grid.runs / spec.name()
    return Job(
        f"{spec.name()}, examined", run / "examination.json", partial(_examine, run, grid.manifests, grid.device),
        spec, needs=scores_path(spec, grid.runs),
    )  # fmt: skip


def _examine(run: Path, manifests: Path, device: torch.device, *_: object) -> None:
    examine(Run(run), *load(Run(run), manifests, device))


def lacking(item: Item, grid: Grid) -> list[str]:
    """Return the datasets of an item that are not at hand."""
    wanted = {*item.datasets, *(target for targets in item.targets.values() for target in targets)}
    return sorted(_absent(item, dataset, grid) for dataset in wanted if grid.manifest(item, dataset) is None)


def _absent(item: Item, dataset: str, grid: Grid) -> str:
    path = files.manifest_path(grid.manifests, dataset)
    if not path.exists() or not grid.lacks(item, dataset):
        return dataset
    return f"{dataset} (prepared with {protocol_of(path)}, not {item.protocols[dataset][0]})"
