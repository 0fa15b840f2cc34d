"""How the upright head on its canvas comes into a turned, shifted and scaled frame."""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fertools.drawn.face.canvas import COARSE, HEIGHT, LEFT, SCALE, TOP, Array, pixels
from fertools.drawn.face.eyes import PUPIL
from fertools.drawn.face.factors import Action, Identity, Nuisance
from fertools.drawn.face.head import Head
from fertools.drawn.face.motion import lips

PIVOT = 0.35  # depth of the axis around which the head turns


class Window(NamedTuple):
    """The part of the frame that the head covers, and where in the canvas each of its pixels comes from."""

    rows: slice
    columns: slice
    map_x: Array
    map_y: Array


def affine(nuisance: Nuisance, height: int, width: int) -> NDArray[np.float64]:
    """(2, 3) matrix from units to frame pixels, without the turns in depth."""
    scale, roll = nuisance.scale * height / 490, math.radians(nuisance.roll)
    cos, sin = scale * math.cos(roll), scale * math.sin(roll)
    centre_x, centre_y = width * (0.5 + nuisance.offset_x), height * (0.48 + nuisance.offset_y)
    return np.array([[cos, -sin, centre_x], [sin, cos, centre_y]])


def light(nuisance: Nuisance) -> tuple[float, float, float]:
    """Direction to the key light as seen from the turned head: right, down, towards the viewer."""
    azimuth, elevation = math.radians(nuisance.light_azimuth - nuisance.yaw), math.radians(nuisance.light_elevation)
    roll = math.radians(nuisance.roll)
    right, down = math.cos(elevation) * math.sin(azimuth), -math.sin(elevation)
    front = math.cos(elevation) * math.cos(azimuth)
    return right * math.cos(roll) + down * math.sin(roll), down * math.cos(roll) - right * math.sin(roll), front


def window(head: Head, nuisance: Nuisance, height: int, width: int) -> Window:
    """Where every pixel of the frame comes from; turns shift by depth, and are undone by two steps of iteration."""
    matrix = affine(nuisance, height, width)
    corners = np.array([[x, y, 1] for x in (LEFT, -LEFT) for y in (TOP, TOP + HEIGHT / SCALE)]) @ matrix.T
    x0, y0 = np.maximum(np.floor(corners.min(0)), 0).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(corners.max(0)), (width, height)).astype(int).tolist()
    x1, y1 = x0 + max((x1 - x0) // COARSE, 1) * COARSE, y0 + max((y1 - y0) // COARSE, 1) * COARSE
    inverse = cv2.invertAffineTransform(matrix).tolist()
    columns = np.arange(x0 + (COARSE - 1) / 2, x1, COARSE, dtype=np.float32)[None, :]
    rows = np.arange(y0 + (COARSE - 1) / 2, y1, COARSE, dtype=np.float32)[:, None]
    turned_x, turned_y = (right * columns + down * rows + start for right, down, start in inverse)
    yaw, pitch = math.radians(nuisance.yaw), math.radians(nuisance.pitch)
    x, y = turned_x, turned_y
    for _ in range(2):
        depth = _depth(head, x, y)
        x = (turned_x - depth * math.sin(yaw)) / math.cos(yaw)
        y = (turned_y - depth * math.sin(pitch)) / math.cos(pitch)
    map_x, map_y = (np.asarray(cv2.resize(part, (x1 - x0, y1 - y0)), np.float32) for part in pixels(x, y))
    return Window(slice(y0, y1), slice(x0, x1), map_x, map_y)


def _depth(head: Head, x: Array, y: Array) -> Array:
    """How far a place of the canvas lies before the axis of turning."""
    return np.asarray(cv2.remap(head.depth, *pixels(x, y, COARSE), cv2.INTER_LINEAR), np.float32) - PIVOT


def anchors(identity: Identity, performed: Action) -> Array:
    """(5, 2) pupils, nose tip and mouth corners on the canvas, in units."""
    mouth, eye = lips(identity, performed), identity.eye_spacing
    tip = (0.0, identity.nose_length - 0.13)
    return np.array([(-eye, PUPIL), (eye, PUPIL), tip, mouth.left, mouth.right], np.float32)


def project(points: Array, head: Head, nuisance: Nuisance, height: int, width: int) -> NDArray[np.float64]:
    """(points, 2) where points of the canvas, in units, come to lie in the frame, in pixels."""
    depth = _depth(head, points[:, :1], points[:, 1:])[:, 0]
    yaw, pitch = math.radians(nuisance.yaw), math.radians(nuisance.pitch)
    x = points[:, 0] * math.cos(yaw) + depth * math.sin(yaw)
    y = points[:, 1] * math.cos(pitch) + depth * math.sin(pitch)
    placed = np.column_stack([x, y, np.ones(len(points))]) @ affine(nuisance, height, width).T
    return np.asarray(placed, np.float64)
