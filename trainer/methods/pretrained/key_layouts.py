"""Key layouts of public ResNets -> ours, which is torchvision's. What is not the same network is refused by name.

A network is found by its last stage, under any prefix (`module.`, `backbone.`, `model.encoder_q.`), and with its parts
by name or, where it went through `nn.Sequential(*children)`, by number. Its classifier, and all that stands beside the
network, is left out and named. Nothing else is: of the network itself, every tensor must fit.

The input is what the method sees, whitened grey levels, the same in three colours; the mean and spread of each colour
that the weights were trained with are not made up for. ImageNet's spreads differ by 2 % among the colours, its means by
a third of a spread; face networks take the same for all three.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.errors import TrainerError
from trainer.methods.base import Method
from trainer.methods.pretrained.weights import Weights
from trainer.networks.resnet import grey_weights

STEM = "conv1.weight"
BODY = re.compile(r"(conv1|bn1|layer[1-4])\.")
NUMBERED = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}  # torchvision's order
UNCOUNTED = "num_batches_tracked"  # files of torch before 0.4.1 have none, and nothing of ours reads it
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# Public face networks whose blocks are others, by a part of their keys
IR = "blocks that begin with a normalisation, PReLU and a 3 x 3 stem"
FOREIGN = {
    r"(^|\.)bn0\.": f"arcface-pytorch's or InsightFace-v2's ResNet, with {IR}",
    r"layer\d\.\d+\.prelu\.": f"ArcFace's IResNet (insightface), with {IR}",
    r"body\.\d+\.res_layer\.": f"an IR network (AdaFace, face.evoLVe), with {IR}",
    r"conv2d_1a\.|repeat_1\.": "an InceptionResnetV1 (facenet-pytorch)",
    r"layer\d\.\d+\.(se|se_module)\.": "a ResNet with squeeze-and-excitation",
    r"(^|\.)conv1\.\d+\.weight$": "a ResNet with a stem of several convolutions (timm's resnet18d)",
}


class LayoutError(TrainerError):
    """Weights of another network."""


@dataclass(frozen=True)
class Fitted:
    """Weights by the network's own names, and what was done to get them there."""

    tensors: dict[str, Tensor]
    about: dict[str, Any]


def take(weights: Weights, method: Method) -> dict[str, Any]:
    """Put weights into every encoder of a method that may start from some; return what is to be known of it.

    Raises:
        LayoutError: the weights are another network's; the method is left as it was.
    """
    if not method.ENCODER_MODULES:
        raise LayoutError(f"{type(method).__name__} has no encoder that starts from weights")
    encoders: dict[str, nn.Module] = {}
    for name in method.ENCODER_MODULES:
        part = method.get_submodule(name)
        for prefix in roots(part.state_dict()):
            inner = prefix.rstrip(".")
            encoders[f"{name}.{inner}".rstrip(".")] = part.get_submodule(inner)
    fitted = {name: fit(weights.tensors, encoder.state_dict()) for name, encoder in encoders.items()}
    for name, encoder in encoders.items():
        encoder.load_state_dict(encoder.state_dict() | fitted[name].tensors)
    about = next(iter(fitted.values())).about
    return weights.about | {"into": list(fitted)} | about | {"beside": list(weights.beside)}


def text(about: Mapping[str, Any]) -> str:
    """Return what a run started from, every tensor that was not used by name."""
    unused = [*about["left_out"], *about["beside"]]
    return (
        f"{', '.join(about['into'])} from {about['source']} (sha256 {about['sha256'][:12]}; {about['licence']}): "
        f"{about['matched']} tensors, stem {about['stem']}"
        + (f"; left out: {', '.join(unused)}" if unused else "")
        + (f"; left as they were: {', '.join(about['kept'])}" if about["kept"] else "")
        + (f"; {about['note']}" if about["note"] else "")
    )


def fit(found: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> Fitted:
    """Return a file's weights for a network of ours.

    Args:
        found: the file's tensors.
        network: the network's, named as torchvision's.

    Returns:
        Its stem, normalisations and stages; three colours are summed to grey, so that a grey picture gives what it gave
        in three equal colours. `about` holds prefix, stem, the number of tensors that matched, and the names of those
        that were left out (of the file) and kept as they were (of the network).

    Raises:
        LayoutError: another network, several, tensors missing or too many, of another shape or kind, or not finite.
    """
    prefix, theirs = _network(found)
    ours = {name: tensor for name, tensor in network.items() if BODY.match(name)}
    extra = [name for name in theirs if BODY.match(name) and name not in ours]
    missing = [name for name in ours if name not in theirs and not name.endswith(UNCOUNTED)]
    if extra or missing:
        both = {"it has what ours has not": extra, "it lacks": missing}
        raise LayoutError(
            "the weights are not those of our network: "
            + "; ".join(f"{what}: {_listed(names)}" for what, names in both.items() if names)
        )
    stem, wanted = found[theirs[STEM]].shape, ours[STEM].shape
    if stem[:1] != wanted[:1] and stem[2:] == wanted[2:]:
        raise LayoutError(f"the weights are of width {stem[0]}, the network is of {wanted[0]}: --set width={stem[0]}")
    tensors = {name: _like(name, found[theirs[name]], ours[name]) for name in ours if name in theirs}
    taken = {theirs[name] for name in tensors}
    return Fitted(tensors, {
        "prefix": prefix, "matched": len(tensors),
        "stem": "as it was" if stem == wanted else "3 colours summed to grey",
        "left_out": [name for name in found if name not in taken],
        "kept": [name for name in network if name not in tensors],
    })  # fmt: skip


def roots(names: Collection[str], stage: str = "layer4") -> list[str]:
    """Return the prefixes under which ResNets stand, by their last stage."""
    last = re.compile(rf"((?:.*\.)?){stage}\.0\.conv1\.weight")
    return [found[1] for name in names if (found := last.fullmatch(name))]


def _network(found: Mapping[str, Tensor]) -> tuple[str, dict[str, str]]:
    """Return the prefix of the network in a file, and torchvision's name of each tensor below it -> the file's."""
    for pattern, what in FOREIGN.items():
        if any(re.search(pattern, name) for name in found):
            raise LayoutError(f"the weights are those of {what}; ours is torchvision's ResNet, with a 7 x 7 stem")
    named = roots(found)
    numbered = [] if named else [root for root in roots(found, "7") if f"{root}0.weight" in found]
    if len(prefixes := named or numbered) != 1:
        what = (
            f"{len(prefixes)} networks, {_listed(prefixes)}" if prefixes else f"no ResNet, but {_listed(list(found))}"
        )
        raise LayoutError(
            f"the weights hold {what}; expected one, named as torchvision's: {STEM}, ..., layer4.1.bn2.bias"
        )
    below = {name.removeprefix(prefixes[0]): name for name in found if name.startswith(prefixes[0])}
    return prefixes[0], below if named else {_renamed(name): theirs for name, theirs in below.items()}


def _renamed(name: str) -> str:
    number, dot, rest = name.partition(".")
    return NUMBERED.get(number, number) + dot + rest


def _like(name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
    """Return a tensor as the network wants it."""
    if wanted.is_floating_point() and tensor.dtype not in FLOATS:
        raise LayoutError(f"{name} is of {tensor.dtype}; expected floating point")
    tensor = tensor.to(wanted.dtype)
    if name == STEM and wanted.shape[1] == 1 and tensor.shape == (len(wanted), 3, *wanted.shape[2:]):
        tensor = grey_weights(tensor, 1)
    if tensor.shape != wanted.shape:
        raise LayoutError(f"{name} is {_size(tensor)} in the weights, {_size(wanted)} in the network")
    if not tensor.isfinite().all():
        raise LayoutError(f"{name} holds numbers that are not finite")
    return tensor


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
