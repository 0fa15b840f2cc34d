from collections import Counter, defaultdict
from pathlib import Path

import pytest

from fertools.datasets import ckextended, ckplus48
from fertools.datasets.base import DatasetError, Quarantined, Sample
from fertools.faces import images

SEQUENCES = dict(line.split() for line in (Path(__file__).parents[1] / "ckplus_sequences.txt").read_text().splitlines())


def put(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def frames(sequence, *numbers, folder=None):
    folder = folder or {"happiness": "happy"}.get(SEQUENCES[sequence], SEQUENCES[sequence])
    return [f"CK+48/{folder}/{sequence.replace('/', '_')}_{number:08d}.png" for number in numbers]


def found(dataset, root):
    items = list(dataset.samples(root, None))
    bad = {item.path.as_posix(): item.reason for item in items if isinstance(item, Quarantined)}
    return [item for item in items if isinstance(item, Sample)], bad


# --- CK+48


def test_ckplus48_whole_has_the_published_counts_and_names_people_and_sequences(tmp_path):
    put(tmp_path, [name for sequence in SEQUENCES for name in frames(sequence, 9, 10, 11)])
    samples, bad = found(ckplus48.DATASET, tmp_path)
    release = ckplus48.DATASET.releases[0]
    assert Counter(s.label for s in samples) == release.counts["all"] and len(samples) == 981 and bad == {}
    assert len({s.subject for s in samples}) == release.subjects == 118
    numbers = defaultdict(list)
    for sample in samples:
        assert sample.sequence.startswith(f"{sample.subject}/")
        numbers[sample.sequence].append(sample.frame)
    assert numbers == dict.fromkeys(SEQUENCES, [9, 10, 11])
    assert list(ckplus48.DATASET.doubts(tmp_path)) == []


def test_ckplus48_names_the_sequence_of_a_frame_that_is_missing_or_too_many(tmp_path):
    put(tmp_path, frames("S010/004", 17, 19) + frames("S005/001", 9, 10, 11) + frames("S010/006", 12, 13, 14, 15))
    doubts = {item.path.as_posix(): item.reason for item in ckplus48.DATASET.doubts(tmp_path)}
    assert doubts == {
        "CK+48/anger/S010_004_*.png": "not 3 consecutive frames, but these: 17, 19",
        "CK+48/happy/S010_006_*.png": "not 3 consecutive frames, but these: 12, 13, 14, 15",
    }
    assert len(found(ckplus48.DATASET, tmp_path)[0]) == 9


def test_ckplus48_does_not_guess_at_a_sequence_in_two_classes(tmp_path):
    twice = [*frames("S010/004", 17, 18), *frames("S010/004", 18, 19, folder="fear")]
    put(tmp_path, [*twice, *frames("S005/001", 11)])
    samples, bad = found(ckplus48.DATASET, tmp_path)
    assert [s.sequence for s in samples] == ["S005/001"]
    assert bad == dict.fromkeys(twice, "S010/004 is in anger and in fear; a sequence has one expression")


def test_ckplus48_names_what_it_does_not_know(tmp_path):
    kept, renamed = frames("S005/001", 11), frames("S010/004", 17, 18, folder="angry")
    strange = "CK+48/disgust/S005_001_00000011_flipped.png"
    put(tmp_path, [*kept, *renamed, strange, "CK+48/fear/.DS_Store"])
    samples, bad = found(ckplus48.DATASET, tmp_path)
    assert [s.path.as_posix() for s in samples] == kept and bad.keys() == {*renamed, strange}
    assert bad[renamed[0]].startswith("in none of the folders anger, contempt")


def test_ckplus48_does_not_choose_between_two_copies(tmp_path):
    put(tmp_path, frames("S005/001", 11) + [f"ck/{name}" for name in frames("S005/001", 11)])
    with pytest.raises(DatasetError, match="frame 11 of S005/001 is there twice, CK.48/disgust/.* and ck/CK.48"):
        found(ckplus48.DATASET, tmp_path)


def test_ckplus48_refuses_the_original_and_says_what_the_copy_lacks(tmp_path):
    put(tmp_path, ["cohn-kanade-images/S005/001/S005_001_00000011.png"])
    with pytest.raises(DatasetError, match="there is no neutral, and images are 48 x 48: prepare ckplus where"):
        found(ckplus48.DATASET, tmp_path)


# --- ckextended.csv


def test_ckextended_reads_its_own_examples(tmp_path):
    dataset = ckextended.DATASET
    for name, text in dataset.example_texts.items():
        (tmp_path / name).write_text(text)
    samples, bad = found(dataset, tmp_path)
    read = {f"{s.path.as_posix()}@{s.place}": (dataset.labels[s.label], s.subject) for s in samples}
    assert read == dict(dataset.examples) and bad == {}
    assert images.decode(dataset.read(tmp_path, samples[-1])).shape == (48, 48, 3)


def test_ckextended_counts_are_the_first_and_last_frames_of_ckplus():
    counts = ckextended.DATASET.releases[0].counts["all"]
    of_expression = {ckextended.LABELS[label]: num for label, num in counts.items()}
    assert of_expression.pop("neutral") == 593 and of_expression == Counter(SEQUENCES.values())


def test_ckextended_elsewhere_says_that_it_cannot_be_split_by_subject(tmp_path):
    put(tmp_path, ["fer2013.csv"])
    with pytest.raises(DatasetError, match="it names nobody and cannot be split by subject: prepare ckplus"):
        found(ckextended.DATASET, tmp_path)
