"""One run from settings to report: data -> train -> evaluate; steps that are done are skipped."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from manifests import files
from manifests.provenance import commit
from trainer.data import extra_datasets
from trainer.data.fold_data import FoldData
from trainer.errors import TrainerError
from trainer.evaluation.evaluate import predict
from trainer.evaluation.reporting.run_report import judge_and_report
from trainer.methods import build, find_method, find_presets
from trainer.methods.base import Method, Stage, resized
from trainer.methods.config import ConfigError, override
from trainer.methods.pretrained import key_layouts, weights
from trainer.runs.device import environment, make_deterministic
from trainer.runs.distributed import all_reduce_mean, rank, refuse_difference, world_size
from trainer.runs.made_by import code_digests, processor
from trainer.runs.run import Run, RunError
from trainer.training.budget import Budget
from trainer.training.data_parallel import convert_sync_batchnorm
from trainer.training.loop import Report, train
from trainer.training.precision import AUTO, StepRunner


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """The specification of one run: what to train, on which data."""

    manifest: Path
    method: str
    preset: str
    settings: tuple[str, ...]  # name=value
    epochs: int | None  # of every stage; None: the preset's
    fold: int
    seed: int
    expressions: tuple[str, ...] = ()  # empty: all in the manifest
    start: Path | None = None  # a finished run that the stages before `stage` are taken from
    stage: str | None = None
    encoder_weights: str | None = None  # see weights.read
    from_scratch: bool = False  # start at random where the preset asks for pre-trained weights
    extra: tuple[Path, ...] = ()  # manifests of further training faces
    averages: tuple[Path, ...] = ()  # manifests that average faces are computed from; empty: the training part
    deterministic: bool = False  # the same bits each time on a GPU, too; slower
    memory: float | None = None  # GB of device memory for crops, larger sets are streamed; see FoldData
    step_runner: StepRunner = AUTO

    def config(self) -> Any:
        """Return the method's settings.

        Raises:
            ConfigError: unknown method, preset or setting.
        """
        presets = find_presets(self.method)
        if self.preset not in presets:
            raise ConfigError(f"no preset {self.preset!r} of {self.method}; known: {', '.join(presets)}")
        config = presets[self.preset]
        if self.epochs is not None:
            names = [field.name for field in dataclasses.fields(config) if field.name.startswith("epochs")]
            config = override(config, [f"{name}={self.epochs}" for name in names])
        return override(config, self.settings)

    @property
    def starts_from_scratch(self) -> bool:
        """Whether it starts at random though its preset asks for pre-trained weights."""
        return self.from_scratch and self._asks_for_weights

    @property
    def _asks_for_weights(self) -> bool:
        return self.preset in find_method(self.method).PRETRAINED

    def refuse_random_start(self) -> None:
        """Refuse a preset of pre-trained encoders without weights, unless it is to go on from scratch.

        Raises:
            ConfigError: there are no weights, or both are asked for.
        """
        if self.encoder_weights and self.from_scratch:
            raise ConfigError("--encoder-weights and --from-scratch exclude each other")
        if self._asks_for_weights and not self.encoder_weights and not self.from_scratch:
            raise ConfigError(
                f"preset {self.preset} of {self.method} starts from an encoder that knows faces (section 5.3 of the "
                "paper: CASIA-WebFace): --encoder-weights FILE, weights.safetensors of `trainer pretrain "
                "casia-webface` or any ResNet-18's; or --from-scratch for a random start"
            )

    def name(self) -> str:
        """Return the name of the run's folder, made of the options that are not defaults."""
        parts = [self.manifest.stem, self.method, self.preset, *self.settings]
        parts += [] if self.epochs is None else [f"epochs={self.epochs}"]
        parts += ["+".join(self.expressions)] if self.expressions else []
        parts += ["extra=" + "+".join(path.stem for path in self.extra)] if self.extra else []
        parts += ["averages=" + "+".join(path.stem for path in self.averages)] if self.averages else []
        parts += [] if self.encoder_weights is None else [weights.short_name(self.encoder_weights)]
        parts += ["from-scratch"] if self.starts_from_scratch else []
        return "-".join([*parts, f"fold{self.fold:02d}", f"seed{self.seed}"])


def fit(
    spec: RunSpec, runs: Path, device: torch.device, progress: Report, interrupted: Callable[[], bool] = lambda: False
) -> Run:
    """Train and evaluate one run, resuming it where it stopped; a finished run is returned unchanged.

    Several ranks train it as one (see data_parallel.py), and rank 0 evaluates it.

    Args:
        runs: the folder of all runs.
        progress: called after each epoch.
        interrupted: called after each step: whether to stop there, as after Ctrl-C.
    """
    run = Run(runs / spec.name())
    if spec.deterministic:
        make_deterministic()
    data, method, config, provenance = _set_up(spec, device)
    start = _find_start(spec, config, provenance) if spec.start else None
    with run.writer():
        run.start(config | {"start": start and start.metadata}, provenance)
        method = convert_sync_batchnorm(method, device)
        spec.step_runner.prepare(method, device)
        if run.finished:
            return run
        if start:
            start.run.load_weights(method, start.modules)
        if not run.trained:
            if not _train(method, data, run, spec, progress, interrupted, start):
                return run
        else:
            run.load_weights(method)
        if rank() == 0:
            with spec.step_runner.eager_float32():
                judge_and_report(run, method, data)
    return run


def _set_up(spec: RunSpec, device: torch.device) -> tuple[FoldData, Method, dict[str, Any], dict[str, Any]]:
    """Return the data, the untrained method, the full config and the provenance."""
    settings, kind = dataclasses.asdict(spec.config()), find_method(spec.method)
    spec.refuse_random_start()
    data = FoldData.seen_by(kind, settings, spec.manifest, spec.fold, device, spec.expressions, spec.memory)
    _refuse_larger(settings, data)
    config: dict[str, Any] = {
        "method": spec.method, "preset": spec.preset, "settings": settings, "dataset": spec.manifest.stem,
        "fold": spec.fold, "seed": spec.seed, "expressions": data.expressions, "encoder_weights": None,
    }  # fmt: skip
    if spec.starts_from_scratch:
        config["from_scratch"] = True
    provenance = environment(device) | spec.step_runner.metadata(device)
    provenance |= {"commit": commit(), "code": code_digests(), "processor": processor(), "data": data.provenance()}
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
    """Add another dataset's faces to the training part; return what was added, for the config."""
    extra = extra_datasets.find_extra(manifest, data)
    data.add(extra.crops, extra.expressions)
    return extra.about


def _refuse_larger(settings: dict[str, Any], data: FoldData) -> None:
    """Refuse an input size that is larger than the manifest's faces.

    Raises:
        ConfigError: it is.
    """
    size, face = settings.get("size", 0), data.crop.face
    if size > face:
        raise ConfigError(
            f"size={size}: the faces of {data.manifest} are {face} px; prepare them with --size 256 --align eyes-nose, "
            f"or --set size={face}"
        )


@dataclass(frozen=True)
class Start:
    """Another run, whose first stages are taken over."""

    run: Run
    first_stage: int  # index of the first stage to train
    modules: tuple[str, ...]  # submodules whose weights are loaded
    metadata: dict[str, Any]  # for the config
    taken: Budget  # what the stages before it took


def _find_start(spec: RunSpec, config: dict[str, Any], provenance: dict[str, Any]) -> Start:
    """Return the run to start from. Settings of its stages may differ: its own config.json records them.

    Raises:
        ConfigError: unknown stage.
        RunError: a run of another method, dataset, fold, seed, set of expressions or manifest.
    """
    assert spec.start is not None
    modules_of = find_method(spec.method).STAGE_MODULES
    if spec.stage not in modules_of:
        raise ConfigError(f"no stage {spec.stage!r} of {spec.method} to start from; known: {', '.join(modules_of)}")
    first = list(modules_of).index(spec.stage)
    run = Run(spec.start)
    expected = {key: value for key, value in config.items() if key not in ("preset", "settings")}
    differing = _differing(expected, run.read_json("config.json"))
    differing += _differing(provenance["data"]["read"], run.read_json("provenance.json")["data"].get("read", {}))
    if differing:
        raise RunError(f"{run.folder} is no start for this run: {', '.join(dict.fromkeys(differing))} differ")
    metadata = {"run": run.folder.name, "stage": spec.stage, "weights_sha256": run.weights_sha256()}
    modules = tuple(name for stage in list(modules_of)[:first] for name in modules_of[stage])
    budget = run.read_json("provenance.json").get("budget", {})
    taken = {stage: budget[stage] for stage in list(modules_of)[:first] if stage in budget}
    return Start(run, first, modules, metadata, taken)


def _differing(expected: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [key for key, value in expected.items() if other.get(key) != value]


def _train(
    method: Method, data: FoldData, run: Run, spec: RunSpec, progress: Report, interrupted: Callable[[], bool],
    start: Start | None,
) -> bool:  # fmt: skip
    share = rank(), world_size()

    def batches(stage: Stage, epoch: int, stream: int, first: int) -> Iterable[Any]:
        return data.batches(stage.reads, stage.batch_size, epoch, stream, stage.balanced, first, share)

    def validate() -> float:
        with spec.step_runner.eager_float32():
            logits, _ = predict(method, data.upright("validation"))
        accuracy = (logits.argmax(1) == data.classes("validation").cpu().numpy()).mean()
        return float(all_reduce_mean([torch.tensor(accuracy)])[0])  # all ranks must select the same epoch

    refuse_difference("weights", (tensor.cpu().numpy().tobytes() for tensor in method.state_dict().values()))
    done = train(
        method, batches, validate, run, seed=spec.seed, first_stage=start.first_stage if start else 0,
        taken=start.taken if start else None, report=progress, interrupted=interrupted, step_runner=spec.step_runner,
    )  # fmt: skip
    if done:
        run.finish_training(method)
    return done


def num_folds(manifest: Path) -> int:
    """Return the number of a manifest's folds.

    Raises:
        TrainerError: it has none.
    """
    if "folds" not in files.read_metadata(manifest):
        raise TrainerError(f"{manifest} has no folds; make them with: fertools make-folds {manifest.stem}")
    return int(files.read_metadata(manifest, ["folds.num_folds"])["folds"]["num_folds"])
