"""Catches folders, tables and folds of a user's own that are read as something else, or put a person into two folds."""

import os

import pytest

from fertools.datasets import DATASETS
from fertools.datasets.base import DatasetError, Note, Quarantined, Sample
from fertools.datasets.survey import reading, survey
from fertools.folds import listed
from fertools.folds.assign import FoldError
from fertools.inputs.codes import CodesError
from fertools.preparation.prepare import Summary, describe

FOLDER = DATASETS["folder"]


def put(root, names, text=""):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def read(root, table=None, recode=None):
    labels = None
    if table is not None:
        labels = root / "labels.csv"
        labels.write_text(table)
    items = list(survey(FOLDER, root, labels, recode))
    taken = {
        item.path.as_posix(): (FOLDER.labels[item.label], item.subject, item.split)
        for item in items
        if isinstance(item, Sample)
    }
    bad = {item.path.as_posix(): item.reason for item in items if isinstance(item, Quarantined)}
    return taken, bad, [item.text for item in items if isinstance(item, Note)]


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        (["train/happy/1.jpg", "test/sad/2.jpg"], [("happiness", None, "train"), ("sadness", None, "test")]),
        (["happy/anna/1.jpg", "sad/ben/2.jpg"], [("happiness", "anna", None), ("sadness", "ben", None)]),
        (["anna/happy/1.jpg", "ben/sad/2.jpg"], [("happiness", "anna", None), ("sadness", "ben", None)]),
        (["happy/anna/mon/1.jpg", "sad/anna/tue/2.jpg"], [("happiness", "anna", None), ("sadness", "anna", None)]),
        (["anna/mon/happy/1.jpg", "ben/mon/sad/2.jpg"], [("happiness", "anna", None), ("sadness", "ben", None)]),
        (["photos/0_angry/1.jpg", "photos/1_Happy/2.jpg"], [("anger", None, None), ("happiness", None, None)]),
        (["set/train/anna/Freude/1.jpg", "set/val/ben/Wut/2.jpg"],
         [("happiness", "anna", "train"), ("anger", "ben", "validation")]),
        (["train/images/sad/1.jpg", "test/images/sad/2.jpg"], [("sadness", None, "train"), ("sadness", None, "test")]),
        (["happy/train/1.jpg", "happy/test/2.jpg"], [("happiness", None, "train"), ("happiness", None, "test")]),
        (["happy/Joy/1.jpg", "sad/Joy/2.jpg"], [("happiness", "Joy", None), ("sadness", "Joy", None)]),
    ],
)  # fmt: skip
def test_folders_say_expression_person_and_part_in_any_order(names, meant, tmp_path):
    taken, bad, _ = read(put(tmp_path, names))
    assert taken == dict(zip(names, meant, strict=True)) and bad == {}


def test_numbers_are_not_guessed_at_and_a_map_reads_them(tmp_path):
    put(tmp_path, ["0/anna/1.jpg", "1/ben/2.jpg"])
    with pytest.raises(DatasetError, match="its labels are the numbers 0, 1, .*--map 0=...,1=..."):
        read(tmp_path)
    taken, _, notes = read(tmp_path, recode={"0": "fear", "1": "anger"})
    assert [facts[:2] for facts in taken.values()] == [("fear", "anna"), ("anger", "ben")]
    assert "labels read as: 0 -> fear (1), 1 -> anger (1)" in notes
    with pytest.raises(DatasetError, match="--map"):
        read(tmp_path, "path,expression\n0/anna/1.jpg,0.0\n1/ben/2.jpg,1.0\n")


def test_a_table_gives_parts_and_says_which_words_it_understood(tmp_path):
    put(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    taken, bad, notes = read(
        tmp_path, "path;emotion;usage\n1.jpg;Joie;Training\n2.jpg;sad;PrivateTest\n3.jpg;sad;odd\n"
    )
    assert taken == {"1.jpg": ("happiness", None, "train"), "2.jpg": ("sadness", None, "test")}
    assert "'odd' is not train, validation or test" in bad["3.jpg"]
    assert "semicolons" in notes[0] and "labels read as: Joie -> happiness (1)" in notes


def test_a_table_says_who_the_people_are_and_words_for_nothing_are_none(tmp_path):
    put(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    (tmp_path / "labels.csv").write_text(
        "path,expression,Sex,age_group,ethnicity\n"
        "1.jpg,sad,Female , 20-39,Asian\n2.jpg,sad,female,34.0,n/a\n3.jpg,sad,,,\n"
    )
    items = survey(FOLDER, tmp_path, tmp_path / "labels.csv")
    people = [(item.gender, item.age, item.race) for item in items if isinstance(item, Sample)]
    assert people == [("female", "20-39", "asian"), ("female", "34", None), (None, None, None)]
    taken, bad, _ = read(
        tmp_path, "path,expression,gender\n1.jpg,sad,male\n1.jpg,sad,female\n2.jpg,sad,\n2.jpg,sad,male\n"
    )
    assert list(taken) == ["2.jpg"] and "line 2: sad, male; line 3: sad, female" in bad["1.jpg"]


# --- one file, several rows


@pytest.mark.parametrize("other", ["./a.jpg", "A.JPG", "x/../a.jpg", " a.jpg", "link.jpg"])
def test_rows_that_contradict_each_other_about_one_file_are_both_not_believed(other, tmp_path):
    (put(tmp_path, ["a.jpg", "b.jpg"]) / "link.jpg").symlink_to("a.jpg")
    taken, bad, _ = read(tmp_path, f"path,expression\na.jpg,happy\n{other},sad\nb.jpg,fear\n")
    assert list(taken) == ["b.jpg"]
    assert "contradicts itself: line 2: happy; line 3: sad" in bad["a.jpg"]


def test_rows_that_say_the_same_are_one_face_and_the_fuller_row_counts(tmp_path):
    put(tmp_path, ["a.jpg"])
    taken, bad, notes = read(tmp_path, "path,expression,subject\na.jpg,happy,\n./a.jpg,Happiness,anna\n")
    assert taken == {"a.jpg": ("happiness", "anna", None)} and bad == {}
    assert "1 rows name a file again and say the same" in notes[-1]
    assert read(tmp_path, "path,expression,subject\na.jpg,happy,ben\nA.jpg,happy,anna\n")[0] == {}


def test_one_person_in_several_spellings_is_one_subject(tmp_path):
    put(tmp_path, [f"{number}.jpg" for number in range(5)])
    table = "path,expression,subject\n0.jpg,sad,Anna\n1.jpg,sad,anna \n2.jpg,sad,nan\n3.jpg,sad,7\n4.jpg,sad,7.0\n"
    taken, _, notes = read(tmp_path, table)
    assert [subject for _, subject, _ in taken.values()] == ["Anna", "Anna", None, "7", "7"]
    assert "2 people are written in several ways" in " ".join(notes)


def test_a_table_and_the_disk_are_both_accounted_for(tmp_path):
    put(tmp_path, ["a.jpg", "b.jpg", "notes.txt", "deep/c.png"])
    taken, bad, _ = read(
        tmp_path, 'path,expression\na.jpg,happy\n"gone.jpg,sad\nmissing.jpg,sad\n' + "x" * 300 + ".jpg,sad\n"
    )
    assert list(taken) == ["a.jpg"]
    assert bad.keys() >= {"b.jpg", "deep/c.png", "notes.txt", "labels.csv", "missing.jpg"} and len(bad) == 6
    assert "line 3: a quotation mark" in bad["labels.csv"] and "named in no row" in bad["b.jpg"]


def test_a_name_that_is_no_utf8_is_read_or_named_and_the_rest_goes_on(tmp_path):
    put(tmp_path, map(os.fsdecode, (b"happy/caf\xe9/1.jpg", b"happy/anna/2.jpg", b"sad/\xff.txt")))
    taken, bad, _ = read(tmp_path)
    assert {subject for _, subject, _ in taken.values()} == {r"caf\xe9", "anna"} and len(bad) == 1


# --- other adapters


def test_raf_db_that_counts_from_0_is_refused_and_read_on_request(tmp_path):
    names = [f"train_{number:05}" for number in range(1, 8)]
    put(tmp_path, [f"basic/Image/aligned/{name}_aligned.jpg" for name in names])
    put(tmp_path, ["basic/EmoLabel/list_patition_label.txt"], "".join(f"{n}.jpg {c}\n" for c, n in enumerate(names)))
    rafdb = DATASETS["rafdb"]
    with pytest.raises(DatasetError, match="counts from 0 to 6, the published list from 1 to 7: .*--labels-from 0"):
        list(survey(rafdb, tmp_path))
    items = list(survey(rafdb, tmp_path, None, reading(rafdb, 0, {})))
    assert [item.label for item in items] == list("1234567")


def test_class_folders_and_ckplus_labels_of_another_origin_are_refused(tmp_path):
    put(tmp_path / "raf", [f"DATASET/train/{code}/train_{code + 1:05}_aligned.jpg" for code in range(7)])
    with pytest.raises(DatasetError, match="--labels-from 0 reads it so"):
        list(survey(DATASETS["rafdb"], tmp_path / "raf"))
    for code in range(7):
        put(tmp_path / "ck", [f"cohn-kanade-images/S005/00{code}/S005_00{code}_00000001.jpg"])
        put(tmp_path / "ck", [f"Emotion/S005/00{code}/S005_00{code}_00000001_emotion.txt"], f"\ufeff  {code}.0e+00")
    with pytest.raises(DatasetError, match="counts from 0 to 6"):
        list(survey(DATASETS["ckplus"], tmp_path / "ck"))
    items = list(survey(DATASETS["ckplus"], tmp_path / "ck", None, reading(DATASETS["ckplus"], 0, {})))
    assert [item.label for item in items] == list("1234567")  # JPEGs, and labels with a byte-order mark


def test_a_fer2013_table_of_another_origin_is_refused(tmp_path):
    grey = " ".join(["0"] * 48 * 48)
    put(
        tmp_path,
        ["fer2013.csv"],
        "emotion,pixels,Usage\n" + "".join(f"{code},{grey},Training\n" for code in range(1, 8)),
    )
    with pytest.raises(DatasetError, match="counts from 1 to 7, the published list from 0 to 6"):
        list(survey(DATASETS["fer2013"], tmp_path))


def test_fer2013_reads_a_validation_folder_whatever_it_is_called(tmp_path):
    names = ["train/happy/1.jpg", "test/sad/2.jpg", "val/fear/3.jpg"]
    items = list(survey(DATASETS["fer2013"], put(tmp_path, names)))
    assert {item.path.as_posix(): item.split for item in items} == dict(
        zip(names, ("train", "test", "validation"), strict=True)
    )


def test_affectnet_lists_with_back_slashes_are_read_and_contradictions_are_not_believed(tmp_path):
    put(tmp_path, ["Manually_Annotated_Images/1/a.jpg", "Manually_Annotated_Images/1/b.jpg"])
    rows = ["1\\a.jpg,1,1,9,9,,0,0,0", "1\\b.jpg,1,1,9,9,,0,0,0", "1\\B.jpg,1,1,9,9,,6,0,0"]
    put(tmp_path, ["training.csv"], "\n".join(rows))
    put(tmp_path, ["validation.csv"], "")
    (tmp_path / "validation.csv").write_text("1/x.jpg,1,1,9,9,,0,0,0\n")
    items = list(survey(DATASETS["affectnet"], tmp_path))
    assert [item.path.name for item in items if isinstance(item, Sample)] == ["a.jpg"]
    assert sum("the labels 0 and 6" in item.reason for item in items if isinstance(item, Quarantined)) == 2


def test_options_for_labels_that_a_dataset_does_not_have_are_refused():
    with pytest.raises(CodesError, match="the labels of JAFFE are no numbers"):
        reading(DATASETS["jaffe"], 0, {})
    with pytest.raises(CodesError, match="words of its own"):
        reading(DATASETS["jaffe"], None, {"AN": "anger"})


# --- folds of one's own


def deal(tmp_path, faces, text):
    (tmp_path / "mine.csv").write_text(text)
    return listed.read(tmp_path / "mine.csv", faces)


@pytest.fixture
def faces(make_faces):
    people = [f"set/p{row // 2}" for row in range(6)]
    return make_faces(
        subject=people, face_id=[f"set/{row}" for row in range(6)], source=[f"d/{row}.png" for row in range(6)]
    )


def test_folds_by_path_by_face_id_and_from_0(tmp_path, faces):
    rows = [(row, row // 2) for row in range(6)]
    by_path = deal(tmp_path, faces, "path;fold\n" + "".join(f"{row}.PNG;{fold}\n" for row, fold in rows))
    by_id = deal(tmp_path, faces, "face_id,test_fold\n" + "".join(f"set/{row},fold{fold + 1}\n" for row, fold in rows))
    assert by_path.folds == by_id.folds == [1, 1, 2, 2, 3, 3]
    assert "count from 0" in " ".join(by_path.notes)


def test_parts_are_dealt_as_an_official_split_and_what_is_not_listed_is_in_none(tmp_path, faces):
    dealt = deal(
        tmp_path, faces, "file,split\nd/0.png,test\nd/1.png,test\nd/2.png,Train\nd/3.png,training\n9.png,train\n"
    )
    assert dealt.folds is None and dealt.parts == ["test", "test", "train", "train", None, None]
    assert (
        "1 listed files are not in the manifest" in dealt.notes[1] and "2 faces are not on the list" in dealt.notes[2]
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "path,fold\nd/0.png,1\nd/1.png,2\nd/2.png,3\n",
            "p0 is in folds 1 and 2, so that somebody",
        ),
        ("path,fold\nd/0.png,1\n./d/0.png,2\n", "line 3: .* is in 2, and in 1 by line 2"),
        ("path,fold\nd/0.png,1\nd/2.png,2\n", "2 folds; one tests, one validates, so 3 are needed"),
        ("path,fold\nd/0.png,1\nd/2.png,2\nd/4.png,4\n", "its folds are 1, 2, 4; expected 1, 2, 3"),
        ("path,part\nd/0.png,test\n", "no face is in its train part"),
        ("path,part\nd/0.png,holdout\n", "line 2: part 'holdout'"),
        ("who,fold\nanna,1\n", "columns who, fold; expected path or face_id, and fold or part"),
        ("path,fold\nnone.png,1\n", "none of its files is in the manifest"),
    ],
)
def test_lists_that_deal_no_folds_are_refused_in_words(tmp_path, faces, text, words):
    with pytest.raises(FoldError, match=words):
        deal(tmp_path, faces, text)


# --- words


def test_a_summary_groups_reasons_and_stays_short():
    bad = [{"path": f"table.csv@{n}", "reason": f"row {n}: unknown emotion '{n % 9}'"} for n in range(35_887)]
    bad.append({"path": "odd\x1b.jpg", "reason": "the file is empty"})
    summary = Summary(
        dataset="x", protocol="all", manifest="x.parquet", found=35_888, usable=0, outside=0, quarantined=bad,
        expressions={}, subjects=0, expected=None, drawn=False, notes=["labels read as: joy -> happiness (2)"],
    )  # fmt: skip
    words = describe(summary).splitlines()
    assert len(words) < 15 and "and 35,882 more like these; --json names all" in "\n".join(words)
    assert words[-1].strip() == "labels read as: joy -> happiness (2)" and r"odd\x1b.jpg" in "\n".join(words)
