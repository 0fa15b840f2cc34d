import numpy as np
import pytest
from sklearn.metrics import log_loss

from trainer.evaluation.metrics.calibration import calibration

EXPRESSIONS = ["anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"]


def forecast(confidence):
    """Probabilities that give `confidence` to anger and share the rest evenly."""
    confidence = np.asarray(confidence)
    return np.concatenate([confidence[:, None], np.repeat((1 - confidence[:, None]) / 6, 6, axis=1)], axis=1)


def outcomes(right):
    return np.where(right, "anger", "fear")


def test_a_uniform_forecast_has_the_chance_values():
    scores = calibration(np.full((70, 7), 1 / 7), np.array(EXPRESSIONS * 10), EXPRESSIONS)
    assert scores["brier"] == pytest.approx(scores["brier_chance"]) == pytest.approx(6 / 7)
    assert scores["negative_log_likelihood"] == pytest.approx(scores["negative_log_likelihood_chance"])
    assert scores["calibration_error"] == pytest.approx(0)


def test_certain_and_right_is_zero_certain_and_wrong_is_the_worst():
    certain = forecast(np.ones(50))
    right = calibration(certain, outcomes(np.ones(50, bool)), EXPRESSIONS)
    assert [right[name] for name in ("calibration_error", "negative_log_likelihood", "brier")] == [0, 0, 0]
    wrong = calibration(certain, outcomes(np.zeros(50, bool)), EXPRESSIONS)
    assert (wrong["calibration_error"], wrong["brier"]) == (1, 2)
    assert np.isfinite(wrong["negative_log_likelihood"])


def test_overconfidence_is_found():
    scores = calibration(forecast(np.ones(100)), outcomes(np.arange(100) % 5 > 0), EXPRESSIONS)
    assert scores["calibration_error"] == pytest.approx(0.2)
    assert scores["overconfidence"] == pytest.approx(0.2)
    assert scores["calibration_error_if_honest"] == 0


def test_errors_that_cancel_over_all_faces_are_found_bin_by_bin():
    confidence = np.repeat([0.4, 0.8], 500)
    right = np.concatenate([np.arange(500) % 10 < 8, np.arange(500) % 10 < 4])
    scores = calibration(forecast(confidence), outcomes(right), EXPRESSIONS)
    assert scores["overconfidence"] == pytest.approx(0)
    assert scores["calibration_error"] == pytest.approx(0.4)
    assert [part["faces"] for part in scores["reliability"]] == [500, 500]
    assert [part["accuracy"] for part in scores["reliability"]] == pytest.approx([0.8, 0.4])


def test_honest_probabilities_have_no_error_but_that_of_few_faces():
    generator = np.random.default_rng(0)
    errors = {}
    for faces in (60, 30_000):
        confidence = generator.uniform(0.3, 0.95, faces)
        scores = calibration(forecast(confidence), outcomes(generator.random(faces) < confidence), EXPRESSIONS)
        errors[faces] = scores["calibration_error"]
        assert errors[faces] == pytest.approx(scores["calibration_error_if_honest"], rel=0.5)
        assert sum(part["faces"] for part in scores["reliability"]) == faces
    assert errors[30_000] < 0.02 < 0.08 < errors[60]


def test_the_trap_equal_confidences_are_not_torn_apart_by_the_order_of_faces():
    in_order = calibration(forecast(np.full(100, 0.8)), outcomes(np.arange(100) < 80), EXPRESSIONS)
    assert in_order["calibration_error"] == pytest.approx(0)
    assert len(in_order["reliability"]) == 1


def test_the_likelihood_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    probabilities, truth = generator.dirichlet(np.ones(7), 40), generator.choice(EXPRESSIONS, 40)
    scores = calibration(probabilities, truth, EXPRESSIONS)
    assert scores["negative_log_likelihood"] == pytest.approx(log_loss(truth, probabilities, labels=EXPRESSIONS))
