"""One run from settings to report: data -> train -> judge, each step skipped where it is done."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from manifests import files
from trainer.data import extra_datasets
from trainer.data.fold_data import FoldData
from trainer.errors import TrainerError
from trainer.evaluation.evaluate import predict
from trainer.evaluation.reporting.run_report import judge_and_report
from trainer.methods import build, find_method
from trainer.methods.base import Method, Stage, resized
from trainer.methods.config import ConfigError, override
from trainer.methods.pretrained import key_layouts, weights
from trainer.runs.device import make_deterministic
from trainer.runs.distributed import all_reduce_sum, any_rank, rank, world_size
from trainer.runs.made_by import code_digests, processor
from trainer.runs.run import Run, RunError, environment
from trainer.runs.signals import deferred_signals
from trainer.training.data_parallel import SharedRun, convert_sync_batchnorm, data_parallel_stage, refuse_difference
from trainer.training.loop import Report, train
from trainer.training.precision import AUTO, StepRunner


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What a user asks to be trained."""

    manifest: Path
    method: str
    preset: str
    settings: tuple[str, ...]  # name=value
    epochs: int | None  # of every stage
    fold: int
    seed: int
    expressions: tuple[str, ...] = ()  # none: all that the manifest has
    start: Path | None = None  # a finished run whose stages before `stage` are taken over
    stage: str | None = None
    encoder_weights: str | None = None  # see weights.read
    extra: tuple[Path, ...] = ()  # manifests whose faces are trained on, too
    averages: tuple[Path, ...] = ()  # manifests of which the average faces are; none: of the training part
    deterministic: bool = False  # the same bits each time on a GPU, too; slower
    memory: float | None = None  # GB that faces may take on the device, else they are streamed; see FoldData
    step_runner: StepRunner = AUTO

    def config(self) -> Any:
        """Return the method's settings.

        Raises:
            ConfigError: no such method, preset or setting.
        """
        presets = find_method(self.method).PRESETS
        if self.preset not in presets:
            raise ConfigError(f"no preset {self.preset!r} of {self.method}; known: {', '.join(presets)}")
        config = presets[self.preset]
        if self.epochs is not None:
            names = [field.name for field in dataclasses.fields(config) if field.name.startswith("epochs")]
            config = override(config, [f"{name}={self.epochs}" for name in names])
        return override(config, self.settings)

    def name(self) -> str:
        """Return the name of the run's folder: all that is asked, in words."""
        parts = [self.manifest.stem, self.method, self.preset, *self.settings]
        parts += [] if self.epochs is None else [f"epochs={self.epochs}"]
        parts += ["+".join(self.expressions)] if self.expressions else []
        parts += ["extra=" + "+".join(path.stem for path in self.extra)] if self.extra else []
        parts += ["averages=" + "+".join(path.stem for path in self.averages)] if self.averages else []
        parts += [] if self.encoder_weights is None else [weights.short_name(self.encoder_weights)]
        return "-".join([*parts, f"fold{self.fold:02d}", f"seed{self.seed}"])


def fit(
    spec: RunSpec, runs: Path, device: torch.device, progress: Report, interrupted: Callable[[], bool] = lambda: False
) -> Run:
    """Train and judge one run, from where an earlier call stopped; a finished run is returned as it is.

    Several processes train it together (see `init_process_group`), and the first one judges it.

    Args:
        interrupted: asked after each step whether to stop there, as after Ctrl-C.
    """
    run = SharedRun(runs / spec.name())
    if spec.deterministic:
        make_deterministic()
    data, method, config, provenance = _set_up(spec, device)
    begun = _find_start(spec, config, provenance) if spec.start else None
    run.start(config | {"start": begun and begun.about}, provenance)
    method = convert_sync_batchnorm(method, device)
    spec.step_runner.prepare(method, device)
    if run.finished:
        return run
    if begun:
        begun.run.load_weights(method, begun.modules)
    if not run.trained:
        if not _train(method, data, run, spec, progress, interrupted, begun.first_stage if begun else 0):
            return run
    else:
        run.load_weights(method)
    if rank() == 0:
        with spec.step_runner.eager_float32():
            judge_and_report(run, method, data)
    return run


def _set_up(spec: RunSpec, device: torch.device) -> tuple[FoldData, Method, dict[str, Any], dict[str, Any]]:
    """Return the faces, the untrained method, what is asked for in full, and what it is made from."""
    settings, kind = dataclasses.asdict(spec.config()), find_method(spec.method)
    data = FoldData.seen_by(kind, settings, spec.manifest, spec.fold, device, spec.expressions, spec.memory)
    _refuse_larger(settings, data)
    config: dict[str, Any] = {
        "method": spec.method, "preset": spec.preset, "settings": settings, "dataset": spec.manifest.stem,
        "fold": spec.fold, "seed": spec.seed, "expressions": data.expressions, "encoder_weights": None,
    }  # fmt: skip
    where = environment(device) | spec.step_runner.about(device)
    provenance = where | {"commit": files.commit(), "code": code_digests(), "processor": processor()}
    provenance |= {"data": data.provenance()}
    method = build(spec.method, settings, data.expressions, spec.seed, device)
    if spec.encoder_weights:
        taken = key_layouts.take(weights.read(spec.encoder_weights), method)
        config["encoder_weights"] = {name: taken[name] for name in ("name", "sha256")}
        provenance["encoder_weights"] = taken
    if "averages" in dict(method.named_buffers()):
        averages = extra_datasets.averages_of(spec.averages, data) if spec.averages else data.averages()
        method.get_buffer("averages").copy_(resized(averages, settings["size"]))
        config["averages"] = {"of": [path.stem for path in spec.averages], "sha256": extra_datasets.sha256(averages)}
    elif spec.averages:
        raise ConfigError(f"{spec.method} has no average faces: leave out --averages")
    if spec.extra:
        config["extra"] = {path.stem: _added(path, data) for path in spec.extra}
    return data, method, config, provenance


def _added(manifest: Path, data: FoldData) -> dict[str, Any]:
    """Let the faces of another dataset be trained on; return what was taken."""
    found = extra_datasets.find_extra(manifest, data)
    data.add(found.crops, found.expressions)
    return found.about


def _refuse_larger(settings: dict[str, Any], data: FoldData) -> None:
    """Refuse a method that is to see more pixels than there are.

    Raises:
        ConfigError: the faces of the manifest are smaller.
    """
    size, face = settings.get("size", 0), data.crop.face
    if size > face:
        raise ConfigError(
            f"size={size}: the faces of {data.manifest} are {face} px; prepare them with --size 256 --align eyes-nose, "
            f"or --set size={face}"
        )


@dataclass(frozen=True)
class Start:
    """Stages that another run has trained."""

    run: Run
    first_stage: int  # to be trained
    modules: tuple[str, ...]  # to be taken over
    about: dict[str, Any]


def _find_start(spec: RunSpec, config: dict[str, Any], provenance: dict[str, Any]) -> Start:
    """Return where to begin. What the earlier stages were trained with is that run's, and stays written down there.

    Raises:
        ConfigError: no such stage.
        RunError: a run of another method, dataset, fold, seed, set of expressions or manifest.
    """
    assert spec.start is not None
    trained = find_method(spec.method).STAGE_MODULES
    if spec.stage not in trained:
        raise ConfigError(f"no stage {spec.stage!r} of {spec.method} to start from; known: {', '.join(trained)}")
    first = list(trained).index(spec.stage)
    run = Run(spec.start)
    other = run.read_json("config.json") | {"data": run.read_json("provenance.json")["data"]}
    mine = config | {"data": provenance["data"]}
    differing = [key for key in mine if key not in ("preset", "settings") and other.get(key) != mine[key]]
    if differing:
        raise RunError(f"{run.folder} is no start for this run: {', '.join(differing)} differ")
    about = {"run": run.folder.name, "stage": spec.stage, "weights_sha256": run.weights_sha256()}
    modules = tuple(name for stage in list(trained)[:first] for name in trained[stage])
    return Start(run, first, modules, about)


def _train(
    method: Method, data: FoldData, run: Run, spec: RunSpec, progress: Report, interrupted: Callable[[], bool],
    first_stage: int,
) -> bool:  # fmt: skip
    mine = rank(), world_size()

    def batches(stage: Stage, epoch: int, stream: int, first: int) -> Iterable[Any]:
        if first == 0:
            torch.manual_seed(stream + rank())  # what steps draw differs, what is seen does not
        return data.batches(stage.reads, stage.batch_size, epoch, stream, stage.balanced, first, mine)

    def validate() -> float:
        with spec.step_runner.eager_float32():
            logits, _ = predict(method, data.upright("validation"))
        accuracy = (logits.argmax(1) == data.classes("validation").cpu().numpy()).mean()
        return float(all_reduce_sum(torch.tensor(accuracy)) / world_size())  # so that all find the same epoch the best

    refuse_difference("weights", (tensor.cpu().numpy().tobytes() for tensor in method.state_dict().values()))
    with deferred_signals() as signalled:
        done = train(
            method, batches, validate, run, seed=spec.seed, first_stage=first_stage, report=progress,
            interrupted=lambda: interrupted() or signalled(), share=data_parallel_stage, any_rank=any_rank,
            step_runner=spec.step_runner,
        )  # fmt: skip
    if done:
        run.finish_training(method)
    elif world_size() > 1 and not interrupted():
        raise KeyboardInterrupt  # a signal to another process, for one to this one is raised by now
    return done


def num_folds(manifest: Path) -> int:
    """Return how many folds a manifest has.

    Raises:
        TrainerError: none yet.
    """
    folds = files.read_metadata(manifest).get("folds")
    if folds is None:
        raise TrainerError(f"{manifest} has no folds; make them with: fertools make-folds {manifest.stem}")
    return int(folds["num_folds"])
