"""PatchGAN: a verdict on every 70 x 70 px patch (Isola et al. 2017, pix2pix, section 3.2.2, arXiv:1611.07004)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

RECEPTIVE = 70  # px that one verdict sees


class PatchGan(nn.Module):
    """Tells true pictures of a face's expression from generated ones, patch by patch.

    Args:
        channels: of the face and the picture together; 2 is grey.
        width: channels of the first layer; 64 is pix2pix.
    """

    def __init__(self, channels: int = 2, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True),
            *_layer(width, 2 * width, stride=2), *_layer(2 * width, 4 * width, stride=2),
            *_layer(4 * width, 8 * width, stride=1),
            nn.Conv2d(8 * width, 1, 4, stride=1, padding=1),
        )  # fmt: skip

    def forward(
        self, faces: Float[Tensor, "batch _ height width"], pictures: Float[Tensor, "batch _ height width"]
    ) -> Float[Tensor, "batch rows columns"]:
        """Return a logit a patch, high for true pictures: 26 x 26 of them at 224 px, 12 x 12 at 112 px."""
        logits: Tensor = self.layers(torch.cat([faces, pictures], dim=1)).squeeze(1)
        return logits


def _layer(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    # a bias would vanish in the batch norm
    return (
        nn.Conv2d(inputs, outputs, 4, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.2, inplace=True),
    )
