import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trainer.evaluation.metrics import statistics
from trainer.evaluation.metrics.statistics import (
    DRAWN,
    bayesian_correlated_t,
    cluster_bootstrap,
    corrected_resampled_t,
    is_attainable,
    mcnemar,
    paired_bootstrap,
    reproduction_verdict,
    subject_bootstrap,
    wilson_interval,
)

# scikit-learn's example "Statistical comparison of models using grid search": ROC AUC of an RBF less a linear support
# vector machine, 10 x 10 folds of 90 and 10 points; its page prints what the two tests say of them
MOONS = np.repeat([-0.12, -0.08, -0.04, 0, 0.04, 0.08, 0.2], [1, 2, 10, 53, 29, 4, 1])
runs = st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=30).map(np.array)


def test_the_interval_is_wider_where_faces_are_copies_of_one_persons():
    correct = np.random.default_rng(0).random(40) < 0.8
    alone = subject_bootstrap(np.repeat(correct, 10), np.arange(400))
    copied = subject_bootstrap(np.repeat(correct, 10), np.repeat(np.arange(40), 10))
    assert copied[1] - copied[0] > 2 * (alone[1] - alone[0])
    assert alone[0] < correct.mean() < alone[1]


def test_published_intervals_stay():
    """Scores were written with these draws."""
    low, high = subject_bootstrap(np.arange(60) % 7 > 1, np.arange(60) % 9)
    assert (low, high) == (0.6842105263157895, 0.7142857142857143)


def test_a_drawn_person_brings_all_their_faces():
    subjects = np.array(["b", "a", "b", "c", "a", "b"])

    def uneven(faces):
        times = np.bincount(faces, minlength=6)
        drawn = [times[subjects == person] for person in "abc"]
        return sum(np.ptp(each) for each in drawn) + abs(sum(each[0] for each in drawn) - 3)

    assert cluster_bootstrap(uneven, subjects) == [0, 0]


def test_any_statistic_has_an_interval_and_a_seed():
    values = np.random.default_rng(0).normal(size=60)
    one, other = (cluster_bootstrap(lambda faces: np.median(values[faces]), np.arange(60), seed) for seed in (1, 2))
    assert one[0] < np.median(values) < one[1] and one != other
    assert one == pytest.approx(other, abs=0.1)


def test_an_interval_over_people_holds_the_truth_as_often_as_it_says(monkeypatch):
    """People differ in how well they are read; an interval that takes their faces for independent is too short."""
    monkeypatch.setattr(statistics, "DRAWS", 500)  # to save time
    generator = np.random.default_rng(0)
    subjects, held = np.repeat(np.arange(40), 10), {"people": 0, "faces": 0}
    for _ in range(60):
        correct = (generator.random((40, 10)) < generator.beta(4, 1, 40)[:, None]).ravel()
        for name, clusters in (("people", subjects), ("faces", np.arange(400))):
            low, high = subject_bootstrap(correct, clusters)
            held[name] += bool(low <= 4 / 5 <= high)
    assert held["people"] >= 54 > 51 >= held["faces"]  # of 60; 57 would be 95 %


@pytest.mark.parametrize(
    ("percent", "num_faces", "low", "high", "next_best"),
    [
        (90.3, 3068, 89.2, 91.3, 89.34),  # RAF-DB
        (64.36, 3500, 62.8, 65.9, 63.97),  # AffectNet
        (99.5, 327, 98.0, 99.9, 99.34),  # CK+
        (91.1, 480, 88.2, 93.3, 90.00),  # Oulu-CASIA
    ],
)
def test_the_intervals_that_the_paper_leaves_out(percent, num_faces, low, high, next_best):
    found = wilson_interval(percent / 100, num_faces)
    assert [round(100 * end, 1) for end in found] == [low, high]
    assert low < next_best < high


def test_all_correct_is_not_certain():
    low, high = wilson_interval(10 / 10, 10)
    assert low == pytest.approx(0.7225, abs=1e-4) and high == pytest.approx(1)


@given(num_faces=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_agrees_with_scipy_on_whole_counts(num_faces, share):
    count = round(share * num_faces)
    theirs = stats.binomtest(count, num_faces).proportion_ci(method="wilson")
    assert wilson_interval(count / num_faces, num_faces) == pytest.approx([theirs.low, theirs.high], abs=1e-9)


# --- two methods


def test_the_corrected_t_test_agrees_with_scikit_learns_example():
    found = corrected_resampled_t(MOONS, 90, 10)
    assert found["t"] == pytest.approx(0.750, abs=5e-4) and found["degrees_of_freedom"] == 99
    assert found["p"] == pytest.approx(2 * 0.227, abs=1e-3)  # printed one-sided


def test_the_bayesian_t_test_agrees_with_scikit_learns_example():
    found = bayesian_correlated_t(MOONS, 0.1)
    assert [round(found[name], 3) for name in ("left", "equivalent", "right")] == [0.068, 0.432, 0.500]
    assert bayesian_correlated_t(MOONS, 0.1, rope=0.0)["right"] == pytest.approx(0.773, abs=5e-4)


def test_without_a_test_part_the_corrected_is_the_ordinary_t_test():
    ordinary = stats.ttest_1samp(MOONS, 0)
    found = corrected_resampled_t(MOONS, 10**9, 1)
    assert [found["t"], found["p"]] == pytest.approx([ordinary.statistic, ordinary.pvalue])
    assert found["interval"] == pytest.approx(list(ordinary.confidence_interval()))


@given(differences=runs, num_test=st.integers(1, 50))
def test_the_correction_only_makes_more_cautious(differences, num_test):
    found = corrected_resampled_t(differences, 90, num_test)
    json.dumps(found, allow_nan=False)
    if found["p"] is not None:
        assert found["p"] >= stats.ttest_1samp(differences, 0).pvalue - 1e-9
        assert (found["p"] < 0.05) == (not found["interval"][0] <= 0 <= found["interval"][1])


def test_equal_methods_are_seldom_found_unlike_over_folds_and_seeds():
    """Two least-squares methods see other features of equal worth; a seed draws the training faces anew."""
    generator = np.random.default_rng(0)
    alarms = {"corrected": 0, "ordinary": 0}
    for _ in range(100):
        differences = _differences_of_equals(generator)
        alarms["corrected"] += bool(corrected_resampled_t(differences, 90, 10)["p"] < 0.05)
        alarms["ordinary"] += bool(stats.ttest_1samp(differences, 0).pvalue < 0.05)
    assert alarms["corrected"] <= 8 and alarms["ordinary"] >= 18


def _differences_of_equals(generator):
    truth = np.where(np.arange(100) % 2, 1.0, -1.0)
    faces = np.c_[generator.normal(0.35 * truth[:, None], 1, (100, 12)), np.ones(100)]
    generator.shuffle(order := np.arange(100))
    differences = []
    for test in np.split(order, 10):
        train = np.setdiff1d(order, test)
        for _ in range(3):
            drawn = generator.choice(train, 90)
            shares = []
            for features in (faces[:, [*range(6), 12]], faces[:, 6:]):
                weights = np.linalg.lstsq(features[drawn], truth[drawn])[0]
                shares.append(np.mean(np.sign(features[test] @ weights) == truth[test]))
            differences.append(shares[0] - shares[1])
    return np.array(differences)


@given(differences=runs, test_share=st.floats(0.01, 0.5))
def test_the_posteriors_add_up_and_change_places_with_the_methods(differences, test_share):
    one, other = (bayesian_correlated_t(sign * differences, test_share) for sign in (1, -1))
    assert sum(one.values()) == pytest.approx(1)
    assert one["left"] == pytest.approx(other["right"], abs=1e-12)


def test_runs_without_any_difference_are_equivalent_and_not_tested():
    none = np.zeros(5)
    assert bayesian_correlated_t(none, 0.1) == {"left": 0, "equivalent": 1, "right": 0}
    assert bayesian_correlated_t(none - 0.02, 0.1)["left"] == 1
    assert corrected_resampled_t(none, 90, 10)["p"] is None


@pytest.mark.parametrize(
    "test", [lambda one: corrected_resampled_t(one, 9, 1), lambda one: bayesian_correlated_t(one, 0.1)]
)
def test_one_run_is_refused(test):
    with pytest.raises(ValueError, match="1 run.* no spread; a comparison needs two or more"):
        test(np.array([0.1]))


def test_mcnemar_counts_only_faces_that_one_method_alone_has_right():
    first = np.repeat([True, False, True, False], [10, 2, 70, 18])
    second = np.repeat([False, True, True, False], [10, 2, 70, 18])
    found = mcnemar(first, second)
    assert (found["only_first"], found["only_second"]) == (10, 2)
    assert found["p"] == pytest.approx(0.0386, abs=5e-5)
    assert mcnemar(second, first)["p"] == found["p"] and mcnemar(first, first)["p"] == 1


def test_copies_of_faces_convince_mcnemar_but_not_the_bootstrap_over_people():
    first, second = np.random.default_rng(0).random((2, 40)) < [[0.85], [0.75]]
    subjects = np.arange(40)
    alone = paired_bootstrap(first, second, subjects)
    copied = [np.repeat(each, 9) for each in (first, second, subjects)]
    assert paired_bootstrap(*copied)["interval"] == pytest.approx(alone["interval"])
    assert alone["interval"][0] < 0 < alone["difference"] < alone["interval"][1]
    assert mcnemar(*copied[:2])["p"] < 0.05 < mcnemar(first, second)["p"]


# --- printed numbers


@pytest.mark.parametrize(
    ("percent", "counts"),
    [
        (99.50, (327, 500, 654, 981)),  # CK+
        (91.10, (480, 1440)),  # Oulu-CASIA
        *((percent, (3068,)) for percent in (90.30, 87.40, 84.89, 83.20)),  # RAF-DB
        *((percent, (3500,)) for percent in (64.36, 60.41, 52.95)),  # AffectNet
    ],
)
def test_printed_accuracies_that_are_no_count_of_faces(percent, counts):
    assert not any(is_attainable(percent, count) for count in counts)


@pytest.mark.parametrize(("percent", "count"), [(87.48, 3068), (59.06, 3500), (90.00, 480), (99.69, 327)])
def test_printed_accuracies_that_are_a_count_of_faces(percent, count):
    assert is_attainable(percent, count)


@given(num_faces=st.integers(1, 5000), share=st.floats(0, 1), decimals=st.integers(0, 3))
def test_every_count_is_attainable_as_printed(num_faces, share, decimals):
    printed = float(f"{100 * round(share * num_faces) / num_faces:.{decimals}f}")
    assert is_attainable(printed, num_faces, decimals)


@pytest.mark.parametrize(
    ("interval", "printed_faces", "said"),
    [
        ([0.89, 0.92], 480, "reproduced"),
        ([0.87, 0.93], 480, "not distinguishable"),  # too wide to say
        ([0.86, 0.89], 480, "not distinguishable"),  # the printed number itself is known to 88.2 to 93.3 only
        ([0.86, 0.88], 480, "not reproduced"),
        ([0.94, 0.96], 480, "not reproduced"),  # better is not the same either
        ([0.86, 0.89], None, "not reproduced"),  # no share of known faces: taken as it stands
        ([1.0, 1.0], 480, "not distinguishable"),  # all right: drawing people anew cannot vary it
        ([float("nan"), float("nan")], 480, "not distinguishable"),
        (None, 480, "not distinguishable"),
    ],
)
def test_what_an_interval_says_about_oulus_printed_accuracy(interval, printed_faces, said):
    assert reproduction_verdict(0.911, 0.9, interval, printed_faces=printed_faces) == said


def test_a_narrower_demand_is_met_less_often():
    assert reproduction_verdict(0.911, 0.905, [0.89, 0.92], width=0.01) == "not distinguishable"


@pytest.mark.parametrize("interval", [[0.9, 0.92], [0.1, 0.2], None])
def test_drawn_faces_reproduce_nothing(interval):
    assert reproduction_verdict(0.911, 0.91, interval, drawn=True) == DRAWN == "not comparable: drawn faces"
    assert (
        reproduction_verdict(0.911, None, interval, drawn=True) == reproduction_verdict(0.911, None, None) == "not run"
    )
