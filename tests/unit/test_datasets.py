from collections import Counter
from pathlib import Path

import pytest
from pictures import write_video

from fertools.datasets import DATASETS, bu3dfe, ckplus, folder, jaffe, oulucasia
from fertools.datasets.base import DatasetError, Note, Quarantined, Sample
from fertools.datasets.protocols import find
from fertools.inputs.table import TableError
from manifests import schema


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def place(sample):
    """Where an image is: a file, or a row of one that holds many."""
    path = sample.path.as_posix()
    return f"{path}@{sample.place}" if sample.place is not None and path.endswith(".csv") else path


def found(dataset, root, labels=None):
    items = list(dataset.samples(root, labels))
    samples = {place(item): item for item in items if isinstance(item, Sample)}
    bad = {item.path.as_posix(): item.reason for item in items if isinstance(item, Quarantined)}
    assert len(samples) + len(bad) == sum(not isinstance(item, Note) for item in items)
    return samples, bad


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_an_adapter_reads_its_own_examples(dataset, tmp_path):
    put(tmp_path, {path.partition("@")[0]: "" for path in dataset.examples} | dict(dataset.example_texts))
    for video in tmp_path.rglob("*.avi"):
        write_video(video, num_frames=1)
    samples, bad = found(dataset, tmp_path)
    assert {path: (dataset.labels.get(s.label), s.subject) for path, s in samples.items()} == dict(dataset.examples)
    assert bad == {}
    assert {expression for expression, _ in dataset.examples.values()} - {None} == set(dataset.labels.values())
    assert set(dataset.labels.values()) <= set(schema.EXPRESSIONS)


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_a_missing_folder_says_what_was_expected_and_where_to_ask(dataset, tmp_path):
    with pytest.raises(DatasetError) as refusal:
        list(dataset.samples(tmp_path / "nowhere", None))
    for words in ("no such folder", dataset.layout, dataset.source):
        assert words in str(refusal.value)
    assert ("fertools draw" in str(refusal.value)) == dataset.drawable


# --- CK+

FRAME = "cohn-kanade-images/S005/001/S005_001_0000000{}.png"
LABEL = "Emotion/S005/001/S005_001_00000002_emotion.txt"


def test_ckplus_labels_every_frame_of_a_sequence_and_sorts_by_number(tmp_path):
    put(tmp_path, {FRAME.format(number): "" for number in (2, 1)} | {LABEL: "   3.0000000e+00\n"})
    samples, _ = found(ckplus.DATASET, tmp_path)
    assert [(s.label, s.sequence, s.frame) for s in samples.values()] == [("3", "S005/001", 1), ("3", "S005/001", 2)]


def test_ckplus_without_label_file_or_folder_is_unlabelled_not_neutral(tmp_path):
    put(tmp_path, {FRAME.format(1): "", FRAME.format(1).replace("001", "002", 2): "", LABEL: "1.0\n"})
    (tmp_path / "Emotion/S005/002").mkdir()
    put(tmp_path, {"cohn-kanade-images/S006/001/S006_001_00000001.png": ""})
    samples, bad = found(ckplus.DATASET, tmp_path)
    assert sorted((s.sequence, s.label) for s in samples.values())[-1] == ("S006/001", None)
    assert bad == {}


def test_ckplus_in_wrapper_folders_and_other_case(tmp_path):
    put(tmp_path, {"extended-cohn-kanade-images/Cohn-Kanade-Images/S005/001/S005_001_00000001.png": ""})
    put(tmp_path, {"Emotion_labels/Emotion/S005/001/S005_001_00000001_emotion.txt": "7.0"})
    samples, _ = found(ckplus.DATASET, tmp_path)
    assert [s.label for s in samples.values()] == ["7"]


def test_ckplus_passes_over_what_systems_leave_and_names_what_it_does_not_know(tmp_path):
    junk = ["cohn-kanade-images/.DS_Store", "cohn-kanade-images/S005/.DS_Store", "Emotion/Thumbs.db"]
    junk += ["cohn-kanade-images/S005/001/._S005_001_00000001.png", "__MACOSX/x"]
    put(tmp_path, dict.fromkeys(junk, "") | {FRAME.format(1): "", LABEL: "1.0"})
    put(tmp_path, {"cohn-kanade-images/S005/001/notes.png": "", "Emotion/S005/001/notes.txt": ""})
    samples, bad = found(ckplus.DATASET, tmp_path)
    assert list(samples) == [FRAME.format(1)]
    assert list(bad) == ["Emotion/S005/001/notes.txt", "cohn-kanade-images/S005/001/notes.png"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("happy\n", "'happy' is not a number"), ("8.0", "not one of 1 to 7"), ("nan", "not one of"), ("", "not a number")],
)
def test_ckplus_quarantines_a_bad_label_and_keeps_its_frames_unlabelled(tmp_path, text, reason):
    put(tmp_path, {FRAME.format(1): "", LABEL: text})
    samples, bad = found(ckplus.DATASET, tmp_path)
    assert reason in bad[LABEL]
    assert [s.label for s in samples.values()] == [None]


def test_ckplus_does_not_choose_between_two_labels(tmp_path):
    put(tmp_path, {FRAME.format(1): "", LABEL: "1.0", LABEL.replace("2_emotion", "3_emotion"): "2.0"})
    samples, bad = found(ckplus.DATASET, tmp_path)
    assert len(bad) == 2 and set(bad.values()) == {"one of 2 label files; a sequence has one"}
    assert [s.label for s in samples.values()] == [None]


def test_ckplus_names_a_folder_without_images(tmp_path):
    put(tmp_path, {FRAME.format(1): "", LABEL: "1.0"})
    (tmp_path / "cohn-kanade-images/S005/002").mkdir()
    assert found(ckplus.DATASET, tmp_path)[1] == {"cohn-kanade-images/S005/002": "a sequence folder without images"}


def test_no_link_is_followed_out_of_the_raw_folder(tmp_path):
    root = put(tmp_path / "raw", {FRAME.format(1): "", LABEL: "1.0"})
    secret = put(tmp_path / "elsewhere", {"S005_001_00000009.png": "", "S009/001/S009_001_00000001.png": ""})
    (root / FRAME.format(9)).symlink_to(secret / "S005_001_00000009.png")
    (root / "cohn-kanade-images/S009").symlink_to(secret / "S009")
    (root / FRAME.format(8)).symlink_to(root / FRAME.format(1))
    samples, bad = found(ckplus.DATASET, root)
    assert list(samples) == [FRAME.format(1), FRAME.format(8)]
    assert len(bad) == 2 and all("leaves the raw folder; it was not followed" in reason for reason in bad.values())


def test_a_raw_folder_of_something_else_says_what_it_holds(tmp_path):
    put(tmp_path, {"photos/a.jpg": "", "cohn-kanade-images.zip": ""})
    with pytest.raises(
        DatasetError, match=r"holds cohn-kanade-images.zip, photos; unpack cohn-kanade-images.zip first"
    ):
        found(ckplus.DATASET, tmp_path)


# --- Oulu-CASIA


def test_oulucasia_doubts_a_sequence_with_a_gap_and_takes_it_all_the_same(tmp_path):
    put(tmp_path, person("OriginalImg/VL/Strong", "000.jpeg", "001.jpeg", "003.jpeg"))
    samples, bad = found(oulucasia.DATASET, tmp_path)
    assert len(samples) == 18 and bad == {}
    doubts = {item.path.as_posix(): item.reason for item in oulucasia.DATASET.doubts(tmp_path)}
    assert len(doubts) == 6
    assert doubts["OriginalImg/VL/Strong/P001/Fear/002.jpeg"] == "not there, though frame 3 is"


ORIGINALS = "OriginalImg/VL/Strong"


def person(condition, *numbers, name="P001", **others):
    """Frames of all six sequences of a person, `000.jpeg` where nothing else is said."""
    frames = {label: numbers or ("000.jpeg",) for label in oulucasia.LABELS} | others
    return {f"{condition}/{name}/{label}/{file}": "" for label, files in frames.items() for file in files}


def test_oulucasia_reads_its_label_from_the_folder_and_its_numbers_as_numbers(tmp_path):
    put(tmp_path, person(ORIGINALS, Fear=("9.jpeg", "010.JPG")))
    samples, bad = found(oulucasia.DATASET, tmp_path)
    fear = sorted((s.frame, s.label, s.subject, s.sequence) for s in samples.values() if s.label == "Fear")
    assert fear == [(number, "Fear", "P001", "VL/Strong/P001/Fear") for number in (9, 10)] and bad == {}


@pytest.mark.parametrize(
    "crops", ["PreProcess Img", "PreProcess_Img", "PreProcessImg", "PreProcess", "pre-process img"]
)
def test_oulucasia_takes_crops_in_any_spelling_of_their_folder_where_they_alone_are_there(tmp_path, crops):
    beside = [f"{crops}/change_log.txt", "__MACOSX/VL/Strong/P001/x"]
    put(tmp_path, person(f"{crops}/VL_Acropped/Strong") | dict.fromkeys(beside, ""))
    samples, bad = found(oulucasia.DATASET, tmp_path)
    assert {s.sequence for s in samples.values()} == {f"VL/Strong/P001/{label}" for label in oulucasia.LABELS}
    assert bad == {}


def test_oulucasia_takes_originals_before_crops_condition_by_condition_and_says_so(tmp_path):
    for condition in (ORIGINALS, "PreProcess_Img/VL_Acropped/Strong", "PreProcess_Img/NI_Acropped/Dark"):
        put(tmp_path, person(condition))
    samples, bad = found(oulucasia.DATASET, tmp_path)
    assert {(s.path.parts[0], s.sequence[:9]) for s in samples.values()} == {
        ("OriginalImg", "VL/Strong"),
        ("PreProcess_Img", "NI/Dark/P"),
    }
    assert list(bad) == ["PreProcess_Img/VL_Acropped/Strong"] and "authors' crops of OriginalImg" in str(bad)
    alone, _ = found(oulucasia.DATASET, tmp_path / "PreProcess_Img")
    assert {s.sequence[:7] for s in alone.values()} == {"VL/Stro", "NI/Dark"}


@pytest.mark.parametrize("nest", ["Oulu_CASIA_NIR_VIS", "Oulu_CASIA_NIR_VIS/OriginalImg", "."])
def test_oulucasia_in_other_nests_and_other_case(tmp_path, nest):
    put(tmp_path, person(f"{nest}/ni/dark", name="p080", Anger=[]) | {f"{nest}/ni/dark/p080/ANGER/3.jpeg": ""})
    samples, bad = found(oulucasia.DATASET, tmp_path)
    anger = [(s.subject, s.frame) for s in samples.values() if s.sequence == "NI/Dark/P080/Anger"]
    assert anger == [("P080", 3)] and bad == {}


def test_oulucasia_does_not_choose_between_two_copies(tmp_path):
    put(tmp_path, person(ORIGINALS) | person("resized/VL/Strong"))
    with pytest.raises(DatasetError, match="VL/Strong is there twice, OriginalImg/VL/Strong and resized/VL/Strong"):
        found(oulucasia.DATASET, tmp_path)


def test_oulucasia_names_what_it_does_not_know(tmp_path):
    put(tmp_path, person(ORIGINALS, "008.jpeg", "8.jpg", "face.txt", "Thumbs.db", Surprise=["peak.jpeg"]))
    put(tmp_path, {f"{ORIGINALS}/P001/Happy/000.jpeg": "", f"{ORIGINALS}/notes.txt": "", "Videos/P001/a.avi": ""})
    samples, bad = found(oulucasia.DATASET, tmp_path)
    assert [path.rsplit("/", 1)[1] for path in samples] == ["008.jpeg"] * 5
    assert bad[f"{ORIGINALS}/P001/Fear/8.jpg"] == "a second frame 8 of VL/Strong/P001/Fear"
    assert "'Happy' is not one of Anger" in bad[f"{ORIGINALS}/P001/Happy/000.jpeg"]
    assert bad["Videos"].startswith("people in no known condition")
    for path in ("P001/Fear/face.txt", "P001/Surprise/peak.jpeg", "notes.txt"):
        assert "such as P001/Anger/000.jpeg" in bad[f"{ORIGINALS}/{path}"]


def test_oulucasia_names_a_sequence_that_is_missing_or_empty(tmp_path):
    put(tmp_path, person(ORIGINALS, Anger=[], Sadness=[]))
    (tmp_path / ORIGINALS / "P001/Sadness").mkdir()
    bad = found(oulucasia.DATASET, tmp_path)[1]
    assert bad == {f"{ORIGINALS}/P001/{label}": "a sequence without images" for label in ("Anger", "Sadness")}


def test_oulucasia_follows_no_link(tmp_path):
    root, secret = put(tmp_path / "raw", person(ORIGINALS)), put(tmp_path / "elsewhere", person("VL/Weak"))
    (root / "OriginalImg/VL/Weak").symlink_to(secret / "VL/Weak")
    (root / ORIGINALS / "P002").symlink_to(secret / "VL/Weak/P001")
    samples, bad = found(oulucasia.DATASET, root)
    assert {s.subject for s in samples.values()} == {"P001"}
    assert "leaves the raw folder" in bad[f"{ORIGINALS}/P002"]
    assert "above the people's folders" in bad["OriginalImg/VL/Weak"] and len(bad) == 2


@pytest.mark.parametrize("raw", ["OriginalImg/VL", ORIGINALS, f"{ORIGINALS}/P001"])
def test_oulucasia_within_its_own_folders_says_what_the_raw_folder_is(tmp_path, raw):
    put(tmp_path, person(ORIGINALS))
    with pytest.raises(DatasetError, match="expected: OriginalImg/VL/Strong/P001"):
        found(oulucasia.DATASET, tmp_path / raw)


# --- BU-3DFE

EXAMPLES = list(bu3dfe.DATASET.examples)
TEXTURE = "Subjects/F0001/F0001_{}WH_F2D.bmp"


def test_bu3dfe_numbers_the_intensities_of_an_expression_and_neutral_is_none_of_them(tmp_path):
    put(tmp_path, dict.fromkeys(EXAMPLES, ""))
    samples, _ = found(bu3dfe.DATASET, tmp_path)
    frames = {sequence: [s.frame for s in samples.values() if s.sequence == sequence] for sequence in
              ("F0001/NE", "F0001/SU")}  # fmt: skip
    assert frames == {"F0001/NE": [0], "F0001/SU": [1, 2, 3, 4]} and len(samples) == 25


def test_bu3dfe_takes_the_person_from_the_name_in_any_nest_case_and_race(tmp_path):
    names = [path.rsplit("/", 1)[1] for path in EXAMPLES]
    put(tmp_path, {f"BU_3DFE/subjects/F0002/{name}": "" for name in names})  # a folder of another name
    put(tmp_path, {f"m0044/{name.replace('F0001', 'm0044').replace('WH', 'la').lower()}": "" for name in names})
    samples, bad = found(bu3dfe.DATASET, tmp_path)
    assert Counter((s.subject, path.split("/")[-2]) for path, s in samples.items()) == {
        ("F0001", "F0002"): 25,
        ("M0044", "m0044"): 25,
    }
    assert {s.label for s in samples.values()} == set(bu3dfe.LABELS) and bad == {}


def test_bu3dfe_counts_what_belongs_to_the_models_and_never_takes_their_texture(tmp_path):
    models = ("F3D.wrl", "F3D.bnd", "F3D.bmp", "RAW.wrl", "RAW.pse", "RAW_84_LMS.txt", "F3D_depth.png")
    put(tmp_path, dict.fromkeys(EXAMPLES, "") | {f"Subjects/F0001/F0001_AN01WH_{model}": "" for model in models})
    samples, bad = found(bu3dfe.DATASET, tmp_path)
    assert list(samples) == EXAMPLES
    assert bad == {".": "7 files of 3D models (_F3D, _RAW); only frontal textures are read"}


def test_bu3dfe_names_what_it_does_not_know(tmp_path):
    strange = {
        "Subjects/F0001/F0001_NE01WH_F2D.bmp": "neutral is NE00",
        "Subjects/F0001/F0001_AN00WH_F2D.bmp": "an expression 01 to 04",
        "Subjects/F0001/F0001_AN05WH_F2D.bmp": "an expression 01 to 04",
        "Subjects/F0057/F0057_AN01WH_F2D.bmp": "F0057 is not one of F0001 to F0056",
        "Subjects/F0000/F0000_AN01WH_F2D.bmp": "F0000 is not one of",
        "Subjects/M0045/M0045_AN01WH_F2D.bmp": "M0045 is not one of",
        "Subjects/F0001/F0001_CO01WH_F2D.bmp": "such as F0001_AN01WH_F2D.bmp",
        "Subjects/F0001/F0001_AN01XX_F2D.bmp": "such as F0001_AN01WH_F2D.bmp",
        "Subjects/F0001/F0001_AN01WH_F2D.txt": "such as F0001_AN01WH_F2D.bmp",
        "readme.txt": "such as F0001_AN01WH_F2D.bmp",
    }
    put(tmp_path, dict.fromkeys([*EXAMPLES, *strange, "Subjects/Thumbs.db"], ""))
    samples, bad = found(bu3dfe.DATASET, tmp_path)
    assert list(samples) == EXAMPLES and set(bad) == set(strange)
    assert [path for path, words in strange.items() if words not in bad[path]] == []


def test_bu3dfe_half_unpacked_names_the_people_still_packed_and_the_images_that_are_missing(tmp_path):
    kept = [path for path in EXAMPLES if path not in (TEXTURE.format("SU03"), TEXTURE.format("NE00"))]
    put(tmp_path, dict.fromkeys([*kept, "Subjects/F0002.rar"], ""))
    samples, bad = found(bu3dfe.DATASET, tmp_path)
    assert list(samples) == kept
    assert bad == {
        "Subjects/F0002.rar": "still packed; unpack it first",
        "Subjects/F0001/F0001_*_F2D.bmp": "2 of 25 missing: NE00, SU03",
    }


@pytest.mark.parametrize("nest", ["", "Subjects/", "BU_3DFE/Subjects/"])
def test_bu3dfe_not_unpacked_at_all_says_what_to_unpack(tmp_path, nest):
    put(tmp_path, dict.fromkeys([f"{nest}F0001.rar", f"{nest}M0044.rar"], ""))
    with pytest.raises(DatasetError, match=r"unpack F0001.rar, M0044.rar first\nexpected: Subjects/F0001"):
        found(bu3dfe.DATASET, tmp_path)


def test_bu3dfe_takes_a_converted_copy_only_where_there_is_no_original(tmp_path):
    copies = [path.replace("Subjects", "png").replace("bmp", "png") for path in EXAMPLES]
    put(tmp_path, dict.fromkeys([*EXAMPLES[1:], *copies], ""))
    samples, bad = found(bu3dfe.DATASET, tmp_path)
    assert set(samples) == {copies[0], *EXAMPLES[1:]}
    assert bad == {
        copy: f"a copy of {path}, which is taken" for copy, path in zip(copies[1:], EXAMPLES[1:], strict=True)
    }


def test_bu3dfe_does_not_choose_between_two_originals(tmp_path):
    put(tmp_path, dict.fromkeys([*EXAMPLES, "resized/F0001_DI02BL_F2D.bmp"], ""))
    with pytest.raises(
        DatasetError, match=r"F0001_DI02 is there twice, Subjects/F0001/F0001_DI02WH_F2D.bmp and resize"
    ):
        found(bu3dfe.DATASET, tmp_path)


# --- JAFFE

# Photographs are numbered through, person by person and expression by expression; six numbers were never published.
TAKES = {"KM": "3553333", "KA": "3433334", "YM": "3333334", "KR": "3333333", "NM": "3333333",
         "MK": "3333333", "UY": "3333333", "KL": "3333343", "TM": "3433333", "NA": "3333333"}  # fmt: skip
ORDER, LOST = ("NE", "HA", "SA", "SU", "AN", "DI", "FE"), (8, 12, 21, 76, 108, 183)


def jaffe_names():
    takes = [
        f"{person}.{label}{take}"
        for person, counts in TAKES.items()
        for label, count in zip(ORDER, counts, strict=True)
        for take in range(1, int(count) + 1)
    ]
    return [f"{take}.{number}" for number, take in enumerate(takes, 1) if number not in LOST]


def test_jaffe_whole_has_the_published_counts(tmp_path):
    put(tmp_path, {f"jaffe/{name}.tiff": "" for name in jaffe_names()})
    samples, bad = found(jaffe.DATASET, tmp_path)
    assert set(jaffe.DATASET.examples) <= set(samples) and bad == {}
    assert Counter(s.subject for s in samples.values()) == dict(
        KA=23, KL=22, KM=22, KR=20, MK=21, NA=21, NM=20, TM=21, UY=21, YM=22
    )
    assert Counter(s.label for s in samples.values()) == dict(AN=30, DI=29, FE=32, HA=31, NE=30, SA=31, SU=30)
    protocol = find("jaffe", None)
    assert len(protocol.select(samples.values(), jaffe.LABELS)) == protocol.num_images == 213


@pytest.mark.parametrize("ending", ["tif", "TIFF", "tiff.bmp", "jpg", "jpeg", "png", "bmp"])
def test_jaffe_in_other_formats_folders_and_case(tmp_path, ending):
    put(tmp_path, {f"surprise/ka/ka.su1.36.{ending}": ""})
    samples, bad = found(jaffe.DATASET, tmp_path)
    assert [(s.label, s.subject, s.sequence, s.frame) for s in samples.values()] == [("SU", "KA", None, None)]
    assert bad == {}


def test_jaffe_names_what_it_does_not_know(tmp_path):
    strange = ["KA.AN.39.tiff", "KA.CO1.39.tiff", "KA.AN1.39.gif", "KA.AN1.39 copy.tiff"]
    put(tmp_path, dict.fromkeys([*strange, "AB.AN1.39.tiff", "KA.AN1.39.tiff", "._KA.AN1.39.tiff"], ""))
    samples, bad = found(jaffe.DATASET, tmp_path)
    assert list(samples) == ["KA.AN1.39.tiff"]
    assert bad.pop("AB.AN1.39.tiff") == "'AB' is not one of KA, KL, KM, KR, MK, NA, NM, TM, UY, YM"
    assert bad == dict.fromkeys(strange, "not the name of a JAFFE image, such as KA.AN1.39.tiff")


def test_jaffe_takes_a_copy_only_where_there_is_no_original_and_does_not_choose_between_two(tmp_path):
    put(tmp_path, dict.fromkeys(["jpg/KA.AN1.39.jpg", "jpg/KA.AN2.40.jpg", "jaffe/KA.AN1.39.tiff"], ""))
    samples, bad = found(jaffe.DATASET, tmp_path)
    assert set(samples) == {"jaffe/KA.AN1.39.tiff", "jpg/KA.AN2.40.jpg"}
    assert bad == {"jpg/KA.AN1.39.jpg": "a copy of jaffe/KA.AN1.39.tiff, which is taken"}
    put(tmp_path, {"more/KA.AN1.39.tiff": ""})
    with pytest.raises(DatasetError, match=r"KA.AN1.39 is there twice, jaffe/KA.AN1.39.tiff and more/KA.AN1.39.tiff"):
        found(jaffe.DATASET, tmp_path)


@pytest.mark.parametrize("dataset", [bu3dfe.DATASET, jaffe.DATASET], ids=lambda dataset: dataset.name)
def test_images_of_another_set_or_an_archive_are_refused(dataset, tmp_path):
    put(tmp_path, {"photos/S005_001_00000001.png": "", "set.zip": ""})
    with pytest.raises(DatasetError) as refusal:
        found(dataset, tmp_path)
    assert f"holds photos, set.zip; unpack set.zip first\nexpected: {dataset.layout}" in str(refusal.value)


@pytest.mark.parametrize(
    ("dataset", "image"), [(bu3dfe.DATASET, EXAMPLES[0]), (jaffe.DATASET, "jaffe/KA.AN1.39.tiff")], ids=["bu", "jaffe"]
)
def test_a_picture_beyond_a_link_is_not_taken(dataset, image, tmp_path):
    root, secret = put(tmp_path / "raw", {image: ""}), put(tmp_path / "elsewhere", dict.fromkeys(dataset.examples, ""))
    (root / "more").symlink_to(secret)
    samples, bad = found(dataset, root)
    assert list(samples) == [image] and "leaves the raw folder" in bad["more"]


# --- one's own folder


def test_folder_reads_a_csv(tmp_path):
    put(
        tmp_path,
        {
            "a/1.jpg": "",
            "a/2.jpg": "",
            "labels.csv": "path,expression,subject,age\na/1.jpg,Happy,anna,3\na/2.jpg,fear,,4\n",
        },
    )
    samples, bad = found(folder.DATASET, tmp_path, tmp_path / "labels.csv")
    assert [(s.label, s.subject) for s in samples.values()] == [("happy", "anna"), ("fear", None)]
    assert bad == {}


def test_folder_names_what_a_csv_gets_wrong(tmp_path):
    lines = [
        "path,expression",
        "1.jpg,anger",
        "1.jpg,anger",
        "2.jpg,anger",
        "../x.jpg,anger",
        "/etc/passwd,fear",
        "3.jpg,meh",
    ]
    put(tmp_path / "raw", {"1.jpg": "", "3.jpg": "", "labels.csv": "\n".join(lines)})
    put(tmp_path, {"x.jpg": ""})
    samples, bad = found(folder.DATASET, tmp_path / "raw", tmp_path / "raw/labels.csv")
    assert list(samples) == ["1.jpg"]
    assert "points out of the raw folder" in bad["../x.jpg"] and "points out" in bad["/etc/passwd"]
    assert "not found" in bad["2.jpg"] and "1.jpg" not in bad and "'meh' is not one of anger" in bad["3.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("who,what\n", "no column path or expression; found who, what; expected .* path, expression"),
        ("", "found nothing"),
        (None, "cannot be read"),
    ],
)
def test_folder_refuses_a_csv_without_its_columns(tmp_path, text, message):
    if text is not None:
        put(tmp_path, {"labels.csv": text})
    with pytest.raises(TableError, match=message):
        found(folder.DATASET, tmp_path, tmp_path / "labels.csv")


def test_folder_without_csv_or_expression_folders_is_refused(tmp_path):
    put(tmp_path, {"holiday/1.jpg": ""})
    with pytest.raises(DatasetError, match="expected: images and --labels CSV"):
        found(folder.DATASET, tmp_path)
