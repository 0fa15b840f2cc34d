import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fertools.folds.assign import FoldError
from fertools.folds.make_folds import describe, make_folds
from manifests import files, schema
from manifests.crop import DEFAULT_CROP

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
    assert read() == first and len(first) == 3 + 5
    make_folds(manifest, 5, "zca", seed=1)
    assert read()["set.pairs.parquet"] != first["set.pairs.parquet"]


def test_a_second_call_does_nothing_and_a_broken_off_one_is_made_good(manifest):
    def times():
        return {path.name: path.stat().st_mtime_ns for path in manifest.parent.rglob("*.parquet")}

    told, first = make_folds(manifest, 5, "zca", seed=0), times()
    assert make_folds(manifest, 5, "zca", seed=0) == told and times() == first
    gone = [files.pairs_path(manifest), files.whitening_path(manifest, 2)]
    for path in gone:
        path.unlink()
    make_folds(manifest, 5, "zca", seed=0)
    assert {name for name, time in times().items() if time > first[name]} == {path.name for path in gone}


def test_a_broken_pair_among_many_is_found_and_named_by_its_place(make_faces):
    faces = make_faces(subject=["a", "b", "c"], fold=[1, 2, 3], sequence=["s0", "s1", "s2"])
    faces = pa.concat_tables([faces, make_faces(face_id=["x"], subject=["d"], fold=[3], sequence=["s3"])])
    many = schema.PAIRS_AT_ONCE + 9
    columns = {"fold": [1] * many, "epoch": [0] * many, "anchor": [2] * many, "partner": [3] * many}
    schema.check_pairs(pa.table(columns, schema=schema.PAIRS), faces)
    columns["partner"][-2] = 1
    with pytest.raises(schema.ManifestError, match=f"pair {many - 2} of fold 1, set/2 and set/1, leaves the training"):
        schema.check_pairs(pa.table(columns, schema=schema.PAIRS), faces)


def test_changing_test_faces_changes_no_bit_of_the_whitening(make_faces, tmp_path):
    made = []
    for number in range(2):
        faces = make_faces(subject=SUBJECTS, sequence=[f"s{row}" for row in range(40)])
        if number:  # people p0 and p5 are fold 1: other pictures of them
            images = faces["image"].to_pylist()
            for row in [0, 1, 2, 3, 20, 21, 22, 23]:
                images[row] = {"bytes": DEFAULT_CROP.encode(np.full((144, 144), 7, np.uint8)), "path": "x"}
            place = faces.schema.get_field_index("image")
            faces = faces.set_column(place, schema.FACES.field("image"), pa.array(images, schema.IMAGE))
        path = tmp_path / str(number) / "set.parquet"
        files.write([faces], path, {})
        make_folds(path, 5, "zca", seed=0)
        made.append({fold: pq.read_table(files.whitening_path(path, fold)) for fold in range(1, 6)})
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
    made = make_folds(path, 5, "none", seed=0)
    text = describe(made)
    assert "fold 1 tests no fear" in text
    assert "fold 2: one person alone shows fear; 2 faces are no anchors" in text
    for fold in made:
        assert fold.anchors == len(set(files.read_pairs(path, fold.fold, files.read(path))["anchor"].tolist()))


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


OFFICIAL = ["train"] * 30 + ["test"] * 10


def test_an_official_split_is_one_fold_and_its_test_part_is_never_trained_on(make_faces, tmp_path):
    path = write(make_faces, tmp_path / "set.parquet", subject=[None] * 40, split=OFFICIAL)
    text = describe(make_folds(path, 10, "zca", seed=0, by="official"))
    faces = files.read(path)
    parts = schema.parts(faces, 1)
    assert parts["test"].tolist() == list(range(30, 40)) and len(parts["validation"]) == 3
    assert len(files.read_pairs(path, 1, faces)["anchor"]) == 100 * len(parts["train"])  # nobody known is all unlike
    assert "nobody's name is published" in text
    with pytest.raises(schema.ManifestError, match="no fold 2; known folds: 1, the official split"):
        schema.parts(faces, 2)


def test_a_published_validation_part_is_kept_and_what_is_in_no_part_is_left_out(make_faces, tmp_path):
    split = [None, None, *["train"] * 18, *["validation"] * 10, *["test"] * 10]
    path = write(make_faces, tmp_path / "set.parquet", subject=[None] * 40, split=split)
    make_folds(path, 10, "none", seed=0, by="official")
    parts = schema.parts(files.read(path), 1)
    assert [rows.tolist() for rows in parts.values()] == [[*range(30, 40)], [*range(20, 30)], [*range(2, 20)]]


def test_grouped_faces_validate_together_under_an_official_split(make_faces, tmp_path):
    group = [f"g{row // 3}" for row in range(30)] + ["g0"] * 10  # the audit's business, not the folds'
    path = write(make_faces, tmp_path / "set.parquet", subject=[None] * 40, split=OFFICIAL, group=group)
    make_folds(path, 5, "none", seed=0, by="official")
    faces = files.read(path)
    train, validation = (set(np.array(faces["group"])[schema.parts(faces, 1)[n]]) for n in ("train", "validation"))
    assert len(validation) == 2 and not train & validation
    for pair in zip(*(files.read_pairs(path, 1, faces)[side] for side in ("anchor", "partner")), strict=True):
        assert group[pair[0]] != group[pair[1]]


def test_folds_by_group_part_no_group(make_faces, tmp_path):
    group = [f"g{row // 4}" for row in range(39)] + [None]
    path = write(make_faces, tmp_path / "set.parquet", subject=[None] * 40, group=group)
    make_folds(path, 3, "none", seed=0, by="group")
    folds = files.read(path)["fold"].to_pylist()
    assert all(len(set(folds[row : row + 4])) == 1 for row in range(0, 36, 4)) and set(folds) == {1, 2, 3}


@pytest.mark.parametrize(
    ("by", "columns", "words"),
    [
        ("group", {}, "no groups; make them with: fertools group"),
        ("official", {}, "no face is in an official test or train part"),
        ("official", {"split": ["train"] * 4}, "no face is in an official test part"),
        ("subject", {}, "--by group"),
    ],
)
def test_folds_that_cannot_be_dealt_say_what_there_is_instead(make_faces, tmp_path, by, columns, words):
    path = write(make_faces, tmp_path / "set.parquet", subject=[None] * 4, **columns)
    with pytest.raises(FoldError, match=words):
        make_folds(path, 3, "none", seed=0, by=by)


def test_folds_are_dealt_as_the_protocol_says(make_faces, tmp_path):
    path = tmp_path / "set.parquet"
    faces = make_faces(subject=[None] * 40, split=OFFICIAL, sequence=[f"s{row}" for row in range(40)])
    files.write([faces], path, {"protocol": {"folds": "official"}})
    make_folds(path, 5, "none", seed=0)
    assert files.read_metadata(path)["folds"]["by"] == "official"


def test_a_set_without_expressions_has_folds_and_no_pairs(make_faces, tmp_path):
    path = write(make_faces, tmp_path / "set.parquet", subject=SUBJECTS, expression=[None] * 40)
    text = describe(make_folds(path, 5, "none", seed=0))
    assert pq.read_table(files.pairs_path(path)).num_rows == 0 and "one person alone" not in text
    assert len(schema.parts(files.read(path), 1)["train"]) == 24


# --- each step says what it was made from


def paths(manifest):
    return sorted(path.name for path in manifest.parent.iterdir())


def test_what_goes_wrong_between_two_steps_leaves_what_is_refused_and_made_good(manifest, monkeypatch):
    """Folds of five are written, and the pairs of four are still there."""

    def fail(*_):
        raise schema.ManifestError("the disk is full")

    make_folds(manifest, 4, "none", seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_pairs", fail)
        with pytest.raises(schema.ManifestError, match="the disk is full"):
            make_folds(manifest, 5, "none", seed=0)
    with pytest.raises(schema.ManifestError, match=r"other rows or folds \(fold differ\); .* fertools make-folds set"):
        files.read_pairs(manifest, 1, files.read(manifest))
    make_folds(manifest, 5, "none", seed=0)
    assert len(files.read_pairs(manifest, 5, files.read(manifest))) == 3
    assert paths(manifest) == ["set.faces", "set.pairs.parquet", "set.parquet"]


def test_whitening_of_other_faces_is_refused(make_faces, tmp_path):
    path = write(make_faces, tmp_path / "set.parquet", subject=SUBJECTS)
    make_folds(path, 5, "zca", seed=0)
    files.read_whitening(path, 2, files.read(path))
    faces = files.read(path, images=True)
    images = pa.array(faces["image"].to_pylist()[::-1], schema.IMAGE)
    files.write([faces.set_column(len(schema.ROWS), "image", images)], path, files.read_metadata(path))
    with pytest.raises(schema.ManifestError, match=r"fitted on other faces \(faces differ\); .* make-folds set"):
        files.read_whitening(path, 2, files.read(path))
    make_folds(path, 5, "zca", seed=0)
    files.read_whitening(path, 2, files.read(path))


def test_groups_that_pairs_were_drawn_without_draw_them_anew(make_faces, tmp_path):
    """Nobody is named: two faces of one group are then no pair."""
    path = write(make_faces, tmp_path / "set.parquet", subject=[None] * 40, split=OFFICIAL)
    make_folds(path, 10, "none", seed=0, by="official")
    before = files.pairs_path(path).read_bytes()
    files.write_column(path, "group", [f"g{row // 2}" for row in range(40)], files.read_metadata(path))
    make_folds(path, 10, "none", seed=0, by="official")
    assert files.pairs_path(path).read_bytes() != before


def test_folds_that_would_split_a_person_leave_all_as_it_was(make_faces, tmp_path):
    path = write(make_faces, tmp_path / "set.parquet", subject=SUBJECTS, split=["train"] * 38 + ["test"] * 2)
    make_folds(path, 5, "zca", seed=0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    with pytest.raises(schema.ManifestError, match="a subject belongs to one fold"):
        make_folds(path, 5, "none", seed=0, by="official")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before
