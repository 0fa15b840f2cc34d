"""What surrounds a drawn head: scenery, shoulders in clothes, spectacles and the camera's noise."""

from functools import lru_cache

import cv2
import numpy as np

from fertools.drawn.face.camera import affine
from fertools.drawn.face.canvas import Array, bell, clouds, patch, ramp, ridge
from fertools.drawn.face.factors import Identity, Nuisance

BODY_SCALE, BODY_LEFT, BODY_TOP, BODY_WIDTH, BODY_HEIGHT = 52.0, -3.6, 1.4, 374, 130
TILE = 1024


@lru_cache(maxsize=4)
def scenery(kind: str, seed: int, tone: float, height: int, width: int) -> Array:
    """(height, width) reflectance behind the person: a lit wall, curtain folds or a rough wall; out of focus."""
    rng = np.random.default_rng(seed)
    rows, columns = -(-height // 8), -(-width // 8)
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    direction, spot = rng.uniform(-0.1, 0.1, 2).tolist(), rng.uniform(-0.6, 0.6, 2).tolist()
    light = 1 + direction[0] * x + direction[1] * y - 0.15 * np.hypot(x - spot[0], y - spot[1])
    if kind == "curtain":
        folds = rng.uniform(14, 30) * (x + 0.06 * np.sin(3 * x + 6 * rng.uniform())) + 0.4 * y * np.sin(5 * x)
        light = light * (1 + 0.11 * np.sin(folds) + 0.06 * np.sin(2.3 * folds + 1))
    elif kind == "wall":
        fine, coarse = (clouds(rng, (rows, columns), (grain, grain)) for grain in (2, 14))
        light = light * (1 + 0.03 * fine + 0.06 * coarse)
    wide = cv2.resize((tone * light).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(wide, 0.02, 1), np.float32)


@lru_cache(maxsize=4)
def body(skin: float, clothes: float, seed: int) -> Array:
    """(height, width, 3) shoulders from the front: brightness, coverage, how much of it is skin."""
    rng = np.random.default_rng(seed)
    x = BODY_LEFT + np.arange(BODY_WIDTH, dtype=np.float32)[None, :] / BODY_SCALE
    y = BODY_TOP + np.arange(BODY_HEIGHT, dtype=np.float32)[:, None] / BODY_SCALE
    reach = np.abs(x)
    shoulder = 1.78 + 0.27 * reach**1.15 + 0.5 * np.clip(reach - 2.2, 0, None) ** 1.6
    coverage = ramp(y - shoulder, -0.03, 0.03) * ramp(reach, 3.3, 3.1)
    pointed, low = rng.uniform(1, 2.2), rng.uniform(2.25, 2.75)
    neckline = low - 0.75 * (reach / 0.85) ** pointed
    bare = ramp(neckline - y, -0.02, 0.03) * ramp(reach, 0.9, 0.8)
    folds = clouds(rng, (BODY_HEIGHT, BODY_WIDTH), (26, 14))
    cloth = clothes * (1 + 0.1 * folds - 0.06 * reach**1.5) * (1 - 0.3 * ridge(y - neckline, 0.05) * (reach < 1))
    chest = skin * (0.8 - 0.15 * reach) * (1 - 0.25 * bell(y, 1.9, 0.25))
    collarbone = 1 - 0.12 * ridge(y - 2.25 + 0.12 * reach, 0.05) * ramp(reach, 0.1, 0.3)
    return np.dstack([cloth + (chest * collarbone - cloth) * bare, coverage, bare]).astype(np.float32)


def place_body(identity: Identity, nuisance: Nuisance, height: int, width: int) -> tuple[int, Array]:
    """First row of the frame that the shoulders can reach, and (rows, width, 3) the body in the frame from there on."""
    matrix = affine(nuisance, height, width)
    first = max(min(int(matrix[1, 2] + 1.4 * matrix[1, 1] - 0.9 * abs(matrix[1, 0])), height - 1), 0)
    to_units = np.array([[1 / BODY_SCALE, 0, BODY_LEFT], [0, 1 / BODY_SCALE, BODY_TOP], [0, 0, 1]])
    upright = matrix.copy()  # the body follows the head's roll only in part
    upright[:, :2] = 0.5 * (matrix[:, :2] + np.eye(2) * np.hypot(*matrix[:, 0]))
    forward = (np.vstack([upright, [0, 0, 1]]) @ to_units)[:2]
    forward[1, 2] -= first
    image = body(identity.skin, nuisance.clothes, nuisance.scenery_seed)
    return first, np.asarray(
        cv2.warpAffine(image, forward, (width, height - first), flags=cv2.INTER_LINEAR), np.float32
    )


def surroundings(identity: Identity, nuisance: Nuisance, height: int, width: int) -> Array:
    """(height, width) brightness of scenery and shoulders, without the head."""
    frame = scenery(nuisance.scenery, nuisance.scenery_seed, nuisance.scenery_tone, height, width).copy()
    first, shoulders = place_body(identity, nuisance, height, width)
    part = frame[first:]
    light = nuisance.ambient + 0.7 * nuisance.light_strength
    part += (shoulders[..., 0] * light - part) * shoulders[..., 1]
    return frame


def draw_glasses(planes: Array, identity: Identity, nuisance: Nuisance) -> None:
    """Spectacles over the eyes, in place: two rounded rims, a bridge, temples, and a faint reflection."""
    thickness = nuisance.glasses
    if not thickness:
        return
    rows, columns, x, y = patch(-1.1, -0.4, 1.1, 0.5)
    radius_x, radius_y = identity.eye_spacing - 0.09, 0.27
    across, down = np.abs(x) - (identity.eye_spacing + 0.02), y - 0.04
    distance = (np.abs(across / radius_x) ** 3 + np.abs(down / radius_y) ** 3) ** (1 / 3) - 1
    distance = distance * 0.3
    rim = ramp(np.abs(distance), thickness + 0.006, thickness - 0.006)
    bridge = ramp(np.abs(y + 0.06 - 0.6 * x * x), thickness + 0.006, thickness - 0.006) * (np.abs(x) < 0.12)
    temple = ramp(np.abs(y + 0.08), thickness + 0.006, thickness - 0.006) * (
        np.abs(x) > identity.eye_spacing + radius_x
    )
    frame = np.maximum(np.maximum(rim, bridge), temple)
    shadow = ridge(distance, 0.05) * (down > 0)
    glare = ramp(-distance, 0.01, 0.04) * bell(across + 0.6 * down, -0.1, 0.05)
    part = planes[rows, columns]
    part[..., 0] *= 1 - 0.2 * shadow
    part[..., 0] += 0.09 * glare + (nuisance.glasses_tone - part[..., 0]) * frame
    part[..., 1:3] *= 1 - frame[..., None]


@lru_cache(maxsize=1)
def _grain() -> Array:
    """(TILE, TILE) the camera's noise of unit deviation, slightly correlated between neighbours as in video."""
    noise = np.random.default_rng(0).standard_normal((TILE, TILE), dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 0.55, borderType=cv2.BORDER_REFLECT)
    return np.asarray(smooth / smooth.std(), np.float32)


def add_noise(image: Array, sigma: float, rng: np.random.Generator) -> Array:
    """The image (height, width, ...) with noise of this deviation: a part of one large tile, at random."""
    height, width = image.shape[:2]
    row, column = choose_noise(height, width, rng)
    noise = _grain()[row : row + height, column : column + width] * sigma
    return image + (noise if image.ndim == 2 else noise[..., None])


def choose_noise(height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of the tile where the noise of a picture is taken: all that a picture leaves to chance."""
    row, column = (int(rng.integers(0, TILE - side + 1)) for side in (height, width))
    return row, column
