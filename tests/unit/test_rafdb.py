import re
from collections import Counter
from pathlib import Path

import pytest

from fertools.datasets import rafdb
from fertools.datasets.base import DatasetError, Note, Quarantined, Sample
from fertools.datasets.protocols import Selected
from fertools.datasets.readers import raw_folder
from fertools.preparation import face_rows
from manifests import schema

LIST = "basic/EmoLabel/list_patition_label.txt"
CROP = "basic/Image/aligned/{}_aligned.jpg"
ORIGINAL = "basic/Image/original/{}.jpg"
FACE = "30\t40\n70\t42\n50\t60\n35\t80\n65\t81\n0\n2\n3\n"
CODES = {  # as many of each label as the authors' readme and every public loader count
    "train": {"1": 1290, "2": 281, "3": 717, "4": 4772, "5": 1982, "6": 705, "7": 2524},
    "test": {"1": 329, "2": 74, "3": 160, "4": 1185, "5": 478, "6": 162, "7": 680},
}


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return root


def found(root):
    items = [item for item in rafdb.DATASET.samples(root, None) if not isinstance(item, Note)]
    samples = {item.path.as_posix(): item for item in items if isinstance(item, Sample)}
    bad = {item.path.as_posix(): item.reason for item in items if isinstance(item, Quarantined)}
    assert len(samples) + len(bad) == len(items)
    return samples, bad


def basic(images, place=CROP, text=None):
    """The authors' layout: image -> label."""
    rows = "".join(f"{image}.jpg {label}\n" for image, label in images.items())
    return {LIST: rows if text is None else text} | {place.format(image): "" for image in images}


def sorted_by_class(split, images, tables=True):
    """The shared copy of one split: image -> label."""
    files = {f"DATASET/{split}/{label}/{image}_aligned.jpg": "" for image, label in images.items()}
    rows = "".join(f"{image}_aligned.jpg,{label}\n" for image, label in images.items())
    return files | ({f"{split}_labels.csv": "image,label\n" + rows} if tables else {})


TWO = {"train_00001": "5", "test_0001": "4"}


def test_the_examples_are_read_and_nobody_is_named(tmp_path):
    put(tmp_path, dict.fromkeys(rafdb.DATASET.examples, "") | dict(rafdb.DATASET.example_texts))
    samples, bad = found(tmp_path)
    read = {path: (rafdb.LABELS[sample.label], sample.subject) for path, sample in samples.items()}
    assert read == dict(rafdb.DATASET.examples) and bad == {}
    assert set(rafdb.LABELS.values()) == set(schema.EXPRESSIONS) - {"contempt"}


@pytest.mark.parametrize("layout", ["basic", "class folders"])
def test_a_whole_tree_has_the_published_counts_of_every_class_and_split(tmp_path, layout):
    width = {"train": 5, "test": 4}
    for split, counts in CODES.items():
        labels = [label for label, count in counts.items() for _ in range(count)]
        images = {f"{split}_{number:0{width[split]}}": label for number, label in enumerate(labels, 1)}
        files = basic(images) if layout == "basic" else sorted_by_class(split, images, tables=False)
        earlier = (tmp_path / LIST).read_text() if (tmp_path / LIST).exists() else ""
        put(tmp_path, files)
        if layout == "basic":
            put(tmp_path, {LIST: earlier + files[LIST]})
    samples, bad = found(tmp_path)
    assert bad == {}
    counts = Counter((s.split, s.label) for s in samples.values())
    assert counts == {(split, label): n for split, of in CODES.items() for label, n in of.items()}
    name = rafdb.DATASET.release(tmp_path)
    release = next(release for release in rafdb.DATASET.releases if release.name == name)
    assert {split: dict(of) for split, of in release.counts.items()} == CODES
    assert (sum(release.counts["train"].values()), sum(release.counts["test"].values())) == (12271, 3068)


@pytest.mark.parametrize("name", ["list_patition_label.txt", "list_partition_label.txt"])
@pytest.mark.parametrize("end", ["\n", "\r\n", " \r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_lists_of_either_spelling_line_end_and_start(tmp_path, name, end, start):
    rows = end.join(["train_00001.jpg 5", "test_0001.jpg\t4 0.93", "", ""])
    put(tmp_path, {f"basic/EmoLabel/{name}": start + rows} | {CROP.format(image): "" for image in TWO})
    samples, bad = found(tmp_path)
    assert {s.split: s.label for s in samples.values()} == {"train": "5", "test": "4"} and bad == {}


@pytest.mark.parametrize("nest", ["", "basic", "RAF-DB/basic", "copy/RAF-DB/Basic"])
def test_other_nests_and_other_case(tmp_path, nest):
    files = {
        "emolabel/LIST_patition_label.TXT": "train_00001.jpg 5\n",
        "IMAGE/Aligned/aligned/TRAIN_00001_Aligned.JPG": "",
    }
    put(tmp_path / nest, files)
    put(tmp_path / nest, {"IMAGE/Aligned/.DS_Store": "", "__MACOSX/Image/aligned/x.jpg": ""})
    samples, bad = found(tmp_path)
    assert [(s.label, s.split) for s in samples.values()] == [("5", "train")] and bad == {}


def test_both_spellings_of_the_list_are_one_list(tmp_path):
    put(tmp_path, basic(TWO) | {"basic/EmoLabel/list_partition_label.txt": "train_00001.jpg 1\n"})
    samples, bad = found(tmp_path)
    assert samples[CROP.format("train_00001")].label == "5"
    assert list(bad) == ["basic/EmoLabel/list_partition_label.txt"]


def test_what_the_list_and_the_folder_do_not_share_is_named(tmp_path):
    text = (
        "train_00001.jpg 5\ntrain_00003.jpg 2\ntrain_00004.jpg 1\ntrain_00004.jpg 2\ntest_0001.jpg 4\ntest_0001.jpg 4\n"
    )
    put(tmp_path, basic(TWO, text=text) | {CROP.format("train_00002"): "", CROP.format("train_00004"): ""})
    samples, bad = found(tmp_path)
    assert [path[20:] for path in samples] == ["test_0001_aligned.jpg", "train_00001_aligned.jpg"]
    assert bad == {
        LIST: "line 6: test_0001.jpg again",
        CROP.format("train_00002"): "the list gives it no label",
        CROP.format("train_00003"): "missing: list_patition_label.txt names it",
        CROP.format("train_00004"): "the list gives it 1 and 2",
    }


def test_what_is_no_published_image_is_named(tmp_path):
    strange = {
        "basic/Image/aligned/train_00001_aligned_flip.jpg": "copy of train_00001, augmented or edited",
        "basic/Image/aligned/flip_test_0001_aligned.jpg": "copy of test_0001, augmented or edited",
        "basic/Image/aligned/train_00001.jpg": "an original image among aligned ones",
        "basic/Image/aligned/train_12272_aligned.jpg": "the train images are 1 to 12271",
        "basic/Image/aligned/train_00000_aligned.jpg": "the train images are 1 to 12271",
        "basic/Image/aligned/test_3069_aligned.jpg": "the test images are 1 to 3068",
        "basic/Image/aligned/train_0001_aligned.jpg": "such as the compound one",
        "basic/Image/aligned/readme.txt": "not the name of a RAF-DB image, such as train_00001_aligned.jpg",
    }
    put(tmp_path, basic(TWO) | dict.fromkeys(strange, ""))
    samples, bad = found(tmp_path)
    assert len(samples) == 2
    assert set(bad) == set(strange) and [path for path, words in strange.items() if words not in bad[path]] == []


def test_an_image_that_is_there_twice_is_taken_once(tmp_path):
    put(tmp_path, basic(TWO) | {"basic/Image/aligned/again/test_0001_aligned.jpg": ""})
    (bad,) = (item for item in rafdb.DATASET.samples(tmp_path, None) if isinstance(item, Quarantined))
    reason = "a second test_0001; basic/Image/aligned/again/test_0001_aligned.jpg is taken"
    assert bad == Quarantined(Path(CROP.format("test_0001")), reason, "duplicate")


def test_lines_that_are_no_rows_are_named_and_the_rest_is_read(tmp_path):
    text = "train_00001.jpg 5\ntest_0001.jpg 4\ntrain_00002.jpg\nS005.png 3\ntrain_00002.jpg 0\ntrain_00002.jpg five\n"
    put(tmp_path, basic(TWO, text=text))
    items = list(rafdb.DATASET.samples(tmp_path, None))
    assert sum(isinstance(item, Sample) for item in items) == 2
    assert [item.reason for item in items if isinstance(item, Quarantined)] == [
        "line 3: 'train_00002.jpg' is not an image and its label",
        "line 4: 'S005.png 3' is not an image and its label",
        "line 5: the label 0 of train_00002.jpg is not one of 1 to 7",
        "line 6: 'train_00002.jpg five' is not an image and its label",
    ]


@pytest.mark.parametrize("row", ["train_00002.jpg 8", "train_00002.jpg 11", "test_001.jpg 4", "train_0001.jpg 1"])
def test_the_compound_subset_is_refused(tmp_path, row):
    put(tmp_path, basic(TWO, text=f"train_00001.jpg 5\n{row}\n"))
    with pytest.raises(DatasetError, match=re.escape(f"line 2, '{row}', is of the compound subset")):
        found(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!DOCTYPE html>\n<title>Log in</title>", "a web page saved under this name"),
        ("PK\x03\x04\x00\x00", "still packed"),
        ("", "the file is empty"),
        ("train\0_00001.jpg 5\n", "not text in UTF-8"),
    ],
)
def test_what_is_no_list_is_refused_in_one_line(tmp_path, text, words):
    put(tmp_path, basic(TWO, text=text))
    with pytest.raises(DatasetError, match=words) as refusal:
        found(tmp_path)
    assert "list_patition_label.txt" in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_list_without_line_ends_is_read_in_pieces(tmp_path):
    put(tmp_path, {"list.txt": "x" * 200_000})
    assert [len(line) for line in raw_folder.lines(tmp_path, Path("list.txt"))] == [65536, 65536, 65536, 3392]


# --- originals, their annotations, versions


def test_originals_are_read_where_there_are_no_crops_with_published_boxes_and_landmarks(tmp_path):
    put(tmp_path, basic(TWO, ORIGINAL) | {"basic/Image/aligned/readme.txt": ""})
    put(tmp_path, {"basic/Annotation/manual/train_00001_manu_attri.txt": FACE})
    put(tmp_path, {"basic/Annotation/boundingbox/train_00001_boundingbox.txt": "10.5 20 90 99.5\n"})
    put(tmp_path, {"basic/Annotation/manual/test_0001_manu_attri.txt": FACE.replace("\t", " ").replace("\n", "\r\n")})
    put(tmp_path, {"basic/Annotation/boundingbox/test_0001_boundingbox.txt": "1 2 3 4"})
    samples, bad = found(tmp_path)
    train, test = (samples[ORIGINAL.format(image)] for image in TWO)
    assert train.box == (10.5, 20, 90, 99.5) and test.box == (1, 2, 3, 4) and bad == {}
    assert train.landmarks == test.landmarks == (30, 40, 70, 42, 50, 60, 35, 80, 65, 81)
    assert rafdb.DATASET.landmarks(tmp_path, train) == train.landmarks


def test_crops_come_first_and_have_no_published_landmarks_for_these_are_of_the_originals(tmp_path):
    put(tmp_path, basic(TWO) | basic(TWO, ORIGINAL))
    put(tmp_path, {"basic/Annotation/manual/train_00001_manu_attri.txt": FACE})
    items = list(rafdb.DATASET.samples(tmp_path, None))
    samples = [item for item in items if isinstance(item, Sample)]
    assert {s.path.parent.name for s in samples} == {"aligned"} and {s.landmarks for s in samples} == {None}
    (aside,) = (item for item in items if isinstance(item, Quarantined))
    assert (aside.path.as_posix(), aside.kind) == ("basic/Image/original", "aside")


@pytest.mark.parametrize("place", [CROP, ORIGINAL])
def test_gender_race_and_age_are_read_as_the_authors_readme_codes_them(tmp_path, place):
    codes = {"0\n0\n0\n": ("male", "Caucasian", "0-3"), "1\n1\n1\n": ("female", "African-American", "4-19"),
             "2\n2\n2\n": ("unsure", "Asian", "20-39"), "0\r\n2\r\n3": ("male", "Asian", "40-69"),
             "1\n0\n4": ("female", "Caucasian", "70+")}  # fmt: skip
    images = {f"train_0000{number}": "5" for number in range(1, 6)}
    put(tmp_path, basic(images, place))
    for image, lines in zip(images, codes, strict=True):
        text = FACE.removesuffix("0\n2\n3\n") + lines
        put(tmp_path, {f"basic/Annotation/manual/{image}_manu_attri.txt": text})
    samples, bad = found(tmp_path)
    assert [(s.gender, s.race, s.age) for s in samples.values()] == list(codes.values()) and bad == {}


def test_a_row_has_what_is_known_of_the_person():
    sample = Sample(Path("a.jpg"), "5", gender="unsure", age="70+", race="Asian")
    row = face_rows.lost_row(rafdb.DATASET, Selected(sample, "sadness", "image"))
    assert (row["gender"], row["age"], row["race"], row["subject"]) == ("unsure", "70+", "Asian", None)


def test_crops_whose_people_are_not_described_are_read_and_counted(tmp_path):
    put(tmp_path, basic({f"train_0000{number}": "5" for number in range(1, 5)}))
    texts = {"1": FACE, "2": FACE.replace("0\n2\n3\n", "0\n3\n3\n"), "3": FACE.replace("2\n3\n", "")}
    put(tmp_path, {f"basic/Annotation/manual/train_0000{n}_manu_attri.txt": text for n, text in texts.items()})
    samples, bad = found(tmp_path)
    assert [sample.gender for sample in samples.values()] == ["male", None, None, None]
    assert [Path(path).name for path in bad] == ["train_00002_manu_attri.txt", "train_00003_manu_attri.txt"]
    assert all("not gender 0 to 2, race 0 to 2, age 0 to 4, a line each" in reason for reason in bad.values())
    (note,) = (item.text for item in rafdb.DATASET.samples(tmp_path, None) if isinstance(item, Note))
    assert note == "basic/Annotation/manual: gender, race, age of 3 of 4 images are not read from it"


def test_annotations_that_are_missing_or_broken_are_named_and_the_image_is_kept(tmp_path):
    images = {f"train_0000{number}": "5" for number in range(1, 6)}
    texts = {"1": "30 40\n", "2": FACE.replace("40", "x"), "3": FACE.replace("40", "nan"), "4": FACE}
    put(tmp_path, basic(images, ORIGINAL))
    put(tmp_path, {f"basic/Annotation/manual/train_0000{n}_manu_attri.txt": text for n, text in texts.items()})
    samples, bad = found(tmp_path)
    assert [sample.landmarks is None for sample in samples.values()] == [True, True, True, False, True]
    words = {"1": "not with 5 lines of 2 numbers", "2": "'x'", "3": "not finite", "5": "missing"}
    assert len(bad) == len(words)
    for number, word in words.items():
        assert word in bad[f"basic/Annotation/manual/train_0000{number}_manu_attri.txt"]


@pytest.mark.parametrize(
    ("annotations", "name"),
    [
        (["manual.zip", "boundingbox.zip"], "v1.1"),
        (["manual.zip", "boundingbox/train_00001_boundingbox.txt"], "v1.1"),
        (["manual.zip", "auto.zip"], "v1.0"),
        ([], "v1.0 or v1.1"),
    ],
)
def test_the_version_is_told_by_the_boxes_that_came_with_the_second(tmp_path, annotations, name):
    put(tmp_path, basic(TWO) | {f"basic/Annotation/{file}": "" for file in annotations})
    assert rafdb.DATASET.release(tmp_path) == name
    assert name in [release.name for release in rafdb.DATASET.releases]


def test_still_packed_images_are_told_to_be_unpacked(tmp_path):
    packed = {"basic/Image/aligned.zip": "", "basic/Image/original.zip": "", "basic/Annotation/manual.zip": ""}
    put(tmp_path, {LIST: "train_00001.jpg 5\n"} | packed)
    with pytest.raises(DatasetError, match=r"basic/Image: holds .*; unpack aligned.zip, original.zip first"):
        found(tmp_path)
    put(tmp_path, {ORIGINAL.format("train_00001"): ""})
    samples, bad = found(tmp_path)
    assert list(samples) == [ORIGINAL.format("train_00001")]
    assert sorted(bad) == ["basic/Annotation/manual.zip", "basic/Image/aligned.zip"]
    assert all("unpack it" in reason for reason in bad.values())


# --- class folders


@pytest.mark.parametrize("tables", [True, False])
@pytest.mark.parametrize("root", ["", "DATASET"])
def test_class_folders_are_read_with_tables_or_without(tmp_path, tables, root):
    put(tmp_path, sorted_by_class("train", {"train_00001": "5", "train_00002": "7"}, tables))
    put(tmp_path, sorted_by_class("test", {"test_0001": "4"}, tables))
    samples, bad = found(tmp_path / root)
    assert [(s.path.name[:-12], s.split, s.label) for s in samples.values()] == [
        ("train_00001", "train", "5"),
        ("train_00002", "train", "7"),
        ("test_0001", "test", "4"),
    ]
    assert bad == {} and rafdb.DATASET.release(tmp_path) == "class folders"


def test_a_folder_and_a_table_that_disagree_leave_the_image_out(tmp_path):
    put(tmp_path, sorted_by_class("train", {f"train_0000{n}": "5" for n in range(1, 5)}))
    put(tmp_path, sorted_by_class("test", {"test_0001": "4"}))
    table = ["image,label", "train_00001_aligned.jpg,5", "train_00002_aligned.jpg,6", "train_00009_aligned.jpg,1"]
    put(tmp_path, {"train_labels.csv": "\r\n".join([*table, "train_00004_aligned.jpg,5", "test_0002_aligned.jpg,1"])})
    samples, bad = found(tmp_path)
    assert {Path(path).name[:-12] for path in samples} == {"train_00001", "train_00004", "test_0001"}
    assert bad == {
        "DATASET/train/5/train_00002_aligned.jpg": "in the folder of 5, but labelled 6 by train_labels.csv",
        "DATASET/train/5/train_00003_aligned.jpg": "not named in train_labels.csv",
        "DATASET/train/1/train_00009_aligned.jpg": "missing: the table names it",
        "train_labels.csv": "line 6: test_0002_aligned.jpg is an image of the test part",
    }


def test_an_image_in_two_class_folders_is_taken_only_if_a_table_tells(tmp_path):
    twice = {"DATASET/train/6/train_00001_aligned.jpg": ""}
    put(tmp_path / "a", sorted_by_class("train", {"train_00001": "5"}) | twice)
    put(tmp_path / "b", sorted_by_class("train", {"train_00001": "5"}, tables=False) | twice)
    assert list(found(tmp_path / "a")[0]) == ["DATASET/train/5/train_00001_aligned.jpg"]
    samples, bad = found(tmp_path / "b")
    assert samples == {} and sum("labelled 5 and 6 by its folders" in reason for reason in bad.values()) == 2


@pytest.mark.parametrize("removed", ["train_00001_aligned.jpg", "train_00003_aligned.jpg"])
@pytest.mark.parametrize("tables", [True, False])
def test_a_removed_image_is_named(tmp_path, tables, removed):
    put(tmp_path, sorted_by_class("train", {f"train_0000{n}": "5" for n in range(1, 5)}, tables))
    put(tmp_path, sorted_by_class("test", {"test_0001": "4"}, tables))
    (tmp_path / "DATASET/train/5" / removed).unlink()
    samples, bad = found(tmp_path)
    assert len(samples) == 4
    assert [Path(path).name for path in bad] == [removed] and "missing" in str(bad)


@pytest.mark.parametrize("tables", [True, False])
def test_each_image_of_a_renamed_class_folder_is_named(tmp_path, tables):
    put(tmp_path, sorted_by_class("train", {f"train_0000{n}": "56"[n % 2] for n in range(1, 9)}, tables))
    put(tmp_path, sorted_by_class("test", {"test_0001": "4"}, tables))
    (tmp_path / "DATASET/train/5").rename(tmp_path / "DATASET/train/sad")
    samples, bad = found(tmp_path)
    assert Counter(s.label for s in samples.values()) == {"6": 4, "4": 1}
    assert {path.rpartition("/")[0] for path in bad} == {"DATASET/train/sad"} and len(bad) == 4
    assert set(bad.values()) == {"not in one of the folders 1, 2, 3, 4, 5, 6, 7 in DATASET/train"}


def test_swapped_parts_and_copies_of_test_images_in_train_are_named(tmp_path):
    put(tmp_path, sorted_by_class("train", {"train_00001": "5"}, tables=False))
    put(tmp_path, sorted_by_class("test", {"test_0001": "4", "test_0002": "4"}, tables=False))
    put(tmp_path, {"DATASET/train/4/test_0001_aligned.jpg": "", "DATASET/train/4/test_0002_aligned_rot.jpg": ""})
    put(tmp_path, {"DATASET/train/5/aug_train_00001_aligned.jpg": ""})
    _, bad = found(tmp_path)
    copy, leak = (
        "not a published name but a copy of {}, augmented or edited",
        "; it shows a test image to the train part",
    )
    assert bad == {
        "DATASET/train/4/test_0001_aligned.jpg": "an image of the test part, among those of train",
        "DATASET/train/4/test_0002_aligned_rot.jpg": copy.format("test_0002") + leak,
        "DATASET/train/5/aug_train_00001_aligned.jpg": copy.format("train_00001"),
    }
    for old, new in [("train", "x"), ("test", "train"), ("x", "test")]:
        (tmp_path / "DATASET" / old).rename(tmp_path / "DATASET" / new)
    samples, bad = found(tmp_path)
    assert {Path(path).name for path in samples} == {"test_0001_aligned.jpg"}  # the one that had been moved
    assert bad["DATASET/test/5/train_00001_aligned.jpg"] == "an image of the train part, among those of test"
    assert bad["DATASET/train/4/test_0002_aligned.jpg"] == "an image of the test part, among those of train"


def test_half_a_copy_is_read_and_the_other_half_is_missed(tmp_path):
    put(tmp_path, sorted_by_class("test", {"test_0001": "4"}))
    samples, bad = found(tmp_path)
    assert [s.split for s in samples.values()] == ["test"]
    assert bad == {"DATASET/train": "missing: the train part is not read"}


# --- what is not RAF-DB


@pytest.mark.parametrize(
    "other", ["train/1/0001.jpg", "train/happy/train_00001_aligned.jpg", "basic/Image/aligned/x.jpg"]
)
def test_another_set_is_refused_with_what_was_expected(tmp_path, other):
    put(tmp_path, {other: "", "RAF.zip": ""})
    with pytest.raises(DatasetError) as refusal:
        found(tmp_path)
    assert f"unpack RAF.zip first\nexpected: {rafdb.DATASET.layout}" in str(refusal.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        found(tmp_path / "nowhere")


def test_two_copies_are_not_chosen_between(tmp_path):
    put(tmp_path, basic(TWO) | sorted_by_class("train", {"train_00001": "5"}))
    with pytest.raises(DatasetError, match="RAF-DB is there twice, in basic and DATASET; --raw can name one"):
        found(tmp_path)


def test_no_link_leaves_the_raw_folder(tmp_path):
    secret = put(
        tmp_path / "secret", {"a.jpg": "", "train_00001_manu_attri.txt": FACE, "list.txt": "train_00001.jpg 5\n"}
    )
    root = put(tmp_path / "raw", basic({"train_00001": "5", "train_00002": "5"}, ORIGINAL))
    (root / ORIGINAL.format("train_00002")).unlink()
    (root / ORIGINAL.format("train_00002")).symlink_to(secret / "a.jpg")
    (root / "basic/Annotation/manual").mkdir(parents=True)
    (root / "basic/Annotation/manual/train_00001_manu_attri.txt").symlink_to(secret / "train_00001_manu_attri.txt")
    items = list(rafdb.DATASET.samples(root, None))
    assert [(s.path.name, s.landmarks) for s in items if isinstance(s, Sample)] == [("train_00001.jpg", None)]
    assert sum("leaves the raw folder" in q.reason for q in items if isinstance(q, Quarantined)) == 2
    (root / LIST).unlink()
    (root / LIST).symlink_to(secret / "list.txt")
    with pytest.raises(DatasetError, match="expected"):
        found(root)


def test_a_renamed_folder_of_images_is_named_though_the_originals_are_read(tmp_path):
    put(tmp_path, basic(TWO, ORIGINAL) | {"basic/Image/alined/train_00001_aligned.jpg": ""})
    samples, bad = found(tmp_path)
    assert len(samples) == 2 and bad == {"basic/Image/alined": "not one of the folders aligned and original; not read"}
