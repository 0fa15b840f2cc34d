import numpy as np
import pytest
from sklearn.metrics import f1_score

from trainer.evaluation.metrics.classification import classification


def test_classification_scores_against_known_values():
    truth = np.array(["a"] * 8 + ["b"] * 2)
    predicted = np.array(["a"] * 7 + ["b"] + ["b", "a"])
    scores = classification(truth, predicted, np.arange(10), ["a", "b", "c"])
    assert (scores["correct"], scores["accuracy"]) == (8, 0.8)
    assert scores["balanced_accuracy"] == pytest.approx((7 / 8 + 1 / 2) / 2)
    assert scores["macro_recall"] == scores["balanced_accuracy"]
    assert scores["macro_precision"] == pytest.approx((7 / 8 + 1 / 2) / 2)
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert scores["confusion"] == [[7, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert scores["chance"] == pytest.approx(1 / 3)


def test_macro_f1_is_not_the_harmonic_mean_of_macro_precision_and_recall():
    truth = np.array(["a"] * 90 + ["b"] * 10)
    predicted = np.array(["a"] * 60 + ["b"] * 30 + ["b"] * 10)
    s = classification(truth, predicted, np.arange(100), ["a", "b"])
    harmonic = 2 * s["macro_precision"] * s["macro_recall"] / (s["macro_precision"] + s["macro_recall"])
    assert abs(s["macro_f1"] - harmonic) > 0.05
