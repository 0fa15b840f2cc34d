import numpy as np

from trainer.metrics.statistics import subject_bootstrap


def test_the_interval_is_wider_where_faces_are_copies_of_one_persons():
    correct = np.random.default_rng(0).random(40) < 0.8
    alone = subject_bootstrap(np.repeat(correct, 10), np.arange(400))
    copied = subject_bootstrap(np.repeat(correct, 10), np.repeat(np.arange(40), 10))
    assert copied[1] - copied[0] > 2 * (alone[1] - alone[0])
    assert alone[0] < correct.mean() < alone[1]
