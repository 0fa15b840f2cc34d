"""What can be read from codes, judged on faces of people that no training saw; chance stands beside every score.

Probes disagree on what a code holds, so that a leak is what the best of three finds: linear, a perceptron of 64 hidden
units, 10 nearest neighbours. The best of three is also lucky more often: `chance_maximum` is its mean over 5
permutations of the labels, and `normalised` is (maximum - chance_maximum) / (1 - chance_maximum). People are permuted
within an expression, see `leaks`.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.metrics.retrieval import cosine_similarities

Codes = NDArray[np.float32]  # (faces, dims)
Labels = NDArray[Any]  # (faces,)
Probe = Callable[[int], Any]  # number of training faces -> an unfitted probe
PROBE_FOLDS, NUM_PERMUTATIONS = 5, 5
DECAYS = np.logspace(0, 5, 6)


def _linear(_: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(class_weight="balanced", max_iter=2000)


def _mlp(_: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    # 50 steps of L-BFGS at this decay read an XOR hidden among 64 dimensions of 540 faces; Adam's 200 epochs do not
    return MLPClassifier((64,), solver="lbfgs", alpha=1, max_iter=50, random_state=0)


def _knn(faces: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(min(10, faces), weights="distance")


PROBES: dict[str, Probe] = {"accuracy": _linear, "mlp": _mlp, "knn": _knn}


def expression_probe(
    train: Codes, train_truth: Labels, test: Codes, test_truth: Labels, seed: int = 0
) -> dict[str, float]:
    """Read the expression from codes: probes are fitted on training faces, judged on test faces.

    The score (`accuracy` of the linear probe, `mlp`, `knn`, `maximum`) is the mean over expressions of the share of
    their faces that are recognised.
    """

    def read(labels: Labels) -> dict[str, float]:
        return {name: class_mean(_probe(name, train, labels, test) == test_truth, test_truth) for name in PROBES}

    generator = np.random.default_rng(seed)
    shuffled = (generator.permutation(train_truth) for _ in range(NUM_PERMUTATIONS))
    return _against_chance(read, train_truth, shuffled) | {"chance": 1 / len(set(train_truth))}


def identity_probe(
    codes: Codes, subjects: Labels, expressions: Labels, sequences: Labels, seed: int = 0
) -> dict[str, float]:
    """Read the person from codes, across recordings: no sequence is on both sides.

    The sequences of each person are dealt to 5 folds; a fold is judged by probes fitted on the others. People with one
    sequence cannot be judged and are left out. The score (`accuracy` of the linear probe, `mlp`, `knn`, `maximum`) is
    the mean over people of the share of their faces that are recognised. Where each of a person's sequences shows
    another expression, a code of the expression falls below `chance`, 1 / people: hold it against `chance_maximum`,
    where people are permuted among the sequences of an expression, and see `leaks.identity_within_expression`.
    """
    kept = deal_sequences(subjects, sequences)[1]
    codes, subjects, expressions, sequences = (each[kept] for each in (codes, subjects, expressions, sequences))
    people = len(set(subjects))
    if people < 2:
        unknown = (*PROBES, "maximum", "chance_maximum", "normalised", "chance")
        return dict.fromkeys(unknown, float("nan")) | {"people": 0}

    def read(labels: Labels) -> dict[str, float]:
        fold = deal_sequences(labels, sequences)[0]
        splits = [(fold != held_out, fold == held_out) for held_out in sorted(set(fold))]
        return {name: class_mean(_held_out(name, codes, labels, splits) == labels, labels) for name in PROBES}

    shuffled = permuted_people(subjects, expressions, sequences, NUM_PERMUTATIONS, seed)
    return _against_chance(read, subjects, shuffled) | {"chance": 1 / people, "people": people}


def factor_probe(codes: Codes, factor: Labels, subjects: Labels, seed: int = 0) -> dict[str, Any]:
    """Read any factor from codes by a linear probe, across people: 5 folds, no person is on both sides.

    A factor of floating type is continuous, scored by R^2 (ridge); any other is categorical, scored by the mean over
    its values of the share of faces recognised. `chance` is the mean score of 5 permutations of the faces. Where all
    faces have one value, or are of fewer than 3 people, scores are nan. What is a person's for good (glasses, say)
    has as many observations as people: a score of a dozen people scatters by 0.2 around chance.
    """
    from sklearn.metrics import r2_score

    continuous = bool(np.issubdtype(factor.dtype, np.floating))
    measure, people = "r2" if continuous else "balanced_accuracy", len(set(subjects))
    if len(set(factor)) < 2 or people < 3:
        return {"measure": measure, "score": float("nan"), "chance": float("nan"), "normalised": float("nan")}
    generator = np.random.default_rng(seed)
    truths = np.stack([factor, *(generator.permutation(factor) for _ in range(NUM_PERMUTATIONS))], axis=1)
    if continuous:
        scores = r2_score(truths, _ridge(codes, truths.astype(np.float64), subjects), multioutput="raw_values")
    else:
        splits = _across_people(subjects)
        read = [_held_out("accuracy", codes, labels, splits) for labels in truths.T]
        scores = np.array([class_mean(found == labels, labels) for found, labels in zip(read, truths.T, strict=True)])
    score, chance = float(scores[0]), float(scores[1:].mean())
    return {"measure": measure, "score": score, "chance": chance, "normalised": (score - chance) / (1 - chance)}


def verification(codes: Codes, target: Labels, matched: Labels, sequences: Labels) -> dict[str, float]:
    """Return how well a cosine tells pairs that share a target from pairs that do not: the area under the ROC.

    Pairs within one sequence are left out. `auc` is over all other pairs. `matched_auc` sets a pair that shares the
    target only against pairs of the same two `matched` values, so that nothing can be told from those: for people,
    their expressions; for expressions, the people. It is the mean over the `matched_pairs` that share the target and
    have such an opponent; nan where there are none, as is `auc` where all pairs share the target or none does.
    """
    one, other = np.triu_indices(len(codes), 1)
    apart = sequences[one] != sequences[other]
    one, other = one[apart], other[apart]
    same, similar = target[one] == target[other], cosine_similarities(codes)[one, other]
    value = np.unique(matched, return_inverse=True)[1]
    stratum = np.minimum(value[one], value[other]) * len(codes) + np.maximum(value[one], value[other])
    order = np.argsort(stratum, kind="stable")
    parts = np.split(order, np.unique(stratum[order], return_index=True)[1][1:])
    decided = [(_auc(same[part], similar[part]), same[part].sum()) for part in parts if 0 < same[part].mean() < 1]
    areas, weights = np.array(decided).reshape(-1, 2).T
    return {
        "auc": _auc(same, similar), "chance": 0.5, "same_pairs": int(same.sum()), "other_pairs": int((~same).sum()),
        "matched_auc": float(np.average(areas, weights=weights)) if decided else float("nan"),
        "matched_pairs": int(weights.sum()),
    }  # fmt: skip


def class_mean(hit: NDArray[np.bool_], truth: Labels) -> float:
    """Return the mean over classes of the share of their faces that are hit (balanced accuracy)."""
    return float(np.mean([hit[truth == name].mean() for name in sorted(set(truth))]))


def _against_chance(
    read: Callable[[Labels], dict[str, float]], truth: Labels, shuffled: Iterable[Labels]
) -> dict[str, float]:
    found = read(truth)
    best, chance = max(found.values()), float(np.mean([max(read(labels).values()) for labels in shuffled]))
    return found | {"maximum": best, "chance_maximum": chance, "normalised": (best - chance) / (1 - chance)}


def _auc(same: NDArray[np.bool_], similar: NDArray[np.float64]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(same, similar)) if 0 < same.sum() < len(same) else float("nan")


def deal_sequences(subjects: Labels, sequences: Labels) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the fold of each face's sequence, and which faces are of people with two sequences or more."""
    fold, kept = np.zeros(len(subjects), np.int64), np.zeros(len(subjects), bool)
    for person in sorted(set(subjects)):
        mine = subjects == person
        names, rank = np.unique(sequences[mine], return_inverse=True)
        fold[mine], kept[mine] = rank % PROBE_FOLDS, len(names) > 1
    return fold, kept


def permuted_people(subjects: Labels, expressions: Labels, sequences: Labels, num: int, seed: int) -> Iterator[Labels]:
    """Yield subjects dealt anew to whole sequences, among those that show the same expressions.

    Everybody keeps as many sequences of each expression as before: what a code tells of the expression alone is worth
    as much after a permutation as before it.
    """
    generator = np.random.default_rng(seed)
    _, first, member = np.unique(sequences, return_index=True, return_inverse=True)
    shown: list[set[Any]] = [set() for _ in first]
    for sequence, expression in zip(member, expressions, strict=True):
        shown[sequence].add(expression)
    kind = np.array(["+".join(sorted(names)) for names in shown])
    strata = [np.flatnonzero(kind == name) for name in sorted(set(kind))]
    for _ in range(num):
        dealt = subjects[first]
        for stratum in strata:
            dealt[stratum] = generator.permutation(dealt[stratum])
        yield dealt[member]


def _held_out(name: str, codes: Codes, truth: Labels, splits: Iterable[tuple[Any, Any]]) -> Labels:
    """Return what a probe reads in each held-out part after it was fitted on the rest."""
    predicted = np.full(len(truth), None, object)
    for train, test in splits:
        predicted[test] = _probe(name, codes[train], truth[train], codes[test])
    return predicted


def _probe(name: str, train: Codes, truth: Labels, test: Codes) -> Labels:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(set(truth)) == 1:  # nothing to learn: a rare value whose faces are all held out
        return np.repeat(truth[:1], len(test))
    probe = make_pipeline(StandardScaler(), PROBES[name](len(train)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 2,000 steps, or the perceptron's 50, are enough to rank
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # people of two faces are many
        predicted: Labels = probe.fit(train, truth).predict(test)
    return predicted


def _ridge(codes: Codes, truths: NDArray[np.float64], subjects: Labels) -> NDArray[np.float64]:
    """Return what ridge regression reads in faces of people it has not seen, (faces, truths).

    Its decay is chosen across people too, for each truth by itself: near copies of a face would speak for none.
    """
    predicted = np.zeros(truths.shape)
    for train, test in _across_people(subjects):
        errors = np.zeros((len(DECAYS), truths.shape[1]))
        for fitted, judged in _across_people(subjects[train]):
            fitted, judged = train[fitted], train[judged]
            for place, decay in enumerate(DECAYS):
                read = _fitted_ridge(decay, codes[fitted], truths[fitted]).predict(codes[judged])
                errors[place] += ((read - truths[judged]) ** 2).sum(0)
        predicted[test] = _fitted_ridge(DECAYS[errors.argmin(0)], codes[train], truths[train]).predict(codes[test])
    return predicted


def _fitted_ridge(decay: Any, codes: Codes, truths: NDArray[np.float64]) -> Any:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), Ridge(decay)).fit(codes, truths)


def _across_people(subjects: Labels) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the faces on both sides of each of 5 splits (fewer of fewer people)."""
    from sklearn.model_selection import GroupKFold

    return list(GroupKFold(min(PROBE_FOLDS, len(set(subjects)))).split(subjects, groups=subjects))
