"""What a drawn face is made of: who it is, what the face does, and how it was photographed.

The three are drawn from a generator independently of each other, so every dependence that a study finds between them
is its own. Lengths are in units of half an average face's width (about 70 mm).
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np

HairStyle = Literal["bald", "short", "receding", "parted", "fringe", "bob", "long", "curly", "tied"]
HAIR_STYLES: tuple[HairStyle, ...] = (
    "bald", "short", "receding", "parted", "fringe", "bob", "long", "curly", "tied",
)  # fmt: skip
Scenery = Literal["plain", "curtain", "wall"]
SCENERIES: tuple[Scenery, ...] = ("plain", "curtain", "wall")


@dataclass(frozen=True)
class Identity:
    """A person: everything that stays the same in all of their sequences."""

    heavy: bool  # a heavier skull, brow and beard, as in most men
    texture: int  # seed of pores, hair strands, moles and freckles
    face_width: float
    face_height: float  # eye line to chin
    jaw: float  # 1.8 pointed .. 3.6 square
    cheeks: float  # -1 hollow .. 1 full
    cheekbones: float  # 0 flat .. 1 high
    chin: float  # 0 receding .. 1 strong
    forehead: float  # eye line to crown
    skin: float  # albedo
    redness: float  # 0 .. 1 darker cheeks and nose
    age: float  # 0 smooth .. 1 lined
    freckles: float  # 0 .. 1
    moles: int
    hair_style: HairStyle
    hair: float  # albedo
    hair_volume: float
    hairline: float  # height above the eyes
    beard: float  # 0 shaven .. 1 full
    moustache: float  # 0 .. 1
    brow_height: float  # above the eye line
    brow_thickness: float
    brow_tilt: float  # positive: the inner ends are lower, which looks angry
    brow_arch: float
    brow_spacing: float  # midline to inner end
    brow: float  # albedo relative to the skin
    eye_size: float  # half the fissure's length
    eye_opening: float  # height of the fissure over its length
    eye_spacing: float  # midline to pupil
    eye_tilt: float  # positive: the outer corners are higher
    eye_depth: float  # 0 bulging .. 1 deep-set
    iris: float  # albedo
    lid_fold: float  # upper lid to its crease
    eye_bags: float  # 0 .. 1
    nose_length: float
    nose_width: float  # midline to wing
    nose_bridge: float  # width of the ridge
    nose_height: float
    mouth_width: float  # half
    mouth_height: float  # eye line to the line between the lips
    mouth_curve: float  # positive: the resting corners are lower, which looks sad
    upper_lip: float
    lower_lip: float
    lips: float  # albedo relative to the skin
    ears: float
    gain: float  # how strongly the person performs every action
    asymmetry: float  # -1 .. 1: positive, the face's left side (the viewer's right) moves more


@dataclass(frozen=True)
class Action:
    """Intensities, 0 to 1, of the action units (AU) of the Facial Action Coding System (Ekman & Friesen 1978).

    They are what the person sets out to do; each performs it with their own gain and asymmetry. Left is the viewer's
    left in the picture.
    """

    inner_brow_raiser: float = 0.0  # AU 1
    outer_brow_raiser: float = 0.0  # AU 2
    brow_lowerer: float = 0.0  # AU 4
    upper_lid_raiser: float = 0.0  # AU 5
    cheek_raiser: float = 0.0  # AU 6
    lid_tightener: float = 0.0  # AU 7
    nose_wrinkler: float = 0.0  # AU 9
    upper_lip_raiser: float = 0.0  # AU 10
    lip_corner_puller_left: float = 0.0  # AU 12
    lip_corner_puller_right: float = 0.0
    dimpler_left: float = 0.0  # AU 14
    dimpler_right: float = 0.0
    lip_corner_depressor_left: float = 0.0  # AU 15
    lip_corner_depressor_right: float = 0.0
    chin_raiser: float = 0.0  # AU 17
    lip_stretcher: float = 0.0  # AU 20
    lip_tightener: float = 0.0  # AU 23
    lip_pressor: float = 0.0  # AU 24
    lips_part: float = 0.0  # AU 25
    jaw_drop: float = 0.0  # AU 26
    mouth_stretch: float = 0.0  # AU 27


@dataclass(frozen=True)
class Nuisance:
    """How one frame was taken: head pose, place, light, scenery and camera."""

    roll: float  # degrees in the image plane, positive clockwise
    yaw: float  # degrees, positive towards the viewer's right
    pitch: float  # degrees, positive downwards
    scale: float  # pixels a unit in a frame 490 pixels high
    offset_x: float  # of the point between the eyes from the frame's middle, as a part of its width
    offset_y: float  # the same as a part of its height
    gaze_x: float  # of the irises, in units
    gaze_y: float
    light_azimuth: float  # degrees, positive from the viewer's right
    light_elevation: float  # degrees above the camera
    light_strength: float
    ambient: float
    exposure: float
    scenery: Scenery
    scenery_seed: int
    scenery_tone: float  # 0 black .. 1 white
    clothes: float  # albedo
    glasses: float  # thickness of the frame in units; 0: none
    glasses_tone: float
    noise: float  # standard deviation in grey levels


# What varies about a mean: mean, what a heavier skull adds to it, standard deviation, and bounds.
VARYING: dict[str, tuple[float, float, float, float, float]] = {
    "face_width": (0.97, 0.04, 0.06, 0.8, 1.2), "face_height": (1.58, 0.05, 0.09, 1.35, 1.85),
    "jaw": (2.3, 0.4, 0.45, 1.6, 3.7), "cheeks": (0, 0, 0.5, -1, 1), "chin": (0.4, 0.2, 0.25, 0, 1),
    "forehead": (1.52, 0, 0.06, 1.3, 1.7), "hair_volume": (0.16, 0, 0.04, 0.05, 0.3),
    "hairline": (0.86, 0, 0.08, 0.6, 1.1), "brow_height": (0.32, -0.03, 0.05, 0.18, 0.45),
    "brow_thickness": (0.05, 0.025, 0.017, 0.02, 0.12), "brow_tilt": (0.01, 0.01, 0.035, -0.07, 0.1),
    "brow_arch": (0.05, -0.02, 0.02, 0, 0.1), "brow_spacing": (0.19, 0, 0.035, 0.1, 0.28),
    "eye_size": (0.208, 0, 0.016, 0.17, 0.25), "eye_opening": (0.37, 0, 0.04, 0.25, 0.5),
    "eye_spacing": (0.455, 0, 0.028, 0.39, 0.52), "eye_tilt": (0.08, 0, 0.06, -0.06, 0.22),
    "eye_depth": (0.45, 0.15, 0.25, 0, 1), "lid_fold": (0.06, 0, 0.025, 0.015, 0.11),
    "nose_length": (0.66, 0, 0.055, 0.5, 0.8), "nose_width": (0.22, 0.02, 0.035, 0.14, 0.33),
    "nose_bridge": (0.085, 0, 0.016, 0.05, 0.12), "nose_height": (0.36, 0, 0.05, 0.25, 0.5),
    "mouth_width": (0.36, 0.015, 0.03, 0.28, 0.45), "mouth_height": (1.0, 0, 0.025, 0.94, 1.06),
    "mouth_curve": (0.004, 0, 0.02, -0.04, 0.05), "upper_lip": (0.08, -0.016, 0.018, 0.025, 0.13),
    "lower_lip": (0.112, -0.014, 0.02, 0.05, 0.17), "lips": (0.66, 0, 0.09, 0.45, 0.88),
    "ears": (1, 0, 0.12, 0.7, 1.3), "asymmetry": (0, 0, 0.12, -0.25, 0.25),
}  # fmt: skip
SKINS, SKIN_SHARES = (0.78, 0.69, 0.58, 0.48), (0.4, 0.25, 0.2, 0.15)
HEAVY_STYLES = (0.14, 0.34, 0.16, 0.16, 0.02, 0.0, 0.06, 0.12, 0.0)  # how often each of HAIR_STYLES is worn
LIGHT_STYLES = (0.0, 0.06, 0.0, 0.06, 0.22, 0.16, 0.22, 0.12, 0.16)


def sample_identity(rng: np.random.Generator) -> Identity:
    """A person at random. Features go together as they do in people: heavy brows and beards, age and lines."""
    heavy = bool(rng.uniform() < 0.45)
    age = float(rng.beta(1.3, 1.8))
    skin = float(rng.choice(SKINS, p=SKIN_SHARES) + rng.uniform(-0.06, 0.06))
    spread = {name: float(np.clip(rng.standard_normal(), -2, 2)) for name in [*VARYING, "brow", "eye_bags"]}
    varying = {
        name: float(np.clip(mean + heavy * shift + deviation * spread[name], low, high))
        for name, (mean, shift, deviation, low, high) in VARYING.items()
    }
    fair, grey = skin > 0.6, age > 0.6 and rng.uniform() < 0.6
    hair = float(rng.uniform(0.25, 0.52) if fair and rng.uniform() < 0.45 else rng.uniform(0.05, 0.2))
    hair = float(rng.uniform(0.42, 0.62)) if grey else hair
    return Identity(
        heavy=heavy,
        texture=int(rng.integers(2**31)),
        skin=skin,
        age=age,
        cheekbones=float(rng.uniform()),
        redness=float(rng.uniform()),
        freckles=float(rng.uniform(0.3, 1)) if fair and rng.uniform() < 0.25 else 0.0,
        moles=int(rng.integers(0, 4)),
        hair_style=HAIR_STYLES[int(rng.choice(len(HAIR_STYLES), p=HEAVY_STYLES if heavy else LIGHT_STYLES))],
        hair=hair,
        beard=float(rng.uniform(0.25, 1)) if heavy and rng.uniform() < 0.5 else 0.0,
        moustache=float(rng.uniform(0.4, 1)) if heavy and rng.uniform() < 0.3 else 0.0,
        brow=float(np.clip(0.2 + 0.5 * hair + 0.1 * spread["brow"], 0.12, 0.6)),
        iris=float(rng.uniform(0.3, 0.55) if fair and rng.uniform() < 0.55 else rng.uniform(0.08, 0.2)),
        eye_bags=float(np.clip(0.2 + 0.5 * age + 0.2 * spread["eye_bags"], 0, 1)),
        gain=float(rng.uniform(0.78, 1.15)),
        **varying,
    )


def person(seed: int, subject_index: int) -> Identity:
    """Who a corpus's subject is."""
    return sample_identity(np.random.default_rng([seed, 1, subject_index]))


def sample_nuisance(rng: np.random.Generator) -> Nuisance:
    """The circumstances of one sequence, independent of who is in it and of what the face does."""
    return Nuisance(
        roll=float(rng.uniform(-10, 10)),
        yaw=float(np.clip(3 * rng.standard_normal(), -8, 8)),
        pitch=float(np.clip(1.8 * rng.standard_normal(), -5, 5)),
        scale=float(rng.uniform(97, 143)),
        offset_x=float(rng.uniform(-0.08, 0.08)),
        offset_y=float(rng.uniform(-0.05, 0.03)),
        gaze_x=float(rng.normal(0, 0.012)),
        gaze_y=float(rng.normal(0, 0.006)),
        light_azimuth=float(rng.uniform(-25, 25)),
        light_elevation=float(rng.uniform(22, 48)),
        light_strength=float(rng.uniform(0.45, 0.7)),
        ambient=float(rng.uniform(0.45, 0.62)),
        exposure=float(rng.uniform(0.88, 1.12)),
        scenery=SCENERIES[int(rng.choice(3, p=(0.5, 0.25, 0.25)))],
        scenery_seed=int(rng.integers(2**31)),
        scenery_tone=float(rng.uniform(0.32, 0.56)),
        clothes=float(rng.uniform(0.08, 0.85)),
        glasses=float(rng.uniform(0.014, 0.035)) if rng.uniform() < 0.1 else 0.0,
        glasses_tone=float(rng.uniform(0.03, 0.4)),
        noise=float(rng.uniform(0.8, 2.5)),
    )


def jitter(nuisance: Nuisance, rng: np.random.Generator) -> Nuisance:
    """The circumstances of one frame: the head is never quite still between two frames."""
    step = rng.standard_normal(6)
    return dataclasses.replace(
        nuisance,
        roll=nuisance.roll + 0.3 * float(step[0]),
        yaw=nuisance.yaw + 0.4 * float(step[1]),
        pitch=nuisance.pitch + 0.3 * float(step[2]),
        scale=nuisance.scale * (1 + 0.003 * float(step[3])),
        offset_x=nuisance.offset_x + 0.001 * float(step[4]),
        offset_y=nuisance.offset_y + 0.001 * float(step[5]),
    )
