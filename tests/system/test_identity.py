import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering

from fertools.folds.identities import clustering
from fertools.folds.identities.embed import Embedder, EmbedderError
from fertools.folds.identities.group import GroupError, describe, group, stored
from manifests import files
from manifests.crop import DEFAULT_CROP


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def people(num_people=40, num_faces=6, size=32, noise=0.5, seed=0):
    """Embeddings of people who differ, and who shows in each."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(num_people), num_faces))
    return unit(rng.normal(size=(num_people, size))[who] + noise * rng.normal(size=(len(who), size))), who


def same_partition(left, right):
    return len(set(zip(left, right, strict=True))) == len(set(left)) == len(set(right))


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("noise", [0.4, 1.0])
def test_parts_linked_by_themselves_are_average_linkage_of_all(threshold, noise):
    vectors, _ = people(noise=noise)
    whole = AgglomerativeClustering(None, metric="cosine", linkage="average", distance_threshold=1 - threshold)
    assert same_partition(clustering.group(vectors, threshold), whole.fit_predict(vectors.astype(np.float64)))


def test_a_chain_of_look_alikes_does_not_hold():
    angles = np.deg2rad(np.arange(0, 170, 10))  # neighbours 10 degrees apart, ends 160
    groups = clustering.group(np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32), np.cos(np.deg2rad(25)))
    spans = [np.ptp(angles[groups == name]) for name in set(groups.tolist())]
    assert len(spans) >= 3 and max(spans) < np.deg2rad(60)


def test_the_order_of_faces_does_not_matter():
    vectors, _ = people(noise=0.8)
    order = np.random.default_rng(1).permutation(len(vectors))
    assert same_partition(clustering.group(vectors, 0.5)[order], clustering.group(vectors[order], 0.5))


def test_people_are_told_apart_without_a_threshold_and_without_names():
    vectors, who = people(noise=0.45)
    groups = clustering.group(vectors, clustering.choose_threshold(vectors, np.random.default_rng(0)))
    found = clustering.agreement(groups, who)
    assert min(found.precision, found.recall) > 0.97
    assert clustering.purity(vectors, groups, 0.5) > 0.95


def test_the_estimate_of_purity_follows_the_truth_and_does_not_flatter():
    vectors, who = people(60, size=24, noise=0.4)
    truth, estimate = [], []
    for threshold in (0.15, 0.3, 0.4, 0.5, 0.6):
        groups = clustering.group(vectors, threshold)
        truth.append(clustering.agreement(groups, who).precision)
        estimate.append(clustering.purity(vectors, groups, threshold))
    assert truth[0] < 0.4 and truth[-1] > 0.99
    assert estimate == sorted(estimate) and estimate[-1] > 0.95
    assert all(told <= true + 0.03 for told, true in zip(estimate, truth, strict=True))


@pytest.mark.parametrize("strangers", [3.0, 0.3])
def test_about_so_many_strangers_lie_above_the_threshold(strangers):
    vectors, _ = people(3000, 1, size=64)
    threshold = clustering.choose_threshold(vectors, np.random.default_rng(0), strangers)
    above = ((vectors @ vectors.T) >= threshold).sum(1).mean() - 1
    assert strangers / 3 < above < strangers * 2


def test_more_faces_ask_for_a_higher_threshold():
    few, many = (people(number, 1, size=64)[0] for number in (200, 4000))
    low, high = (clustering.choose_threshold(some, np.random.default_rng(0)) for some in (few, many))
    assert high > low + 0.02


def test_many_faces_are_searched_in_fewer_dimensions_with_the_same_groups(monkeypatch):
    vectors, _ = people(60, 5, size=256, noise=0.5)
    exact = clustering.group(vectors, 0.5)
    monkeypatch.setattr(clustering, "EXACT_FACES", 10)
    assert same_partition(exact, clustering.group(vectors, 0.5))


def test_a_part_that_is_too_large_is_cut_into_parts_that_mix_fewer_people(monkeypatch):
    vectors, who = people(20, 8, noise=0.35)
    whole = clustering.agreement(clustering.group(vectors, 0.2), who)
    monkeypatch.setattr(clustering, "MAX_PART", 16)
    cut = clustering.agreement(clustering.group(vectors, 0.2), who)  # all hang together at 0.2
    assert cut.precision > whole.precision and cut.recall > 0.9


def test_more_copies_of_one_picture_than_are_linked_at_once(monkeypatch):
    monkeypatch.setattr(clustering, "MAX_PART", 16)
    groups = clustering.group(np.repeat(np.eye(3, dtype=np.float32), 40, axis=0), 0.5)
    assert all(len(set(groups[i : i + 40].tolist())) <= 3 for i in (0, 40, 80))
    assert len(set(groups.tolist())) <= 9


def test_b_cubed_by_hand():
    found = clustering.agreement(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 1]))
    assert found.precision == pytest.approx(11 / 15) and found.recall == pytest.approx(11 / 15)


# --- a manifest's groups


@pytest.fixture
def manifest(make_faces, tmp_path):
    """Eight people's faces whose crops are constant: the grey level is the person; one face is not usable."""
    levels = [30 * (1 + row % 8) for row in range(40)]
    usable = [row != 5 for row in range(40)]
    images = [{"bytes": DEFAULT_CROP.encode(np.full((144, 144), level, np.uint8)), "path": "x"} for level in levels]
    reason = [None if good else "no face found" for good in usable]
    columns = {"image": images, "usable": usable, "reason": reason, "subject": [f"set/p{row % 8}" for row in range(40)]}
    files.write([make_faces(**columns)], tmp_path / "set.parquet", {"prepared_from": "x"})
    return tmp_path / "set.parquet"


def by_level(calls=None, sha256="x"):
    def network(crops):
        if calls is not None:
            calls.append(len(crops))
        return np.eye(8, dtype=np.float32)[crops[:, 0, 0].astype(int) // 30 - 1] + 0.01

    return Embedder("by-level", "no licence", sha256, network)


def test_the_group_column_is_filled_and_no_subject_is_touched(manifest):
    before = files.read(manifest)
    made = group(manifest, by_level(), threshold=0.5)
    after = files.read(manifest)
    assert after.drop_columns("group").equals(before.drop_columns("group"))
    names = after["group"].to_pylist()
    assert names[5] is None and names[0] == names[8] != names[1] and names[0].startswith("set/group")
    assert (made.groups, made.faces, made.largest, made.single) == (8, 39, 5, 0)
    assert made.agreement == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert files.read_metadata(manifest)["groups"]["embedder"] == "by-level"
    assert "B-cubed precision 1.000" in describe(made)


def test_another_threshold_embeds_nothing_and_another_embedder_all(manifest):
    calls = []
    group(manifest, by_level(calls))
    assert sum(calls) == 39
    assert group(manifest, by_level(calls), threshold=-1).groups == 1 and sum(calls) == 39
    group(manifest, by_level(calls, sha256="y"))
    assert sum(calls) == 78 and len(list(manifest.with_suffix(".embeddings").iterdir())) == 1


def test_stored_embeddings_stand_at_their_rows(manifest):
    assert stored(manifest, files.read_metadata(manifest), 40) is None
    group(manifest, by_level())
    vectors = stored(manifest, files.read_metadata(manifest), 40)
    assert vectors[3].argmax() == 3 and not vectors[5].any()


def test_what_gives_no_vectors_and_what_has_no_faces_is_refused(manifest, make_faces, tmp_path):
    broken = Embedder("broken", "none", "z", lambda crops: np.full((len(crops), 4), np.nan))
    with pytest.raises(EmbedderError, match="broken gives .* no finite numbers"):
        group(manifest, broken)
    lonely = tmp_path / "one.parquet"
    files.write([make_faces(subject=["a"])], lonely, {})
    with pytest.raises(GroupError, match=r"1 usable face\(s\)"):
        group(lonely, by_level())
