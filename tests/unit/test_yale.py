from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded

from fertools.datasets import yale
from fertools.datasets.base import DatasetError, Quarantined, Sample
from fertools.faces import images

WHOLE = [f"subject{person:02d}.{condition}" for person in range(1, 16) for condition in yale.CONDITIONS]


def put(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"GIF87a")
    return root


def found(root):
    items = list(yale.DATASET.samples(root, None))
    bad = {item.path.as_posix(): item for item in items if isinstance(item, Quarantined)}
    return [item for item in items if isinstance(item, Sample)], bad


def test_yale_as_it_is_spread_has_the_published_counts_and_its_known_defects_are_named(tmp_path):
    names = ["subject01.gif" if name == "subject01.centerlight" else name for name in WHOLE]
    put(tmp_path, [f"yalefaces/{name}" for name in (*names, "subject01.glasses.gif", "Readme.txt")])
    samples, bad = found(tmp_path)
    assert Counter(s.label for s in samples) == yale.DATASET.releases[0].counts["all"]
    assert len(WHOLE) == 165 == len(samples) + 1 and len({s.subject for s in samples}) == 15
    [renamed] = [s for s in samples if s.path.name == "subject01.gif"]
    assert (renamed.label, renamed.subject) == ("centerlight", "01")
    assert bad.keys() == {f"yalefaces/{name}" for name in ("subject01.glasses.gif", "subject04.sad", "Readme.txt")}
    copy, damaged = bad["yalefaces/subject01.glasses.gif"], bad["yalefaces/subject04.sad"]
    assert copy.reason == "a copy of yalefaces/subject01.glasses, which is taken" and copy.kind == "duplicate"
    assert "is subject04.normal" in damaged.reason and damaged.kind == "aside"
    assert list(yale.DATASET.doubts(tmp_path)) == []


def test_yale_maps_the_four_conditions_that_are_expressions_and_no_other(tmp_path):
    samples, _ = found(put(tmp_path, WHOLE))
    mapped = {s.label: yale.LABELS.get(s.label) for s in samples}
    assert {label: name for label, name in mapped.items() if name} == {
        "happy": "happiness",
        "normal": "neutral",
        "sad": "sadness",
        "surprised": "surprise",
    }
    assert len(mapped) == 11


@pytest.mark.parametrize("ending", [".gif", ".png", ".pgm", ".JPG"])
def test_yale_takes_a_converted_copy_only_where_there_is_no_original(tmp_path, ending):
    put(tmp_path, ["subject02.wink", f"converted/subject02.wink{ending}", f"converted/subject03.SAD{ending}"])
    samples, bad = found(tmp_path)
    assert {(s.path.as_posix(), s.label) for s in samples} == {
        ("subject02.wink", "wink"),
        (f"converted/subject03.SAD{ending}", "sad"),
    }
    assert list(bad) == [f"converted/subject02.wink{ending}"]


def test_yale_names_what_is_missing_and_what_it_does_not_know(tmp_path):
    lost = ["subject07.wink", "subject15.happy"]
    strange = ["subject16.happy", "subject00.sad", "subject02.gif", "subject03.angry", "notes.txt", "subject1.sad"]
    put(tmp_path / "yale", [*(name for name in WHOLE if name not in lost), *strange, ".DS_Store"])
    samples, bad = found(tmp_path)
    assert len(samples) == 162 and bad.keys() - {"yale/subject04.sad"} == {f"yale/{name}" for name in strange}
    assert "such as subject01.happy" in bad["yale/subject02.gif"].reason
    assert [item.path for item in yale.DATASET.doubts(tmp_path)] == [Path("yale", name) for name in lost]


def test_yale_does_not_choose_between_two(tmp_path):
    put(tmp_path, ["a/subject02.wink", "b/subject02.wink"])
    with pytest.raises(DatasetError, match=r"subject02.wink is there twice, a/subject02.wink and b/subject02.wink"):
        found(tmp_path)


def test_yale_refuses_another_set(tmp_path):
    put(tmp_path, ["photos/KA.AN1.39.tiff", "yalefaces.zip"])
    with pytest.raises(DatasetError, match=r"unpack yalefaces.zip first\nexpected: subject01.centerlight"):
        found(tmp_path)


def test_a_file_without_ending_is_opened_by_what_is_in_it(tmp_path):
    (tmp_path / "subject01.happy").write_bytes(encoded(np.full((243, 320), 90, np.uint8), format="GIF"))
    [sample], _ = found(tmp_path)
    pixels = images.decode(images.read_bytes(tmp_path, sample.path))
    assert pixels.shape == (243, 320, 3) and (pixels == 90).all()
