import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fertools.datasets import affectnet
from fertools.datasets.base import DatasetError, Quarantined, Sample
from fertools.datasets.protocols import Protocol
from fertools.datasets.readers import npy
from manifests import schema

IMAGES = "Manually_Annotated_Images"
HEADER = affectnet.HEADER
# Every point of a part of the face in one place: brows and jaw, right eye, left eye, nose tip, the mouth's corners.
PLACES = [(0, 0)] * 30 + [(50, 60)] + [(0, 0)] * 5 + [(30, 40)] * 6 + [(70, 42)] * 6 + [(35, 80)] + [(0, 0)] * 5
PLACES += [(65, 81)] + [(0, 0)] * 13
FIVE = (30, 40, 70, 42, 50, 60, 35, 80, 65, 81)


def put(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def found(root):
    items = list(affectnet.DATASET.samples(root, None))
    samples = [item for item in items if isinstance(item, Sample)]
    bad = {item.path.as_posix(): item.reason for item in items if isinstance(item, Quarantined)}
    assert len(samples) + len(bad) == len(items)
    return samples, bad


def row(path, label="1", box="10.0,20.0,100,200", points=PLACES):
    return f"{path},{box},{';'.join(f'{x};{y}' for x, y in points)},{label},0.5,-2\n"


def lists(train, test="", images=(), **more):
    return {"training.csv": HEADER + train, "validation.csv": test, **more} | {
        f"{IMAGES}/{path}": "" for path in images
    }


LAST = row("9/z.jpg", 7)


def test_the_examples_are_read_and_nobody_is_named(tmp_path):
    dataset = affectnet.DATASET
    put(tmp_path, dict.fromkeys(dataset.examples, "") | dict(dataset.example_texts))
    samples, bad = found(tmp_path)
    read = {s.path.as_posix(): (dataset.labels[s.label], s.subject) for s in samples}
    assert read == dict(dataset.examples) and bad == {}
    assert set(dataset.labels.values()) == set(schema.EXPRESSIONS)
    assert Counter(s.split for s in samples) == {"train": 5, "test": 3}


# --- photographs with lists


@pytest.mark.parametrize("nest", ["", "Manually_Annotated", "AffectNet/Manually_Annotated"])
@pytest.mark.parametrize("shelf", ["", "Manually_Annotated_file_lists/"])
@pytest.mark.parametrize("header", ["", HEADER, "\ufeff" + HEADER.replace("\n", "\r\n")])
def test_lists_with_a_header_or_none_in_any_nest(tmp_path, nest, shelf, header):
    put(tmp_path, {f"{shelf}training.csv": row("1/a.jpg", "3.0"), f"{shelf}validation.csv": header + row("1/b.png", 0)})
    put(tmp_path / nest, {f"{IMAGES}/1/a.jpg": "", f"{IMAGES}/1/b.png": "", f"{IMAGES}/1/Thumbs.db": ""})
    samples, bad = found(tmp_path)
    assert [(s.path.name, s.label, s.split) for s in samples] == [("a.jpg", "3", "train"), ("b.png", "0", "test")]
    assert bad == {} and affectnet.DATASET.release(tmp_path) == "photographs"


def test_columns_are_taken_by_name_where_there_is_a_header(tmp_path):
    header = "expression,subDirectory_filePath,extra,facial_landmarks,face_height,face_width,face_y,face_x\n"
    put(tmp_path, lists("", LAST, ["9/z.jpg", "1/a.jpg"]) | {"training.csv": header + "4,1/a.jpg,?,,40,30,20,10\n"})
    sample = found(tmp_path)[0][0]
    assert (sample.label, sample.box, sample.landmarks) == ("4", (10, 20, 40, 60), None)


def test_boxes_are_corners_and_68_landmarks_five(tmp_path):
    put(tmp_path, lists(row("1/a.jpg", box="134.0,61.5,899,512"), LAST, ["1/a.jpg", "9/z.jpg"]))
    sample = found(tmp_path)[0][0]
    assert sample.box == (134, 61.5, 1033, 573.5)
    assert sample.landmarks == FIVE == affectnet.DATASET.landmarks(tmp_path, sample)


def test_an_eye_is_the_mean_of_the_points_around_it(tmp_path):
    around = [(0, 0), (1, 9), (2, 9), (3, 0), (2, -9), (1, -9)]  # their mean is (1.5, 0)
    points = PLACES[:36] + around + [(x + 10, y + 1) for x, y in around] + PLACES[48:]
    put(tmp_path, lists(row("1/a.jpg", points=points), LAST, ["1/a.jpg", "9/z.jpg"]))
    assert found(tmp_path)[0][0].landmarks == (1.5, 0, 11.5, 1, *FIVE[4:])


def test_several_faces_of_one_photograph_are_numbered_and_the_same_face_again_is_named(tmp_path):
    rows = [row("1/a.jpg", 1), row("1/b.jpg", 2), row("1/a.jpg", 5, "200.0,20.0,100,200"), row("1/b.jpg", 2)]
    last = row("1/a.jpg", 6, "400.0,20.0,100,200") + row("9/z.jpg", 7)
    put(tmp_path, lists("".join(rows), last, ["1/a.jpg", "1/b.jpg", "9/z.jpg"]))
    samples, bad = found(tmp_path)
    assert [(s.path.name, s.face, s.label, s.split) for s in samples] == [
        ("a.jpg", 1, "1", "train"),
        ("b.jpg", None, "2", "train"),
        ("a.jpg", 2, "5", "train"),
        ("a.jpg", 3, "6", "test"),
        ("z.jpg", None, "7", "test"),
    ]
    assert bad == {f"{IMAGES}/1/b.jpg": "training.csv, line 5: the same face again"}


def test_no_face_none_and_uncertain_are_labels_that_no_protocol_takes(tmp_path):
    rows = row("1/a.jpg", 8) + row("1/b.jpg", 9) + row("1/c.jpg", 10, "-1,-1,-1,-1", []) + row("1/d.jpg", 7)
    put(tmp_path, lists(rows, LAST, ["1/a.jpg", "1/b.jpg", "1/c.jpg", "1/d.jpg", "9/z.jpg"]))
    samples, bad = found(tmp_path)
    assert [s.label for s in samples] == ["8", "9", "10", "7", "7"] and bad == {}
    assert (samples[2].box, samples[2].landmarks) == (None, None)
    every = Protocol(name="", dataset="affectnet", expressions=schema.EXPRESSIONS, source="")
    assert [s.sample.label for s in every.select(samples, affectnet.LABELS)] == ["7", "7"]


def test_endings_are_read_as_they_are_and_in_another_case(tmp_path):
    names = ["1/a.JPG", "1/b.png", "1/c.bmp", "1/d.BMP", "1/e.tif", "1/f.TIF", "1/g.tiff", "1/h.TIFF"]
    put(tmp_path, lists("".join(map(row, names)) + row("2/lower.jpg"), LAST, [*names, "2/lower.JPG", "9/z.jpg"]))
    samples, bad = found(tmp_path)
    assert [s.path.as_posix() for s in samples[:-1]] == [f"{IMAGES}/{name}" for name in (*names, "2/lower.JPG")]
    assert bad == {}


def test_what_lists_and_folder_do_not_share_is_named(tmp_path):
    train = row("1/a.jpg") + row("1/gone.jpg") + row("../secret.jpg") + row("/etc/passwd")
    put(tmp_path / "raw", lists(train, LAST, ["1/a.jpg", "1/more.jpg", "9/z.jpg"]))
    put(tmp_path, {"secret.jpg": "", "raw/secret.jpg": ""})
    items = list(affectnet.DATASET.samples(tmp_path / "raw", None))
    assert [item.path.name for item in items if isinstance(item, Sample)] == ["a.jpg", "z.jpg"]
    assert [(item.path.as_posix(), item.reason) for item in items if isinstance(item, Quarantined)] == [
        (f"{IMAGES}/1/gone.jpg", "training.csv, line 3: '1/gone.jpg' is not found"),
        ("training.csv", "training.csv, line 4: '../secret.jpg' is not found"),
        ("training.csv", "training.csv, line 5: '/etc/passwd' is not found"),
        (f"{IMAGES}/1/more.jpg", "named in no list"),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (row("1/a.jpg", 11), "the expression '11' is not one of 0 to 10"),
        (row("1/a.jpg", "happy"), "the expression 'happy' is not one of 0 to 10"),
        (row("1/a.jpg", box="1,2,x,4"), "could not convert string to float: 'x'"),
        (row("1/a.jpg", box="1,nan,3,4"), "nan is not a finite number"),
        (row("1/a.jpg", points=PLACES[:67]), "134 numbers for 68 landmarks"),
        (row("1/a.jpg", points=[*PLACES[:30], ("x", 1), *PLACES[31:]]), "could not convert string to float: 'x'"),
    ],
)
def test_a_row_that_cannot_be_read_leaves_its_face_out(tmp_path, line, words):
    put(tmp_path, lists(line, LAST, ["1/a.jpg", "9/z.jpg"]))
    samples, bad = found(tmp_path)
    assert [s.path.name for s in samples] == ["z.jpg"]
    assert bad == {f"{IMAGES}/1/a.jpg": f"training.csv, line 2: {words}"}


def test_a_line_with_other_columns_is_named_by_its_number(tmp_path):
    put(tmp_path, lists("\n1/a.jpg,3\n" + row("1/b.jpg"), LAST, ["1/b.jpg", "9/z.jpg"]))
    samples, bad = found(tmp_path)
    assert [s.path.name for s in samples] == ["b.jpg", "z.jpg"] and bad == {"training.csv": "line 3: 2 columns, not 9"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html><body>Sign in", "a web page saved under this name"),
        ("", "the file is empty"),
        ("Rar!\x1a\x07", "still packed"),
        (
            "path,expression\n",
            "its first line 'path,expression' is neither the header subDirectory_filePath,... nor a row",
        ),
        ("subDirectory_filePath,face_x\n", "no column face_y or face_width"),
    ],
)
def test_what_is_no_list_is_refused_in_one_line(tmp_path, text, words):
    put(tmp_path, lists(row("1/a.jpg"), LAST, ["1/a.jpg", "9/z.jpg"]) | {"validation.csv": text})
    with pytest.raises(DatasetError) as refusal:
        found(tmp_path)
    assert "validation.csv" in str(refusal.value) and words in str(refusal.value) and "\n" not in str(refusal.value)


def test_half_a_copy_is_read_and_the_other_half_is_missed(tmp_path):
    put(tmp_path, lists(row("1/a.jpg"), "", ["1/a.jpg", "9/z.jpg"]))
    (tmp_path / "validation.csv").unlink()
    samples, bad = found(tmp_path)
    assert len(samples) == 1 and bad == {"validation.csv": "missing: the test part is not read"}


def test_the_part_that_a_network_labelled_is_set_aside(tmp_path):
    put(tmp_path, lists(row("1/a.jpg"), LAST, ["1/a.jpg", "9/z.jpg"]))
    put(tmp_path, {"automatically_annotated.csv": HEADER, "Automatically_Annotated_Images/1/c.jpg": ""})
    items = [item for item in affectnet.DATASET.samples(tmp_path, None) if isinstance(item, Quarantined)]
    assert {(item.path.name, item.kind) for item in items} == {
        ("automatically_annotated.csv", "aside"),
        ("Automatically_Annotated_Images", "aside"),
    }


def test_images_that_are_still_packed_are_told_to_be_unpacked(tmp_path):
    put(tmp_path, {"training.csv": HEADER, "Manually_Annotated/Manually_Annotated.part01.rar": ""})
    with pytest.raises(DatasetError, match=r"Manually_Annotated: holds .*; unpack Manually_Annotated.part01.rar first"):
        found(tmp_path)


# --- crops


def array(value, **options):
    file = io.BytesIO()
    np.save(file, np.array(value, **options))
    return file.getvalue()


def crops(labels, part="train_set"):
    files = {f"{part}/images/{name}.jpg": "" for name in labels}
    return files | {f"{part}/annotations/{name}_exp.npy": array(label) for name, label in labels.items()}


@pytest.mark.parametrize("validation", ["val_set", "valid_set", "validation_set", "VAL_SET"])
@pytest.mark.parametrize("nest", ["", "AffectNet", "AffectNet/crops"])
def test_crops_of_both_parts_may_have_one_number(tmp_path, validation, nest):
    put(tmp_path / nest, crops({"0": 1, "10": 7}) | crops({"0": 4}, validation) | {"train_set/images/.DS_Store": ""})
    samples, bad = found(tmp_path)
    assert [(s.path.parts[-3], s.path.name, s.label, s.split) for s in samples] == [
        ("train_set", "0.jpg", "1", "train"),
        ("train_set", "10.jpg", "7", "train"),
        (validation, "0.jpg", "4", "test"),
    ]
    assert bad == {} and affectnet.DATASET.release(tmp_path) == "crops"


@pytest.mark.parametrize("value", [3, "3", 3.0, b"3", [3], ["3"], [[3.0]]])
@pytest.mark.parametrize("options", [{}, {"dtype": "S4"}, {"dtype": "<U8"}, {"dtype": ">i2"}, {"dtype": "f4"}])
def test_labels_may_be_numbers_or_text_of_any_type(tmp_path, value, options):
    put(tmp_path, crops({"1": 0}) | crops({"2": 6}, "val_set"))
    put(tmp_path, {"train_set/annotations/1_exp.npy": array(value, **options)})
    samples, bad = found(tmp_path)
    assert [s.label for s in samples] == ["3", "6"] and bad == {}


class Bomb:
    def __reduce__(self):
        return (print, ("an object was built",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (array(Bomb(), dtype=object), "an array of object, not of numbers; objects are never read"),
        (array([("a", 1)], dtype=[("name", "U1"), ("label", int)]), "not of numbers"),
        (array("happy"), "what is no number"),
        (array(float("nan")), "not finite"),
        (array(2.5), "the expression '2.5' is not one of 0 to 10"),
        (array(-1), "the expression '-1' is not one of 0 to 10"),
        (array([1, 2]), "the expression '2 numbers' is not one of 0 to 10"),
        (array([]), "the expression '0 numbers' is not one of 0 to 10"),
        (array(""), "what is no number"),
        (array(True), "an array of bool, not of numbers"),
        (array([1] * 10_000), "larger than 65536 bytes"),
        (array(3)[:-1], "not whole: 7 bytes for 1 times int64"),
        (array(3) + b"\0", "not whole: 9 bytes for 1 times int64"),
        (array(3)[:40], "not a NumPy array"),
        (array(3).replace(b"(), }", b"(-1,)}"), "not a list of numbers"),
        (array(3).replace(b"(), }", b"1e99 }"), "not a NumPy array"),
        (b"3", "not a NumPy array"),
        (b"", "not a NumPy array"),
        (b"<html>", "not a NumPy array"),
    ],
)
def test_a_label_that_cannot_be_read_leaves_its_crop_out(tmp_path, capsys, content, words):
    put(tmp_path, crops({"1": 0, "2": 1}) | crops({"2": 6}, "val_set") | {"train_set/annotations/1_exp.npy": content})
    samples, bad = found(tmp_path)
    assert [s.label for s in samples] == ["1", "6"] and list(bad) == ["train_set/images/1.jpg"]
    assert words in bad["train_set/images/1.jpg"] and capsys.readouterr().out == ""


def test_what_crops_and_labels_do_not_share_is_named(tmp_path):
    put(tmp_path, crops({"1": 0, "2": 1, "4": 1, "5": 2}) | crops({"1": 0}, "val_set"))
    put(
        tmp_path, dict.fromkeys([f"train_set/images/{name}" for name in ("3.jpg", "4.png", "notes.txt", "x/6.jpg")], "")
    )
    (tmp_path / "train_set/images/5.jpg").unlink()
    samples, bad = found(tmp_path)
    assert [s.path.name for s in samples] == ["1.jpg", "2.jpg", "4.jpg", "1.jpg"]
    assert bad == {
        "train_set/images/3.jpg": "without a label: no annotations/3_exp.npy",
        "train_set/images/4.png": "a second image 4",
        "train_set/images/5.jpg": "missing: annotations/5_exp.npy labels it",
        "train_set/images/notes.txt": "not an image in images/, such as 12.jpg",
        "train_set/images/x/6.jpg": "not an image in images/, such as 12.jpg",
    }


def test_landmarks_of_a_crop_are_read_when_asked_for(tmp_path):
    flat = [float(number) for point in PLACES for number in point]
    put(tmp_path, crops({str(number): 1 for number in range(5)}))
    contents = {"0": array(flat), "1": array(list(map(str, flat))), "2": array(flat[:-2]), "3": b"<html>"}
    put(tmp_path, {f"train_set/annotations/{name}_lnd.npy": content for name, content in contents.items()})
    samples, _ = found(tmp_path)
    assert {s.landmarks for s in samples} == {None}
    published = [affectnet.DATASET.landmarks(tmp_path, sample) for sample in samples]
    assert published == [FIVE, FIVE, None, None, None]


@pytest.mark.parametrize(
    ("lost", "path", "words"),
    [
        ("train_set/annotations", "train_set", "holds no folder annotations"),
        ("train_set/images", "train_set", "holds no folder images"),
        ("train_set", "train_set", "missing: the train part"),
        ("val_set", "val_set", "missing: the test part"),
    ],
)
def test_half_unpacked_crops_say_what_is_missing(tmp_path, lost, path, words):
    put(tmp_path, crops({"1": 0}) | crops({"1": 0}, "val_set"))
    (tmp_path / lost).rename(tmp_path / "elsewhere")
    samples, bad = found(tmp_path)
    assert len(samples) == 1 and list(bad) == [path] and words in bad[path]


# --- AffectNet+


def plus(labels, part):
    files = {f"human_annotated/{part}/images/{name}.jpg": "" for name in labels}
    for name, label in labels.items():
        content = {"human-label": label, "soft-label": [0.1] * 8, "meta-data": {"landmark-68": PLACES}}
        files[f"human_annotated/{part}/annotations/{name}.json"] = json.dumps(content)
    return files


def test_affectnet_plus_is_read_from_its_json_files(tmp_path):
    put(tmp_path / "AffectNet+", plus({"1": 3, "2": "0"}, "train_set") | plus({"1": 7, "8": 10}, "validation_set"))
    put(tmp_path / "AffectNet+", {"no_human_annotated/images/1.jpg": "", "no_human_annotated/annotations/1.json": "{}"})
    samples, bad = found(tmp_path)
    assert [(s.label, s.split) for s in samples] == [("3", "train"), ("0", "train"), ("7", "test"), ("10", "test")]
    assert affectnet.DATASET.landmarks(tmp_path, samples[0]) == FIVE
    assert bad == {"AffectNet+/no_human_annotated": "labelled by a network, not by people; not read"}
    assert affectnet.DATASET.release(tmp_path) == "AffectNet+"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<html>", "not JSON"),
        ("", "not JSON"),
        ("[3]", "not a JSON object"),
        ("{}", "the expression 'None' is not one of 0 to 10"),
        ('{"human-label": true}', "the expression 'True'"),
        ('{"human-label": 11}', "the expression '11'"),
        ("[" * 60_000, "not JSON"),
        (" " * 70_000 + "{}", "larger than 65536 bytes"),
    ],
)
def test_json_that_cannot_be_read_leaves_its_crop_out(tmp_path, content, words):
    put(tmp_path, plus({"1": 3, "2": 4}, "train_set") | plus({"1": 7}, "validation_set"))
    put(tmp_path, {"human_annotated/train_set/annotations/1.json": content})
    samples, bad = found(tmp_path)
    assert [s.label for s in samples] == ["4", "7"] and words in bad["human_annotated/train_set/images/1.jpg"]
    broken = Sample(Path("human_annotated/train_set/images/1.jpg"), "1")
    assert affectnet.DATASET.landmarks(tmp_path, broken) is None


# --- counts, and what is not AffectNet


def test_published_counts_are_those_of_the_lists_and_one_broken_file_of_each_part_less():
    photographs, crop = affectnet.DATASET.releases
    assert {part: sum(of.values()) for part, of in photographs.counts.items()} == {"train": 414_800, "test": 5_500}
    assert {part: sum(of.values()) for part, of in crop.counts.items()} == {"train": 287_651, "test": 3_999}
    fewer = {
        (part, label): photographs.counts[part][label] - num
        for part, of in crop.counts.items()
        for label, num in of.items()
        if num != photographs.counts[part][label]
    }
    assert fewer == {("train", "1"): 1, ("test", "7"): 1}


@pytest.mark.parametrize("derived", ["train/0/a.jpg train/1/b.jpg", "AffectNet/val/happy/1.jpg AffectNet/val/2/1.jpg"])
def test_class_folders_are_refused_with_what_to_do(tmp_path, derived):
    put(tmp_path, dict.fromkeys(derived.split(), ""))
    with pytest.raises(DatasetError, match="a derived copy.*fertools prepare folder --raw .* --labels CSV") as refusal:
        found(tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("other", ["cohn-kanade-images/S005/001/S005_001_00000001.png", "images/1.jpg"])
def test_another_set_is_refused_with_what_was_expected(tmp_path, other):
    put(tmp_path, {other: "", "train_set.zip": ""})
    with pytest.raises(DatasetError) as refusal:
        found(tmp_path)
    assert f"unpack train_set.zip first\nexpected: {affectnet.DATASET.layout}" in str(refusal.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no such folder"):
        found(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (crops({"1": 0}), "photographs \\(training.csv\\) and crops \\(train_set\\) are both there"),
        ({"old/training.csv": HEADER}, "there are both training.csv and old/training.csv"),
    ],
)
def test_two_copies_are_not_chosen_between(tmp_path, more, words):
    put(tmp_path, lists(row("1/a.jpg"), LAST, ["1/a.jpg", "9/z.jpg"]) | more)
    with pytest.raises(DatasetError, match=f"{words}.*--raw can name one"):
        found(tmp_path)


def test_no_link_leaves_the_raw_folder(tmp_path):
    secret = put(tmp_path / "secret", crops({"1": 4}) | {"1_lnd.npy": array(list(range(136)))})
    root = put(tmp_path / "raw", crops({"1": 0, "2": 1}) | crops({"1": 0}, "val_set"))
    for name in ("train_set/images/1.jpg", "train_set/annotations/2_exp.npy"):
        (root / name).unlink()
        (root / name).symlink_to(secret / name.replace("2_", "1_"))
    (root / "val_set/annotations/1_lnd.npy").symlink_to(secret / "1_lnd.npy")
    items = list(affectnet.DATASET.samples(root, None))
    (sample,) = (item for item in items if isinstance(item, Sample))
    assert sample.path.parts[0] == "val_set" and affectnet.DATASET.landmarks(root, sample) is None
    assert sum("leaves the raw folder" in item.reason for item in items if isinstance(item, Quarantined)) == 2


def test_an_array_that_python_2_wrote_is_read_without_a_warning(tmp_path):
    put(tmp_path, {"a.npy": array([3]).replace(b"(1,), }", b"(1L,),}")})
    assert npy.read_numbers(tmp_path / "a.npy") == [3]


def test_a_header_is_read_once_for_all_arrays_that_share_it(tmp_path):
    put(tmp_path, {"a.npy": array(3), "b.npy": array(4), "c.npy": array("10")})
    npy._header.cache_clear()
    assert [npy.read_numbers(tmp_path / name) for name in ("a.npy", "b.npy", "c.npy")] == [[3], [4], [10]]
    assert npy._header.cache_info().hits == 1
