import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fertools import cli
from fertools.checks.release_report import describe
from fertools.checks.verify import CHUNK, verify
from fertools.datasets import ckplus
from fertools.datasets.base import Dataset, DatasetError, Quarantined, Release, Sample, files_below
from fertools.datasets.reasons import EXAMPLES
from fertools.faces import images

NAMES = {"a": "anger", "f": "fear"}
COUNTS = {"train": {"a": 6, "f": 4}, "test": {"a": 3, "f": 1}}


def toy_samples(root, labels):
    """train/a/anna-0.png: a split, a class, a person and a number; whatever is called otherwise is not known."""
    assert labels is None
    if not (root / "train").is_dir():
        raise DatasetError(f"{root}: no train/")
    for path in files_below(root, Path()):
        if isinstance(path, Quarantined):
            yield path
        elif path.name == "readme.txt":
            yield Quarantined(path, "the authors' words", "aside")
        elif path.name == "list.txt":
            named = (root / path).read_text().split()
            yield from (Quarantined(Path(name), "the list names it") for name in named if not (root / name).exists())
        elif not (name := re.fullmatch(r"(train|test)/(a|f)/(\w+)-\d+\.png", path.as_posix())):
            yield Quarantined(path, "not known")
        else:
            yield Sample(path, name[2], name[3], split=name[1])


def toy(**changes):
    facts = dict(name="toy", title="Toy", source="", licence="", layout="", labels=NAMES, examples={}, example_texts={})
    facts |= dict(companions=re.compile(r"(list\.txt|all\.csv|part\.png)$"))
    release = Release(name="first", counts=COUNTS, subjects=2)
    return Dataset(**(facts | {"samples": toy_samples, "releases": (release,)} | changes))


def put(path, number=0, size=8):
    """A picture of noise; every number gives another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(number).integers(0, 256, (size, size), dtype=np.uint8)
    Image.fromarray(noise).save(path)


@pytest.fixture
def raw(tmp_path):
    """A complete toy."""
    root, number = tmp_path / "raw", 0
    for split, labels in COUNTS.items():
        for label, count in labels.items():
            for take in range(count):
                put(root / split / label / f"{'ann' if take else 'bob'}-{take}.png", number := number + 1)
    return root


def told(verdict):
    return [(finding.kind, finding.path, finding.reason) for finding in verdict.findings]


def kinds(verdict):
    return {finding.kind for finding in verdict.findings}


@pytest.mark.parametrize("deep", [False, True])
def test_a_complete_copy_has_no_findings(raw, deep):
    (raw / "readme.txt").write_text("thanks")
    verdict = verify(toy(), raw, deep=deep)
    assert told(verdict) == [] and verdict.images == 14 and verdict.subjects == 2
    words = describe(verdict)
    assert "complete" in words and ("every image decodes" in words) == deep


def test_no_image_is_opened_unless_asked(raw, monkeypatch):
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    monkeypatch.setattr(images, "read_bytes", lambda *_: pytest.fail("read"))
    assert told(verify(toy(), raw)) == []


def test_where_only_a_count_tells_the_words_say_so(raw):
    (raw / "train/a/ann-3.png").unlink()
    assert told(verify(toy(), raw)) == [("count", None, "train, anger: 1 missing (the release does not say which)")]


def test_where_a_list_tells_the_missing_file_is_named(raw):
    (raw / "list.txt").write_text("train/a/ann-3.png train/a/ann-4.png")
    (raw / "train/a/ann-3.png").unlink()
    assert told(verify(toy(), raw)) == [
        ("count", None, "train, anger: 1 missing"),
        ("missing", "train/a/ann-3.png", "the list names it"),
    ]


def test_a_person_who_is_missing_is_told(raw):
    for path in raw.rglob("bob-*.png"):
        path.rename(path.with_name("ann-9.png"))
    assert told(verify(toy(), raw)) == [("count", None, "people: 1 found, 2 published")]


def test_a_renamed_class_folder_is_extra_and_missing_and_recognised(raw):
    (raw / "train/f").rename(raw / "train/terror")
    verdict = verify(toy(), raw)
    assert told(verdict)[:2] == [
        ("count", None, "train, fear: 4 missing (the release does not say which)"),
        ("folder", "train/terror", "4 extra in an unknown folder; as many are missing of train, fear: was it renamed?"),
    ]
    assert sorted(path for kind, path, _ in told(verdict) if kind == "extra") == [
        "train/terror/ann-1.png",
        "train/terror/ann-2.png",
        "train/terror/ann-3.png",
        "train/terror/bob-0.png",
    ]


def test_a_folder_that_is_extra_is_named_file_by_file(raw):
    for name in ("old/1.png", "old/more/2.png"):
        put(raw / name)
    extra = [Quarantined(Path("old"), "2 files"), Quarantined(Path("train"), "3 files")]
    taken = [item for item in toy_samples(raw, None) if isinstance(item, Sample)]
    whole = toy(samples=lambda *_: iter([*extra, *taken]))
    assert told(verify(whole, raw)) == [
        ("folder", "old", "2 extra in an unknown folder"),
        ("extra", "old/1.png", "2 files"),
        ("extra", "old/more/2.png", "2 files"),
        ("extra", "train", "3 files"),
    ]


def test_swapped_parts_are_said_to_be_swapped_and_what_else_is_missing_is_still_told(raw):
    (raw / "test").rename(raw / "other")
    (raw / "train").rename(raw / "test")
    (raw / "other").rename(raw / "train")
    swapped = ("exchanged", None, "train and test are swapped: each has the counts of the other")
    assert told(verify(toy(), raw)) == [swapped]
    (raw / "test/f/ann-3.png").unlink()
    assert told(verify(toy(), raw)) == [
        swapped,
        ("count", None, "test, fear: 1 missing (the release does not say which)"),
    ]


def test_parts_of_like_size_or_with_some_images_less_are_not_taken_for_swapped(raw):
    for number in (1, 2, 3):
        (raw / f"train/a/ann-{number}.png").unlink()
    assert kinds(verify(toy(), raw)) == {"count"}


def test_parts_are_said_to_be_swapped_where_names_keep_every_file_from_being_taken(raw):
    """As in RAF-DB's class folders: names begin with their part."""
    (raw / "test").rename(raw / "other")
    (raw / "train").rename(raw / "test")
    (raw / "other").rename(raw / "train")
    named = toy(samples=lambda *_: (Quarantined(item.path, "of the other part") for item in toy_samples(*_)))
    swapped = ("exchanged", None, "train and test are swapped: their folders hold each other's files")
    assert [finding for finding in told(verify(named, raw)) if finding[1] is None] == [
        swapped,
        ("count", None, "people: 0 found, 2 published"),
    ]


def test_empty_files_and_folders_are_told_by_size(raw):
    (raw / "train/a/ann-1.png").write_bytes(b"")
    (raw / "notes.txt").touch()
    empty = toy(doubts=lambda root: [Quarantined(path.relative_to(root), "empty") for path in root.glob("no*s")])
    (raw / "nobodys").mkdir()
    assert [(kind, path) for kind, path, _ in told(verify(empty, raw))] == [
        ("empty", "nobodys"),
        ("empty", "notes.txt"),
        ("empty", "train/a/ann-1.png"),
    ]


def test_what_adapters_say_is_there_twice_is_a_duplicate(raw):
    twice = toy(doubts=lambda _: [Quarantined(Path("train/a/ann-1.png"), "there twice", "duplicate")])
    assert told(verify(twice, raw)) == [("duplicate", "train/a/ann-1.png", "there twice")]


def test_a_link_out_of_the_folder_is_extra_and_nothing_beyond_it_is_read(raw, tmp_path):
    put(tmp_path / "secret.png")
    (raw / "train/a/ann-9.png").symlink_to(tmp_path / "secret.png")
    (raw / "train/more").symlink_to(tmp_path)
    verdict = verify(toy(), raw, deep=True)
    assert {path for kind, path, _ in told(verdict) if kind == "extra"} == {"train/a/ann-9.png", "train/more"}
    assert verdict.images == 14 and kinds(verdict) == {"extra"}


# --- releases


def test_a_copy_may_lack_parts_that_a_release_says_it_may_and_no_other(raw):
    soft = Release(name="soft", counts=COUNTS | {"night": {"a": 9}}, subjects=9, all_parts=False)
    verdict = verify(toy(releases=(soft,)), raw)
    assert told(verdict) == [] and verdict.absent == ["night"] and "need not be: night" in describe(verdict)
    (raw / "test/f/bob-0.png").unlink()
    assert [reason[:21] for _, _, reason in told(verify(toy(releases=(soft,)), raw))] == ["test, fear: 1 missing"]


def test_the_release_of_the_nearest_counts_is_taken_unless_the_layout_tells(raw):
    first, second = (Release(name=name, counts={"train": {"a": 6, "f": 4}, "test": {"a": 3, "f": count}})
                     for name, count in (("first", 1), ("second", 5)))  # fmt: skip
    assert verify(toy(releases=(second, first)), raw).release == "first"
    for number in (1, 2, 3):
        put(raw / f"test/f/ann-{number}.png", 100 + number)
    verdict = verify(toy(releases=(first, second)), raw)
    assert verdict.release == "second" and [item.reason[:21] for item in verdict.findings] == ["test, fear: 1 missing"]
    assert verify(toy(releases=(first, second), release=lambda _: "first"), raw).release == "first"
    unpublished = verify(toy(releases=(first, second), release=lambda _: "third"), raw)
    assert unpublished.release is None and "no counts are published" in describe(unpublished)


def test_what_no_release_knows_is_extra(raw):
    small = Release(name="small", counts={"train": {"a": 6}, "test": COUNTS["test"]})
    assert told(verify(toy(releases=(small,)), raw)) == [("count", None, "train, fear: 4 extra")]


# --- bytes


def test_exact_copies_are_found_and_those_across_splits_first(raw):
    picture = (raw / "train/f/ann-2.png").read_bytes()
    (raw / "train/a/ann-4.png").write_bytes(picture)
    (raw / "test/a/ann-1.png").write_bytes((raw / "train/a/ann-5.png").read_bytes())
    assert told(verify(toy(), raw, deep=True)) == [
        ("across", "train/a/ann-5.png", "in train, the same bytes as test/a/ann-1.png in test"),
        ("duplicate", "train/f/ann-2.png", "the same bytes as train/a/ann-4.png"),
    ]


def test_what_does_not_decode_is_named_with_a_reason_and_once(raw):
    whole = (raw / "train/a/ann-1.png").read_bytes()
    (raw / "train/a/ann-1.png").write_bytes(whole[:60])
    for number in (2, 3):
        (raw / f"train/a/ann-{number}.png").write_text("<html>sign in</html>")
    (raw / "train/a/ann-4.png").write_bytes(b"")
    found = {path: (kind, reason) for kind, path, reason in told(verify(toy(), raw, deep=True))}
    assert found["train/a/ann-1.png"] == ("undecodable", "cut short: the PNG has no end")
    assert "starts with '<html>" in found["train/a/ann-2.png"][1] and found["train/a/ann-3.png"][0] == "undecodable"
    assert found["train/a/ann-4.png"] == ("empty", "the file is empty") and len(found) == 4


def test_processes_find_what_one_process_does(tmp_path):
    for number in range(3 * CHUNK + 1):
        put(tmp_path / f"train/a/ann-{number}.png", number % 150)
    (tmp_path / "train/a/ann-7.png").write_text("no")
    alone, done = verify(toy(), tmp_path, deep=True), []
    together = verify(toy(), tmp_path, deep=True, workers=2, progress=lambda *counts: done.append(counts))
    assert told(alone) == told(together) and kinds(alone) == {"count", "duplicate", "undecodable"}
    assert done == [(number, 193) for number in range(1, 194)]


def three_places(*_, sequence=None):
    yield from (Sample(Path("all.csv"), "a", place=number, sequence=sequence) for number in range(3))


def picture_at(root, sample):
    if sample.place == 2:
        raise DatasetError("the row is cut short")
    put(root / "part.png", 5)
    return (root / "part.png").read_bytes()


def test_images_within_a_file_are_named_by_their_place(tmp_path):
    (tmp_path / "all.csv").write_text("rows")
    rows = toy(samples=three_places, read=picture_at, releases=())
    assert told(verify(rows, tmp_path, deep=True)) == [
        ("duplicate", "all.csv@1", "the same bytes as all.csv@0"),
        ("undecodable", "all.csv@2", "the row is cut short"),
    ]


def test_a_video_may_stand_still_and_a_face_beside_another_is_no_copy(tmp_path):
    (tmp_path / "all.csv").write_text("video")
    still = toy(
        samples=partial(three_places, sequence="S1"), read=lambda root, _: picture_at(root, Sample(Path(), "a"))
    )
    assert kinds(verify(still, tmp_path, deep=True)) == {"count"}
    put(tmp_path / "two.png")
    two = [Sample(Path("two.png"), "a", face=1), Sample(Path("two.png"), "f", face=2)]
    release = Release(name="x", counts={"all": {"a": 1, "f": 1}}, unit="faces")
    faces = toy(samples=lambda *_: iter(two), releases=(release,))
    verdict = verify(faces, tmp_path, deep=True)
    assert told(verdict) == [] and verdict.images == 1


# --- words


def test_of_each_kind_the_first_are_named_and_the_rest_counted(raw):
    for number in range(EXAMPLES + 5):
        (raw / f"{number:02}.txt").write_text("x")
    words = describe(verify(toy(), raw)).splitlines()
    assert "extra, or not usable: 10" in words and "  04.txt: not known" in words and "  05.txt: not known" not in words
    assert words[-1] == "    and 5 more like these; --json names all"


def test_the_table_is_aligned_and_adds_up(raw):
    (raw / "test/f/bob-0.png").unlink()
    table = describe(verify(toy(), raw)).splitlines()[1:9]
    assert [line.split() for line in table] == [
        ["part", "label", "expression", "published", "found"],
        ["train", "a", "anger", "6", "6"],
        ["train", "f", "fear", "4", "4"],
        ["train", "total", "10", "10"],
        ["test", "a", "anger", "3", "3"],
        ["test", "f", "fear", "1", "0", "-1"],
        ["test", "total", "4", "3", "-1"],
        ["people", "2", "2"],
    ]
    assert len({line.index(word) for line, word in zip(table[1:3], ("anger", "fear"), strict=True)}) == 1


def test_the_command_tells_by_its_exit_code(tmp_path):
    run = partial(CliRunner().invoke, cli.app, catch_exceptions=False)
    for name in ("fear/ann/1.png", "anger/bob/2.png"):
        put(tmp_path / "own" / name, len(name))
    line = ["verify", "folder", "--raw", str(tmp_path / "own")]
    assert run([*line, "--deep"]).exit_code == 0
    (tmp_path / "own/fear/ann/1.png").write_bytes(b"")
    result = run([*line, "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["findings"] == [
        {"kind": "empty", "path": "fear/ann/1.png", "reason": "the file is empty"}
    ]
    (tmp_path / "holiday").mkdir()
    for words, wrong in (
        ("no dataset 'x'", ["verify", "x"]),
        ("no such folder", ["verify", "ck+", "--raw", str(tmp_path / "nowhere")]),
        ("holds nothing", ["verify", "ck+", "--raw", str(tmp_path / "holiday")]),
    ):
        result = run(wrong)
        assert result.exit_code == 2 and result.stdout == "" and words in result.stderr.splitlines()[0]


# --- CK+


@pytest.fixture(scope="module")
def ck(tmp_path_factory):
    """As many sequences a class and people as published, of tiny images."""
    from fertools.drawn import published

    root = tmp_path_factory.mktemp("ck")
    published.draw(root, "ckplus")
    return root


def test_ckplus_with_the_published_counts_is_complete(ck):
    verdict = verify(ckplus.DATASET, ck)
    assert told(verdict) == [] and sum(count.found for count in verdict.counts) == 593 and verdict.subjects == 123


def sequence(root, subject="S005", last=9, landmarks=False):
    """One labelled sequence with its action units."""
    stem = f"{subject}_001_{{:08d}}"
    texts = [f"{kind}/{subject}/001/{stem.format(last)}_{kind.lower()}.txt" for kind in ("Emotion", "FACS")]
    numbers = range(1, last + 1)
    texts += [f"Landmarks/{subject}/001/{stem.format(n)}_landmarks.txt" for n in numbers if landmarks]
    for name in [*texts, *(f"cohn-kanade-images/{subject}/001/{stem.format(number)}.png" for number in numbers)]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("   3.0000000e+00\n")
    return root


IMAGE = "cohn-kanade-images/S005/001/S005_001_0000000{}.png"
EMOTION, FACS = (f"{kind}/S005/001/S005_001_00000009_{kind.lower()}.txt" for kind in ("Emotion", "FACS"))
LANDMARKS = "Landmarks/S005/001/S005_001_0000000{}_landmarks.txt"


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        ([IMAGE.format(4)], {IMAGE.format(4): "a gap in the numbers of its sequence"}),
        ([IMAGE.format(1), IMAGE.format(2)], dict.fromkeys(map(IMAGE.format, (1, 2)), "its sequence starts at 3")),
        ([IMAGE.format(9)], {IMAGE.format(9): f"{FACS} is of it"}),
        ([IMAGE.format(9), EMOTION], {IMAGE.format(9): f"{FACS} is of it"}),
        ([IMAGE.format(9), FACS], {IMAGE.format(9): f"{EMOTION} is of it"}),
        ([IMAGE.format(8), IMAGE.format(9)], {IMAGE.format(8): "gap", IMAGE.format(9): "is of it"}),
        ([EMOTION, FACS], {}),  # unlabelled: nothing tells
    ],
)
def test_ckplus_names_the_frames_that_are_gone_and_prepares_the_rest(tmp_path, gone, named):
    sequence(sequence(tmp_path), "S006")
    for name in gone:
        (tmp_path / name).unlink()
    doubts = {item.path.as_posix(): item.reason for item in ckplus.DATASET.doubts(tmp_path)}
    assert doubts.keys() == named.keys() and all(words in doubts[path] for path, words in named.items())
    assert all(isinstance(item, Sample) for item in ckplus.samples(tmp_path))
    found = {item.path for item in verify(ckplus.DATASET, tmp_path).findings if item.kind == "missing"}
    assert found == named.keys()


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        (LANDMARKS.format(3), {LANDMARKS.format(3): "S005_001_00000003.png is"}),
        (IMAGE.format(3), {IMAGE.format(3): f"{LANDMARKS.format(3)} is of it"}),
    ],
)
def test_ckplus_compares_landmarks_with_images(tmp_path, gone, named):
    sequence(tmp_path, landmarks=True)
    assert list(ckplus.DATASET.doubts(tmp_path)) == []
    (tmp_path / gone).unlink()
    doubts = {item.path.as_posix(): item.reason for item in ckplus.DATASET.doubts(tmp_path)}
    assert doubts.keys() == named.keys() and all(words in doubts[path] for path, words in named.items())


def test_ckplus_names_a_sequence_that_is_gone_and_a_label_that_is_not_of_the_last_frame(tmp_path):
    sequence(sequence(tmp_path), "S006")
    for path in (tmp_path / "cohn-kanade-images/S006/001").iterdir():
        path.unlink()
    (tmp_path / "cohn-kanade-images/S006/001").rmdir()
    (tmp_path / EMOTION).rename(tmp_path / EMOTION.replace("009_", "007_"))
    assert {item.path.as_posix(): item.reason for item in ckplus.DATASET.doubts(tmp_path)} == {
        "cohn-kanade-images/S006/001": "a sequence that is not there, though Emotion and FACS has it",
        EMOTION.replace("009_", "007_"): "is of frame 7, and not of the last, 9",
    }


def test_ckplus_does_not_name_a_hundred_million_frames(tmp_path):
    sequence(tmp_path)
    (tmp_path / IMAGE.format(9)).rename(tmp_path / "cohn-kanade-images/S005/001/S005_001_99999999.png")
    assert len(list(ckplus.DATASET.doubts(tmp_path))) < 200
