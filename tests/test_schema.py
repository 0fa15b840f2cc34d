import numpy as np
import pyarrow as pa
import pytest

from manifests import schema
from manifests.schema import ManifestError


def test_sound_faces_pass(make_faces):
    schema.check(make_faces(subject=["a", "b"], fold=[1, 2]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"expression": ["anger", "joy"]}, "'set/1' has an unknown expression"),
        ({"face_id": ["x", "x"]}, "face_id 'x' stands twice"),
        ({"image": [None, None]}, "is usable without an image of 20751 bytes; 2 faces"),
        ({"image": [{"bytes": b"P5 1 1 255\n0", "path": ""}] * 2}, "is usable without an image"),
        ({"usable": [False, True]}, "'set/0' is not usable and gives no reason"),
        ({"subject": ["a", "a"], "fold": [1, 2]}, "subject 'a' is in folds 1 and 2"),
    ],
)
def test_each_broken_rule_is_refused(make_faces, columns, message):
    with pytest.raises(ManifestError, match=message):
        schema.check(make_faces(**columns))


def test_a_face_of_no_expression_is_allowed(make_faces):
    schema.check(make_faces(expression=["anger", None]))


def test_other_columns_are_refused(make_faces):
    with pytest.raises(ManifestError, match="are not"):
        schema.check(make_faces(subject=["a"]).drop_columns("fold"))


def pairs(*rows):
    return pa.Table.from_pylist(
        [dict(zip(("fold", "epoch", "anchor", "partner"), row, strict=True)) for row in rows], schema=schema.PAIRS
    )


@pytest.fixture
def faces(make_faces):
    """Ten people in five folds; rows 0 to 9 anger, 10 and 11 fear; 12 is the third picture of person 0."""
    return make_faces(
        subject=[f"p{person}" for person in (*range(10), 0, 1, 0)],
        expression=["anger"] * 10 + ["fear"] * 2 + ["anger"],
        sequence=[f"s{row}" for row in range(12)] + ["s0"],
        fold=[person % 5 + 1 for person in (*range(10), 0, 1, 0)],
        usable=[row != 8 for row in range(13)],
        reason=[None if row != 8 else "no face found" for row in range(13)],
    )


def test_sound_pairs_pass(faces):
    schema.check_pairs(pairs((5, 0, 1, 2), (3, 1, 0, 1), (4, 0, 0, 1)), faces)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((5, 0, 1, 10), "set/1 and set/10, joins two expressions"),
        ((4, 0, 0, 12), "joins one person"),
        ((4, 0, 5, 5), "joins one person"),
        ((2, 0, 1, 5), "pair 0 of fold 2, set/1 and set/5, leaves the training part"),
        ((1, 0, 1, 3), "leaves the training part"),  # fold 2 validates
        ((5, 0, 5, 1), "leaves the training part"),  # fold 1 validates where 5 tests
        ((5, 0, 1, 0), "leaves the training part"),
        ((1, 0, 8, 3), "not usable"),
    ],
)
def test_each_broken_pair_is_refused(faces, pair, message):
    with pytest.raises(ManifestError, match=message):
        schema.check_pairs(pairs(pair), faces)


def test_parts_are_disjoint_and_leave_no_usable_face_out(faces):
    for fold in range(1, 6):
        parts = schema.parts(faces, fold)
        assert sorted(np.concatenate(list(parts.values()))) == [row for row in range(13) if row != 8]
        people = [set(np.array(faces["subject"])[rows]) for rows in parts.values()]
        assert people[0] | people[1] | people[2] == {f"p{person}" for person in range(10)} - {"p8"}
        assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])


@pytest.mark.parametrize("fold", [0, 6])
def test_an_unknown_fold_names_the_known_ones(faces, fold):
    with pytest.raises(ManifestError, match=f"no fold {fold}; known folds: 1 to 5"):
        schema.parts(faces, fold)


def test_a_manifest_without_folds_says_how_to_make_them(make_faces):
    with pytest.raises(ManifestError, match="fertools make-folds"):
        schema.parts(make_faces(subject=["a"]), 1)
