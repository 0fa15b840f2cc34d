"""Weights from elsewhere: the one place that opens a file of them. Nothing in a file is ever run.

Safetensors hold numbers alone. A torch file is a program that builds tensors: it is read by torch's restricted reader,
which knows no other calls. Files are bounded first, in bytes and in tensors.
"""

import hashlib
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn

from trainer.errors import TrainerError
from trainer.runs.atomic import damage_of_tensors

LARGEST = 4 * 2**30  # bytes of a file, and of all that its tensors claim
MOST = 20_000  # tensors of a file
LONGEST = 2**26  # bytes of what a torch file says of its tensors
CONTAINERS = (  # where public checkpoints keep weights
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "backbone", "params", "weights",
)  # fmt: skip
BESIDE = (  # what public checkpoints hold beside tensors; none of it is made, and none runs
    "argparse.Namespace", "types.SimpleNamespace", "numpy.dtype", "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"pathlib.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"pathlib._local.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"builtins.{name}" for name in ("bool", "int", "float", "str", "list", "tuple", "dict")),
    *(f"datetime.{name}" for name in ("datetime", "date", "timedelta")),
)  # fmt: skip
ZIP, LEGACY = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch's two kinds of file begin
IMAGENET = {  # torchvision's first weights of each; a name ends with how the file's sha256 begins
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet101": "https://download.pytorch.org/models/resnet101-63fe2227.pth",
}
TIMM = "timm/"
UNKNOWN_LICENCE = "not known: that of whoever gave you the file"


class WeightsError(TrainerError):
    """Weights that are not there, or a file that holds none or more than them."""


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    Args:
        tensors: by the file's own names, on the CPU; they may be read from the file only when they are used.
        beside: names of what is no weights: optimizers, counts of epochs.
        about: name, source, sha256, format, licence, note; the note is what the file says is to be known of it, or "".
    """

    tensors: dict[str, Tensor]
    beside: tuple[str, ...]
    about: dict[str, str]


class _Place(NamedTuple):
    path: Path
    source: str
    licence: str
    begins: str = ""  # of the sha256, where it is known


def short_name(name: str) -> str:
    """Return what a run is called by that starts from these weights: a file called as all are, by its folder."""
    if name.startswith(TIMM):
        return name.replace("/", "-")
    path = Path(name)
    return path.resolve().parent.name if path.stem in ("weights", "model") else path.stem


def read(name: str) -> Weights:
    """Return weights by name or from a file.

    Args:
        name: one of torchvision's ImageNet weights, by the network's name; timm/ and a name of timm's; or a file.

    Raises:
        WeightsError: no such name or file; a download that failed; a file too large, damaged, or of more than weights.
    """
    location = _locate(name)
    path = location.path
    if not path.is_file():
        raise WeightsError(
            f"no weights {name!r}: neither a file nor a known name; known: {', '.join(IMAGENET)} (torchvision's), "
            f"{TIMM}resnet18.a1_in1k and the like, or a file, .safetensors or torch's"
        )
    if path.stat().st_size > LARGEST:
        raise WeightsError(f"{path} is of {path.stat().st_size} bytes; weights of at most {LARGEST} are read")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        head = file.read(len(LEGACY))
    if not digest.startswith(location.begins):
        raise WeightsError(f"{path} is damaged: its sha256 is {digest}, not {location.begins}...; delete it")
    kind, reader = _reader(path, head)
    try:
        tensors, beside, says = reader(path)
        _bound(tensors, beside)
        if damage := damage_of_tensors(tensors, says):
            raise WeightsError(f"it {damage}")
    except Exception as error:  # a damaged or hostile file may raise anything
        raise WeightsError(f"{path} is refused: {_reason(error)}") from error
    return Weights(tensors, beside, {
        "name": short_name(name), "source": location.source, "sha256": digest, "format": kind,
        "licence": _line(says.get("license", says.get("licence", ""))) or location.licence,
        "note": _line(says.get("note", "")),
    })  # fmt: skip


# --- where


def _locate(name: str) -> _Place:
    if name in IMAGENET:
        return _torchvision(name)
    if name.startswith(TIMM) and not Path(name).exists():
        return _timm(name)
    return _Place(Path(name), name, UNKNOWN_LICENCE)


def _torchvision(name: str) -> _Place:
    url = IMAGENET[name]
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    begins = path.stem.rpartition("-")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=begins, progress=False)
        except (OSError, RuntimeError) as error:
            raise WeightsError(
                f"no weights of torchvision's {name} ({error}); bring {url} by other means to {path.parent}/, or name "
                "a file of weights"
            ) from error
    return _Place(path, url, "torchvision: BSD-3-Clause; ImageNet's pictures: non-commercial research", begins)


def _timm(name: str) -> _Place:
    """Return timm's own safetensors file: of timm itself, only the list of names is used."""
    try:
        timm: Any = import_module("timm")
    except ImportError as error:
        raise WeightsError(
            f"{name} needs timm, which is not installed: pip install 'fertools[timm]'; or name a file: "
            f"model.safetensors of huggingface.co/{name}"
        ) from error
    model = name.removeprefix(TIMM)
    if model not in timm.list_pretrained():
        known = [f"{TIMM}{one}" for one in timm.list_pretrained("resnet18.*")]
        raise WeightsError(f"timm has no weights {model!r}; of ResNet-18 it has {', '.join(known)}")
    about = timm.get_pretrained_cfg(model)
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(about.hf_hub_id, "model.safetensors")
    except OSError as error:
        raise WeightsError(
            f"no weights of {name} ({str(error).splitlines()[0]}); bring model.safetensors of huggingface.co/"
            f"{about.hf_hub_id} by other means, and name the file"
        ) from error
    licence = f"timm: {about.license or 'not said'}; and that of the pictures it was trained on"
    return _Place(Path(path), f"huggingface.co/{about.hf_hub_id}", licence)


# --- what

Found = tuple[dict[str, Tensor], tuple[str, ...], dict[str, str]]  # tensors, what is beside them, what it says of them


class _Stub:
    """Stands for something beside the weights: takes whatever it was made of, and does nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _PlainDict:
    """Stands for a defaultdict, which a checkpoint may keep its weights in."""

    def __new__(cls, *_: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


STUBS: list[Any] = [*((_Stub, name) for name in BESIDE), (_PlainDict, "collections.defaultdict")]


def _reader(path: Path, head: bytes) -> tuple[str, Callable[[Path], Found]]:
    """Return the format that a file is in, by how it begins, and what reads it."""
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return "safetensors", _safetensors
    if head.startswith(ZIP):
        return "torch", _torch
    if head == LEGACY:
        return "torch before 1.6", _legacy
    raise WeightsError(
        f"{path} is refused: neither safetensors nor a torch file; a bare pickle is not opened, since it may run code"
    )


def _safetensors(path: Path) -> Found:
    with safe_open(path, "pt") as file:
        names = file.keys()
        _count(len(names))
        about = file.metadata() or {}
        return {name: file.get_tensor(name) for name in names}, (), about


def _torch(path: Path) -> Found:
    """Read a zip as torch writes it: nothing in it is compressed, so that it cannot grow."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    _count(len(entries))
    if any("/code/" in entry.filename or entry.filename.endswith("/constants.pkl") for entry in entries):
        raise WeightsError(
            "it is TorchScript, a program with its weights, and no program of a file is run; where it is trusted: "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
        )
    if any(entry.compress_type for entry in entries) or sum(one.file_size for one in entries) > path.stat().st_size:
        raise WeightsError("it is a packed zip, which torch writes none of")
    if (length := sum(entry.file_size for entry in entries if entry.filename.endswith(".pkl"))) > LONGEST:
        raise WeightsError(f"it says {length} bytes of its tensors; at most {LONGEST} are read")
    return *_state(_load(path, mapped=True)), {}


def _legacy(path: Path) -> Found:
    return *_state(_load(path, mapped=False)), {}


def _load(path: Path, mapped: bool) -> Any:
    """Return what a torch file holds: tensors, plain containers, numbers, stubs for BESIDE; anything else raises."""
    with torch.serialization.safe_globals(STUBS):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _state(found: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return the tensors of a checkpoint, and the names of all else."""
    if not isinstance(found, dict):
        raise WeightsError(f"it holds a {type(found).__name__}, not tensors by name")
    inner = next((name for name in CONTAINERS if _tensors(found.get(name))), None)
    held = found if inner is None else found[inner]
    tensors = _tensors(held)
    beside = [name for name in held if name not in tensors] + [name for name in found if inner and name != inner]
    if not tensors:
        raise WeightsError(f"it holds no tensors by name, but {', '.join(map(str, list(found)[:8])) or 'nothing'}")
    return tensors, tuple(map(str, beside))


def _tensors(held: Any) -> dict[str, Tensor]:
    pairs = held.items() if isinstance(held, dict) else ()
    return {name: value for name, value in pairs if isinstance(name, str) and isinstance(value, Tensor)}


def _count(number: int) -> None:
    if number > MOST:
        raise WeightsError(f"it holds {number} tensors; at most {MOST} are read")


def _bound(tensors: dict[str, Tensor], beside: tuple[str, ...]) -> None:
    """Refuse tensors that are more than numbers in the file: a few bytes may claim to be as many as they like."""
    _count(len(tensors) + len(beside))
    for name in (*tensors, *beside):
        if len(name) > 200 or not name.isprintable():
            raise WeightsError(f"{name[:40]!r} is no name of a tensor")
    for name, tensor in tensors.items():
        plain = (
            type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and tensor.device.type == "cpu"
        )
        if not plain or tensor.is_quantized:
            raise WeightsError(f"{name} is no plain tensor")
    if (claimed := sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())) > LARGEST:
        raise WeightsError(f"its tensors claim {claimed} bytes; at most {LARGEST} are read")


def _reason(error: Exception) -> str:
    """Say in one line why a file was not read, without torch's advice to trust it."""
    text = str(error)
    if isinstance(error, WeightsError):
        return _line(text)
    if requested := re.search(r"GLOBAL (\S+)", text):
        return (
            f"it asks for {_line(requested[1])}, and weights need no code; save its state_dict alone, as .safetensors"
        )
    if "weights_only" in text:
        return "it holds more than tensors; save its state_dict alone, as .safetensors"
    return _line(text) or type(error).__name__


def _line(text: str) -> str:
    """Return what a file says as one line that is safe to print."""
    words = " ".join(text.split())[:500]
    return "".join(letter if letter.isprintable() else "?" for letter in words)
