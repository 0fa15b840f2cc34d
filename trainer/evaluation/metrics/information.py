"""The gap that DICE-FER calls MIG: I(E_M; E_N) - I(E_M; I_M), on faces of people that no weight was trained on.

M and N are faces of two people with one expression. The first term, `shared`, is what their expression codes have in
common: at most H(Y), the entropy of the expressions. The second, `entangled`, ties the two codes of one face together;
an identity code that shows nothing has none of it, so that the gap alone does not tell a good method. It is a
difference of two lower bounds, hence no bound on anything: both terms always stand beside it. It is not Chen's MIG
(`disentanglement.mutual_information_gap`).

Critics are trained on people of the training part, stopped on those of the validation part and judged on those of the
test part. Encoders have seen the first, whose codes hold more than a stranger's; `held_out` says why that is allowed.
No critic of a training is used again.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.evaluation.metrics.held_out import (
    NEIGHBOURS,
    REPEATS,
    Draw,
    Pairs,
    estimate_size,
    joined_bounds,
    neighbours,
    separable_bound,
)

Codes = NDArray[np.float32]  # (faces, dims)
Matrix = NDArray[np.float64]
Labels = NDArray[Any]  # (faces,)
Part = Mapping[str, NDArray[Any]]  # expression, identity: (faces, dims) codes; expressions, subjects: (faces,)
Parts = Mapping[str, Part]  # train, validation, test: no person is in two
Estimates = dict[str, dict[str, float]]  # term -> estimator -> nats

TERMS = ("shared", "entangled")
NULL_LIMIT, CEILING_LIMIT = 0.05, 0.2  # nats
BLUR = 0.5  # noise on training codes whose pairs are never redrawn: I(E; I) of three codes was found 0.16 nats higher

# --- the gap


def information_gap(
    parts: Parts, seeds: Iterable[int] = range(5), sigmas: Iterable[float] = (0.1, 0.3, 1.0)
) -> dict[str, Any]:
    """Return both terms and the gap by each estimator, in nats and as a share of H(Y), each beside its null.

    nce: separable critic, InfoNCE. dv, smile: critic on joined codes, trained by Jensen-Shannon; smile is no bound.
    ksg3, ksg5: nearest neighbours among 8 principal components; no bound, and too low where codes have more. posterior:
    see `posterior`; of the first term alone. `noisy`: nce of codes with noise added, for I(E; I) of deterministic codes
    may be infinite, and a trace of the image in E then outweighs all that E means.

    The null is the same measurement where nothing is to be found: within each part, identity codes are permuted, and
    people with their expressions. A value is `accepted` where its null is within 0.05 nats of 0 and itself not more
    than 0.2 above its ceiling. The spread is that of seeds, not of people, who are few in one fold. A negative bound
    says no more than 0 does. A part with fewer than 6 pairs makes a term nan.

    Args:
        parts: faces of an expression that the training part does not show are left out. A set that publishes no
            subjects gives every face one of its own.
        seeds: of critics, pairs and permutations. The same call gives the same values; another order of the faces is
            another draw.
        sigmas: spreads of the noise, in those of the training codes.

    Raises:
        ValueError: a person is in two parts.

    Source:
        DICE-FER, whose MIG comes without estimator and unit.
    """
    from scipy.special import entr

    parts, seeds = _comparable(parts), list(seeds)
    nulls = [_permuted(parts, np.random.default_rng([seed, 0])) for seed in seeds]
    test = parts["test"]
    anchors, _ = draw_pairs(test["expressions"], test["subjects"], np.random.default_rng(0))
    _, counts = np.unique(test["expressions"][anchors], return_counts=True)
    entropy = float(entr(counts / counts.sum()).sum())
    ceilings = _ceilings(parts, entropy)

    def table(estimate: Callable[[Parts, int], Estimates]) -> dict[str, Any]:
        found = [estimate(parts, seed) for seed in seeds]
        null = [estimate(permuted, seed) for permuted, seed in zip(nulls, seeds, strict=True)]
        return {name: _row(name, found, null, ceilings, entropy) for name in found[0]["shared"]}

    return {
        "faces": {name: len(part["subjects"]) for name, part in parts.items()},
        "people": {name: len(set(part["subjects"])) for name, part in parts.items()},
        "pairs": {"shared": len(anchors), "entangled": len(test["subjects"])},
        "seeds": seeds, "expression_entropy": entropy, "jensen_shannon_ceiling": jensen_shannon_ceiling(counts),
        "estimators": table(_estimates),
        "noisy": {str(sigma): table(partial(_noisy, sigma=sigma))["nce"] for sigma in sigmas},
    }  # fmt: skip


def _comparable(parts: Parts) -> dict[str, dict[str, NDArray[Any]]]:
    """Standardise codes by the training part's, and leave out what it does not show."""
    for one, other in combinations(parts, 2):
        if both := set(parts[one]["subjects"]) & set(parts[other]["subjects"]):
            raise ValueError(f"{one} and {other} share {len(both)} people ({min(both)}); expected none")
    train = parts["train"]
    scales = {name: (train[name].mean(0), np.maximum(train[name].std(0), 1e-6)) for name in ("expression", "identity")}
    comparable = {}
    for name, part in parts.items():
        known = np.isin(part["expressions"], train["expressions"])
        comparable[name] = {column: values[known] for column, values in part.items()}
        for code, (mean, spread) in scales.items():
            comparable[name][code] = ((comparable[name][code] - mean) / spread).astype(np.float32)
    return comparable


def _permuted(parts: Parts, generator: np.random.Generator) -> dict[str, dict[str, NDArray[Any]]]:
    """Take, within each part, identities from expression codes, and people with their expressions from both."""
    permuted = {}
    for name, part in parts.items():
        faces, codes = (generator.permutation(len(part["subjects"])) for _ in range(2))
        labels = {column: part[column][faces] for column in ("expressions", "subjects")}
        permuted[name] = {**part, **labels, "identity": part["identity"][codes]}
    return permuted


def _estimates(parts: Parts, seed: int) -> Estimates:
    generator, found = np.random.default_rng([seed, 1]), {}
    for term in TERMS:
        draw = _draw(parts, term, 0.0, generator)
        found[term] = separable_bound(draw, seed) | joined_bounds(draw, seed) | neighbours(draw)
    found["shared"] |= posterior(parts, generator)
    return found


def _noisy(parts: Parts, seed: int, sigma: float) -> Estimates:
    generator = np.random.default_rng([seed, 2])
    return {term: separable_bound(_draw(parts, term, sigma, generator), seed) for term in TERMS}


def _ceilings(parts: Parts, entropy: float) -> Estimates:
    """Return what an estimate cannot exceed, or not in earnest: of dv and smile log(pairs).

    Source:
        McAllester & Stratos 2020 (arXiv:1811.04251).
    """
    from scipy.special import digamma

    ceilings = {}
    for term in TERMS:
        draw = _draw(parts, term, 0.0, np.random.default_rng(0))
        pairs = max(1, len(draw("test")[0]))
        ceilings[term] = {f"ksg{k}": float(digamma(pairs) - digamma(k)) for k in NEIGHBOURS}
        ceilings[term] |= {
            "nce": math.log(max(1, estimate_size(draw))),
            "dv": math.log(pairs),
            "smile": math.log(pairs),
        }
    shared = {name: min(value, entropy) for name, value in ceilings["shared"].items()}
    return ceilings | {"shared": shared | {"posterior": entropy}}


def _row(
    name: str, found: Sequence[Estimates], null: Sequence[Estimates], ceilings: Estimates, entropy: float
) -> dict[str, Any]:
    """Return an estimator's terms and, where it has both, their gap."""
    row: dict[str, Any] = {}
    for term in [term for term in TERMS if name in found[0][term]]:
        chance = [estimates[term][name] for estimates in null]
        cell = _moments([estimates[term][name] for estimates in found], entropy) | {"ceiling": ceilings[term][name]}
        cell |= {"null": float(np.mean(chance)), "null_spread": _spread(chance)}
        cell["accepted"] = abs(cell["null"]) < NULL_LIMIT and cell["nats"] <= cell["ceiling"] + CEILING_LIMIT
        row[term] = cell
    if len(row) == len(TERMS):
        gaps = [estimates["shared"][name] - estimates["entangled"][name] for estimates in found]
        row["gap"] = _moments(gaps, entropy) | {"accepted": all(row[term]["accepted"] for term in TERMS)}
    return row


def _moments(values: Sequence[float], entropy: float) -> dict[str, Any]:
    nats = float(np.mean(values))
    return {"nats": nats, "spread": _spread(values), "normalised": nats / entropy if entropy else math.nan}


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


# --- pairs


def draw_pairs(
    expressions: Labels, subjects: Labels, generator: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Give each face a partner of its expression and another person, uniformly; a face that has none is left out.

    Returns:
        anchors and partners, as places of faces.
    """
    _, expression, size = np.unique(expressions, return_inverse=True, return_counts=True)
    _, person = np.unique(subjects, return_inverse=True)
    cells = np.stack([expression, person])
    _, cell, size_of_cell = np.unique(cells, axis=1, return_inverse=True, return_counts=True)
    anchors = np.flatnonzero(size[expression] > size_of_cell[cell.ravel()])
    partners, by_expression, starts = anchors.copy(), np.argsort(expression, kind="stable"), np.cumsum(size) - size
    while (alike := person[partners] == person[anchors]).any():
        wanted = expression[anchors[alike]]
        partners[alike] = by_expression[starts[wanted] + generator.integers(0, size[wanted])]
    return anchors, partners


def _draw(parts: Parts, term: str, sigma: float, generator: np.random.Generator) -> Draw:
    """Return what draws a term's pairs of codes; what a critic would learn by heart in training is blurred."""

    def draw(name: str) -> Pairs:
        part = parts[name]
        sides = [part["expression"], part["identity"]]
        if term == "shared":
            sides = [sides[0][places] for places in draw_pairs(part["expressions"], part["subjects"], generator)]
        order = generator.permutation(len(sides[0]))
        spread = np.float32(math.hypot(sigma, BLUR) if (name, term) == ("train", "entangled") else sigma)
        sides = [side[order] + spread * generator.standard_normal(side.shape, np.float32) for side in sides]
        return torch.from_numpy(sides[0]), torch.from_numpy(sides[1])

    return draw


def posterior(parts: Parts, generator: np.random.Generator) -> dict[str, float]:
    r"""Return I(E_M; E_N) by way of the expression, which is all that M and N share.

    .. math:: E \log \sum_y q(y | e_M) q(y | e_N) / p(y)

    Exact for the true posterior q, since M and N are drawn independently given Y. Here q is a logistic regression on
    the training part, its temperature is fitted on the validation part, and its prior p is that of the faces it is
    used on. Codes are to be standardised.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax, logsumexp
    from sklearn.linear_model import LogisticRegression

    train, validation, test = (parts[name] for name in ("train", "validation", "test"))
    kept, _ = draw_pairs(test["expressions"], test["subjects"], generator)
    if min(len(set(train["expressions"])), len(validation["expressions"]), len(kept)) < 2:
        return {"posterior": math.nan}
    model = LogisticRegression(class_weight="balanced", max_iter=2000).fit(train["expression"], train["expressions"])

    def log_posterior(codes: Codes, expressions: Labels, temperature: float) -> tuple[Matrix, Matrix]:
        scores = model.decision_function(codes)
        scores = np.stack([0 * scores, scores], axis=1) if scores.ndim == 1 else scores
        names, counts = np.unique(expressions, return_counts=True)
        log_prior = np.log(counts / counts.sum())
        shown = scores[:, np.searchsorted(model.classes_, names)]
        return log_softmax(shown / temperature + log_prior, axis=1), log_prior

    def loss(log_temperature: float) -> float:
        told, _ = log_posterior(validation["expression"], validation["expressions"], math.exp(log_temperature))
        place = np.unique(validation["expressions"], return_inverse=True)[1]
        return -float(told[np.arange(len(told)), place].mean())

    temperature = math.exp(minimize_scalar(loss, bounds=(-2, 6), method="bounded").x)
    expressions, subjects = test["expressions"][kept], test["subjects"][kept]
    told, log_prior = log_posterior(test["expression"][kept], expressions, temperature)
    drawn = [draw_pairs(expressions, subjects, generator) for _ in range(REPEATS)]
    values = [logsumexp(told[anchors] + told[partners] - log_prior, axis=1).mean() for anchors, partners in drawn]
    return {"posterior": float(np.mean(values))}


# --- what the values can be


def jensen_shannon_ceiling(counts: NDArray[np.integer[Any]]) -> float:
    """Return the Jensen-Shannon divergence, in nats, of pairs that share their class exactly from those by chance.

    Args:
        counts: faces of each class.
    """
    share = counts / counts.sum()
    alike = share * np.log(2 / (1 + share)) + share**2 * np.log(2 * share / (1 + share))
    return float(alike.sum() + (share.sum() ** 2 - (share**2).sum()) * math.log(2)) / 2


def fano_bound(accuracy: float, entropy: float, num_expressions: int) -> float:
    """Return what I(E_M; E_N) is at least, in nats, if the expression is told from either code with this accuracy.

    Two such predictions differ in at most 2 (1 - accuracy) of the pairs: Fano's inequality on their agreement. The
    predictions are taken to be as spread as the expressions, whose entropy is given.
    """
    from scipy.special import entr

    error = min(2 * (1 - accuracy), 1 - 1 / num_expressions)
    return max(0.0, entropy - float(entr(error) + entr(1 - error)) - error * math.log(num_expressions - 1))
