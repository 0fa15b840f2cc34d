"""One run's folder: settings, provenance, metrics, weights, checkpoints.

    config.json  provenance.json  metrics.jsonl  events.out.tfevents.*  weights.safetensors
    predictions.parquet  scores.json  report.html      while training: checkpoint.safetensors, and the one before it

Every file but TensorBoard's is written under a temporary name, then renamed, and no two files must be mutually
consistent: a checkpoint alone is what a training resumes from. Nothing is ever unpickled.
Of several ranks (see trainer/training/data_parallel.py) rank 0 owns the folder: on the others, writing does nothing.
They start, save and finish the run at the same time.
"""  # noqa: D208

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn
from torch.optim import Optimizer

from manifests.atomic import make_folder, remove_leftovers, rename
from manifests.errors import ManifestError
from manifests.fields import Field, check_fields, mapping, of_type, share, text, whole
from manifests.lock import MOMENT, only_writer
from manifests.parquet import read_table
from manifests.provenance import differing
from trainer.errors import TrainerError
from trainer.runs.atomic import (
    damage_of_tensors,
    is_sealed_well,
    is_usable,
    sealed_json,
    whole_file,
    write_tensors,
    write_whole,
    writing,
)
from trainer.runs.checkpoint import Checkpoint
from trainer.runs.distributed import all_gather, barrier, rank, refuse_difference, world_size

FIELDS = {  # of its JSON files, what values must be; scores on another dataset have theirs on top
    "config": (
        *map(text, ("method", "preset", "dataset")), mapping("settings"), whole("fold", 1, 126), whole("seed", 0),
        Field("expressions", "a list of names", lambda names: isinstance(names, list) and {*map(type, names)} <= {str}),
    ),
    "provenance": (
        text("device"), mapping("data"), mapping("data.read"), of_type("test_opened", list, "a list of times"),
    ),
    "scores": tuple(
        make(below + name)
        for below in ("", "classification.")
        for make, names in (
            (share, ("accuracy", "macro_f1", "balanced_accuracy", "macro_precision", "macro_recall", "chance")),
        )
        for name in names
    ) + (whole("classification.correct", 0), whole("classification.faces", 0)),
}  # fmt: skip
METRICS_SHA256 = "metrics_sha256"  # of metrics.jsonl when the training ended; stands in the provenance
CHECKPOINTS = ("checkpoint.safetensors", "checkpoint-before.safetensors")  # kept while training; the newest first


class RunError(TrainerError):
    """A run's folder that does not hold what is needed."""


class Run:
    """A run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: list[dict[str, Any]] = []
        self._best: dict[str, Tensor] = {}
        self._broken: set[str] = set()  # checkpoints
        self._events: Path | None = None

    @contextmanager
    def writer(self, patience: float = MOMENT) -> Iterator[None]:
        """Be the only process that writes the folder; what dead writers left there is removed. Of ranks, 0 is.

        Args:
            patience: how long another one is waited for, s.

        Raises:
            LockedError: another process writes it.
            WriteError: it cannot be written.
        """
        if rank() > 0:
            yield
            return
        with writing(self.folder):
            make_folder(self.folder)
        with only_writer(self.folder, self.folder / ".lock", patience) as outermost:
            if outermost:
                remove_leftovers(self.folder)
            yield

    # --- settings and provenance

    def start(self, config: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Create the folder, or resume the run in it.

        Raises:
            RunError: it holds a run of other settings or other data, or cannot be created.
            TrainerError: ranks have different settings or data, or different folders.
        """
        refuse_difference("settings or data", [repr((config, provenance["data"])).encode()])
        if rank() == 0:
            self._create(config, provenance)
        barrier()
        if not (self.folder / "config.json").exists():
            raise TrainerError(
                f"process {rank()} of {world_size()} does not find {self.folder}, which process 0 has made; choose "
                "--runs in a folder that all machines share"
            )

    def _create(self, config: dict[str, Any], provenance: dict[str, Any]) -> None:
        if self.trained:
            self._drop_checkpoints()
        if (self.folder / "config.json").exists():
            then, now = self.read_json("config.json"), json.loads(json.dumps(config))
            what = [f"{key} was {then.get(key)}, is {now[key]}" for key in differing(then, now)]
            then = self.read_json("provenance.json")["data"].get("read", {})
            what += [f"{key} differs" for key in differing(then, provenance["data"]["read"])]
            if what:
                raise RunError(
                    f"{self.folder} holds another run ({'; '.join(what)}); delete it, or choose --runs or --seed"
                )
        else:
            with writing(self.folder):
                make_folder(self.folder)
            self.write_json("provenance.json", provenance | {"test_opened": []})
            self.write_json("config.json", config)
        self._record_world_size()

    def _record_world_size(self) -> None:
        """Append the number of ranks to the provenance where it is not the one that trained the run so far."""
        provenance = self.read_json("provenance.json")
        recorded = provenance.get("world_sizes", [])
        if not self.trained and recorded[-1:] != [world_size()]:
            self.write_json("provenance.json", provenance | {"world_sizes": [*recorded, world_size()]})

    @property
    def finished(self) -> bool:
        """Whether it is trained and judged."""
        return (self.folder / "scores.json").exists()

    def read_json(self, name: str, required: Sequence[str] = ()) -> dict[str, Any]:
        """Return one of its JSON files, checked.

        Args:
            name: of the file.
            required: paths of values that must be there, `classification.accuracy`.

        Raises:
            RunError: it is missing, damaged or changed by hand, or holds what cannot be.
        """
        try:
            values: Any = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{self.folder} has no {name}: it is not a run, or not finished; trainer fit makes one"
            ) from None
        except OSError as error:
            raise RunError(f"{self.folder / name} cannot be read ({error.strerror or error})") from error
        except ValueError as error:
            raise RunError(f"{self.folder / name} is not valid JSON: {error}; {self._again(name)}") from error
        if not isinstance(values, dict) or not is_sealed_well(values):
            raise RunError(f"{self.folder / name} is damaged, or was changed by hand; {self._again(name)}")
        try:
            check_fields(values, FIELDS.get(name.partition(".")[0].partition("-on-")[0], ()), required)
        except ManifestError as error:
            raise RunError(f"{self.folder / name}: {error}; {self._again(name)}") from error
        return values

    def _again(self, name: str) -> str:
        """Return what to do about a damaged file, in words."""
        if name.startswith(("scores", "examination")):
            return f"judge the run again: trainer evaluate {self.folder}"
        return f"bring it back from a copy, or delete {self.folder} and train again"

    def value(self, name: str, *path: str) -> float:
        """Return a number from one of its JSON files.

        Raises:
            RunError: the file has no such key.
        """
        value: Any = self.read_json(name)
        for key in path:
            if not isinstance(value, dict) or key not in value:
                raise RunError(
                    f"{self.folder / name} has no {', '.join(path)}: it was judged by an older version; judge it again "
                    f"with: trainer evaluate {self.folder}"
                )
            value = value[key]
        return float(value)

    def read_table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return one of its tables, or some of its columns.

        Raises:
            RunError: it is missing or damaged, or has no such column.
        """
        try:
            return read_table(self.folder / name, columns)
        except ManifestError as error:
            raise RunError(f"{error}; write it again: trainer evaluate {self.folder}") from error

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Write one of its JSON files, on rank 0."""
        self.write_text(name, sealed_json(values))

    def write_text(self, name: str, text: str) -> None:
        """Write one of its text files, on rank 0."""
        if rank() == 0:
            write_whole(self.folder / name, text)

    # --- metrics

    def log(self, stage: str, epoch: int, values: dict[str, float], note: str | None = None) -> None:
        """Append an epoch's values, and a note on it, to metrics.jsonl and to TensorBoard's file, on rank 0."""
        if rank() > 0:
            return
        self._show({f"{stage}/{name}": value for name, value in values.items()})
        self._rows.append({"stage": stage, "epoch": epoch} | values | ({"note": note} if note else {}))
        self._write_metrics()

    def _write_metrics(self) -> str:
        """Write metrics.jsonl, on rank 0; return its hash."""
        text = "".join(json.dumps(row) + "\n" for row in self._rows)
        self.write_text("metrics.jsonl", text)
        return hashlib.sha256(text.encode()).hexdigest()

    def _show(self, values: dict[str, float]) -> None:
        """Append values to TensorBoard's file."""
        from trainer.runs.tensorboard import records

        first, now = self._events is None, time.time()
        self._events = self._events or self.folder / f"events.out.tfevents.{now:.6f}"
        with writing(self._events), self._events.open("ab") as file:
            file.write(records(values, len(self._rows), now, first))

    def metrics(self) -> list[dict[str, Any]]:
        """Return the logged values, one row per epoch.

        Raises:
            RunError: they are not those that were logged when the training ended, or no rows of values.
        """
        path = self.folder / "metrics.jsonl"
        data = path.read_bytes() if path.exists() else b""
        try:
            rows = [json.loads(line) for line in data.decode().splitlines()]
        except ValueError as error:
            raise RunError(f"{path} is damaged ({error}); {self._again(path.name)}") from error
        recorded = self.read_json("provenance.json").get(METRICS_SHA256) if self.trained and self._has_config else None
        if recorded not in (None, hashlib.sha256(data).hexdigest()):
            raise RunError(f"{path} is damaged, missing, or was changed by hand; {self._again(path.name)}")
        return rows

    # --- checkpoints and weights

    def save(
        self, module: nn.Module, optimizers: Sequence[Optimizer], progress: dict[str, Any], random: dict[str, Tensor]
    ) -> None:
        """Write a checkpoint, with the random states of all ranks; the one before it is kept.

        Raises:
            RunError: a value is not finite. The checkpoints before it are unchanged.
            WriteError: the disk is full, say.
        """
        gathered = {device: all_gather(state[None]) for device, state in random.items()}
        states = {_key(index, name): states[index] for name, states in gathered.items() for index in range(len(states))}
        now = Checkpoint.of(module, optimizers, progress=progress, random=states, best=self._best, rows=self._rows)
        tensors, metadata = now.pack()
        self._save(tensors, CHECKPOINTS[0], metadata)
        barrier()

    def checkpoint(self) -> Checkpoint | None:
        """Return the last complete checkpoint, with this rank's random states; values logged after it are dropped.

        Raises:
            RunError: there are checkpoints, and none is complete.
        """
        broken = {}
        for name in CHECKPOINTS:
            try:
                saved = self._read(name)
            except FileNotFoundError:
                continue
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                broken[name] = f"{self.folder / name} is not complete ({error})"
                continue
            if broken:
                print(f"{'; '.join(broken.values())}: resuming from {name}, the one before", file=sys.stderr)
            self._broken, self._rows, self._best = set(broken), saved.rows, saved.best
            local = {_key(rank(), device): device for device in ("cpu", "cuda")}
            return replace(saved, random={local[key]: state for key, state in saved.random.items() if key in local})
        if broken:
            raise RunError(f"{'; '.join(broken.values())}; delete {self.folder} to begin again")
        return None

    def _read(self, name: str) -> Checkpoint:
        """Return a checkpoint. Not mapped into memory: the file would then stay on the disk after its removal."""
        data = (self.folder / name).read_bytes()
        tensors, metadata = load(data), _metadata(data)
        if damage := damage_of_tensors(tensors, metadata):
            raise ValueError(f"it {damage}")
        metadata.pop("sha256", None)
        return Checkpoint.unpack(tensors, metadata)

    def save_best(self, module: nn.Module) -> None:
        """Keep the weights as the best so far, in memory and in checkpoints."""
        self._best = {name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()}

    def load_best(self, module: nn.Module) -> None:
        """Load the best weights, and keep them no longer."""
        module.load_state_dict(self._best)
        self._best = {}

    def finish_training(self, module: nn.Module, metadata: dict[str, str] | None = None) -> None:
        """Write the final weights, with metadata and the config's hash in the header, and delete the checkpoints.

        The provenance records the hash of metrics.jsonl, which is written once more: no checkpoint holds it any longer.
        """
        metadata = metadata or {}
        if self._has_config:
            metadata |= {"config_sha256": self._config_sha256()}
            provenance = self.read_json("provenance.json")
            self.write_json("provenance.json", provenance | {METRICS_SHA256: self._write_metrics()})
        self._save(module.state_dict(), "weights.safetensors", metadata)
        self._drop_checkpoints()

    def _drop_checkpoints(self) -> None:
        if rank() == 0:
            for name in CHECKPOINTS:
                (self.folder / name).unlink(missing_ok=True)

    def load_weights(self, module: nn.Module, submodules: Sequence[str] = ()) -> None:
        """Load the final weights, all or those of some submodules.

        Raises:
            RunError: there are none, they are damaged, of another config, or do not fit the module.
        """
        path = self._trained_weights()
        try:
            data = path.read_bytes()
            weights, metadata = load(data), _metadata(data)
            if damage := damage_of_tensors(weights, metadata):
                raise RunError(f"{path} {damage}; {self._again(path.name)}")
            if self._has_config and metadata.get("config_sha256", "") not in ("", self._config_sha256()):
                raise RunError(f"{path} was trained with another config.json; {self._again(path.name)}")
            for name in submodules or [""]:
                prefix = f"{name}." if name else ""
                own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
                module.get_submodule(name).load_state_dict(own)
        except SafetensorError as error:
            raise RunError(f"{path} is damaged ({error}); {self._again(path.name)}") from error
        except RuntimeError as error:
            raise RunError(f"{path} does not fit this version of the method: {error}") from error

    @property
    def _has_config(self) -> bool:
        return (self.folder / "config.json").exists()

    def _config_sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.read_json("config.json"), sort_keys=True).encode()).hexdigest()

    def weights_sha256(self) -> str:
        """Return the hash of the trained weights."""
        return hashlib.sha256(self._trained_weights().read_bytes()).hexdigest()

    def _trained_weights(self) -> Path:
        path = self.folder / "weights.safetensors"
        if not path.exists():
            raise RunError(f"{self.folder} has no weights: its training is not finished; resume it with trainer fit")
        return path

    @property
    def trained(self) -> bool:
        """Whether its weights are final."""
        return (self.folder / "weights.safetensors").exists()

    def _save(self, tensors: dict[str, Tensor], name: str, metadata: dict[str, str]) -> None:
        if rank() > 0:
            return
        on_cpu = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        for key, tensor in on_cpu.items():
            if not is_usable(tensor):
                raise RunError(
                    f"{self.folder}: {key} is no longer finite, and is not saved; a smaller learning_rate or another "
                    "estimator may help"
                )
        with whole_file(self.folder / name) as part:
            write_tensors(on_cpu, part, metadata)
            if name == CHECKPOINTS[0]:
                self._rotate_checkpoints()

    def _rotate_checkpoints(self) -> None:
        """Give each complete checkpoint the name of the one before it."""
        for newer, older in reversed(list(pairwise(CHECKPOINTS))):
            if newer not in self._broken and (self.folder / newer).exists():
                rename(self.folder / newer, self.folder / older)
        self._broken.clear()


def _key(rank: int, device: str) -> str:
    """Return the checkpoint's name of a rank's random state; of rank 0, that of a single process."""
    return f"{rank}.{device}" if rank else device


def _metadata(data: bytes) -> dict[str, str]:
    """Return what a safetensors file says of its tensors."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return dict(header.get("__metadata__", {}))


def load_run(folder: Path) -> Run:
    """Return the run of a folder.

    Raises:
        RunError: the folder holds no run.
    """
    run = Run(folder)
    run.read_json("config.json", ["method", "dataset"])
    return run
