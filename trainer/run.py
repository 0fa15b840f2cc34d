"""One run's folder: what was asked, what it was made from, what it measured, its weights, its checkpoint.

    config.json  provenance.json  metrics.jsonl  events.out.tfevents.*  weights.safetensors
    predictions.parquet  scores.json  report.html       while training: checkpoint.safetensors  best.safetensors

Every file but TensorBoard's is written whole under a temporary name, then renamed. Nothing is ever unpickled.
"""  # noqa: D208

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from trainer.errors import TrainerError


class RunError(TrainerError):
    """A run's folder that is not what is asked for."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stands."""

    weights: dict[str, Tensor]
    optimizers: list[dict[str, Any]]  # state dicts
    place: dict[str, Any]
    random: dict[str, Tensor]  # states, by device

    def restore(self, module: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Put weights and optimizers back to where they were."""
        module.load_state_dict(self.weights)
        for optimizer, state in zip(optimizers, self.optimizers, strict=True):
            optimizer.load_state_dict(state)


class Run:
    """A run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: list[dict[str, Any]] = []
        self._board: Any = None

    # --- what was asked and what it was made from

    def start(self, config: dict[str, Any], provenance: dict[str, Any]) -> None:
        """Make the folder, or go on in it.

        Raises:
            RunError: it holds a run of other settings or of another manifest.
        """
        if (self.folder / "config.json").exists():
            for name, now in (("config.json", config), ("provenance.json", provenance)):
                then = self.read_json(name)
                compared = now if name == "config.json" else {"data": now["data"]}
                differing = [key for key, value in compared.items() if then.get(key) != json.loads(json.dumps(value))]
                if differing:
                    what = "; ".join(f"{key} was {then.get(key)}, is {compared[key]}" for key in differing)
                    raise RunError(f"{self.folder} holds another run ({what}); delete it, or choose --runs or --seed")
            return
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
        if self._board is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(self.folder), purge_step=len(self._rows))
        for name, value in values.items():
            self._board.add_scalar(f"{stage}/{name}", value, len(self._rows))
        self._board.flush()
        self._rows.append({"stage": stage, "epoch": epoch} | values | ({"note": note} if note else {}))
        self.write_text("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self._rows))

    def metrics(self) -> list[dict[str, Any]]:
        """Return what was logged, an epoch a row."""
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    # --- weights

    def save(
        self, module: nn.Module, optimizers: Sequence[Optimizer], place: dict[str, Any], random: dict[str, Tensor]
    ) -> None:
        """Write the checkpoint."""
        tensors = {f"weights.{name}": tensor for name, tensor in module.state_dict().items()}
        tensors |= {f"random.{device}": state for device, state in random.items()}
        plain = []
        for number, optimizer in enumerate(optimizers):
            state = optimizer.state_dict()
            for index, values in state["state"].items():
                tensors |= {f"optimizer.{number}.{index}.{name}": value for name, value in values.items()}
            plain.append(state["param_groups"])
        self._save(tensors, "checkpoint.safetensors", {"place": place, "groups": plain, "rows": len(self._rows)})

    def checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint, and drop what was logged after it."""
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return None
        try:
            tensors = load_file(path)
            with safe_open(path, "pt") as file:
                about = {key: json.loads(value) for key, value in file.metadata().items()}
        except SafetensorError as error:
            raise RunError(f"{path} is not whole ({error}); delete it to begin again") from error
        self._rows = self.metrics()[: about["rows"]]
        optimizers = [{"state": {}, "param_groups": groups} for groups in about["groups"]]
        weights, random = {}, {}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(".")
            if kind == "weights":
                weights[name] = tensor
            elif kind == "random":
                random[name] = tensor
            else:
                number, index, value = name.split(".")
                optimizers[int(number)]["state"].setdefault(int(index), {})[value] = tensor
        return Checkpoint(weights, optimizers, about["place"], random)

    def save_best(self, module: nn.Module) -> None:
        """Keep the weights as the best so far."""
        self._save(module.state_dict(), "best.safetensors", {})

    def load_best(self, module: nn.Module) -> None:
        """Take the best weights back."""
        module.load_state_dict(load_file(self.folder / "best.safetensors"))

    def finish_training(self, module: nn.Module) -> None:
        """Write the weights, and drop what only an unfinished training needs."""
        self._save(module.state_dict(), "weights.safetensors", {})
        for name in ("checkpoint.safetensors", "best.safetensors"):
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

    def _save(self, tensors: dict[str, Tensor], name: str, about: dict[str, Any]) -> None:
        part = self.folder / f".{name}.part"
        whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        save_file(whole, part, {key: json.dumps(value) for key, value in about.items()})
        part.replace(self.folder / name)


def write_whole(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)


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
        "versions": {package: version(package) for package in packages},
    }  # fmt: skip
