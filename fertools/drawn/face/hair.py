"""Hair on head, brow and chin: where it grows and how it catches the light."""

from typing import NamedTuple

import numpy as np

from fertools.drawn.face.canvas import HEIGHT, WIDTH, Array, X, Y, clouds, ramp, ridge
from fertools.drawn.face.factors import HairStyle, Identity


class Cut(NamedTuple):
    """A way to wear hair: where the face is left free, and how far hair reaches."""

    bulk: float  # times the person's volume
    line: float  # the hairline's place, times the person's
    flat: float  # power of the hairline's arch: 2 round, 6 straight across
    temple: float  # half width of the free face over the face's
    sides: float  # how far down the front hair reaches at the sides
    behind: float  # how far down the hair behind the face reaches; 0: none
    rough: float  # how ragged its edges are
    slant: float  # of the hairline, for a parting


CUTS: dict[HairStyle, Cut] = {
    "bald": Cut(-0.25, 2.6, 2.2, 0.99, 0.1, 0, 0.01, 0),
    "short": Cut(0.7, 1.0, 3.2, 0.95, 0.12, 0, 0.02, 0),
    "receding": Cut(0.5, 1.3, 2.0, 0.96, 0.15, 0, 0.02, 0),
    "parted": Cut(1.0, 0.95, 2.6, 0.94, 0.18, 0, 0.02, 0.2),
    "fringe": Cut(1.1, 0.58, 5.5, 0.92, 0.9, 1.25, 0.02, 0),
    "bob": Cut(1.25, 0.95, 2.4, 0.9, 1.2, 1.4, 0.02, 0.16),
    "long": Cut(1.1, 1.0, 2.2, 0.88, 1.9, 2.15, 0.05, 0.08),
    "curly": Cut(2.0, 0.95, 2.6, 0.93, 0.75, 1.1, 0.045, 0),
    "tied": Cut(0.5, 1.0, 2.3, 0.97, 0.0, 0, 0.01, 0),
}


def crown(identity: Identity) -> Array:
    """Implicit outline of the hair: 0 on it, positive inside."""
    cut = CUTS[identity.hair_style]
    bulk = identity.hair_volume * cut.bulk
    top, width = identity.forehead + bulk, identity.face_width + 0.03 + 0.75 * bulk
    up = (np.maximum(-Y, 0) / top) ** 2.6
    widening = 0.06 * cut.behind * ramp(Y, -0.5, 1.0) - 0.25 * ramp(Y, 1.2, 2.6)
    return np.asarray(1 - up - np.abs(X / (width + widening)) ** 2.6)


def masks(identity: Identity, strand: Array) -> tuple[Array, Array]:
    """Where hair hangs behind the face, and where it lies on and around it; its edges follow the strands."""
    cut = CUTS[identity.hair_style]
    ragged = cut.rough * strand
    outer = ramp(crown(identity) + min(0.02, cut.rough) * strand, -0.03, 0.05)
    behind = outer * ramp(Y - ragged, cut.behind + 0.06, cut.behind - 0.06) * float(cut.behind > 0)
    lean = 1 if identity.texture % 2 else -1
    line = identity.hairline * cut.line
    up = np.maximum(0.55 - Y + lean * cut.slant * X, 0) / (line + 0.55)
    side = np.abs(X) / (identity.face_width * cut.temple)
    free = 1 - up**cut.flat - side**3.2
    around = outer * ramp(min(0.06, 2 * cut.rough) * strand - free, -0.06, 0.12)
    around = around * ramp(Y - ragged, cut.sides + 0.09, cut.sides - 0.09)
    if identity.hair_style == "bald":
        around = around * 0.35
    return behind, around


def strands(identity: Identity, rng: np.random.Generator) -> Array:
    """Noise that runs along the hair: outwards from the parting, or in curls."""
    if identity.hair_style == "curly":
        return 0.8 * clouds(rng, (HEIGHT, WIDTH), (7, 7)) + 0.6 * clouds(rng, (HEIGHT, WIDTH), (3, 3))
    part = (0.3 if identity.texture % 2 else -0.3) * (CUTS[identity.hair_style].slant > 0)
    angle = np.arctan2(X - part, Y + (identity.forehead + 0.5)) + float(np.pi)
    bent = angle + 0.03 * clouds(rng, (HEIGHT, WIDTH), (60, 60))
    noise = rng.standard_normal(4096, dtype=np.float32)
    fine, coarse = (np.interp((bent * n).ravel(), np.arange(4096), noise).reshape(HEIGHT, WIDTH) for n in (70, 22))
    return np.asarray(0.6 * fine + 0.8 * coarse, np.float32)


def albedo(identity: Identity, strand: Array) -> Array:
    """Reflectance of hair: strands, and a soft band of light around the crown."""
    band = ridge(crown(identity) - 0.5, 0.16)
    return np.asarray(identity.hair * np.clip(1 + 0.2 * strand + 0.35 * band, 0.2, 2))


def slopes(identity: Identity, strand: Array) -> tuple[Array, Array]:
    """Slopes of the hair as of a smooth ball, roughened by its strands."""
    width = identity.face_width + 0.03 + identity.hair_volume
    right = np.clip(-X / width * 0.9, -1.4, 1.4)
    down = np.clip(-Y * 0.45, -0.2, 1.0)
    return right + 0.12 * strand, np.broadcast_to(down, strand.shape)


def brows(identity: Identity, rng: np.random.Generator) -> tuple[Array, float]:
    """Coverage and albedo of both brows, made of short hairs."""
    inner, outer = identity.brow_spacing, identity.eye_spacing + 0.34
    along = (np.abs(X) - inner) / (outer - inner)
    bow = np.sin(np.clip(along, 0, 1) ** 1.3 * np.pi)
    rise = identity.brow_tilt * (1 - 2 * along) - identity.brow_arch * bow
    away = np.abs(Y + (identity.brow_height - rise)) / identity.brow_thickness
    taper = (1 - 0.6 * ramp(along, 0.4, 1.0)) * (0.7 + 0.3 * ramp(along, 0, 0.3))
    slanted = clouds(rng, (HEIGHT, WIDTH), (4, 2))
    ends = ramp(along, -0.08, 0.12) * ramp(along, 1.05, 0.85)
    mask = ramp(away - taper + 0.12 * slanted, 0.5, -0.55) * ends
    return np.clip(mask * (0.9 + 0.1 * slanted), 0, 1), identity.skin * identity.brow


def beard(identity: Identity, inside: Array, rng: np.random.Generator) -> tuple[Array, float]:
    """Coverage and albedo of beard and moustache, from stubble to full."""
    grain = 0.85 + 0.15 * clouds(rng, (HEIGHT, WIDTH), (2.6, 1.8))
    mouth, nose = identity.mouth_height, identity.nose_length
    lips = np.hypot(X / (identity.mouth_width + 0.06), (Y - (mouth + 0.01)) / 0.14)
    cheek_line = Y + 0.45 * (1 - np.abs(X)) ** 2
    cheeks = ramp(cheek_line, 0.6, 0.95) * ramp(np.abs(X), identity.mouth_width - 0.05, identity.mouth_width + 0.2)
    chin = ramp(Y, mouth + 0.1, mouth + 0.28)
    lip = ramp(Y, nose + 0.03, nose + 0.13) * ramp(np.abs(X), identity.mouth_width + 0.2, identity.mouth_width - 0.05)
    lip = lip * ramp(Y, mouth + 0.2, mouth)
    grown = identity.beard * np.maximum(np.maximum(cheeks, chin), 0.6 * lip)
    coverage = np.maximum(grown, identity.moustache * lip) * ramp(lips, 0.8, 1.25) * ramp(inside, -0.02, 0.1)
    return np.clip(0.75 * coverage * grain, 0, 1), identity.skin * 0.25 * (0.7 + identity.hair)
