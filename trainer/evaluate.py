"""Scores of predictions, and what can be read from codes: pure functions of arrays.

A probe or a retrieval is judged on faces of people that no training saw; the chance level stands beside every score.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, precision_recall_fscore_support
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Codes = NDArray[np.float32]  # (faces, dims)
Labels = NDArray[Any]  # (faces,)
PROBE_FOLDS = 5


def classification(truth: Labels, predicted: Labels, subjects: Labels, expressions: list[str]) -> dict[str, Any]:
    """Score predicted expressions. Macro means are over the classes that the test faces show.

    The interval is a 95 % bootstrap over people, whose faces are not independent: 2,000 draws, seed 0.
    """
    present = [name for name in expressions if name in set(truth)]
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, labels=present, average="macro", zero_division=0
    )
    correct = truth == predicted
    return {
        "faces": len(truth), "correct": int(correct.sum()), "accuracy": float(correct.mean()),
        "accuracy_interval": subject_bootstrap(correct, subjects), "chance": 1 / len(expressions),
        "macro_precision": float(precision), "macro_recall": float(recall), "macro_f1": float(f1),
        "balanced_accuracy": float(balanced_accuracy_score(truth, predicted)),
        "expressions": expressions,
        "confusion": confusion_matrix(truth, predicted, labels=expressions).tolist(),  # row: truth
    }  # fmt: skip


def subject_bootstrap(correct: NDArray[np.bool_], subjects: Labels) -> list[float]:
    """Return the 2.5th and 97.5th percentile of the accuracy when people are drawn anew."""
    _, person = np.unique(subjects, return_inverse=True)
    hits, sizes = np.bincount(person, correct), np.bincount(person)
    drawn = np.random.default_rng(0).integers(0, len(sizes), (2000, len(sizes)))
    accuracies = hits[drawn].sum(1) / sizes[drawn].sum(1)
    return [float(value) for value in np.percentile(accuracies, [2.5, 97.5])]


def expression_probe(train: Codes, train_truth: Labels, test: Codes, test_truth: Labels) -> dict[str, float]:
    """Read the expression from codes by a linear probe: fitted on training faces, judged on test faces."""
    predicted = _probe(train, train_truth, test)
    return {"accuracy": float(balanced_accuracy_score(test_truth, predicted)), "chance": 1 / len(set(train_truth))}


def identity_probe(codes: Codes, subjects: Labels, sequences: Labels) -> dict[str, float]:
    """Read the person from codes by a linear probe, across recordings: no sequence is on both sides.

    The sequences of each person are dealt to 5 folds; a fold is judged by a probe fitted on the others. People with one
    sequence cannot be judged and are left out. The score is the mean over people of the share of their faces that are
    recognised, so that chance is 1 / people.
    """
    fold, kept = _deal_sequences(subjects, sequences)
    if len(set(subjects[kept])) < 2:
        return {"accuracy": float("nan"), "chance": float("nan"), "people": 0}
    predicted = np.full(len(subjects), None, object)
    for held_out in range(PROBE_FOLDS):
        test, train = kept & (fold == held_out), kept & (fold != held_out)
        if test.any():
            predicted[test] = _probe(codes[train], subjects[train], codes[test])
    hit = (predicted == subjects)[kept]
    people = [hit[subjects[kept] == person].mean() for person in sorted(set(subjects[kept]))]
    return {"accuracy": float(np.mean(people)), "chance": 1 / len(people), "people": len(people)}


def _deal_sequences(subjects: Labels, sequences: Labels) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the fold of each face's sequence, and which faces are of people with two sequences or more."""
    fold, kept = np.zeros(len(subjects), np.int64), np.zeros(len(subjects), bool)
    for person in sorted(set(subjects)):
        mine = subjects == person
        names, rank = np.unique(sequences[mine], return_inverse=True)
        fold[mine], kept[mine] = rank % PROBE_FOLDS, len(names) > 1
    return fold, kept


def _probe(train: Codes, truth: Labels, test: Codes) -> Labels:
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 2,000 steps are enough to rank
        predicted: Labels = probe.fit(train, truth).predict(test)
    return predicted


def retrieval(codes: Codes, target: Labels, excluded: Labels, ks: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Return precision@k: the share of a query's k nearest faces that share its target, averaged over queries.

    Nearest by cosine of mean-centred codes. Faces that share the query's `excluded` value (its subject, or its
    sequence) are not in its gallery. Queries without any face to find are left out. `ceiling@k` is what a perfect
    order would reach, `chance` what a random one does.
    """
    similar = cosine_similarities(codes)
    admissible = excluded[:, None] != excluded[None]
    wanted = (target[:, None] == target[None]) & admissible
    asked = wanted.any(1)
    if not asked.any():
        return {"chance": float("nan")}
    order = np.argsort(np.where(admissible, -similar, np.inf)[asked], axis=1, kind="stable")
    ranked = np.take_along_axis(wanted[asked], order, axis=1)
    scores = {"chance": float((wanted[asked].sum(1) / admissible[asked].sum(1)).mean())}
    for k in ks:
        scores[f"precision@{k}"] = float(ranked[:, :k].mean())
        scores[f"ceiling@{k}"] = float(np.minimum(wanted[asked].sum(1) / k, 1).mean())
    return scores


def cosine_similarities(codes: Codes) -> NDArray[np.float64]:
    """Return the (faces, faces) cosines of mean-centred codes."""
    centred = codes.astype(np.float64) - codes.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    similarities: NDArray[np.float64] = centred @ centred.T
    return similarities
