import numpy as np
import pytest

from trainer.evaluation.metrics.robustness import robustness

VARIANTS = [(0.0, False), (15.0, False), (0.0, True)]
truth = np.array(["anger", "fear", "anger", "fear"])


def test_an_ideal_and_a_shaken_classifier():
    ideal = robustness(np.stack([truth] * 3), truth, VARIANTS)
    assert {ideal[name] for name in ("mean", "worst", "consistency", "always_right")} == {1}
    turned = np.stack([truth, np.roll(truth, 1), np.array(["anger", "fear", "anger", "anger"])])
    shaken = robustness(turned, truth, VARIANTS)
    assert shaken["variants"][1] == {"angle": 15.0, "flipped": False, "accuracy": 0}
    assert shaken["variants"][2] == {"angle": 0.0, "flipped": True, "accuracy": 0.75}
    assert (shaken["worst"], shaken["mean"]) == (0, pytest.approx(1.75 / 3))
    assert (shaken["consistency"], shaken["always_right"]) == (0, 0)


def test_the_trap_who_always_says_the_same_is_consistent_and_no_more():
    stubborn = robustness(np.full((3, 4), "anger"), truth, VARIANTS)
    assert (stubborn["consistency"], stubborn["always_right"]) == (1, 0.5)


def test_variants_without_predictions_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        robustness(np.stack([truth] * 2), truth, VARIANTS)
