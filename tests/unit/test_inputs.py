"""Catches tables, names and people that are read as something else than what their writer meant, without a word."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fertools.inputs import codes
from fertools.inputs.expressions import LABELS, label_of, part_of, read_map
from fertools.inputs.names import FileIndex, SourceIndex
from fertools.inputs.people import identify
from fertools.inputs.table import Broken, Row, TableError, open_table
from manifests import schema
from manifests.text import printable, storable

NAMES = {"path": ("file",), "expression": ("label", "emotion"), "subject": ("person",)}
PLAIN = [("a.jpg", "happy"), ("b.jpg", "sad")]


def table(tmp_path, data):
    path = tmp_path / "labels.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return open_table(path, NAMES, ("path", "expression"))


def read(tmp_path, data):
    rows = list(table(tmp_path, data).rows())
    good = [(row.cells["path"], row.cells["expression"]) for row in rows if isinstance(row, Row)]
    return good, [row.line for row in rows if isinstance(row, Broken)]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("path,expression\na.jpg,happy\nb.jpg,sad\n", ""),
        ("\ufeffpath;expression\r\na.jpg;happy\r\nb.jpg;sad\r\n", "semicolons"),  # Excel in most of Europe
        ("PATH\tExpression\na.jpg\thappy\nb.jpg\tsad", "tabs"),
        (" path, expression \n a.jpg , happy\n b.jpg , sad\n", ""),
        ("path,expression\na.jpg,happy\nb.jpg,sad\n".encode("utf-16"), "UTF-16"),  # Excel's "Unicode text"
        ("path,expression\na.jpg,happy\nb.jpg,sad\n".encode("utf-16-be"), "UTF-16-BE"),
        ("sep=;\nfile;emotion;;\na.jpg;happy;;\n;;;\nb.jpg;sad;;\n", "column file taken for path"),
        ('"path","expression","note"\r"a.jpg","happy","two\nlines"\r"b.jpg","sad",""\r', ""),
        ("path|expression|x\na.jpg|happy\nb.jpg|sad|3\n", "vertical bars"),
    ],
)
def test_a_table_is_read_as_it_is_meant_and_says_what_it_took(data, told, tmp_path):
    assert read(tmp_path, data) == (PLAIN, [])
    notes = " ".join(table(tmp_path, data).notes)
    assert told in notes and bool(told) == bool(notes)


def test_a_table_of_windows_is_read_and_the_guess_is_told(tmp_path):
    opened = table(tmp_path, "path,expression\nü.jpg,Überraschung\n".encode("cp1252"))
    assert [row.cells["path"] for row in opened.rows()] == ["ü.jpg"] and "as it is not UTF-8" in opened.notes[0]


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ('"x.jpg,happy', 2),
        ('"x.jpg"y,happy', 2),
        ("x\0.jpg,happy", 2),
        ("x.jpg,happy,1,2", 2),
        ("x" * 70_000 + ",sad", 2),
    ],
)
def test_a_broken_line_is_named_by_its_number_and_costs_no_other_row(line, number, tmp_path):
    assert read(tmp_path, f"path,expression\n{line}\na.jpg,happy\nb.jpg,sad\n") == (PLAIN, [number])
    assert read(tmp_path, f"path,expression\na.jpg,happy\nb.jpg,sad\n{line}") == (PLAIN, [4])


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=12), max_size=12))
def test_no_row_is_lost_without_a_word_whatever_a_line_holds(lines):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        noise = [" ".join(line.split()) for line in lines]
        text = "\n".join(["path,expression", *(part for line in noise for part in (line, "a.jpg,happy"))])
        good, _ = read(Path(folder), text.replace("\0", ""))
    assert good.count(("a.jpg", "happy")) >= len(noise)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,path,expression\n", "'path' stands twice"),
        ("path,label,emotion\n", "label and emotion may both be expression"),
        ("a.jpg,happy\n", "no column path or expression; found a.jpg, happy"),
        ("<html>", "a web page"), ("PK\x03\x04", "save a workbook as CSV"), ("", "the file is empty"),
    ],
)  # fmt: skip
def test_what_is_no_table_says_what_it_is(text, words, tmp_path):
    with pytest.raises(TableError, match=words):
        table(tmp_path, text)


# --- names of files


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("happy/1.jpg", "happy/1.jpg"), ("happy\\1.jpg", "happy/1.jpg"), ("./happy//1.jpg", "happy/1.jpg"),
        (" happy/ 1.JPG ", "happy/1.jpg"), ("x/../happy/1.jpg", "happy/1.jpg"), ("raw/happy/1.jpg", "happy/1.jpg"),
        ("/data/raw/happy/1.jpg", "happy/1.jpg"), ("Jose\u0301.jpg", "José.jpg"), ("JOSÉ.jpg", "José.jpg"),
        ("café.jpg", "caf\udce9.jpg"), ("a.JPG", "a.JPG"),
    ],
)  # fmt: skip
def test_a_name_means_the_file_whatever_system_wrote_it(written, meant):
    files = ["happy/1.jpg", "José.jpg", "caf\udce9.jpg", "a.JPG", "a.jpg"]
    assert FileIndex(Path("/data/raw"), map(Path, files)).find(written) == Path(meant)


@pytest.mark.parametrize(
    ("written", "words"),
    [("../x.jpg", "points out"), ("/etc/passwd", "points out"), ("C:\\raw\\b.jpg", "points out"),
     ("B.JPG", "may be"), ("x" * 300 + ".jpg", "not found"), ("", "not found")],
)  # fmt: skip
def test_a_name_that_means_no_one_file_says_why(written, words):
    assert words in str(FileIndex(Path("/data/raw"), [Path("b.jpg"), Path("b.JPg")]).find(written))


def test_a_list_names_a_manifests_source_by_an_end_that_no_other_has():
    index = SourceIndex(["p0/0.png", "p1/0.png", "p1/1.png"])
    assert index.find("1.png") == ["p1/1.png"] and index.find("C:\\raw\\p0\\0.png") == ["p0/0.png"]
    assert len(index.find("0.png")) == 2 and index.find("9.png") == []


# --- people


@pytest.mark.parametrize(
    "alike",
    [["Anna", "anna ", "ANNA"], ["7", "7.0", " 7"], ["José", "Jose\u0301"], ["an  na", "an\u00a0na"], ["\uff17", "7"]],
)
def test_spellings_of_one_person_are_one_person(alike):
    people, notes = identify(alike)
    assert len(set(people)) == 1 and None not in people


@pytest.mark.parametrize("word", ["", "nan", "None", " NULL ", "unknown", "N/A", "<NA>", "-1", "#N/V", "unbekannt"])
def test_nobody_written_as_text_is_nobody_and_told(word):
    people, notes = identify([word, "anna"])
    assert people == [None, "anna"] and (word == "" or "1 faces are nobody's" in notes[0])


@pytest.mark.parametrize("alike", [["007", "7"], ["S-005", "S005"], ["José", "Jose"], ["anna_b", "anna b"]])
def test_names_that_may_be_two_people_stay_two_and_are_told(alike):
    people, notes = identify(alike)
    assert len(set(people)) == 2 and "look alike" in notes[-1] and all(name in notes[-1] for name in alike)


def test_numbers_that_a_spreadsheet_rounded_are_told():
    assert "rounded" in identify(["1.23457E+12"])[1][-1]


# --- labels


def test_words_are_in_one_expression_and_canonical_names_mean_themselves():
    assert set(LABELS.values()) == set(schema.EXPRESSIONS) and all(LABELS[name] == name for name in schema.EXPRESSIONS)


@pytest.mark.parametrize(
    ("written", "expression"),
    [("Freude", "happiness"), ("colère", "anger"), ("miedo", "fear"), ("惊讶", "surprise"), ("悲しみ", "sadness"),
     ("혐오", "disgust"), ("0_angry", "anger"), ("Überraschung", "surprise"), ("3 - Neutral", "neutral")],
)  # fmt: skip
def test_labels_in_the_languages_of_the_field_are_known(written, expression):
    assert LABELS[label_of(written)] == expression


def test_what_means_two_things_is_not_guessed_at():
    assert label_of("disgusto") is label_of("calm") is label_of("3") is None and part_of("eval") is None


def test_a_map_is_pairs_or_a_table(tmp_path):
    (tmp_path / "map.csv").write_text("label;expression\n0;anger\nmeh;neutral\n")
    assert read_map("0=anger,meh=neutral") == read_map(str(tmp_path / "map.csv")) == {"0": "anger", "meh": "neutral"}
    with pytest.raises(TableError, match="0=rage: no expression; known: anger"):
        read_map("0=rage")


# --- class numbers

RAFDB = dict(enumerate(["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"], 1))
PUBLISHED = {str(code): name for code, name in RAFDB.items()}
MANY = dict(zip(RAFDB.values(), (1619, 355, 877, 5957, 2460, 867, 3204), strict=True))


@pytest.mark.parametrize(
    ("order", "first", "words"),
    [
        (list(MANY), 0, "counts from 0 to 6, .*--labels-from 0 reads it so"),
        (sorted(MANY), 1, "the order of the alphabet from 1, .*--map 1=anger,2=disgust"),
        (codes.ORDERS["FER2013"].split(), 1, "the order of FER2013 from 1"),
    ],
)
def test_numbers_of_another_origin_are_refused_with_what_they_look_like(order, first, words):
    counts = {code: MANY[name] for code, name in enumerate(order, first)}
    with pytest.raises(codes.CodesError, match=words):
        codes.check(counts, PUBLISHED, MANY)


@pytest.mark.parametrize(
    "counts",
    [
        {code: MANY[name] for code, name in RAFDB.items()},
        {code: 500 for code in RAFDB},  # a balanced selection
        {4: 600, 5: 300},  # two classes
        {0: 1, **{code: 90 for code in RAFDB}},  # a slip, which is named by its line
        {1: 1, 7: 1}, {},
    ],
)  # fmt: skip
def test_published_numbers_and_selections_of_them_are_read(counts):
    codes.check(counts, PUBLISHED, MANY)


def test_labels_from_and_a_map_say_what_numbers_are_as_published():
    assert codes.recode(0, {}, PUBLISHED) == {str(code - 1): str(code) for code in RAFDB}
    assert codes.recode(None, {"0": "anger"}, PUBLISHED) == {"0": "6"}
    with pytest.raises(codes.CodesError, match="no class contempt here"):
        codes.recode(None, {"0": "contempt"}, PUBLISHED)


# --- text


@given(st.text())
def test_what_is_shown_is_one_visible_line_of_bounded_length(text):
    shown = printable(text, 40)
    assert len(shown) <= 40 and shown.isprintable()


def test_a_name_that_is_no_utf8_is_stored_and_shown_escaped():
    name = os.fsdecode(b"caf\xe9/\xff.jpg")
    assert storable(Path(name)) == r"caf\xe9/\xff.jpg" == printable(Path(name)) and storable("café") == "café"
    assert printable("a\x1b[31m\n\u202eb") == r"a\x1b[31m\n\u202eb"
