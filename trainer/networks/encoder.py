"""ResNet-18 for one grey channel (He et al. 2016, arXiv:1512.03385), with torchvision's names for its parts."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class Encoder(nn.Module):
    """A face to its last feature map and its code.

    Args:
        code_size: length of the code.
        width: channels of the first stage; 64 is ResNet-18, whose map at 112 px is 512 x 4 x 4.
        standardise: give each dimension of the code mean 0 and spread 1 in a batch: it cannot collapse, nor can
            a change of scale pass for a change of content.
    """

    def __init__(self, code_size: int, width: int = 64, standardise: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _layer(width, width, stride=1)
        self.layer2 = _layer(width, 2 * width, stride=2)
        self.layer3 = _layer(2 * width, 4 * width, stride=2)
        self.layer4 = _layer(4 * width, 8 * width, stride=2)
        self.fc = nn.Linear(8 * width, code_size)
        self.norm = nn.BatchNorm1d(code_size, affine=False) if standardise else nn.Identity()
        self.map_channels = 8 * width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> tuple[Float[Tensor, "batch channels rows columns"], Float[Tensor, "batch code"]]:
        """Return the last feature map (4 x 4 positions at 112 px) and the code, a linear map of its mean."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        feature_map = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return feature_map, self.norm(self.fc(feature_map.mean((2, 3))))


class PairEncoder(nn.Module):
    """One encoder for both faces of a pair, or one for each; alone, a face is encoded as an anchor.

    Args:
        make: makes an encoder.
        shared: one for both.
    """

    def __init__(self, make: Callable[[], nn.Module], shared: bool) -> None:
        super().__init__()
        self.sides = nn.ModuleList([make()] if shared else [make(), make()])

    def forward(self, images: Tensor, side: int = 0) -> tuple[Tensor, Tensor]:
        """Return map and code of faces; `side` is 0 for anchors, -1 for partners."""
        encoded: tuple[Tensor, Tensor] = self.sides[side](images)
        return encoded

    def both(self, anchors: Tensor, partners: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps and codes of the anchors, then the partners; a shared encoder sees them as one batch."""
        if len(self.sides) == 1:
            encoded: tuple[Tensor, Tensor] = self(torch.cat([anchors, partners]))  # not forward, which is not compiled
            return encoded
        maps, codes = zip(self(anchors), self(partners, -1), strict=True)
        return torch.cat(maps), torch.cat(codes)


def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs))
