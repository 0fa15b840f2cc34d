import csv
import hashlib
import importlib
import re
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from fertools import cli
from fertools.datasets import DATASETS
from fertools.datasets.base import Quarantined, Sample
from fertools.drawn import corpus, published
from fertools.drawn.corpus import draw, frames, shots
from fertools.drawn.layouts import bu3dfe, casiawebface, ckplus, mmi, oulucasia, photographs, rafdb
from fertools.drawn.layouts.photographs import count_out, deal
from fertools.drawn.layouts.registry import LAYOUTS, find
from fertools.drawn.recording import Shot, is_piece
from fertools.errors import FertoolsError
from fertools.faces import images

ALL = sorted(LAYOUTS)
SMALL = [name for name in ALL if name != "ckplus"]  # which is drawn in test_drawn.py, and read in test_prepare.py
NO_SUBJECTS = ["rafdb", "affectnet", "affectnet-photographs", "fer2013", "ferplus"]
SIX = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")


def adapter(layout):
    return importlib.import_module(f"fertools.datasets.{layout.partition('-')[0]}").DATASET


def read(layout, root):
    """Its samples, and what is quarantined but does not belong to the set."""
    items = list(adapter(layout).samples(root, None))
    bad = [item for item in items if isinstance(item, Quarantined) and item.kind != "aside"]
    return [item for item in items if isinstance(item, Sample)], bad


def by_image(root):
    """The table of factors, by file, in the order of the numbers in it."""
    with (root / "factors.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["frame"]))
    of_path = defaultdict(list)
    for row in rows:
        of_path[row["path"]].append(row)
    return of_path


def digests(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Any layout with two people, drawn once."""

    @cache
    def drawn(layout):
        root = tmp_path_factory.mktemp(layout)
        draw(root, num_subjects=2, workers=1, dataset=layout)
        return root

    return drawn


# --- every layout


def test_every_set_that_can_be_drawn_has_a_layout():
    sets = {name.partition("-")[0] for name in LAYOUTS}
    assert {name for name, dataset in DATASETS.items() if dataset.drawable} == sets & set(DATASETS)


@pytest.mark.parametrize("layout", SMALL)
def test_a_drawn_set_is_read_by_its_adapter_as_the_table_of_factors_says(small, layout):
    root, dataset, num_seen = small(layout), adapter(layout), Counter()
    samples, bad = read(layout, root)
    table = by_image(root)
    assert samples and bad == []
    for sample in samples:
        path = sample.path.as_posix()
        row = table[path][num_seen[path]]
        num_seen[path] += 1
        shown = (row["expression"], "neutral") if float(row["intensity"]) == 0 else (row["expression"],)
        assert sample.label not in dataset.labels or dataset.labels[sample.label] in shown
        assert sample.subject in (None, row["subject"])
        if layout == "mmi":
            assert sample.frame == sample.place == int(row["frame"])
    assert all(num_seen[path] == len(table[path]) for path in num_seen)
    assert {row["path"] for rows in table.values() for row in rows} - set(num_seen) == {
        path for path in table if "/original/" in path or path.endswith("subject04.sad")
    }


@pytest.mark.parametrize("layout", SMALL)
def test_every_drawn_image_decodes_and_no_two_are_alike(small, layout):
    root, dataset = small(layout), adapter(layout)
    samples, _ = read(layout, root)
    files = [
        dataset.read(root, item) if item.place is not None else images.read_bytes(root, item.path) for item in samples
    ]
    shapes = {images.decode(file).shape for file in files[::3]}
    assert shapes <= {
        "affectnet": {(224, 224, 3)}, "bu3dfe": {(256, 256, 3)}, "casiawebface": {(250, 250, 3)},
        "casiawebface-pack": {(112, 112, 3)}, "ckextended": {(48, 48, 3)}, "ckplus48": {(48, 48, 3)},
        "fer2013": {(48, 48, 3)}, "ferplus": {(48, 48, 3)}, "jaffe": {(256, 256, 3)},
        "mmi": {(256, 320, 3), (320, 256, 3)}, "oulucasia": {(240, 320, 3)}, "rafdb": {(100, 100, 3)},
        "yale": {(243, 320, 3)},
    }.get(layout, shapes)  # fmt: skip
    assert len(set(files)) == len(files)


def test_copies_carry_along_what_systems_leave(small):
    littered = ["affectnet", "bu3dfe", "casiawebface", "jaffe", "mmi", "oulucasia", "rafdb", "yale"]
    junk = {name: {path.name for path in small(name).rglob("*")} & {".DS_Store", "Thumbs.db"} for name in littered}
    assert all(junk.values()) and set.union(*junk.values()) == {".DS_Store", "Thumbs.db"}


@pytest.mark.parametrize("layout", ["rafdb", "fer2013", "casiawebface-pack", "affectnet-photographs"])
def test_a_stopped_run_is_resumed_to_the_same_bytes(small, layout, tmp_path):
    def stop(done, _total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path, num_subjects=2, workers=1, progress=stop, dataset=layout)
    half = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert 1 < len(half) < len(digests(small(layout))) + 16
    draw(tmp_path, num_subjects=2, workers=1, dataset=layout)
    assert digests(tmp_path) == digests(small(layout))
    counts = []
    draw(tmp_path, num_subjects=2, workers=1, dataset=layout, progress=lambda *count: counts.append(count))
    assert len(counts) == 1 and counts[0][0] == counts[0][1] and digests(tmp_path) == digests(small(layout))


def test_a_table_that_was_lost_is_bound_again(small, tmp_path):
    draw(tmp_path, num_subjects=2, workers=1, dataset="ferplus")
    (tmp_path / "fer2013new.csv").unlink()
    draw(tmp_path, num_subjects=2, workers=1, dataset="ferplus")
    assert digests(tmp_path) == digests(small("ferplus"))


def test_no_two_sets_have_a_person_in_common_but_copies_of_ckplus():
    most = dict(ckplus=990, bu3dfe=100, jaffe=10, yale=15)
    people = {
        name: {part.subject_index for part in layout.plan(most.get(name, 999), 0)}
        for name, layout in LAYOUTS.items()
        if name not in ("ckextended", "ckplus48", "casiawebface-pack")
    }
    assert len(set.union(*people.values())) == sum(map(len, people.values()))
    assert {part.subject_index for part in LAYOUTS["ckplus48"].plan(40, 0)} <= people["ckplus"]


@pytest.mark.parametrize("layout", ALL)
def test_a_set_for_too_few_or_too_many_is_refused(layout):
    for num_subjects in (1, 1000):
        with pytest.raises(FertoolsError, match=rf"{num_subjects} subjects cannot be drawn: ask for 2 to \d+"):
            LAYOUTS[layout].plan(num_subjects, 0)


@pytest.mark.parametrize("layout", NO_SUBJECTS)
def test_people_recur_within_and_across_splits_where_no_subject_is_published(layout):
    splits, expressions = defaultdict(set), defaultdict(set)
    for part in LAYOUTS[layout].plan(12, 0):
        splits[part.subject].add(part.split)
        expressions[part.split].add(part.expression)
    assert sum(len(of_one) > 1 for of_one in splits.values()) >= 10
    assert all(len(shown) >= 7 for shown in expressions.values())


# --- CK+ and its copies


def test_the_plan_of_ckplus_has_the_published_counts():
    sequences = ckplus.plan()
    labelled = [sequence for sequence in sequences if sequence.expression]
    basic = [sequence for sequence in labelled if sequence.expression != "contempt"]
    assert (len(sequences), len({sequence.subject for sequence in sequences})) == (593, 123)
    assert (len(labelled), len({sequence.subject for sequence in labelled})) == (327, 118)
    assert (len(basic), len({sequence.subject for sequence in basic})) == (309, 106)
    assert Counter(sequence.expression for sequence in labelled) == {
        "anger": 45, "contempt": 18, "disgust": 59, "fear": 25, "happiness": 69, "sadness": 28, "surprise": 83,
    }  # fmt: skip
    sizes = Counter((sequence.width, sequence.height, sequence.colour) for sequence in sequences)
    assert sizes.most_common()[0][0] == (640, 490, False) and set(sizes) == {
        (640, 490, False), (640, 480, True), (720, 480, False),
    }  # fmt: skip


@pytest.mark.parametrize("num_subjects", [2, 3, 7, 40, 300, 990])
def test_any_plan_of_ckplus_labels_a_subject_once_an_expression(num_subjects):
    sequences = ckplus.plan(num_subjects, seed=3)
    labelled = Counter((sequence.subject, sequence.expression) for sequence in sequences if sequence.expression)
    names = list(dict.fromkeys(sequence.subject for sequence in sequences))
    assert max(labelled.values()) == 1 and len({expression for _, expression in labelled}) == 7
    assert names == sorted(names) and len(names) == num_subjects
    assert all(re.fullmatch(r"S\d{3}", name) for name in names)
    assert len({sequence.folder for sequence in sequences}) == len(sequences)


def test_a_subject_of_ckplus_is_the_same_person_in_a_corpus_of_any_size():
    few, many = ({sequence.subject_index: sequence.subject for sequence in ckplus.plan(n)} for n in (4, 123))
    assert few.items() <= many.items()


def test_the_copies_of_ckplus_show_frames_of_the_drawn_one(small):
    shown = {
        (part.subject, part.folder.name, f"{frame.intensity}", f"{frame.nuisance.roll}")
        for part in ckplus.plan(2)
        for frame in frames(part, 0)[0]
    }
    for copy in ("ckplus48", "ckextended"):
        rows = [row for rows in by_image(small(copy)).values() for row in rows]
        copied = {(row["subject"], row["sequence"], row["intensity"], row["nuisance.roll"]) for row in rows}
        assert len(copied) == len(rows) and copied <= shown


def test_a_picture_is_the_same_whichever_others_are_taken():
    sequence = next(part for part in LAYOUTS["ckplus48"].plan(2, 0))
    original = next(part for part in ckplus.plan(2) if part.folder == sequence.folder)
    *_, last = shots(original, 0)
    *_, taken = shots(sequence, 0)
    assert (last.image == taken.image).all() and len(list(shots(sequence, 0))) == 3


def test_the_table_of_ckextended_has_first_frames_as_neutral_and_usages_of_80_10_10():
    rows = [image for part in LAYOUTS["ckextended"].plan(123, 0) for image in part.images]
    assert len(rows) == 920 and sorted(image.number for image in rows) == list(range(920))
    assert sum(image.frame == 0 for image in rows) == 593


# --- Oulu-CASIA


def test_the_plan_of_oulucasia_has_the_published_counts():
    sequences = oulucasia.plan()
    assert Counter(sequence.expression for sequence in sequences) == dict.fromkeys(SIX, 80)
    assert {sequence.subject for sequence in sequences} == {f"P{number:03d}" for number in range(1, 81)}
    assert len({sequence.num_frames for sequence in sequences}) > 1
    assert min(sequence.num_frames for sequence in sequences) == 9  # the shortest of the published sequences
    assert oulucasia.plan(3) == sequences[:18]


def test_a_whole_oulucasia_has_480_sequences_in_each_of_six_conditions():
    conditions = Counter(sequence.folder.parts[1:3] for sequence in LAYOUTS["oulucasia"].published(0))
    assert conditions == {(light, strength): 480 for light in ("VL", "NI") for strength in ("Strong", "Weak", "Dark")}


def test_the_last_three_frames_of_a_drawn_oulucasia_show_their_expression(small):
    table = by_image(small("oulucasia"))
    for sequence in oulucasia.plan(2):
        shown = [float(table[path.as_posix()][0]["intensity"]) for path in sequence.frames]
        assert shown[0] == 0 and shown == sorted(shown) and shown[-3] > 0.85 * shown[-1] > 0.45


# --- photographs with annotations


@pytest.mark.parametrize("layout", ["affectnet", "affectnet-photographs"])
def test_published_landmarks_are_those_of_the_picture(small, layout):
    root, dataset = small(layout), adapter(layout)
    parts = {part.path.as_posix(): part for part in LAYOUTS[layout].plan(2, 0)}
    for sample in read(layout, root)[0][::4]:
        (shot,) = shots(parts[sample.path.as_posix()], 0)
        assert dataset.landmarks(root, sample) == pytest.approx(shot.landmarks.ravel().tolist(), abs=0.01)


def test_rafdb_has_landmarks_and_a_box_of_each_original(small):
    for part in rafdb.plan(2)[::3]:
        (shot,) = shots(part, 0)
        original, _, manual, auto, box = (small("rafdb") / path for path in part.files)
        lines = manual.read_text().splitlines()
        points = np.array([line.split("\t") for line in lines[:5]], float)
        assert points == pytest.approx(shot.landmarks, abs=0.001) and len(lines) == 8
        x0, y0, x1, y1 = map(float, box.read_text().split())
        assert (points > (x0, y0)).all() and (points < (x1, y1)).all()
        assert len(auto.read_text().splitlines()) == 37
        assert cv2.imread(str(original)).shape == (part.height, part.width, 3)


def test_rafdb_says_of_the_people_what_the_drawing_knows(small):
    drawn = by_image(small("rafdb"))
    samples = read("rafdb", small("rafdb"))[0]
    for sample in samples:
        (row,) = drawn[sample.path.as_posix()]
        assert sample.gender == ("male" if row["identity.heavy"] == "True" else "female")
        assert (float(row["identity.age"]) >= 0.8) == (sample.age == "70+")
        assert (float(row["identity.skin"]) > 0.6) == (sample.race == "Caucasian")


def test_a_crop_has_its_points_where_the_template_says():
    turn = np.array([[0.9, -0.5], [0.5, 0.9]]) * 2
    points = rafdb.TEMPLATE @ turn.T + (120, 60)
    image = np.zeros((400, 400, 3), np.uint8)
    for number, point in enumerate(points):
        colour = [0, 0, 0]
        colour[number] = 255
        cv2.circle(image, np.round(point).astype(int).tolist(), 6, colour, -1)
    crop = photographs.aligned(Shot(image, np.zeros((5, 2))), points, rafdb.TEMPLATE, rafdb.CROP_SIZE)
    for number, point in enumerate(rafdb.TEMPLATE):
        row, column = np.argwhere(crop[..., number] > 128).mean(0)
        assert (column, row) == pytest.approx(point.tolist(), abs=0.7)


def test_photographs_are_dealt_evenly():
    dealt = deal(28, ("train", "train", "train", "test"), ("a", "b"), seed=1)
    assert Counter((one.split, one.label) for one in dealt) == {
        ("train", "a"): 84, ("train", "b"): 84, ("test", "a"): 28, ("test", "b"): 28,
    }  # fmt: skip
    places = defaultdict(list)
    for one in dealt:
        places[one.split].append(one.place)
    assert all(sorted(of_split) == list(range(1, len(of_split) + 1)) for of_split in places.values())
    assert Counter(one.person for one in dealt) == dict.fromkeys(range(28), photographs.PER_PERSON)


# --- scans, sessions, packs


def test_bu3dfe_grows_stronger_with_its_levels():
    for scan in bu3dfe.plan(2):
        shown, _ = frames(scan, 0)
        levels = [frame.intensity for frame in shown]
        assert levels == sorted(set(levels)) and (levels == [0]) == (scan.expression == "neutral")


def test_mmi_goes_to_the_apex_in_the_middle_and_back_and_lies_on_its_side(small):
    session, dual = mmi.plan(4)[0], mmi.plan(4)[-1]
    levels = [frame.intensity for frame in frames(session, 0)[0]]
    middle = len(levels) // 2
    assert levels[0] == levels[-1] == 0 and levels[middle] == max(levels)
    video = cv2.VideoCapture(str(small("mmi") / session.path))
    first = np.rot90(video.read()[1], -1)[..., ::-1]  # a quarter turn clockwise sets it upright
    upright = next(iter(shots(session, 0))).image
    assert np.abs(first.astype(float) - upright).mean() < 6
    assert dual.is_dual and b'view="2"' in dual.beside[dual.path.with_name("session.xml")]


def test_a_video_has_the_same_bytes_whenever_it_is_made(small):
    (video,) = corpus.images(mmi.plan(2)[3], 0)
    assert (small("mmi") / mmi.plan(2)[3].path).read_bytes() == video


def test_the_apex_that_mmi_codes_is_that_of_the_video(small):
    samples, _ = read("mmi", small("mmi"))
    coded = [part for part in mmi.plan(2) if part.has_units]
    assert {part.expression for part in coded} == {"happiness", None}
    for part in coded:
        apex = next(sample.apex for sample in samples if sample.path.as_posix() == part.path.as_posix())
        levels = [frame.intensity for frame in frames(part, 0)[0]]
        assert levels[apex] == max(levels)


def test_the_pack_holds_the_people_of_the_folders(small):
    packed, _ = read("casiawebface-pack", small("casiawebface-pack"))
    assert [sample.subject for sample in packed] == [photo.subject for photo in casiawebface.plan(2)]


# --- published counts


@pytest.mark.parametrize(
    ("layout", "release", "splits"),
    [
        ("rafdb", "v1.1", {"train": "train", "test": "test"}),
        ("fer2013", "table", {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}),
        ("affectnet", "crops", {"train_set": "train", "val_set": "test"}),
        ("affectnet-photographs", "photographs", {"training": "train", "validation": "test"}),
    ],
)
def test_counts_by_split_and_class_are_those_that_the_adapter_knows(layout, release, splits):
    module, dataset = importlib.import_module(f"fertools.drawn.layouts.{layout.replace('-', '_')}"), adapter(layout)
    drawn, known = Counter(), Counter()
    for split, of_label in module.COUNTS.items():
        for label, num in (
            of_label if isinstance(of_label, dict) else dict(zip(module.CODES, of_label, strict=True))
        ).items():
            drawn[splits[split], label if label in dataset.labels.values() else None] += num
    (published_counts,) = (one.counts for one in dataset.releases if one.name == release)
    for split, of_code in published_counts.items():
        for code, num in of_code.items():
            known[split, dataset.labels.get(code)] += num
    assert drawn == known


def test_count_out_counts_out():
    dealt = count_out({"train": {"a": 3, "b": 1}, "test": {"a": 2}}, seed=0)
    assert Counter((one.split, one.label) for one in dealt) == {("train", "a"): 3, ("train", "b"): 1, ("test", "a"): 2}
    assert [one.place for one in dealt] == [1, 2, 3, 4, 1, 2] and len({one.person for one in dealt}) == 6


SHARES = dict(rafdb=100, fer2013=100, ferplus=100, affectnet=1000) | {"affectnet-photographs": 1000}


@pytest.fixture
def fewer(monkeypatch):
    """Every class of the large sets has a small part of its images, rounded up."""
    for layout, share in SHARES.items():
        module = importlib.import_module(f"fertools.drawn.layouts.{layout.replace('-', '_')}")
        counts = {
            split: {label: -(-num // share) for label, num in numbers.items()}
            if isinstance(numbers, dict)
            else tuple(-(-num // share) for num in numbers)
            for split, numbers in module.COUNTS.items()
        }
        monkeypatch.setattr(module, "COUNTS", counts)


WHOLE = [name for name in ALL if not isinstance(LAYOUTS[name].published, str) and name not in ("ckplus", "oulucasia")]


@pytest.mark.usefixtures("fewer")
@pytest.mark.parametrize("layout", WHOLE)
def test_a_whole_tree_is_read_in_the_published_proportions_and_its_images_differ(tmp_path, layout):
    published.draw(tmp_path, layout)
    dataset = adapter(layout)
    samples, bad = read(layout, tmp_path)
    assert bad == []
    found = Counter((dataset.part(sample), sample.label) for sample in samples)
    share = SHARES.get(layout, 1)
    expected = [
        {(part, label): -(-num // share) for part, of in release.counts.items() for label, num in of.items()}
        for release in dataset.releases
    ]
    assert found in expected
    assert {release.subjects for release in dataset.releases} & {None, len({s.subject for s in samples})}
    files = [
        dataset.read(tmp_path, item) if item.place is not None else (tmp_path / item.path).read_bytes()
        for item in samples[:300]
    ]
    assert len(set(files)) == len(files)
    assert images.decode(files[0]).size and not list(tmp_path.rglob("*.part")) and not (tmp_path / ".pieces").exists()


@pytest.mark.usefixtures("fewer")
def test_a_whole_tree_is_resumed_and_is_not_taken_for_a_drawn_one(tmp_path):
    published.draw(tmp_path, "rafdb")
    before = digests(tmp_path)
    lost = [tmp_path / "basic/Image/aligned/train_00003_aligned.jpg", tmp_path / rafdb.LIST]
    for path in lost:
        path.unlink()
    published.draw(tmp_path, "rafdb")
    assert digests(tmp_path) == before
    with pytest.raises(FertoolsError, match="published_counts True, not False"):
        draw(tmp_path, num_subjects=2, workers=1, dataset="rafdb")
    assert digests(tmp_path) == before


def test_somebodys_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "basic").mkdir()
    with pytest.raises(FertoolsError, match="holds 'basic' and is not a drawn corpus"):
        published.draw(tmp_path, "rafdb")
    assert [path.name for path in tmp_path.rglob("*")] == ["basic"]


@pytest.mark.parametrize(
    ("layout", "words"),
    [("mmi", "how many of its sessions show what is not published"), ("casiawebface", "494,414 files")],
)
def test_a_set_without_published_counts_is_refused(tmp_path, layout, words):
    with pytest.raises(FertoolsError, match=rf"{layout} is not drawn with its published counts: .*{words}"):
        published.draw(tmp_path / "new", layout)
    assert not (tmp_path / "new").exists()


def test_pieces_are_of_no_set():
    assert {name for name, layout in LAYOUTS.items() if any(map(is_piece, layout.plan(2, 0)[0].files))} == {
        "affectnet-photographs", "casiawebface-pack", "ckextended", "fer2013", "ferplus",
    }  # fmt: skip


# --- the command


def test_another_form_is_asked_for_by_name():
    assert find("casiawebface", "pack") == "casiawebface-pack"
    with pytest.raises(FertoolsError, match="affectnet has no form 'pack' to draw; known: photographs"):
        find("affectnet", "pack")
    with pytest.raises(FertoolsError, match="jaffe has no form 'x' to draw; known: none but its usual one"):
        find("jaffe", "x")


def test_the_command_draws_people_or_published_counts_not_both(tmp_path, monkeypatch):
    few = replace(LAYOUTS["ckplus"], published=lambda seed: ckplus.plan(2, seed))
    monkeypatch.setitem(LAYOUTS, "ckplus", few)
    ask = ["draw", "ck+", "--raw", str(tmp_path / "new")]
    result = CliRunner().invoke(cli.app, [*ask, "--published-counts", "--subjects", "3"])
    assert result.exit_code == 1 and "as many people as published: leave --subjects out" in result.output
    result = CliRunner().invoke(cli.app, [*ask, "--published-counts"])
    assert result.exit_code == 0 and "images without faces, as many a class and split as published" in result.output
