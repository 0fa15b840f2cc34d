"""Where in a stored crop the pixels of a face lie, upright, turned, mirrored or cut by chance (grid_sample's units)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manifests.schema import ANGLES, Crop

VARIANTS = [(float(angle), flipped) for flipped in (False, True) for angle in ANGLES]  # degrees
TURN = 5.0  # degrees


def variant_grids(crop: Crop) -> Float[Tensor, "14 side side 2"]:
    """Return, for each of the 14 variants, where in the stored crop the pixels of its face lie (grid_sample's units).

    Rotations by 0, 5, 10 and 15 degrees to both sides, each with and without a flip (DICE-FER section 5.2). The stored
    margin holds every turned face whole: no corner is invented.
    """
    place = torch.arange(crop.face) - (crop.face - 1) / 2  # px from the centre
    y, x = torch.meshgrid(place, place, indexing="ij")
    grids = []
    for angle, flipped in VARIANTS:
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        mirrored = -x if flipped else x
        grids.append(torch.stack([cos * mirrored - sin * y, sin * mirrored + cos * y], dim=-1))
    return torch.stack(grids) * 2 / crop.stored


def random_affine(crop: Crop, num: int, generator: torch.Generator) -> Float[Tensor, "num 2 3"]:
    """Return how faces are flipped, turned and cut by chance, each anew, as maps of `jittered_grids`.

    Half of them are mirrored, all are turned by up to 5 degrees about the centre, and of the middle 256 px any 224 are
    cut out (IF-GAN section 4.3), of a smaller crop's 128 any 112. The stored margin holds every such face whole.
    """
    most = (crop.size - crop.face) // 2  # px
    angle = torch.deg2rad((2 * torch.rand(num, generator=generator) - 1) * TURN)
    mirrored = 1.0 - 2 * torch.randint(2, (num,), generator=generator)
    shift = torch.randint(-most, most + 1, (num, 2, 1), generator=generator) * 2 / crop.stored
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], dim=1).view(num, 2, 2)
    flip = torch.stack([mirrored, torch.ones(num)], dim=1).unsqueeze(1)
    scale = crop.face / crop.stored
    return torch.cat([scale * turn * flip, turn @ shift], dim=2)


def jittered_grids(crop: Crop, maps: Float[Tensor, "num 2 3"]) -> Float[Tensor, "num side side 2"]:
    """Return where in the stored crop the pixels of faces lie that are mapped so."""
    return F.affine_grid(maps, [len(maps), 1, crop.face, crop.face], align_corners=False)
