"""Coloured shapes: pairs of images that share their shape and nothing else, and an encoder for them.

The problem is the parent method's (Sanchez et al. 2019, arXiv:1912.03915): it is known what each code should hold.
Read by shapes.py.
"""

import colorsys
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainer.methods.base import Pairs
from trainer.networks.resnet import ResNetOutput

SIDE, NUM_HUES = 32, 8
SHAPES = ("disc", "square", "diamond", "triangle", "cross", "ring")


class Factors(NamedTuple):
    """What an image shows: (images,) each; the place is x, y and radius, in pixels, (images, 3)."""

    shape: Tensor
    foreground: Tensor
    background: Tensor
    place: Tensor


def chance(num: int, generator: torch.Generator) -> Factors:
    """Draw all factors independently and evenly: the centre within 4 px of the middle, the radius 8 to 11 px."""
    where = {"generator": generator, "device": generator.device}
    shape = torch.randint(len(SHAPES), (num,), **where)
    foreground, background = torch.randint(NUM_HUES, (2, num), **where)
    low, high = torch.tensor([[11.5, 11.5, 8], [19.5, 19.5, 11]], device=generator.device)
    return Factors(shape, foreground, background, low + (high - low) * torch.rand(num, 3, **where))


def draw(factors: Factors, generator: torch.Generator) -> Tensor:
    """Return (images, 3, 32, 32), -1 to 1: a bright shape on a dark ground, edges smoothed, with a little noise."""
    x, y, radius = factors.place.T[:, :, None, None]
    at = torch.arange(SIDE, device=generator.device)
    u, v = (at - x) / radius, (at[:, None] - y) / radius
    u, v = torch.broadcast_tensors(u, v)
    outside = torch.empty_like(u)
    for index, name in enumerate(SHAPES):
        rows = (factors.shape == index).nonzero().squeeze(1)
        outside[rows] = _outside(name, u[rows], v[rows])
    covered = (0.5 - outside * radius).clamp(0, 1).unsqueeze(1)
    bright, dark = (_hues(value, generator.device) for value in (1.0, 0.5))
    ground = dark[factors.background][..., None, None]
    image = ground + covered * (bright[factors.foreground][..., None, None] - ground)
    noise = torch.randn(image.shape, generator=generator, device=generator.device)
    return 2 * image - 1 + 0.05 * noise


def _outside(name: str, u: Tensor, v: Tensor) -> Tensor:
    """Return how far points lie outside of a shape (inside: below 0), in radii."""
    a, b = u.abs(), v.abs()
    far = (u**2 + v**2).sqrt()
    return {
        "disc": lambda: far - 0.85,
        "square": lambda: torch.maximum(a, b) - 0.8,
        "diamond": lambda: (a + b - 1.1) / math.sqrt(2),
        "triangle": lambda: torch.maximum(0.866 * a + 0.5 * v, -v) - 0.5,
        "cross": lambda: torch.minimum(torch.maximum(a - 0.3, b - 1), torch.maximum(b - 0.3, a - 1)),
        "ring": lambda: (far - 0.75).abs() - 0.22,
    }[name]()


def _hues(value: float, device: torch.device) -> Tensor:
    return torch.tensor([colorsys.hsv_to_rgb(hue / NUM_HUES, 1, value) for hue in range(NUM_HUES)], device=device)


def pairs(num: int, generator: torch.Generator, alike: bool = False) -> Pairs:
    """Draw pairs that share their shape; `alike`, everything: two takes of one recording."""
    anchor = chance(num, generator)
    partner = anchor if alike else chance(num, generator)._replace(shape=anchor.shape)
    return Pairs(draw(anchor, generator), draw(partner, generator), anchor.shape)


class ShapeEncoder(nn.Module):
    """Three convolutions to a 4 x 4 map, and a linear map of it to the code; parts named as in trainer's ResNet.

    Args:
        flat: the code reads the whole map, as the parent method's does; else its mean, as a ResNet's.
        standardise: as in trainer.networks.resnet.ResNet.
    """

    num_features = 64

    def __init__(self, flat: bool, standardise: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.gather = nn.Sequential(nn.Identity() if flat else nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(64 * 16 if flat else 64, 64)
        self.norm = nn.BatchNorm1d(64, affine=False) if standardise else nn.Identity()

    def forward(self, images: Tensor) -> ResNetOutput:
        """Return the last map, what the code reads of it, and the code."""
        feature_map = self.layers(images)
        features = self.gather(feature_map)
        return ResNetOutput(feature_map, features, self.norm(self.fc(features)))
