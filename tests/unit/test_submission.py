import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest_files import copy_manifest, with_column
from typer.testing import CliRunner

from manifests import files
from trainer.cli.main import app
from trainer.evaluation import submission as library
from trainer.evaluation.reporting import submission_report
from trainer.evaluation.submission import SubmissionError

THREE = ("anger", "fear", "happiness")


@pytest.fixture(scope="module")
def manifest(patterns, tmp_path_factory):
    """The patterns, a file each."""
    copied = copy_manifest(patterns, tmp_path_factory.mktemp("copy") / "set.parquet")
    names = files.read(copied)["face_id"].to_pylist()
    with_column(copied, "source", [f"raw/{name}.png" for name in names])
    return copied


@pytest.fixture(scope="module")
def faces(manifest):
    return files.read(manifest)


@pytest.fixture
def write(tmp_path):
    def write(text, name="table.csv", encoding="utf-8"):
        (tmp_path / name).write_text(text, encoding=encoding)
        return tmp_path / name

    return write


def labels(faces, change=None):
    rows = dict(zip(faces["face_id"].to_pylist(), faces["expression"].to_pylist(), strict=True))
    return "face_id,label\n" + "".join(f"{name},{label}\n" for name, label in (rows | (change or {})).items())


def judged(table, manifest, faces, **how):
    return library.judge(library.read(table, faces), manifest, faces, **how)


def test_right_labels_are_all_right(write, manifest, faces):
    scores = judged(write(labels(faces)), manifest, faces)
    assert scores["classification"]["accuracy"] == scores["classification"]["macro_f1"] == 1
    assert scores["coverage"]["missing"] == 0 and scores["people"] == {"faces": 48, "named": 48, "grouped": 0}
    assert {name: of["faces"] for name, of in scores["by_expression"].items()} == dict.fromkeys(THREE, 16)
    assert "calibration" not in scores


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("named", ["face_id", "path"])
def test_probabilities_come_by_any_name_separator_and_order(separator, named, write, manifest, faces):
    """One face in four is told wrong, with 0.7."""
    lines = [separator.join([named.upper(), "p_happiness", "Anger", "fear", "comment"])]
    column = faces["face_id" if named == "face_id" else "source"].to_pylist()
    for row, (name, truth) in enumerate(zip(column, faces["expression"].to_pylist(), strict=True)):
        told = THREE[(THREE.index(truth) + (row % 4 == 0)) % 3]
        shares = {each: "0.7" if each == told else "0.15" for each in THREE}
        written = name.removeprefix("raw/") if named == "path" else name
        lines.append(separator.join([written, shares["happiness"], shares["anger"], shares["fear"], "x"]))
    scores = judged(write("\r\n".join(reversed(lines[1:] + lines[:1])), encoding="utf-8-sig"), manifest, faces)
    assert scores["classification"]["accuracy"] == 0.75
    assert scores["calibration"]["calibration_error"] == pytest.approx(0.05)
    assert scores["calibration"]["brier"] == pytest.approx(0.75 * 0.135 + 0.25 * (0.7**2 + 0.85**2 + 0.15**2))


def test_missing_faces_are_counted_named_and_wrong_at_worst(write, manifest, faces):
    table = write("\n".join(labels(faces).splitlines()[:-12]))
    scores = judged(table, manifest, faces)
    coverage = scores["coverage"]
    assert (coverage["missing"], coverage["accuracy_with_missing_as_wrong"]) == (12, 0.75)
    assert coverage["missing_faces"] == faces["face_id"].to_pylist()[-12:]
    assert "12 of 48 faces are not predicted: set/6/anger/0" in submission_report.text(scores)


def test_the_test_part_of_a_fold_is_judged_alone(write, manifest, faces):
    scores = judged(write(labels(faces)), manifest, faces, fold=2)
    in_fold = int((np.array(faces["fold"]) == 2).sum())
    assert scores["classification"]["faces"] == in_fold and scores["coverage"]["not_asked"] == 48 - in_fold


def test_an_expression_that_the_table_does_not_know_is_left_out_and_told(write, manifest, faces):
    names, truth = faces["face_id"].to_pylist(), faces["expression"].to_pylist()
    rows = [f"{name},{int(told == 'fear')},{int(told != 'fear')}" for name, told in zip(names, truth, strict=True)]
    scores = judged(write("\n".join(["face_id,fear,anger", *rows])), manifest, faces)
    assert scores["coverage"]["unknown_expressions"] == {"happiness": 16}
    assert scores["classification"]["faces"] == 32 and scores["classification"]["accuracy"] == 1


def test_groups_of_people_are_scored_where_the_manifest_has_them(write, manifest, tmp_path):
    aged = copy_manifest(manifest, tmp_path / "aged" / "set.parquet")
    with_column(aged, "age", ["17" if row < 24 else "50" for row in range(48)])
    told = files.read(aged)
    scores = judged(write(labels(told)), aged, told)
    assert {name: of["faces"] for name, of in scores["fairness"]["age"]["groups"].items()} == {"4-19": 24, "40-69": 24}


def test_what_was_trained_on_is_held_against_judged_faces(write, manifest, faces):
    ids = faces["face_id"].to_pylist()
    wrong = dict.fromkeys([name for name in ids if name.startswith("set/7/anger")], "fear")
    trained = [name for name in ids if name.startswith(("set/0/", "set/1/anger/0"))]
    listed = write("\n".join(["path", *(f"somewhere/raw/{name}.png" for name in trained), "other.png"]), "list.csv")
    leaks = judged(write(labels(faces, wrong)), manifest, faces, trained_on=listed)["leaks"]
    assert (leaks["listed"], leaks["unknown"], leaks["unknown_names"]) == (7, 1, ["other.png"])
    shares = {kind: (of["shared"], of["known"]) for kind, of in leaks["shares"].items()}
    assert shares == {"face": (7, 48), "person": (12, 48), "group": (0, 0), "recording": (7, 48), "file": (0, 0)}
    assert (leaks["sharing"], leaks["not_sharing"], leaks["accuracy_of_not_sharing"]) == (12, 36, 34 / 36)


def test_a_group_counts_only_where_nobody_is_named(write, manifest, tmp_path):
    of_nobody = copy_manifest(manifest, tmp_path / "grouped" / "set.parquet")
    with_column(of_nobody, "subject", [None if row < 12 else f"set/{row // 6}" for row in range(48)])
    with_column(of_nobody, "group", [f"g{row // 6}" for row in range(48)])
    told = files.read(of_nobody)
    listed = write(f"face_id\n{told['face_id'][0]}\n{told['face_id'][20]}\n", "list.csv")
    scores = judged(write(labels(told)), of_nobody, told, trained_on=listed)
    shares = scores["leaks"]["shares"]
    assert shares["group"] == {"shared": 6, "known": 12} and shares["person"] == {"shared": 6, "known": 36}
    assert "people are not all named" in submission_report.text(scores)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"set/9/anger/0": "anger"}, "the manifest has no face set/9/anger/0"),
        ({"set/1/fear/0": "happy", "set/1/fear/1": ""}, "unknown label '', 'happy' of set/1/fear/0, set/1/fear/1; exp"),
    ],
)
def test_labels_that_cannot_be_judged_are_refused(change, message, write, faces):
    table = labels(faces, change).splitlines()
    with pytest.raises(SubmissionError, match=message):
        library.read(write("\n".join([table[0], *table[-len(change) :], *table[1 : -len(change)]][:49])), faces)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("face_id,label\nset/0/fear/0,fear\nset/0/fear/0,fear", "more than one row for set/0/fear/0"),
        ("face_id,label\n,fear", "1 of 1 rows have no face_id"),
        ("name,label\nx,fear", "no column face_id or path; found name, label"),
        ("face_id,verdict\nset/0/fear/0,fear", "no prediction; found the columns face_id, verdict; expected label"),
        ("face_id,fear,Fear\nset/0/fear/0,1,0", "the column 'fear' stands twice"),
        ("face_id,fear,anger\nset/0/fear/0,0.5,0.6", "probabilities sum to 1.1 for set/0/fear/0; expected 1"),
        ("face_id,fear,anger\nset/0/fear/0,1.5,-0.5", "what is no probability, from 0 to 1, stands for set/0/fear/0"),
        ("face_id,fear,anger\nset/0/fear/0,nan,1", "what is no probability"),
        ("face_id,fear,anger\nset/0/fear/0,much,1", "fear: Failed to parse string: 'much'"),
        ("face_id,fear,anger\nset/0/fear/0,1", "cannot be read: .*Expected 3 columns, got 2"),
        ("face_id,fear,anger,label\nset/0/fear/0,1,0,anger", "label is not the most probable expression of set/0/fe"),
        ("face_id,label\n", "has no rows"),
        ("face_id,label\n" + "set/0/fear/0,fear\n" * 49, "has 49 rows, the manifest 48 faces"),
    ],
)
def test_tables_that_cannot_be_judged_are_refused(text, message, write, faces):
    with pytest.raises(SubmissionError, match=message):
        library.read(write(text), faces)


def test_a_path_that_several_faces_have_is_refused(write, patterns):
    of_one_file = files.read(patterns)
    with pytest.raises(SubmissionError, match="drawn shows 48 faces; name them by face_id"):
        library.read(write("path,label\ndrawn,fear"), of_one_file)


def test_files_that_are_no_table_are_refused(write, faces, tmp_path, monkeypatch):
    with pytest.raises(SubmissionError, match=r"expected a table that ends in .csv or .parquet"):
        library.read(write("x", "table.xlsx"), faces)
    with pytest.raises(SubmissionError, match=r"none.csv cannot be read: .*No such file"):
        library.read(tmp_path / "none.csv", faces)
    with pytest.raises(SubmissionError, match=r"odd.parquet cannot be read"):
        library.read(write("no parquet", "odd.parquet"), faces)
    monkeypatch.setattr(library, "MAX_BYTES", 10)
    with pytest.raises(SubmissionError, match="a table of at most 10 is read"):
        library.read(write(labels(faces)), faces)


def test_the_command_tells_it_in_words_and_as_json(write, manifest, faces):
    table = pa.table({"face_id": faces["face_id"], "label": faces["expression"]})
    path = manifest.parent / "labels.parquet"
    pq.write_table(table, path)
    asked = ["judge", str(path), "--manifests", str(manifest.parent), "--dataset", "set"]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 0 and "whether it shares people with these faces is not known" in told.output
    scores = json.loads(CliRunner().invoke(app, [*asked, "--json", "--fold", "1"]).stdout)
    assert scores["classification"]["accuracy"] == 1 and scores["fold"] == 1
    refused = CliRunner().invoke(app, ["judge", str(write("face_id,label\nx,fear")), *asked[2:]])
    assert refused.exit_code == 1 and refused.stderr.startswith("error: ") and "no face x" in refused.stderr
