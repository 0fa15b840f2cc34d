from collections import Counter

import numpy as np
import pytest

from fertools.datasets import fer2013, ferplus
from fertools.datasets.base import DatasetError, Quarantined, Sample
from fertools.datasets.readers import pixel_tables
from fertools.faces import images

GREY = " ".join(["7"] * 2304)
RAMP = " ".join(str(place % 251) for place in range(2304))  # 251 is prime: no two rows of the image are equal
HEADER = "emotion,pixels,Usage"


def put(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def found(dataset, root):
    items = list(dataset.samples(root, None))
    return (
        [item for item in items if isinstance(item, Sample)],
        [(item.path.as_posix(), item.reason) for item in items if isinstance(item, Quarantined)],
    )


def table(*rows, header=HEADER):
    return "\n".join([header, *rows, ""])


# --- tables of pixels


@pytest.mark.parametrize(
    "text",
    [
        table(f"0,{RAMP},Training", f"6,{GREY},PublicTest", f"3,{RAMP},PrivateTest"),
        table(f"0,Training,{RAMP}", f"6,PublicTest,{GREY}", f"3,PrivateTest,{RAMP}", header="emotion, Usage, pixels"),
        table(f'"0","{RAMP}","Training"', "", f'"6","{GREY}","PublicTest"', f'"3", "{RAMP}" ,"PrivateTest"'),
        table(f"0,{RAMP},Training", f"6,{GREY},PublicTest", f"3,{RAMP},PrivateTest").replace("\n", "\r\n"),
        "\ufeff" + table(f"0,{RAMP},Training", f"6,{GREY},PublicTest", f"3,{RAMP},PrivateTest").rstrip("\n"),
    ],
    ids=["fer2013", "icml", "quoted", "crlf", "byte-order mark"],
)
def test_a_table_is_read_by_its_names_and_every_image_is_found_again_at_its_place(tmp_path, text):
    put(tmp_path, {"icml_face_data.csv": text})
    samples, bad = found(fer2013.DATASET, tmp_path)
    assert [(s.label, s.split) for s in samples] == [("0", "train"), ("6", "validation"), ("3", "test")]
    assert bad == [] and {s.subject for s in samples} == {None}
    last, grey, first = (images.decode(pixel_tables.read(tmp_path, sample)) for sample in reversed(samples))
    assert first.shape == (48, 48, 3) and (first == last).all() and (grey == 7).all()
    assert first[0, 47, 0] == 47 and first[1, 0, 0] == 48 and first[47, 47, 0] == 2303 - 9 * 251


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"0,{GREY[2:]},Training", "2303 grey values, not 48 x 48 = 2304"),
        (f"0,{GREY} 7,Training", "2305 grey values"),
        (f"0,256{GREY[1:]},Training", "grey value 256, more than 255"),
        (f"0,-1{GREY[1:]},Training", "grey values that are not numbers"),
        (f"0,nan{GREY[1:]},Training", "grey values that are not numbers"),
        ("0,,Training", "0 grey values"),
        (f"0,{GREY}", "not as many cells as columns"),
        (f"0,{GREY},Training,x", "not as many cells as columns"),
        (f"7,{GREY},Training", "unknown emotion '7'"),
        (f",{GREY},Training", "unknown emotion ''"),
        (f"0,{GREY},Test", "Usage 'Test' is not one of Training, PublicTest, PrivateTest"),
        (f"0,{GREY * 20},Training", "not as many cells as columns"),
        ("\0" * 40_000, "not as many cells as columns"),
    ],
)
def test_a_bad_row_is_named_and_the_next_one_is_still_found(tmp_path, row, reason):
    put(tmp_path, {"fer2013.csv": table(f"1,{GREY},Training", row, f"2,{RAMP},Training")})
    samples, [(path, why)] = found(fer2013.DATASET, tmp_path)
    assert [s.label for s in samples] == ["1", "2"] and path == "fer2013.csv"
    assert why.startswith("row 2: ") and reason in why
    assert images.decode(pixel_tables.read(tmp_path, samples[1]))[1, 0, 0] == 48


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n <!DOCTYPE html><html>", "fer2013.csv: a web page saved under this name: it starts with "),
        (b"\xef\xbb\xbf<html>", "a web page saved under this name"),
        (b"PK\x03\x04rest", "still packed under this name; download or unpack it again"),
        (b"\x1f\x8b\x08rest", "still packed under this name"),
        ("", "the file is empty"),
        ("emotion,pixels\n", "no column Usage; found 'emotion,pixels', expected emotion, pixels, Usage"),
        ("x" * 70_000, "no column emotion or pixels or Usage"),
    ],
)
def test_what_is_no_such_table_says_what_it_is(tmp_path, text, message):
    put(tmp_path, {"fer2013.csv": text})
    with pytest.raises(DatasetError) as refusal:
        found(fer2013.DATASET, tmp_path)
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_table_beyond_a_link_is_not_read(tmp_path):
    put(tmp_path, {"elsewhere/fer2013.csv": table(f"0,{GREY},Training"), "raw/readme": ""})
    (tmp_path / "raw/fer2013.csv").symlink_to(tmp_path / "elsewhere/fer2013.csv")
    with pytest.raises(DatasetError, match="raw/fer2013.csv: a link that leaves the raw folder; put the file itself"):
        found(fer2013.DATASET, tmp_path / "raw")


def test_a_table_that_changed_since_it_was_listed_is_refused(tmp_path):
    put(tmp_path, {"fer2013.csv": table(f"0,{GREY},Training")})
    [sample], _ = found(fer2013.DATASET, tmp_path)
    put(tmp_path, {"fer2013.csv": table(f"0,{GREY[:-2]},Training")})
    with pytest.raises(DatasetError, match="fer2013.csv has no image at byte 21 any more"):
        pixel_tables.read(tmp_path, sample)


# --- FER2013


def test_fer2013_takes_the_table_before_its_other_spelling_before_folders(tmp_path):
    rows = table(f"0,{GREY},Training")
    put(tmp_path, {"a/fer2013.csv": rows, "icml_face_data.csv": rows, "train/angry/1.jpg": ""})
    samples, bad = found(fer2013.DATASET, tmp_path)
    assert [s.path.as_posix() for s in samples] == ["a/fer2013.csv"]
    assert dict(bad) == dict.fromkeys(["icml_face_data.csv", "train"], "a copy of a/fer2013.csv, which is taken")
    put(tmp_path, {"b/fer2013.csv": rows})
    with pytest.raises(DatasetError, match=r"FER2013 is there twice, a/fer2013.csv and b/fer2013.csv"):
        found(fer2013.DATASET, tmp_path)


def test_fer2013_folders_have_no_validation_part_unless_the_names_tell(tmp_path):
    names = ["train/angry/1.jpg", "test/sad/2.png", "test/sad/PublicTest_3.jpg", "test/SAD/privatetest_4.jpg"]
    put(tmp_path, {f"archive/{name}": "" for name in names})
    samples, bad = found(fer2013.DATASET, tmp_path)
    assert {s.path.stem: (s.label, s.split) for s in samples} == {
        "1": ("angry", "train"),
        "2": ("sad", "test"),
        "PublicTest_3": ("sad", "validation"),
        "privatetest_4": ("sad", "test"),
    }
    assert bad == []
    parts = Counter(map(fer2013.DATASET.part, samples))
    assert set(parts) == fer2013.DATASET.releases[1].counts.keys() and max(parts.values()) == 3
    assert fer2013.DATASET.release(tmp_path) == "folders" == fer2013.DATASET.releases[1].name


def test_fer2013_believes_the_names_and_names_what_is_in_another_part_s_folder(tmp_path):
    names = ["test/fear/Training_1.jpg", "test/fear/PublicTest_2.jpg", "train/sad/Training_3.jpg", "test/sad/4.jpg"]
    put(tmp_path, dict.fromkeys(names, ""))
    splits = {s.path.as_posix(): s.split for s in found(fer2013.DATASET, tmp_path)[0]}
    assert splits == dict(zip(names, ["train", "validation", "train", "test"], strict=True))
    [doubt] = fer2013.DATASET.doubts(tmp_path)
    assert doubt.path.as_posix() == names[0] and doubt.reason.startswith("of train by its name")


def test_fer2013_says_that_folders_were_exchanged(tmp_path):
    names = ["train/fear/PrivateTest_1.jpg", "test/fear/Training_2.jpg", "test/fear/Training_3.jpg"]
    put(tmp_path, dict.fromkeys(names, ""))
    assert {(item.path.as_posix(), item.reason[:17]) for item in fer2013.DATASET.doubts(tmp_path)} == {
        ("train", "1 of 1 images are"),
        ("test", "2 of 2 images are"),
    }
    put(tmp_path, {"fer2013.csv": table(f"0,{GREY},Training")})
    assert list(fer2013.DATASET.doubts(tmp_path)) == []


def test_fer2013_names_what_is_no_image_of_a_class(tmp_path):
    kept = "train/happy/Training_1206.jpg"
    strange = ["train/joy/1.jpg", "train/joy/2.jpg", "train/3.jpg", "train/happy/notes.txt", "train/happy/old/4.jpg"]
    put(tmp_path, dict.fromkeys([kept, *strange, "train/Thumbs.db"], ""))
    samples, bad = found(fer2013.DATASET, tmp_path)
    assert [s.path.as_posix() for s in samples] == [kept]
    reasons = dict(bad)
    for path in (*strange[:3], strange[4]):
        assert reasons[path].startswith("in no folder of an expression: angry, disgust")
    assert "such as PublicTest_" in reasons["train/happy/notes.txt"] and reasons["test"].startswith("not there")
    assert len(bad) == 6


@pytest.mark.parametrize("files", [["fer2013.tar.gz", "notes.txt"], ["train/0/1.jpg", "test/0/2.jpg"]])
def test_fer2013_refuses_what_is_something_else(tmp_path, files):
    put(tmp_path, dict.fromkeys(files, "x"))
    with pytest.raises(DatasetError) as refusal:
        found(fer2013.DATASET, tmp_path)
    assert ("unpack fer2013.tar.gz first" in str(refusal.value)) == ("notes.txt" in files)
    assert fer2013.DATASET.layout in str(refusal.value)


def test_fer2013_counts_agree_with_each_other_and_with_the_published_totals():
    of_table, of_folders = (release.counts for release in fer2013.DATASET.releases)
    assert [sum(of_table[part].values()) for part in ("train", "validation", "test")] == [28709, 3589, 3589]

    def by_expression(*parts):
        total = Counter()
        for part in parts:
            total.update({fer2013.DATASET.labels[label]: num for label, num in part.items()})
        return total

    train, rest = of_folders.values()
    assert by_expression(of_table["train"]) == by_expression(train)
    assert by_expression(of_table["validation"], of_table["test"]) == by_expression(rest)


# --- FER+

VOTES = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


@pytest.mark.parametrize(  # rows of the published file, but for the last three
    ("votes", "label"),
    [
        ("4 0 0 1 3 2 0 0 0 0", None),  # four of the nine that are left
        ("6 0 1 1 0 0 0 0 2 0", "neutral"),
        ("5 0 0 4 0 0 0 0 1 0", "neutral"),  # five of nine: the single vote is not counted
        ("5 0 0 3 0 0 0 0 2 0", None),  # half is not more than half
        ("0 0 6 0 0 0 4 0 0 0", "surprise"),
        ("5 0 5 0 0 0 0 0 0 0", None),
        ("2 2 3 1 0 1 1 0 0 0", None),
        ("0 0 0 0 0 0 0 0 0 10", None),
        ("0 0 0 1 0 0 0 2 6 1", None),  # most did not know
        ("1 1 1 1 1 1 1 1 1 1", None),
        ("0 0 0 0 0 0 0 8 0 2", "contempt"),
    ],
)
def test_ferplus_takes_the_majority_of_what_is_left_without_single_votes(votes, label):
    assert ferplus.majority(dict(zip(ferplus.VOTED, map(int, votes.split()), strict=True))) == label


def ferplus_tables(root, *, votes, rows=(f"0,{GREY},Training", f"6,{RAMP},PublicTest", f"3,{GREY},PrivateTest")):
    return put(root, {"fer2013.csv": table(*rows), "fer2013new.csv": table(*votes, header=VOTES)})


NEUTRAL, FEAR = "9,0,0,1,0,0,0,0,0,0", "0,0,2,0,0,0,8,0,0,0"


def test_ferplus_gives_the_pixels_of_one_table_the_labels_of_the_other_row_by_row(tmp_path):
    votes = [
        "Training,,0,0,0,0,0,0,0,0,0,10",
        f"PublicTest,fer0000001.png,{FEAR}",
        "PrivateTest,x.png,5,0,5,0,0,0,0,0,0,0",
    ]
    ferplus_tables(tmp_path, votes=votes)
    items = list(ferplus.DATASET.samples(tmp_path, None))
    samples = [item for item in items if isinstance(item, Sample)]
    assert [(s.label, s.split) for s in samples] == [("fear", "validation"), (None, "test")]
    assert images.decode(ferplus.DATASET.read(tmp_path, samples[0]))[1, 0, 0] == 48
    [aside] = [item for item in items if isinstance(item, Quarantined)]
    assert aside.kind == "aside" and aside.reason.startswith("1 rows without the name of an image")


def test_ferplus_keeps_the_rows_together_past_one_that_is_bad(tmp_path):
    rows = [f"0,{GREY} 7,Training", f"1,{GREY},Training", f"2,{GREY},Training", f"3,{GREY},Training"]
    bad_votes = "Training,b.png,9,0,0,?,0,0,0,0,0,0"
    votes = [f"Training,a.png,{NEUTRAL}", bad_votes, f"Training,c.png,{FEAR}", "Training,d.png,1"]
    ferplus_tables(tmp_path, rows=rows, votes=votes)
    samples, bad = found(ferplus.DATASET, tmp_path)
    assert [s.label for s in samples] == ["fear"]
    assert [(path, reason[:6]) for path, reason in bad] == [
        ("fer2013.csv", "row 1:"),
        ("fer2013new.csv", "row 2:"),
        ("fer2013new.csv", "row 4:"),
    ]


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([f"Training,a.png,{FEAR}", f"PublicTest,b.png,{FEAR}"], "fer2013new.csv ends at row 2, fer2013.csv goes on"),
        (
            [f"{usage},a.png,{FEAR}" for usage in ("Training", "PublicTest", "PrivateTest", "PrivateTest")],
            "fer2013.csv ends at row 3, fer2013new.csv goes on",
        ),
        ([f"PrivateTest,a.png,{FEAR}"] * 3, "row 1 is of another part than row 1 of fer2013.csv"),
    ],
)
def test_ferplus_refuses_tables_whose_rows_are_not_each_other_s(tmp_path, votes, message):
    ferplus_tables(tmp_path, votes=votes)
    with pytest.raises(DatasetError, match="paired row by row; take both as they were published") as refusal:
        found(ferplus.DATASET, tmp_path)
    assert message in str(refusal.value)


def test_ferplus_reads_the_folders_by_their_lists_and_names_what_does_not_agree(tmp_path):
    lines = [
        'a.png,"(0, 0, 48, 48)",0,0,0,0,0,0,10,0,0,0',
        "b.png,0,0,0,0,0,0,0,0,0,10",
        f"b.png,{FEAR}",
        f"gone.png,{FEAR}",
    ]
    lines += [f"../x.png,{FEAR}", "c.png,1,2"]
    files = dict.fromkeys(["a.png", "b.png", "c.png", "new.png"], "") | {"label.csv": "\r\n".join(lines)}
    put(tmp_path, {"x.png": ""} | {f"data/FER2013Valid/{name}": text for name, text in files.items()})
    put(tmp_path, {"data/FER2013Test/d.png": ""})
    samples, bad = found(ferplus.DATASET, tmp_path)
    assert [(s.path.name, s.label, s.split, s.place) for s in samples] == [
        ("a.png", "fear", "validation", None),
        ("b.png", None, "validation", None),
    ]
    reasons = {path.rpartition("FER2013")[2]: reason for path, reason in bad}
    assert reasons["Valid/b.png"] == "named twice in label.csv"
    assert reasons["Valid/gone.png"] == reasons["Valid/../x.png"] == "named in label.csv, not found"
    assert "ten counts" in reasons["Valid/c.png"] and reasons["Valid/new.png"].startswith("not named in")
    assert reasons["Test/label.csv"].startswith("not there") and reasons["Train"].startswith("not there")
    assert reasons.keys() == {f"Valid/{name}" for name in ("b.png", "gone.png", "../x.png", "c.png", "new.png")} | {
        "Test/label.csv",
        "Test/d.png",
        "Train",
    }


def test_ferplus_takes_the_tables_before_the_folders_made_of_them(tmp_path):
    ferplus_tables(tmp_path, rows=[f"0,{GREY},Training"], votes=[f"Training,a.png,{FEAR}"])
    put(tmp_path, {"FER2013Train/a.png": "", "FER2013Train/label.csv": f"a.png,{FEAR}\n"})
    samples, bad = found(ferplus.DATASET, tmp_path)
    assert [s.path.name for s in samples] == ["fer2013.csv"]
    assert bad == [("FER2013Train", "a copy of fer2013.csv, which is taken")]


@pytest.mark.parametrize(
    "files",
    [
        {"fer2013new.csv": table(f"Training,a.png,{FEAR}", header=VOTES)},
        {"fer2013.csv": table(f"0,{GREY},Training")},
        {"icml_face_data.csv": table(f"0,{GREY},Training"), "fer2013new.csv": VOTES},  # in an order of its own
        {"FER2013Train/label.csv": f"a.png,{FEAR}\n"},
    ],
    ids=["no pixels", "no votes", "another table", "lists alone"],
)
def test_ferplus_half_there_says_what_belongs_together(tmp_path, files):
    put(tmp_path, files)
    with pytest.raises(DatasetError, match="expected: fer2013.csv of FER2013 and fer2013new.csv; or the folders"):
        found(ferplus.DATASET, tmp_path)


def test_ferplus_refuses_a_web_page_for_a_list(tmp_path):
    put(tmp_path, {"FER2013Train/a.png": "", "FER2013Train/label.csv": "<!DOCTYPE html>"})
    with pytest.raises(DatasetError, match="FER2013Train/label.csv: a web page saved under this name"):
        found(ferplus.DATASET, tmp_path)


def test_ferplus_counts_are_the_published_totals():
    counts = ferplus.DATASET.releases[0].counts
    kept = {part: sum(num for label, num in of_part.items() if label) for part, of_part in counts.items()}
    assert kept == {"train": 25060, "validation": 3199, "test": 3153}
    nameless = {"train": 148, "validation": 10, "test": 15}
    rows = {part: sum(of_part.values()) + nameless[part] for part, of_part in counts.items()}
    assert rows == {"train": 28709, "validation": 3589, "test": 3589}
    assert np.sum(list(kept.values())) == 31412
