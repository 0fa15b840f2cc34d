"""Representations whose worth is known: one that shows a factor, one that shows nothing, one that is a trap."""

import numpy as np

PEOPLE, TAKES = 12, 4
subjects = np.repeat([f"p{person}" for person in range(PEOPLE)], 2 * TAKES)
sequences = np.array([f"{subject}/{take // 2}" for take, subject in enumerate(subjects)])
expressions = np.array(["neutral", "anger"] * (PEOPLE * TAKES))


def codes_of(labels, noise, seed=0):
    """A code that shows a label, and noise: a different random direction a value."""
    generator = np.random.default_rng(seed)
    names = sorted(set(labels))
    directions = generator.normal(0, 1, (len(names), 16))
    shown = directions[[names.index(label) for label in labels]]
    return (shown + generator.normal(0, noise, shown.shape)).astype(np.float32)


def axes_of(*factors, dims, noise, seed=0):
    """A code that shows each factor on a dimension of its own; the other dimensions, and noise, show nothing."""
    generator = np.random.default_rng(seed)
    codes = generator.normal(0, 1, (len(factors[0]), dims))
    for axis, factor in enumerate(factors):
        value = np.unique(factor, return_inverse=True)[1].astype(float)
        codes[:, axis] = value / value.std() + generator.normal(0, noise, len(value))
    return codes.astype(np.float32)


def rotated(codes, seed=0):
    """The same code seen from another side: no distance changes, every axis does."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(codes.shape[1],) * 2))
    return (codes @ turn).astype(np.float32)
