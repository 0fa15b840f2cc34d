import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fertools.folds import FoldError
from fertools.make_folds import describe, make_folds
from manifests import files, schema

SUBJECTS = [f"p{row // 4}" for row in range(40)]  # forty faces of ten people


def write(make_faces, path, **columns):
    num = len(columns["subject"])
    base = {"expression": ["anger", "fear"] * (num // 2), "sequence": [f"s{row}" for row in range(num)]}
    files.write([make_faces(**{**base, **columns})], path, {})
    return path


@pytest.fixture
def manifest(make_faces, tmp_path):
    return write(make_faces, tmp_path / "set.parquet", subject=SUBJECTS)


def test_pairs_of_every_fold_and_epoch_keep_the_rules(manifest):
    make_folds(manifest, 5, "none", seed=0)
    faces, pairs = files.read(manifest), pq.read_table(files.pairs_path(manifest))
    schema.check_pairs(pairs, faces)
    for fold in range(1, 6):
        mine = pairs.filter(pa.compute.equal(pairs["fold"], fold))
        train = schema.parts(faces, fold)["train"]
        for epoch in (0, 57, 99):
            once = mine.filter(pa.compute.equal(mine["epoch"], epoch))["anchor"].to_pylist()
            assert sorted(once) == train.tolist()  # each training face once an anchor
        assert set(mine["epoch"].to_pylist()) == set(range(100))


def test_the_same_seed_gives_the_same_bytes_and_another_other_pairs(manifest):
    def read():
        return {path.name: path.read_bytes() for path in manifest.parent.rglob("*.parquet")}

    make_folds(manifest, 5, "zca", seed=0)
    first = read()
    make_folds(manifest, 5, "zca", seed=1)
    make_folds(manifest, 5, "zca", seed=0)
    assert read() == first and len(first) == 2 + 5
    make_folds(manifest, 5, "zca", seed=1)
    assert read()["set.pairs.parquet"] != first["set.pairs.parquet"]


def test_a_second_call_does_nothing_and_a_broken_off_one_is_made_good(manifest):
    def times():
        return {path.name: path.stat().st_mtime_ns for path in manifest.parent.rglob("*.parquet")}

    told, first = make_folds(manifest, 5, "zca", seed=0), times()
    assert make_folds(manifest, 5, "zca", seed=0) == told and times() == first
    files.pairs_path(manifest).unlink()
    make_folds(manifest, 5, "zca", seed=0)
    assert all(times()[name] > first[name] for name in first)


def test_changing_test_faces_changes_no_byte_of_the_whitening(make_faces, tmp_path):
    made = []
    for number in range(2):
        faces = make_faces(subject=SUBJECTS, sequence=[f"s{row}" for row in range(40)])
        if number:  # people p0 and p5 are fold 1: other pictures of them
            images = faces["image"].to_pylist()
            for row in [0, 1, 2, 3, 20, 21, 22, 23]:
                images[row] = {"bytes": files.encode_image(np.full((144, 144), 7, np.uint8)), "path": "x"}
            place = faces.schema.get_field_index("image")
            faces = faces.set_column(place, schema.FACES.field("image"), pa.array(images, schema.IMAGE))
        path = tmp_path / str(number) / "set.parquet"
        files.write([faces], path, {})
        make_folds(path, 5, "zca", seed=0)
        made.append({fold: files.whitening_path(path, fold).read_bytes() for fold in range(1, 6)})
    assert made[0][1] == made[1][1]  # they test in fold 1
    assert made[0][5] == made[1][5]  # they validate in fold 5
    assert all(made[0][fold] != made[1][fold] for fold in (2, 3, 4))


def test_statistics_of_an_earlier_whitening_do_not_stay(manifest):
    make_folds(manifest, 5, "zca", seed=0)
    assert files.whitening_path(manifest, 3).exists()
    make_folds(manifest, 5, "standardize", seed=0)
    assert not files.whitening_path(manifest, 3).exists()
    assert files.read_metadata(manifest)["whitening"]["kind"] == "standardize"


def test_a_class_of_one_person_and_a_missing_class_are_told(make_faces, tmp_path):
    expression = ["anger"] * 38 + ["fear"] * 2
    path = write(make_faces, tmp_path / "set.parquet", subject=SUBJECTS, expression=expression)
    text = describe(make_folds(path, 5, "none", seed=0))
    assert "fold 1 tests no fear" in text
    assert "fold 2: one person alone shows fear; 2 faces are no anchors" in text


def test_faces_that_are_not_usable_are_in_a_fold_and_in_no_pair(make_faces, tmp_path):
    usable = [row % 7 != 0 for row in range(40)]
    reason = [None if u else "no face found" for u in usable]
    path = write(make_faces, tmp_path / "set.parquet", subject=SUBJECTS, usable=usable, reason=reason)
    make_folds(path, 5, "none", seed=0)
    assert files.read(path)["fold"].null_count == 0
    pairs = pq.read_table(files.pairs_path(path))
    used = set(pairs["anchor"].to_pylist()) | set(pairs["partner"].to_pylist())
    assert used == {row for row in range(40) if usable[row]}


def test_unknown_people_leave_the_manifest_as_it_was(make_faces, tmp_path):
    path = write(make_faces, tmp_path / "set.parquet", subject=[None] * 4)
    before = path.read_bytes()
    with pytest.raises(FoldError, match="4 of 4 faces have no subject"):
        make_folds(path, 3, "none", seed=0)
    assert path.read_bytes() == before
