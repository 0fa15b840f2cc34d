"""What can be read from codes, judged on faces of people that no training saw; chance stands beside every score."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Codes = NDArray[np.float32]  # (faces, dims)
Labels = NDArray[Any]  # (faces,)
PROBE_FOLDS = 5


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
