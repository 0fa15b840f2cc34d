"""Every method, by name: its settings are read without torch, its class is imported when it is used.

Other packages add methods by an entry point of the group `trainer.methods`, as CONTRIBUTING.md shows.
"""

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any

from trainer.methods.config import ConfigError

if TYPE_CHECKING:
    import torch

    import trainer.methods.base

METHODS = {  # the modules of a method, in settings/ and here -> its class
    "dicefer": "DiceFer", "ifgan": "IfGan", "resnet": "ResNet", "resnet_island": "ResNetIsland",
    "cross_entropy": "CrossEntropy", "supcon": "SupCon", "person_adversary": "PersonAdversary",
    "independence": "Independence",
}  # fmt: skip
GROUP = "trainer.methods"


def names() -> list[str]:
    """Return the names of all methods: those that are here, then those of other installed packages."""
    return [*METHODS, *sorted(_installed().keys() - METHODS.keys())]


def find_method(name: str) -> "type[trainer.methods.base.Method]":
    """Return a method by name.

    Raises:
        ConfigError: there is none.
    """
    method: type[trainer.methods.base.Method] = (
        getattr(import_module(f"trainer.methods.{name}"), METHODS[name]) if name in METHODS else _of_others(name).load()
    )
    return method


def find_presets(name: str) -> dict[str, Any]:
    """Return the presets of a method by name; without loading torch, where the method is here.

    Raises:
        ConfigError: there is no such method.
    """
    presets: dict[str, Any] = (_settings(name) if name in METHODS else _of_others(name).load()).PRESETS
    return presets


def title(name: str) -> str:
    """Return a method in one line; without loading torch, where the method is here.

    Raises:
        ConfigError: there is no such method.
    """
    said = (_settings(name) if name in METHODS else _of_others(name).load()).__doc__ or ""
    return said.strip().partition("\n")[0]


def build(
    name: str, settings: dict[str, Any], expressions: list[str], seed: int, device: "torch.device"
) -> "trainer.methods.base.Method":
    """Return an untrained method, its weights drawn from the seed."""
    import torch

    kind = find_method(name)
    torch.manual_seed(seed)
    constructor: Any = kind  # its arguments are every method's, but nn.Module does not say so
    method: trainer.methods.base.Method = constructor(kind.Config(**settings), len(expressions))
    method.to(device).to(memory_format=torch.channels_last if _holds_channels_last(method) else torch.contiguous_format)
    return method


def _settings(name: str) -> ModuleType:
    return import_module(f"trainer.methods.settings.{name}")


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _of_others(name: str) -> EntryPoint:
    found = _installed()
    if name not in found:
        raise ConfigError(f"no method {name!r}; known: {', '.join(names())}")
    return found[name]


def _holds_channels_last(method: "trainer.methods.base.Method") -> bool:
    """Whether channels may come last, which is faster.

    In torch 2.15 on two CPU threads, the backward pass of a strided 1 x 1 convolution of fewer than 16 channels writes
    past its memory then, where a batch is odd. Networks of tests are that narrow, no preset is.
    """
    from torch import nn

    return not any(
        isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) != module.stride and module.in_channels < 16
        for module in method.modules()
    )
