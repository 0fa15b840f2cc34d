"""Scores of predicted expressions."""

from typing import Any

from numpy.typing import NDArray

from trainer.evaluation.metrics.statistics import subject_bootstrap

Labels = NDArray[Any]  # (faces,)


def classification(truth: Labels, predicted: Labels, subjects: Labels, expressions: list[str]) -> dict[str, Any]:
    """Score predicted expressions. Macro means are over the classes that the test faces show.

    The interval is a 95 % bootstrap over people, whose faces are not independent: 2,000 draws, seed 0.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    present = [name for name in expressions if name in set(truth)]
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, predicted, labels=present, average="macro", zero_division=0
    )
    correct = truth == predicted
    return {
        "faces": len(truth), "correct": int(correct.sum()), "accuracy": float(correct.mean()),
        "accuracy_interval": subject_bootstrap(correct, subjects), "chance": 1 / len(expressions),
        "macro_precision": float(precision), "macro_recall": float(recall), "macro_f1": float(f1),
        "balanced_accuracy": float(recall),
        "expressions": expressions,
        "confusion": confusion_matrix(truth, predicted, labels=expressions).tolist(),  # row: truth
    }  # fmt: skip
