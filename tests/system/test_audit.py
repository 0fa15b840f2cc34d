import html
import json
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fertools.checks import audit, leaks, splits
from fertools.checks.splits import Split, SplitError
from fertools.cli import app
from fertools.folds.assign import step_folds
from fertools.folds.identities.embed import Embedder
from fertools.folds.identities.group import group
from manifests import faces as crops
from manifests import files
from manifests.crop import DEFAULT_CROP

LISTED = Path(__file__).parents[1] / "ckplus_sequences.txt"
# The widely copied split of CK+48: its order of classes, faces a class, test faces a class and fold.
CK48 = {"anger": 12, "disgust": 18, "fear": 9, "happiness": 21, "sadness": 9, "surprise": 24, "contempt": 6}
ONE = np.empty(0, np.int64)


@pytest.fixture(scope="module")
def ckplus48():
    """CK+48's 981 images: expression, subject and sequence, per class sorted by file name, three frames a sequence."""
    rows = [line.split() for line in LISTED.read_text().split("\n") if line and not line.startswith("#")]
    faces = [(klass, name.split("/")[0], name) for klass in CK48 for name, shown in sorted(rows) if shown == klass]
    return [np.repeat(column, 3).tolist() for column in zip(*faces, strict=True)]


def codes(names):
    return np.unique(names, return_inverse=True)[1]


def rates(made, classes, subjects, sequences):
    keys = {"subject": codes(subjects), "sequence": codes(sequences)}
    total = leaks.pooled([leaks.examine(split, keys) for split in made])
    assert len(classes) == len(keys["subject"])
    return {leak.kind: leak.rate for leak in total.leaks if leak.part == "train"}


def test_the_copied_split_by_position_shows_people_of_its_training_part(ckplus48):
    made = splits.contiguous(ckplus48[0], CK48)
    assert Counter(ckplus48[0]) == dict(
        anger=135, contempt=54, disgust=177, fear=75, happiness=207, sadness=84, surprise=249
    )
    assert {len(split.test) for split in made} == {99} and made[9].test[0] == 135 - 12
    assert len(np.unique(np.concatenate([split.test for split in made]))) < 981  # and folds 9 and 10 overlap
    found = rates(made, *ckplus48)
    assert round(found["subject"], 3) == 0.633 and found["sequence"] == 0


def test_frames_dealt_by_chance_show_people_and_recordings_of_the_training_part(ckplus48):
    found = [rates(splits.shuffled(981, 10, np.random.default_rng(seed)), *ckplus48) for seed in range(5)]
    assert np.mean([one["subject"] for one in found]) > 0.998
    assert 0.985 < np.mean([one["sequence"] for one in found]) < 0.996  # 99.3 % in a published draw


def test_folds_by_subject_show_nobody_of_the_training_part(ckplus48):
    folds = np.array(step_folds(ckplus48[1], 10))
    made = [Split(str(k), np.flatnonzero(folds == k), ONE, np.flatnonzero(folds != k)) for k in range(1, 11)]
    assert rates(made, *ckplus48) == {"subject": 0, "sequence": 0}


def test_the_interval_is_wilson_s():
    split = Split("", np.arange(10), ONE, np.array([10]))
    (leak,) = leaks.examine(split, {"subject": np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0])}).leaks
    assert leak.faces == 1 and leak.interval == pytest.approx((0.0179, 0.4042), abs=1e-4)  # Newcombe 1998


def test_what_is_not_known_is_shared_with_nothing_and_is_not_judged():
    split = Split("", np.array([0, 1]), np.array([2]), np.array([3]))
    train, validation = leaks.examine(split, {"subject": np.array([-1, 4, -1, 4])}).leaks
    assert (train.faces, train.judged, train.rate) == (1, 1, 1.0)
    assert (validation.faces, validation.judged) == (0, 1)
    unknown = leaks.examine(split, {"subject": np.full(4, -1)}).leaks[0]
    assert unknown.rate is None and unknown.interval is None


# --- a manifest


def crop(person, shot):
    """A crop of its own kind: smooth noise, so that no other crop is near it."""
    rng = np.random.default_rng([person, shot])
    noise = cv2.GaussianBlur(rng.normal(size=(144, 144)), (0, 0), 5)
    return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)


def image(pixels):
    return {"bytes": DEFAULT_CROP.encode(pixels), "path": "x.pgm"}


@pytest.fixture
def write(make_faces, tmp_path):
    """Write a manifest of 12 faces, two each of six people in three folds, changed as asked."""

    def make(**columns):
        people = [row // 2 for row in range(12)]
        base = {
            "subject": [f"set/p{person}" for person in people],
            "sequence": [f"set/p{row // 2}/{row % 2}" for row in range(12)],
            "source": [f"p{row // 2}/{row % 2}.png" for row in range(12)],
            "source_sha256": [f"{row:064x}" for row in range(12)],
            "fold": [person % 3 + 1 for person in people],
            "image": [image(crop(row // 2, row % 2)) for row in range(12)],
        }
        manifests = tmp_path / "manifests"
        files.write([make_faces(**{**base, **columns})], manifests / "set.parquet", {"title": "Set", "licence": "none"})
        return manifests / "set.parquet"

    return make


def run(line, code):
    result = CliRunner().invoke(app, line.split(), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout if code < 2 else result.stderr


def found(manifest, **options):
    report = audit.audit(manifest, **options)
    return {(leak.kind, leak.part): leak.faces for leak in report.total.leaks if leak.faces}


def test_a_clean_manifest_lets_a_pipeline_go_on(write):
    manifest = write()
    told = run(f"audit set --manifests {manifest.parent}", 0)
    assert "12 test faces in 3 split(s)" in told and "0 of 12 test faces" in told
    assert re.search(r"group +in train +not known", told)


def test_a_near_copy_is_named_shown_and_stops_a_pipeline(write, tmp_path):
    pixels = [crop(row // 2, row % 2) for row in range(12)]
    pixels[2] = np.ascontiguousarray(pixels[10][:, ::-1])  # fold 2 and fold 3
    manifest = write(image=[image(those) for those in pixels])
    assert found(manifest) == {("near copy", "validation"): 1, ("near copy", "train"): 1}
    page = tmp_path / "audit.html"
    told = run(f"audit set --manifests {manifest.parent} --html {page} --json", 1)
    pairs = json.loads(told)["worst"]["near copy"]
    assert {(pair["test"], pair["other"]) for pair in pairs} == {("set/2", "set/10"), ("set/10", "set/2")}
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 4 and "The split leaks" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "near copy: set/2 and set/10" in run(f"audit set --manifests {manifest.parent} --fold 2", 1)
    run(f"audit set --manifests {manifest.parent} --fold 1", 0)


def test_what_an_embedder_takes_for_two_people_is_no_near_copy(write):
    pixels = [crop(row // 2, row % 2) for row in range(12)]
    pixels[2] = np.clip(pixels[10] * 0.95, 0, 255).astype(np.uint8)
    manifest = write(image=[image(those) for those in pixels])
    assert {kind for kind, _ in found(manifest)} == {"near copy"}
    one, two = np.eye(12, dtype=np.float32), np.eye(12, dtype=np.float32)
    two[10] = two[2]
    group(manifest, Embedder("a", "none", "a", lambda crops: two[: len(crops)]), threshold=0.5)
    assert {kind for kind, _ in found(manifest)} == {"near copy"}
    group(manifest, Embedder("b", "none", "b", lambda crops: one[: len(crops)]), threshold=0.5)
    assert found(manifest) == {}


def test_the_same_recording_and_the_same_file_are_told_as_such_and_not_as_near_copies(write):
    pixels = [crop(row // 2, row % 2) for row in range(12)]
    pixels[4], pixels[7] = pixels[0], pixels[3]
    manifest = write(
        image=[image(those) for those in pixels],
        sequence=["set/a" if row in (0, 4) else f"set/{row}" for row in range(12)],
        source_sha256=["f" * 64 if row in (3, 7) else f"{row:064x}" for row in range(12)],
    )
    assert {kind for kind, _ in found(manifest)} == {"sequence", "exact copy"}


def test_groups_count_where_no_subject_is_published_and_only_there(write):
    groups = ["set/group000001" if row in (0, 2) else f"set/group1000{row:02d}" for row in range(12)]
    assert found(write(group=groups)) == {}
    nobody = found(write(group=groups, subject=[None] * 12))
    assert nobody == {("group", "train"): 1, ("group", "validation"): 1}


def test_an_official_split_is_audited_before_folds_are_dealt(write):
    parts = ["test" if row < 4 else "train" for row in range(12)]
    report = audit.audit(write(fold=[None] * 12, split=parts, subject=[None] * 12))
    assert [one.name for one in report.splits] == ["official split"] and report.total.num_test == 4
    with pytest.raises(SplitError, match="no folds and no official split; .*make-folds.*--splits"):
        audit.audit(write(fold=[None] * 12))


# --- a user's list


def test_a_list_is_audited_and_what_the_manifest_lacks_is_named(write, tmp_path):
    manifest = write()
    rows = ["file,part", *(f"p{row // 2}/{row % 2}.png,{'test' if row % 2 else 'train'}" for row in range(12))]
    listed = tmp_path / "mine.csv"
    listed.write_text("\n".join([*rows, "p9/0.png,train", "P0/9.PNG,test"]))
    report = audit.audit(manifest, listed)
    assert {leak.kind: leak.faces for leak in report.total.leaks if leak.faces} == {"subject": 6}
    assert report.unknown == ["p9/0.png", "P0/9.PNG"]
    assert "listed files are not in the manifest" in run(
        f"audit set --manifests {manifest.parent} --splits {listed}", 1
    )


def test_a_file_that_is_listed_in_two_parts_is_an_exact_copy(write, tmp_path):
    listed = tmp_path / "mine.csv"
    listed.write_text("file,part\np0/0.png,test\np0/0.png,train\np1/0.png,train\n")
    assert found(write(), listed=listed)[("exact copy", "train")] == 1


def test_folds_of_a_list_and_files_by_their_last_name(write, tmp_path):
    manifest = write(source=[f"deep/{row}.png" for row in range(12)])
    listed = tmp_path / "mine.csv"
    listed.write_text("part,fold,file\ntest,1,0.png\ntrain,1,2.png\ntest,2,C:\\raw\\deep\\1.png\ntrain,2,0.png\n")
    assert [one.name for one in audit.audit(manifest, listed).splits] == ["fold 1", "fold 2"]
    assert found(manifest, listed=listed, folds=[2]) == {("subject", "train"): 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["mine.csv: cannot be read: no such file"]),
        ("<!doctype html><html><title>Sign in</title>", ["starts with '<!doctype html>", "a web page"]),
        ("file,part\np0/0.png,holdout\n", ["line 2", "part 'holdout'", "train, validation, test"]),
        ("file,part\np0/0.png,test\n", ["no usable face", "train part"]),
        ("file,part\na.png,test\n", ["none of its files", "a.png"]),
        ("file,part\n0.png,test\n", ["line 2", "'0.png' may be p0/0.png or p1/0.png", "give its path"]),
        ("file,part\np0/0.png\n", ["line 2", "part ''"]),
        ("PK\x03\x04\x00\x00", ["still packed", "unpack an archive"]),
    ],
)
def test_what_is_no_list_is_refused_in_words(text, words, write, tmp_path):
    listed = tmp_path / "mine.csv"
    if text is not None:
        listed.write_text(text)
    error = run(f"audit set --manifests {write().parent} --splits {listed}", 2)
    assert error.startswith("error: ") and [word for word in words if word not in error] == [], error


def test_a_fold_that_is_not_there_is_refused(write, tmp_path):
    manifest = write()
    assert "no fold 7" in run(f"audit set --manifests {manifest.parent} --fold 7", 2)
    listed = tmp_path / "mine.csv"
    listed.write_text("file,part\np0/0.png,test\np1/0.png,train\n")
    assert "has no fold 7" in run(f"audit set --manifests {manifest.parent} --splits {listed} --fold 7", 2)
    assert "is not prepared" in run(f"audit raf-db --manifests {manifest.parent}", 2)


# --- two manifests


def test_faces_are_audited_against_all_of_another_dataset(write, tmp_path):
    """A darker copy, and a person of the same name; what the other dataset shares within itself is not told."""
    pixels = [crop(100 + row // 2, row % 2) for row in range(12)]
    pixels[2], pixels[9] = np.clip(crop(1, 1) * 0.9, 0, 255).astype(np.uint8), pixels[8]
    names = [f"other/{row}" for row in range(12)]
    other = write(
        image=[image(those) for those in pixels], subject=[*names[:11], "set/p5"], face_id=names, sequence=names,
        source_sha256=[f"{row + 99:064x}" for row in range(12)],
    )  # fmt: skip
    crops.folder(other).rename(tmp_path / "other.faces")
    other = other.rename(tmp_path / "other.parquet")
    report = audit.against(write(), other)
    assert {leak.kind: leak.faces for leak in report.total.leaks} == {
        "subject": 2, "sequence": 0, "exact copy": 0, "near copy": 1
    }  # fmt: skip
    (pair,) = report.worst["near copy"]
    assert (pair.test, pair.other) == ("set/3", "other/2")
    assert "against" in audit.describe(report) and audit.page(report).count("data:image/png") == 6


@pytest.mark.parametrize(
    ("columns", "told", "strict"),
    [
        ({}, "No test face shares anything with another part.", 0),
        ({"subject": [None] * 12}, "Nothing found, but nobody is named: test faces may show people of another", 3),
        ({"subject": [None] * 4 + [f"set/p{row // 2}" for row in range(4, 12)]}, "is known of 8 of 12 test faces", 3),
        ({"subject": [None] * 12, "group": [str(row // 2) for row in range(12)]}, "an embedder's guess", 0),
    ],
    ids=["named", "nobody", "some", "groups"],
)
def test_the_verdict_claims_no_more_than_is_known(columns, told, strict, write, tmp_path):
    line = f"audit set --manifests {write(**columns).parent}"
    assert told in run(f"{line} --html {tmp_path}/audit.html", 0)
    assert told in html.unescape((tmp_path / "audit.html").read_text())
    assert json.loads(run(f"{line} --json", 0))["verdict"].count(told) == 1
    result = CliRunner().invoke(app, [*line.split(), "--strict"], catch_exceptions=False)
    assert result.exit_code == strict and told in result.stdout


def test_against_another_dataset_no_split_is_taken(write):
    error = run(f"audit set --manifests {write().parent} --against set --fold 1", 2)
    assert "--against takes all faces" in error


# --- groups as a user makes them


def test_groups_by_a_file_of_weights_name_their_licence(write, tmp_path):
    from test_embed import GREY

    (tmp_path / "quarters.onnx").write_bytes(GREY)
    manifest = write(subject=[None] * 12)
    line = f"group set --manifests {manifest.parent} --embedder {tmp_path}/quarters.onnx --device cpu"
    result = CliRunner().invoke(app, line.split(), catch_exceptions=False)
    assert result.exit_code == 0 and "quarters.onnx: not known: that of whoever gave you" in result.stderr
    assert "12 faces in" in result.stdout
    assert files.read(manifest)["group"].null_count == 0 and files.read(manifest)["subject"].null_count == 12
    assert json.loads(run(f"{line} --threshold -1 --json", 0))["groups"] == 1
    told = json.loads(run(f"audit set --manifests {manifest.parent} --json", 1))
    assert {leak["kind"] for leak in told["total"]["leaks"] if leak["faces"]} == {"group"}


def test_an_embedder_that_is_not_there_is_refused(write):
    error = run_refused(f"group set --manifests {write().parent} --embedder none.onnx")
    assert "none.onnx: no such file" in error


def run_refused(line):
    result = CliRunner().invoke(app, line.split(), catch_exceptions=False)
    assert result.exit_code == 1
    return result.stderr
