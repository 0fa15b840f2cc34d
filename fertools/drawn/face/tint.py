"""Colours of a drawn picture: factors on its grey levels, by red, green and blue, that leave the luma as it is."""

import colorsys

import numpy as np

from fertools.drawn.face import scene
from fertools.drawn.face.canvas import Array, Stain
from fertools.drawn.face.factors import Identity, Nuisance

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in cv2 and Pillow


def colour(red: float, green: float, blue: float) -> Array:
    """(3,) the colour scaled to luma 1."""
    mixed = np.array([red, green, blue], np.float32)
    return np.asarray(mixed / (mixed @ LUMA), np.float32)


def face(identity: Identity, hair: Array, stains: list[Stain]) -> Array:
    """(height, width, 3) colour factors of the canvas: skin, hair, lips and irises."""
    skin, strands = colour(1.2, 0.95, 0.8), colour(1.15, 0.98, 0.82) if identity.age < 0.6 else colour(1, 1, 1)
    own = {
        "lips": colour(1.35, 0.86, 0.85),
        "iris": colour(0.9, 1, 1.15) if identity.iris > 0.25 else colour(1.2, 0.95, 0.75),
    }
    canvas = skin + (strands - skin) * hair[..., None]
    for stain in stains:
        part = canvas[stain.rows, stain.columns]
        part += (own[stain.kind] - part) * stain.coverage[..., None]
    return canvas


def surroundings(nuisance: Nuisance, identity: Identity, height: int, width: int) -> Array:
    """(height, width, 3) colour factors of scenery and shoulders."""
    hues = np.random.default_rng(nuisance.scenery_seed).uniform(size=2).tolist()
    wall, cloth = (colour(*colorsys.hsv_to_rgb(hue, 0.25, 1)) for hue in hues)
    frame = np.broadcast_to(wall, (height, width, 3)).copy()
    first, body = scene.place_body(identity, nuisance, height, width)
    worn = cloth + (colour(1.2, 0.95, 0.8) - cloth) * body[..., 2:]
    frame[first:] += (worn - frame[first:]) * body[..., 1:2]
    return frame
