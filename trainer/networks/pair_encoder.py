"""The encoders of DICE-FER's pairs: one network for both faces, or one for each."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class PairEncoder(nn.Module):
    """One encoder for both faces of a pair, or one for each; alone, a face is encoded as an anchor.

    Args:
        make: makes an encoder, which returns a feature map, its features and a code (`resnet.ResNetOutput`).
        shared: one for both.
    """

    def __init__(self, make: Callable[[], nn.Module], shared: bool) -> None:
        super().__init__()
        self.sides = nn.ModuleList([make()] if shared else [make(), make()])

    def forward(self, images: Tensor, side: int = 0) -> tuple[Tensor, Tensor]:
        """Return map and code of faces; `side` is 0 for anchors, -1 for partners."""
        feature_map, _, code = self.sides[side](images)
        return feature_map, code

    def both(self, anchors: Tensor, partners: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps and codes of the anchors, then the partners; a shared encoder sees them as one batch."""
        if len(self.sides) == 1:
            encoded: tuple[Tensor, Tensor] = self(torch.cat([anchors, partners]))  # not forward, which is not compiled
            return encoded
        maps, codes = zip(self(anchors), self(partners, -1), strict=True)
        return torch.cat(maps), torch.cat(codes)
