from collections import Counter
from pathlib import Path

import pytest

from fertools.datasets import bu3dfe, oulucasia
from fertools.datasets.base import Sample
from fertools.datasets.ckplus import LABELS
from fertools.datasets.protocols import CROSS_DATASET, PROTOCOLS, SIX, ProtocolError, describe, find

# Published counts of labelled sequences (CK+ ReadMe; Lucey et al. 2010, table 2), by code.
COUNTS = {"1": 45, "2": 18, "3": 59, "4": 25, "5": 69, "6": 28, "7": 83}


def sequence(name, label, frames):
    return [Sample(Path(f"{name}/{frame}.png"), label, name[:4], name, frame) for frame in frames]


def test_published_counts_of_both_protocols():
    labels = [code for code, count in COUNTS.items() for _ in range(count)] + [None] * 266
    samples = [s for number, code in enumerate(labels) for s in sequence(f"S{number:03d}", code, range(1, 8))]
    for name in ("dice_ckplus", "dice_ckplus_7c"):
        assert len(PROTOCOLS[name].select(samples, LABELS)) == PROTOCOLS[name].num_images
    selected = PROTOCOLS["dice_ckplus"].select(samples, LABELS)
    assert sum(item.expression == "neutral" for item in selected) == 309


def test_first_frame_is_neutral_and_last_is_the_label_by_number_not_by_name():
    frames = sequence("S1", "7", [10, 2, 1, 30])
    taken = PROTOCOLS["dice_ckplus"].select(frames, LABELS)
    assert [(t.sample.frame, t.expression, t.role) for t in taken] == [
        (1, "neutral", "neutral"),
        (30, "surprise", "apex"),
    ]


def test_last_three_frames_with_contempt():
    taken = PROTOCOLS["dice_ckplus_7c"].select(sequence("S1", "2", range(1, 9)), LABELS)
    assert [(t.sample.frame, t.expression) for t in taken] == [(6, "contempt"), (7, "contempt"), (8, "contempt")]


def test_a_sequence_of_one_frame_is_no_neutral_face():
    taken = PROTOCOLS["dice_ckplus"].select(sequence("S1", "7", [1]), LABELS)
    assert [t.expression for t in taken] == ["surprise"]


def test_dice_oulu_takes_the_last_three_frames_of_visible_strong_light():
    samples = [
        sample
        for condition in ("VL/Strong", "VL/Weak", "NI/Strong")
        for subject in range(1, 81)
        for label in oulucasia.LABELS
        for sample in sequence(f"{condition}/P{subject:03d}/{label}", label, (11, 9, 10, 2))
    ]
    taken = PROTOCOLS["dice_oulu"].select(samples, oulucasia.LABELS)
    assert len(taken) == PROTOCOLS["dice_oulu"].num_images == 3 * 480
    assert {t.sample.sequence[:10] for t in taken} == {"VL/Strong/"} and {t.role for t in taken} == {"apex"}
    assert [t.sample.frame for t in taken[:3]] == [9, 10, 11]
    assert find("oulucasia", None).name == "dice_oulu"


def test_ifgan_bu3dfe_takes_the_two_strongest_of_six_expressions():
    samples = [
        sample
        for subject in bu3dfe.PEOPLE
        for label in bu3dfe.LABELS
        for sample in sequence(f"{subject}/{label}", label, (0,) if label == "NE" else (4, 1, 2, 3))
    ]
    assert len(samples) == 2500
    taken = find("bu3dfe", None).select(samples, bu3dfe.LABELS)
    assert len(taken) == find("bu3dfe", None).num_images == 1200
    assert Counter((t.expression, t.sample.frame) for t in taken) == {
        (expression, intensity): 100
        for expression in ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
        for intensity in (3, 4)
    }


def test_ifgan_bu3dfe_puts_no_weaker_image_in_the_place_of_a_missing_one():
    taken = PROTOCOLS["ifgan_bu3dfe"].select(sequence("F0001/AN", "AN", (1, 2, 3)), bu3dfe.LABELS)
    assert [t.sample.frame for t in taken] == [3]


def test_the_faces_of_rafdbs_averages_show_neutral_too():
    samples = [
        sample
        for subject in bu3dfe.PEOPLE
        for label in bu3dfe.LABELS
        for sample in sequence(f"{subject}/{label}", label, (0,) if label == "NE" else (4, 1, 2, 3))
    ]
    taken = PROTOCOLS["ifgan_bu3dfe_neutral"].select(samples, bu3dfe.LABELS)
    assert Counter(t.expression for t in taken) == {"neutral": 100} | dict.fromkeys(SIX, 200)
    frames = [Sample(Path("a.avi"), "4", "S1", "frontal/S1", n, place=n, apex=6) for n in range(9)]
    taken = PROTOCOLS["ifgan_mmi_neutral"].select(frames, {"4": "happiness"})
    assert [(t.sample.frame, t.expression) for t in taken] == [
        (0, "neutral"), (5, "happiness"), (6, "happiness"), (7, "happiness")
    ]  # fmt: skip


def test_an_unknown_protocol_names_the_known_ones():
    with pytest.raises(ProtocolError, match="no protocol 'x' for ckplus; known: dice_ckplus, dice_ckplus_7c"):
        find("ckplus", "x")


def test_the_frames_around_the_apex_are_taken_or_the_middle_where_it_is_said():
    frames = [Sample(Path("a.avi"), "4", "S1", "frontal/S1", n, place=n, apex=6) for n in range(9)]
    taken = PROTOCOLS["ifgan_mmi"].select(frames, {"4": "happiness"})
    assert [(t.sample.frame, t.role) for t in taken] == [(5, "apex"), (6, "apex"), (7, "apex")]


def test_each_face_of_an_image_and_each_image_of_a_table_stands_for_itself():
    faces = [Sample(Path("a.jpg"), label, face=n) for n, label in enumerate(("1", "9", "2"), start=1)]
    rows = [Sample(Path("a.csv"), "1", place=n) for n in (10, 20)]
    taken = PROTOCOLS["dice_affectnet7"].select(faces + rows, {"1": "happiness", "2": "sadness"})
    assert [(t.sample.face, t.sample.place) for t in taken] == [(1, None), (3, None), (None, 10), (None, 20)]


def test_a_set_without_expressions_is_taken_whole():
    taken = PROTOCOLS["webface_faces"].select([Sample(Path("1/1.jpg"), None, "1")], {})
    assert [t.expression for t in taken] == [None]


def test_across_datasets_the_classes_of_both_are_judged():
    shared = {(pair.train, pair.test): pair.expressions for pair in CROSS_DATASET}
    assert "neutral" not in shared["dice_ckplus", "dice_oulu"] and len(shared["dice_ckplus", "dice_oulu"]) == 6
    assert len(shared["dice_rafdb", "dice_ckplus"]) == 7


def test_a_protocol_reads_well():
    text = describe(PROTOCOLS["dice_ckplus"])
    assert "the last 1 of each sequence, the first 1 as neutral; 618 images" in text
    assert "folds by subject, subject-independent" in text
    assert "official split, people unknown" in describe(PROTOCOLS["dice_rafdb"])
