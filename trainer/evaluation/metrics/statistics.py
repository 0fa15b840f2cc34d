"""How sure a score is, whether two differ, and what a rerun says about a printed number.

Scores and differences are shares, 0 to 1, unless a name says percent. Every result can be written as JSON.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]  # (faces,)
Correct = NDArray[np.bool_]  # (faces,) whether a method's prediction is right
Faces = NDArray[np.intp]  # places of faces, with repetition
DRAWS = 2000
REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_DISTINGUISHABLE, NOT_RUN = "not distinguishable", "not run"
DRAWN = "not comparable: drawn faces"

# --- how sure a score is


def cluster_bootstrap(statistic: Callable[[Faces], float], subjects: Labels, seed: int = 0) -> list[float]:
    """Return the 2.5th and 97.5th percentile of a statistic when people are drawn anew with all their faces.

    With a dozen people or fewer it is too short. Where all faces are right it has no width, which does not mean that
    the score is certain.

    Args:
        statistic: of the faces at these places, each as often as its person was drawn; pooled predictions of all
            folds, say. It must be defined whoever is drawn.
        subjects: (faces,) who is shown; a set that publishes no subjects gives every face a value of its own.
        seed: of the 2,000 draws.

    Source:
        Field & Welsh 2007, the cluster bootstrap, doi:10.1111/j.1467-9868.2007.00593.x.
    """
    _, person = np.unique(subjects, return_inverse=True)
    by_person, sizes = np.argsort(person, kind="stable"), np.bincount(person)
    starts = np.cumsum(sizes) - sizes
    values = []
    for people in np.random.default_rng(seed).integers(0, len(sizes), (DRAWS, len(sizes))):
        shown = sizes[people]
        before = np.cumsum(shown) - shown
        values.append(statistic(by_person[np.arange(shown.sum()) + np.repeat(starts[people] - before, shown)]))
    return [float(value) for value in np.percentile(values, [2.5, 97.5])]


def subject_bootstrap(correct: Correct, subjects: Labels) -> list[float]:
    """Return the 2.5th and 97.5th percentile of the accuracy when people are drawn anew."""
    return cluster_bootstrap(lambda faces: correct[faces].mean(), subjects)


def wilson_interval(share: float, num_faces: int) -> list[float]:
    """Return the 95 % interval of a share of independent faces, which need not be a whole count of them.

    For printed accuracies, and for sets that publish no subjects.

    Source:
        Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    from scipy import stats

    z = stats.norm.ppf(0.975)
    centre = (share + z**2 / (2 * num_faces)) / (1 + z**2 / num_faces)
    half = z * np.sqrt(share * (1 - share) / num_faces + z**2 / (4 * num_faces**2)) / (1 + z**2 / num_faces)
    return [max(0.0, float(centre - half)), min(1.0, float(centre + half))]


# --- whether two methods differ


def corrected_resampled_t(differences: NDArray[np.float64], num_train: int, num_test: int) -> dict[str, Any]:
    """Test whether two methods differ over runs whose training parts overlap.

    The ordinary t-test takes runs for independent; here the variance of their mean is s^2 (1 / runs + num_test /
    num_train). Of 2,000 simulated comparisons of equal methods over ten folds with three seeds each, 2.5 % had
    p < 0.05, by the ordinary test 27 % (tests/unit/test_statistics.py repeats some).

    Args:
        differences: (runs,) first method's score less the second's, run by run: same fold, same seed.
        num_train: faces, or people, of a run's training part.
        num_test: the same of its test part.

    Returns:
        mean, t, degrees_of_freedom, two-sided p and the 95 % interval of the mean difference. Where all differences
        are equal nothing can be tested: t, p and interval are None.

    Raises:
        ValueError: fewer than two runs.

    Source:
        Nadeau & Bengio 2003, the corrected resampled t-test, doi:10.1023/A:1024068626366.
    """
    from scipy import stats

    mean, error, freedom = _student(differences, num_test / num_train)
    found: dict[str, Any] = {"mean": mean, "t": None, "p": None, "degrees_of_freedom": freedom, "interval": None}
    if error:
        half = stats.t.ppf(0.975, freedom) * error
        p = 2 * stats.t.sf(abs(mean) / error, freedom)
        found |= {"t": mean / error, "p": float(p), "interval": [float(mean - half), float(mean + half)]}
    return found


def bayesian_correlated_t(
    differences: NDArray[np.float64], test_share: float, rope: float = 0.01
) -> dict[str, float]:  # fmt: skip
    """Return how probable it is that the first method is worse, practically equivalent or better.

    Args:
        differences: (runs,) first method's score less the second's, run by run.
        test_share: test part / (training + test part), which stands for the correlation of two runs; 0.1 for ten folds.
        rope: half-width of the region of practical equivalence, in the unit of the differences; 0.01 is one point.

    Returns:
        left (the first is worse by more than rope), equivalent, right (better by more than rope); they add up to 1.

    Raises:
        ValueError: fewer than two runs.

    Source:
        Benavoli et al. 2017, the Bayesian correlated t-test, JMLR 18(77).
    """
    from scipy import stats

    mean, error, freedom = _student(differences, test_share / (1 - test_share))
    if error:
        left = float(stats.t.cdf((-rope - mean) / error, freedom))
        right = float(stats.t.sf((rope - mean) / error, freedom))
    else:  # equal differences: the posterior is a point
        left, right = float(mean < -rope), float(mean > rope)
    return {"left": left, "equivalent": 1 - left - right, "right": right}


def _student(differences: NDArray[np.float64], correction: float) -> tuple[float, float, int]:
    """Return mean, standard error and degrees of freedom; the error is 0 where all differences are equal."""
    runs = len(differences)
    if runs < 2:
        raise ValueError(f"{runs} run(s) have no spread; a comparison needs two or more")
    spread = float(differences.std(ddof=1))
    error = spread * (1 / runs + correction) ** 0.5
    return float(differences.mean()), error if spread > 1e-12 else 0.0, runs - 1


def mcnemar(first: Correct, second: Correct) -> dict[str, Any]:
    """Test whether two methods are right equally often on the same faces, exactly.

    It takes faces for independent: with several faces a person, p is too small and `paired_bootstrap` stands beside it.

    Returns:
        only_first and only_second, the faces that one of them alone has right; two-sided p, 1 where there are none.

    Source:
        McNemar 1947, doi:10.1007/BF02295996; exact by the binomial distribution.
    """
    from scipy import stats

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    unlike = only_first + only_second
    p = float(stats.binomtest(only_first, unlike).pvalue) if unlike else 1.0
    return {"only_first": only_first, "only_second": only_second, "p": p}


def paired_bootstrap(first: Correct, second: Correct, subjects: Labels, seed: int = 0) -> dict[str, Any]:
    """Return by how much the first method is more often right on the same faces; the interval is over people."""
    gain = first.astype(float) - second
    interval = cluster_bootstrap(lambda faces: gain[faces].mean(), subjects, seed)
    return {"difference": float(gain.mean()), "interval": interval, "people": len(set(subjects))}


# --- what a rerun says about a printed number


def is_attainable(percent: float, num_faces: int, decimals: int = 2) -> bool:
    """Whether some whole number of `num_faces` faces, in percent and rounded, is the printed number.

    If not, it is no count of correct faces: a mean over runs or folds, a coarser rounding, or another number of faces.
    """
    printed, whole = round(percent * 10**decimals), 100 * 10**decimals
    nearest = (2 * printed * num_faces + whole) // (2 * whole)
    return bool(2 * abs(whole * nearest - printed * num_faces) <= num_faces)  # either way at a tie


def reproduction_verdict(
    printed: float,
    ours: float | None,
    interval: Sequence[float] | None,
    *,
    printed_faces: int | None = None,
    width: float = 0.02,
    drawn: bool = False,
) -> str:
    """Say what our value says about a printed one; both ways of being sure need an interval.

    - not run: there is no value of ours.
    - not comparable: drawn faces: ours is of a stand-in, whatever its value.
    - reproduced: the printed value lies in our interval, and the interval reaches no further than `width` around its
      middle.
    - not reproduced: the printed value lies outside our interval, and so does all of its own Wilson interval where it
      is a share of `printed_faces` faces. Ours may be better or worse.
    - not distinguishable: all else: the interval is too wide, too close, missing, or without width (all faces right).

    "Reproduced" says that a value is consistent with ours, not that the protocols agree.

    Args:
        printed: the published value, in the unit of ours.
        ours: our mean; None where nothing was run.
        interval: the 95 % interval of ours; None where there is none.
        printed_faces: how many faces the printed value is a share of; None where it is no share, or nobody knows.
        width: half-width that an interval must not exceed; two accuracy points.
        drawn: whether ours was measured on drawn faces.
    """
    if ours is None:
        return NOT_RUN
    if drawn:
        return DRAWN
    if interval is None or not interval[0] < interval[1]:
        return NOT_DISTINGUISHABLE
    low, high = interval
    if low <= printed <= high:
        return REPRODUCED if high - low <= 2 * width else NOT_DISTINGUISHABLE
    around = wilson_interval(printed, printed_faces) if printed_faces else [printed, printed]
    return NOT_DISTINGUISHABLE if low <= around[1] and around[0] <= high else NOT_REPRODUCED
