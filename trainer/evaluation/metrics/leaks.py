"""What a code tells of the person beyond the expression, held against a null that knows the expression.

Where every recording of a person shows another expression, as CK+'s do, a code of nothing but the expression tells
people *worse* than chance: no other recording of theirs looks alike. Two things set that right. Codes are taken within
an expression: less the mean code of their expression. And the null permutes people among the recordings of an
expression, so that it holds all that the expression tells of the person: a pure expression code scores 1 times its
null.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.metrics.dependence import rbf_kernel
from trainer.evaluation.metrics.probes import deal_sequences, permuted_people

Codes = NDArray[np.float32]  # (faces, dims)
Labels = NDArray[Any]  # (faces,)
Matrix = NDArray[np.float64]
PROBE_PERMUTATIONS, INFORMATION_PERMUTATIONS = 200, 20
NEIGHBOURS = 10
DECAY = 1.0  # of ridge regression, in mean squared lengths of a code


def identity_within_expression(
    codes: Codes, subjects: Labels, expressions: Labels, sequences: Labels, seed: int = 0
) -> dict[str, int | float]:
    """Read the person from what codes hold within their expression, each recording by probes fitted on all others.

    Three probes, each a linear map of who is on the other faces: ridge regression (`linear`), the same with a Gaussian
    kernel (`kernel`), the 10 nearest faces (`neighbours`). Scores are means over people of the share of their faces
    that are recognised; `maximum` is the best. `null` is the mean maximum over 200 permutations of the people within
    an expression, `times_null` their ratio, `p` the share of permutations (and itself) that score as high. People with
    one recording are left out; of fewer than two people all is nan, and `people` 0.
    """
    kept = deal_sequences(subjects, sequences)[1]
    subjects, expressions, sequences = (labels[kept] for labels in (subjects, expressions, sequences))
    people = len(set(subjects))
    if people < 2:
        names = ("linear", "kernel", "neighbours", "maximum", "null", "times_null", "p")
        return dict.fromkeys(names, math.nan) | {"people": 0}
    residual, recording = within(codes[kept], expressions), np.unique(sequences, return_inverse=True)[1]
    probes = {
        "linear": _held_out_ridge(residual @ residual.T, recording),
        "kernel": _held_out_ridge(rbf_kernel(residual), recording),
        "neighbours": _held_out_neighbours(residual, recording),
    }
    scores = {name: _recognised(probe, subjects) for name, probe in probes.items()}
    best = max(scores.values())
    null = np.array(
        [
            max(_recognised(probe, shuffled) for probe in probes.values())
            for shuffled in permuted_people(subjects, expressions, sequences, PROBE_PERMUTATIONS, seed)
        ]
    )
    return scores | {
        "maximum": best, "null": float(null.mean()),
        "times_null": float(best / null.mean()) if null.any() else math.nan,
        "p": float((1 + (null >= best - 1e-12).sum()) / (1 + len(null))), "people": people,
    }  # fmt: skip


def person_information(
    codes: Codes, subjects: Labels, expressions: Labels, sequences: Labels, seed: int = 0
) -> dict[str, int | float]:
    r"""Return a lower bound on I(E; person | expression), in nats, from recordings that the model has not seen.

    .. math:: I(E; P | Y) \ge E \log \frac{q(P | E, Y)}{p(P | Y)},
              \quad q(p | e, y) \propto p(p | y) e^{\beta l_p(e)}

    p(P | Y) is what the faces have; l_p is a linear discriminant of people on codes within their expression, fitted on
    the other recordings (5 folds); one number, beta, is fitted on the faces that are judged, so that no information
    gives 0 and not less. `null` is its mean, and `p` the share (with itself) of 20 permutations of the people within
    an expression that give as much. Loose where what shows the person is not linear in the code, or people have few
    recordings. `ceiling` is H(person | expression), `share` nats / ceiling.

    Source:
        Barber & Agakov 2003 (the bound); Ledoit & Wolf 2004 (the covariance of the discriminant).
    """
    kept = deal_sequences(subjects, sequences)[1]
    subjects, expressions, sequences = (labels[kept] for labels in (subjects, expressions, sequences))
    people = len(set(subjects))
    if people < 2:
        return dict.fromkeys(("nats", "null", "p", "ceiling", "share"), math.nan) | {"people": 0}
    residual = within(codes[kept], expressions)

    def nats(who: Labels) -> float:
        return _bound(_discriminants(residual, who, sequences), who, expressions)

    found = nats(subjects)
    shuffled = permuted_people(subjects, expressions, sequences, INFORMATION_PERMUTATIONS, seed)
    null = np.array([nats(who) for who in shuffled])
    ceiling = float(-_log_prior(subjects, expressions)[1].mean())
    return {
        "nats": found, "null": float(null.mean()), "p": float((1 + (null >= found - 1e-12).sum()) / (1 + len(null))),
        "ceiling": ceiling, "share": found / ceiling if ceiling else math.nan, "people": people,
    }  # fmt: skip


def within(codes: Codes, expressions: Labels) -> Matrix:
    """Return codes less the mean of their expression, each dimension of spread 1 where it has any; float64."""
    residual = codes.astype(np.float64)
    for name in set(expressions):
        residual[expressions == name] -= residual[expressions == name].mean(0)
    spread = residual.std(0)
    scaled: Matrix = residual / np.where(spread > 1e-6, spread, 1)
    return scaled


# --- probes: (faces, faces) matrices that map who is on the other recordings to who is on a face


def _held_out_ridge(kernel: Matrix, recording: NDArray[np.int64]) -> Matrix:
    """Return ridge regression's map, each recording left out of what predicts it.

    The predictions of a recording that is left out follow from those of the whole fit, without fitting anew: the
    residuals of the faces of a recording, divided by one less their block of the hat matrix (leave-one-out's identity,
    for blocks).
    """
    decay = DECAY * max(np.trace(kernel) / len(kernel), 1e-12)
    hat = np.linalg.solve(kernel + decay * np.eye(len(kernel)), kernel).T
    held_out = np.zeros_like(hat)
    for number in range(recording.max() + 1):
        block = np.flatnonzero(recording == number)
        own = np.eye(len(hat))[block]
        held_out[block] = own - np.linalg.solve(np.eye(len(block)) - hat[np.ix_(block, block)], own - hat[block])
    return held_out


def _held_out_neighbours(codes: Matrix, recording: NDArray[np.int64]) -> Matrix:
    """Return the map to the mean of the nearest faces of other recordings; the nearest counts a little more."""
    squared = (codes**2).sum(1)
    distance = squared[:, None] + squared - 2 * codes @ codes.T
    distance[recording[:, None] == recording] = np.inf
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :NEIGHBOURS]
    held_out = np.zeros_like(distance)
    np.put_along_axis(held_out, nearest, 1 - 1e-3 * np.arange(nearest.shape[1]), axis=1)
    return np.where(np.isinf(distance), 0, held_out)


def _recognised(probe: Matrix, subjects: Labels) -> float:
    """Return the mean over people of the share of their faces that a probe gives to them."""
    _, person, count = np.unique(subjects, return_inverse=True, return_counts=True)
    scores = probe @ (np.eye(len(count))[person] / count)  # each person weighs the same
    hit = scores.argmax(1) == person
    return float((np.bincount(person, weights=hit) / count).mean())


# --- information


def _discriminants(codes: Matrix, subjects: Labels, sequences: Labels) -> Matrix:
    """Return each person's linear discriminant of each face, (faces, people), fitted on recordings of other folds."""
    from sklearn.covariance import ledoit_wolf

    person, fold = np.unique(subjects, return_inverse=True)[1], deal_sequences(subjects, sequences)[0]
    scores = np.zeros((len(codes), person.max() + 1))
    for held_out in sorted(set(fold)):
        fitted, judged = fold != held_out, fold == held_out
        member = np.eye(scores.shape[1])[person[fitted]]
        means = (member.T @ codes[fitted]) / member.sum(0)[:, None]
        spread = codes[fitted] - means[person[fitted]]
        if len(spread) <= 2 * scores.shape[1]:  # a face or two a person: their spread is not known
            spread = codes[fitted]
        covariance = ledoit_wolf(spread, assume_centered=True)[0]
        covariance += 1e-9 * np.eye(codes.shape[1])  # a constant code's is 0
        weights = np.linalg.solve(covariance, means.T)
        scores[judged] = codes[judged] @ weights - (means.T * weights).sum(0) / 2
    return scores


def _log_prior(subjects: Labels, expressions: Labels) -> tuple[Matrix, NDArray[np.float64]]:
    """Return log p(person | expression) of all people for each face, -inf of none, and of the one who is on it."""
    person, expression = (np.unique(labels, return_inverse=True)[1] for labels in (subjects, expressions))
    counts = np.zeros((expression.max() + 1, person.max() + 1))
    np.add.at(counts, (expression, person), 1)
    with np.errstate(divide="ignore"):
        log_prior: Matrix = np.log(counts / counts.sum(1, keepdims=True))[expression]
    return log_prior, log_prior[np.arange(len(person)), person]


def _bound(scores: Matrix, subjects: Labels, expressions: Labels) -> float:
    """Return the mean of log q(person | face, expression) - log p(person | expression) at the best beta."""
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    log_prior, _ = _log_prior(subjects, expressions)
    person = np.unique(subjects, return_inverse=True)[1]
    own = scores[np.arange(len(scores)), person]

    def loss(log_beta: float) -> float:
        beta = math.exp(log_beta)
        return -float((beta * own - logsumexp(log_prior + beta * scores, axis=1)).mean())

    best = minimize_scalar(loss, bounds=(-12, 4), method="bounded", options={"xatol": 1e-3})
    return max(0.0, -float(best.fun))
