"""A drawn face as a picture: the person's head, moved, folded and lit, in its surroundings."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fertools.drawn.face import camera, scene, tint
from fertools.drawn.face.canvas import Array, Stain
from fertools.drawn.face.eyes import draw_eyes
from fertools.drawn.face.factors import Action, Identity, Nuisance
from fertools.drawn.face.head import head
from fertools.drawn.face.motion import flow, perform
from fertools.drawn.face.mouth import draw_mouth
from fertools.drawn.face.wrinkles import wrinkle

Image = NDArray[np.uint8]


class Face(NamedTuple):
    """A head that acts, on its canvas: albedo, slopes right and down, coverage; and what has a colour of its own."""

    planes: Array
    stains: list[Stain]


def render(
    identity: Identity, action: Action, nuisance: Nuisance, height: int, width: int, rng: np.random.Generator
) -> Image:
    """(height, width) grey levels of a person who does something under some circumstances.

    The generator makes the camera's noise only: all else is in the factors.
    """
    return _develop(_brightness(_face(identity, action, nuisance), identity, nuisance, height, width), nuisance, rng)


def render_colour(
    identity: Identity, action: Action, nuisance: Nuisance, height: int, width: int, rng: np.random.Generator
) -> Image:
    """(height, width, 3) RGB: the grey picture tinted, so that its luma is the grey one."""
    face = _face(identity, action, nuisance)
    grey = _brightness(face, identity, nuisance, height, width)
    colours = tint.surroundings(nuisance, identity, height, width)
    view = camera.window(head(identity), nuisance, height, width)
    coverage = cv2.remap(face.planes[..., 3], view.map_x, view.map_y, cv2.INTER_LINEAR)[..., None]
    own = cv2.remap(tint.face(identity, head(identity).hair, face.stains), view.map_x, view.map_y, cv2.INTER_LINEAR)
    part = colours[view.rows, view.columns]
    part += (own - part) * coverage
    return _develop(grey[..., None] * colours, nuisance, rng)


def landmarks(identity: Identity, action: Action, nuisance: Nuisance, height: int, width: int) -> NDArray[np.float64]:
    """(5, 2) where pupils, nose tip and mouth corners are drawn: x, y in pixels, each pair left to right."""
    points = camera.anchors(identity, perform(identity, action))
    return camera.project(points, head(identity), nuisance, height, width)


def _face(identity: Identity, action: Action, nuisance: Nuisance) -> Face:
    """The person's head as it acts."""
    rest, performed = head(identity), perform(identity, action)
    planes = np.asarray(cv2.remap(rest.planes, *flow(identity, performed), cv2.INTER_LINEAR), np.float32)
    wrinkle(planes, identity, performed, rest.hair)
    stains = [draw_mouth(planes, identity, performed), *draw_eyes(planes, identity, performed, nuisance)]
    scene.draw_glasses(planes, identity, nuisance)
    return Face(planes, stains)


def _brightness(face: Face, identity: Identity, nuisance: Nuisance, height: int, width: int) -> Array:
    """(height, width) the lit face in its surroundings; 1 is white."""
    frame = scene.surroundings(identity, nuisance, height, width)
    view = camera.window(head(identity), nuisance, height, width)
    coverage = face.planes[..., 3]
    seen = cv2.remap(
        cv2.merge([_shade(face.planes, nuisance) * coverage, coverage]), view.map_x, view.map_y, cv2.INTER_LINEAR
    )
    part = frame[view.rows, view.columns]
    part *= 1 - seen[..., 1]
    part += seen[..., 0]
    return frame


def _shade(planes: Array, nuisance: Nuisance) -> Array:
    """(height, width) brightness of the canvas: a soft key light, the room's light from all around, and gloss."""
    side, up, front = camera.light(nuisance)
    albedo, right, down = planes[..., 0], planes[..., 1], planes[..., 2]
    upright = 1 / np.sqrt(right * right + down * down + 1)
    facing = (front - side * right - up * down) * upright
    room = 0.7 * nuisance.ambient + nuisance.ambient * (0.3 + 0.12 * down) * upright
    key = nuisance.light_strength * np.maximum(0.8 * facing + 0.2, 0)
    shine = np.maximum(facing, 0) ** 2
    shine *= shine
    shine *= shine  # the eighth power
    return np.asarray(albedo * (room + key) + 0.09 * shine * shine)


def _develop(brightness: Array, nuisance: Nuisance, rng: np.random.Generator) -> Image:
    """Grey levels, with the camera's exposure and noise."""
    exposed = brightness * nuisance.exposure
    exposed *= 1 - 0.13 * exposed * exposed  # film compresses the lights
    noisy = scene.add_noise(exposed * 255, nuisance.noise, rng)
    return np.asarray(cv2.convertScaleAbs(np.maximum(noisy, 0)), np.uint8)
