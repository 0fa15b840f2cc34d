"""Which action units make up an expression, how strongly, and how they unfold from neutral to peak.

The prototypes are those of EMFACS as published with the CK+ set (Lucey et al. 2010, Table 1, after Ekman & Friesen).
"""

import dataclasses

import numpy as np

from fertools.drawn.face.factors import Action

EXPRESSIONS = (
    "anger",
    "contempt",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
)  # in the order of CK+'s codes

Weights = dict[str, float]

# Each expression's variants; a field of Action without its side stands for both sides.
PROTOTYPES: dict[str, tuple[Weights, ...]] = {
    "anger": (
        dict(brow_lowerer=1, upper_lid_raiser=0.4, lid_tightener=0.8, lip_tightener=0.9, lip_pressor=0.7),
        dict(brow_lowerer=1, upper_lid_raiser=0.6, lid_tightener=0.7, lip_tightener=0.7, chin_raiser=0.5),
        dict(brow_lowerer=1, lid_tightener=0.9, upper_lip_raiser=0.35, lip_tightener=0.8, lips_part=0.7),
    ),
    "contempt": (
        dict(dimpler=1),
        dict(dimpler=1, lip_corner_puller=0.25),
        dict(dimpler=1, lip_pressor=0.3, lid_tightener=0.2),
    ),
    "disgust": (
        dict(nose_wrinkler=1, upper_lip_raiser=0.8, chin_raiser=0.6, brow_lowerer=0.3, lid_tightener=0.4),
        dict(nose_wrinkler=0.9, upper_lip_raiser=0.9, lip_corner_depressor=0.5, chin_raiser=0.5, cheek_raiser=0.3),
        dict(nose_wrinkler=1, upper_lip_raiser=1, lips_part=0.8, lid_tightener=0.5, brow_lowerer=0.3),
    ),
    "fear": (
        dict(
            inner_brow_raiser=1, outer_brow_raiser=0.6, brow_lowerer=0.5, upper_lid_raiser=1, lip_stretcher=1,
            lips_part=0.8,
        ),
        dict(
            inner_brow_raiser=0.9, outer_brow_raiser=0.4, brow_lowerer=0.6, upper_lid_raiser=0.9, lip_stretcher=0.9,
            lips_part=0.9, jaw_drop=0.4,
        ),
        dict(inner_brow_raiser=1, brow_lowerer=0.5, upper_lid_raiser=0.7, lip_stretcher=1, lips_part=0.5),
    ),
    "happiness": (
        dict(cheek_raiser=0.8, lip_corner_puller=1, lips_part=1),
        dict(cheek_raiser=0.7, lip_corner_puller=0.9),
        dict(cheek_raiser=0.9, lip_corner_puller=1, lips_part=1, jaw_drop=0.3),
    ),
    "sadness": (
        dict(inner_brow_raiser=1, brow_lowerer=0.4, lip_corner_depressor=1, chin_raiser=0.8),
        dict(inner_brow_raiser=0.9, brow_lowerer=0.4, lip_corner_depressor=0.9, chin_raiser=0.4, lid_tightener=0.3),
        dict(inner_brow_raiser=1, lip_corner_depressor=0.8, chin_raiser=0.9, cheek_raiser=0.2),
    ),
    "surprise": (
        dict(inner_brow_raiser=1, outer_brow_raiser=1, upper_lid_raiser=0.9, lips_part=1, mouth_stretch=0.8),
        dict(inner_brow_raiser=1, outer_brow_raiser=1, upper_lid_raiser=0.8, lips_part=0.8, jaw_drop=1),
        dict(
            inner_brow_raiser=0.9, outer_brow_raiser=1, upper_lid_raiser=1, lips_part=0.9, jaw_drop=0.6,
            mouth_stretch=0.3,
        ),
    ),
}  # fmt: skip
UNITS = tuple(field.name for field in dataclasses.fields(Action))


def sample_peak(expression: str | None, rng: np.random.Generator) -> tuple[Action, float]:
    """The action at a sequence's peak, and its intensity; without an expression, a random blend of units.

    Every sequence has its own intensity and variant, its sides differ a little, and other units stir.
    """
    intensity = float(rng.uniform(0.55, 1.0))
    if expression is None:
        weights = _blend(rng)
    else:
        variants = PROTOTYPES[expression]
        weights = variants[int(rng.integers(len(variants)))]
    values = _both_sides(weights, expression == "contempt", rng)
    stirred = rng.uniform(size=len(UNITS)) < 0.18
    strength, stir = rng.uniform(0.82, 1.1, len(UNITS)), rng.uniform(0.05, 0.3, len(UNITS))
    action = {
        unit: float(np.clip(values[unit] * intensity * strength[number], 0, 1))
        if unit in values
        else float(stir[number])
        for number, unit in enumerate(UNITS)
        if unit in values or stirred[number]
    }
    return Action(**action), intensity


def _both_sides(weights: Weights, one_sided: bool, rng: np.random.Generator) -> Weights:
    """Weights by field of Action: both sides of a unit alike but for a tenth, or one of them only."""
    side = str(rng.choice(["_left", "_right"]))
    values = {}
    for unit, weight in weights.items():
        if unit in UNITS:
            values[unit] = weight
        elif one_sided:
            values[unit + side] = weight
        else:
            for end in ("_left", "_right"):
                values[unit + end] = weight * float(rng.uniform(0.9, 1.1))
    return values


def _blend(rng: np.random.Generator) -> Weights:
    """Two prototypes mixed, or a few units at random: what an unlabelled sequence shows."""
    if rng.uniform() < 0.5:
        first, second = (PROTOTYPES[EXPRESSIONS[number]][0] for number in rng.choice(7, 2, replace=False))
        share = float(rng.uniform(0.3, 0.7))
        return {
            unit: share * first.get(unit, 0) + (1 - share) * second.get(unit, 0) for unit in sorted({*first, *second})
        }
    return {str(unit): float(rng.uniform(0.4, 1)) for unit in rng.choice(UNITS, int(rng.integers(1, 4)), replace=False)}


def rise(num_frames: int, rng: np.random.Generator) -> list[float]:
    """What part of the peak each frame of a sequence shows that goes from neutral to the peak."""
    start = np.linspace(0, 1, num_frames) ** float(rng.uniform(0.6, 0.9))
    return [float(part) for part in start * start * (3 - 2 * start)]


def perform_part(peak: Action, part: float) -> Action:
    """The action at a part of its peak."""
    return Action(**{unit: value * part for unit, value in vars(peak).items()})
