"""One run's folder: what was asked, what it was made from, what it measured, its weights, its checkpoint.

    config.json  provenance.json  metrics.jsonl  events.out.tfevents.*  weights.safetensors
    predictions.parquet  scores.json  report.html      while training: checkpoint.safetensors, and the one before it

Every file but TensorBoard's is written whole under a temporary name, then renamed, and none needs another to be as new
as itself: a checkpoint holds all that a training goes on from. Nothing is ever unpickled.
"""  # noqa: D208

import hashlib
import json
import math
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from manifests.atomic import remove_leftovers
from manifests.provenance import differing
from trainer.errors import TrainerError
from trainer.runs.atomic import whole_file, write_tensors, write_whole, writing
from trainer.runs.checkpoint import Checkpoint

CHECKPOINTS = ("checkpoint.safetensors", "checkpoint-before.safetensors")  # that are kept; the newest first


class RunError(TrainerError):
    """A run's folder that is not what is asked for."""


class Run:
    """A run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: list[dict[str, Any]] = []
        self._best: dict[str, Tensor] = {}
        self._broken: set[str] = set()  # checkpoints
        self._events: Path | None = None

    # --- what was asked and what it was made from

    def start(self, config: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Make the folder, or go on in it.

        Raises:
            RunError: it holds a run of other settings or of another manifest, or cannot be made.
        """
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
            remove_leftovers(self.folder)
            return
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.write_json("provenance.json", provenance | {"test_opened": []})
        self.write_json("config.json", config)

    @property
    def finished(self) -> bool:
        """Whether it is trained and judged."""
        return (self.folder / "scores.json").exists()

    def read_json(self, name: str) -> dict[str, Any]:
        """Return one of its JSON files.

        Raises:
            RunError: it is not there, or no JSON.
        """
        try:
            values: dict[str, Any] = json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            raise RunError(f"{self.folder} has no {name}: not a run, or not finished; trainer fit makes one") from None
        except json.JSONDecodeError as error:
            raise RunError(f"{self.folder / name} is no JSON: {error}") from error
        return values

    def value(self, name: str, *path: str) -> float:
        """Return a number of one of its JSON files.

        Raises:
            RunError: it is not there.
        """
        found: Any = self.read_json(name)
        for key in path:
            if not isinstance(found, dict) or key not in found:
                raise RunError(
                    f"{self.folder / name} has no {', '.join(path)}: it was judged by an older version; judge it again "
                    f"with: trainer evaluate {self.folder}"
                )
            found = found[key]
        return float(found)

    def write_json(self, name: str, values: dict[str, Any]) -> None:
        """Write one of its JSON files whole."""
        self.write_text(name, json.dumps(values, indent=1) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write one of its text files whole."""
        write_whole(self.folder / name, text)

    # --- metrics

    def log(self, stage: str, epoch: int, values: dict[str, float], note: str | None = None) -> None:
        """Add an epoch's values, and what is to be noted of it, to metrics.jsonl and to TensorBoard."""
        self._show({f"{stage}/{name}": value for name, value in values.items()})
        self._rows.append({"stage": stage, "epoch": epoch} | values | ({"note": note} if note else {}))
        self.write_text("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self._rows))

    def _show(self, values: dict[str, float]) -> None:
        """Add values to TensorBoard's file."""
        from trainer.runs.tensorboard import records

        first, now = self._events is None, time.time()
        self._events = self._events or self.folder / f"events.out.tfevents.{now:.6f}"
        with writing(self._events), self._events.open("ab") as file:
            file.write(records(values, len(self._rows), now, first))

    def metrics(self) -> list[dict[str, Any]]:
        """Return what was logged, an epoch a row."""
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    # --- weights

    def save(
        self, module: nn.Module, optimizers: Sequence[Optimizer], progress: dict[str, Any], random: dict[str, Tensor]
    ) -> None:
        """Write the checkpoint; those before it are kept, as many as have a name.

        Raises:
            RunError: a number is not finite, or the disk is full. The checkpoints before it are as they were.
        """
        stand = Checkpoint.of(module, optimizers, progress=progress, random=random, best=self._best, rows=self._rows)
        tensors, about = stand.pack()
        self._save(tensors, CHECKPOINTS[0], about)

    def checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint that is whole, and drop what was logged after it.

        Raises:
            RunError: there are some, and none is whole.
        """
        broken = {}
        for name in CHECKPOINTS:
            try:
                found = self._read(name)
            except FileNotFoundError:
                continue
            except (SafetensorError, OSError) as error:
                broken[name] = f"{self.folder / name} is not whole ({error})"
                continue
            if broken:
                print(f"{'; '.join(broken.values())}: going on from {name}, the one before", file=sys.stderr)
            self._broken, self._rows, self._best = set(broken), found.rows, found.best
            return found
        if broken:
            raise RunError(f"{'; '.join(broken.values())}; delete {self.folder} to begin again")
        return None

    def _read(self, name: str) -> Checkpoint:
        """Return a checkpoint. Mapped into memory, it would stay on the disk after its removal."""
        data = (self.folder / name).read_bytes()
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return Checkpoint.unpack(tensors, header["__metadata__"])

    def save_best(self, module: nn.Module) -> None:
        """Keep the weights as the best so far: checkpoints hold them."""
        self._best = {name: tensor.detach().to("cpu", copy=True) for name, tensor in module.state_dict().items()}

    def load_best(self, module: nn.Module) -> None:
        """Take the best weights back, and keep them no longer."""
        module.load_state_dict(self._best)
        self._best = {}

    def finish_training(self, module: nn.Module, about: dict[str, str] | None = None) -> None:
        """Write the weights, with what is to be known of them, and drop what only an unfinished training needs."""
        self._save(module.state_dict(), "weights.safetensors", about or {})
        self._drop_checkpoints()

    def _drop_checkpoints(self) -> None:
        for name in CHECKPOINTS:
            (self.folder / name).unlink(missing_ok=True)

    def load_weights(self, module: nn.Module, submodules: Sequence[str] = ()) -> None:
        """Take the weights of the trained run, all or those of some submodules.

        Raises:
            RunError: there are none, or of another shape.
        """
        path = self._trained_weights()
        try:
            weights = load_file(path)
            for name in submodules or [""]:
                prefix = f"{name}." if name else ""
                mine = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
                module.get_submodule(name).load_state_dict(mine)
        except (SafetensorError, RuntimeError) as error:
            raise RunError(f"{path} does not fit this version of the method: {error}") from error

    def weights_sha256(self) -> str:
        """Return the hash of the trained weights."""
        return hashlib.sha256(self._trained_weights().read_bytes()).hexdigest()

    def _trained_weights(self) -> Path:
        path = self.folder / "weights.safetensors"
        if not path.exists():
            raise RunError(f"{self.folder} has no weights: it is not trained to its end; trainer fit goes on with it")
        return path

    @property
    def trained(self) -> bool:
        """Whether its weights are final."""
        return (self.folder / "weights.safetensors").exists()

    def _save(self, tensors: dict[str, Tensor], name: str, about: dict[str, str]) -> None:
        whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        for key, tensor in whole.items():
            if not (tensor < math.inf).all():  # nan, too; MINE's average is -inf before its first batch
                raise RunError(
                    f"{self.folder}: {key} is not finite any more, and is not saved; a smaller learning_rate or "
                    "another estimator may help"
                )
        with whole_file(self.folder / name) as part:
            write_tensors(whole, part, about)
            if name == CHECKPOINTS[0]:
                self._keep_earlier()

    def _keep_earlier(self) -> None:
        """Give each checkpoint that is whole the name of the one before it."""
        for newer, older in reversed(list(pairwise(CHECKPOINTS))):
            if newer not in self._broken and (self.folder / newer).exists():
                (self.folder / newer).replace(self.folder / older)
        self._broken.clear()


def load_run(folder: Path) -> Run:
    """Return the run of a folder.

    Raises:
        RunError: the folder holds none.
    """
    run = Run(folder)
    run.read_json("config.json")
    return run


def environment(device: torch.device) -> dict[str, Any]:
    """Return what a run says of where it was made."""
    import platform
    from importlib.metadata import version

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    packages = ("torch", "torchvision", "numpy", "pyarrow", "scikit-learn")
    return {
        "device": f"{device.type}: {name}", "threads": torch.get_num_threads(), "python": platform.python_version(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "versions": {package: version(package) for package in packages},
    }  # fmt: skip
