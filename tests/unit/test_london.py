import pytest
from test_yale import put

from fertools.datasets import london
from fertools.datasets.base import DatasetError, Quarantined, Sample
from fertools.datasets.protocols import PROTOCOLS

INFO = "face_id,face_age,face_sex,face_eth\nX001,24,female,white\nX002,,male,east_asian\n"
FACES = ["neutral_front/001_03.jpg", "smiling_front/001_08.jpg", "neutral_front/002_03.jpg", "neutral_left/002_01.jpg"]


def found(root):
    items = list(london.DATASET.samples(root, None))
    return (
        [item for item in items if isinstance(item, Sample)],
        {item.path.as_posix(): item for item in items if isinstance(item, Quarantined)},
    )


def put_set(root):
    put(root, [*FACES, "neutral_front/001_03.tem"])
    (root / london.INFO).write_text(INFO)
    return root


def test_people_are_what_they_said_of_themselves(tmp_path):
    samples, bad = found(put_set(tmp_path))
    told = {sample.path.as_posix(): (sample.subject, sample.age, sample.gender, sample.race) for sample in samples}
    assert told[FACES[1]] == ("001", "24", "female", "white")
    assert told[FACES[2]] == ("002", None, "male", "east_asian")
    assert bad == {}


def test_only_photographs_from_the_front_are_taken(tmp_path):
    samples, _ = found(put_set(tmp_path))
    selected = PROTOCOLS["london_front"].select(samples, london.LABELS)
    assert {one.sample.path.as_posix(): one.expression for one in selected} == {
        FACES[0]: "neutral", FACES[1]: "happiness", FACES[2]: "neutral"
    }  # fmt: skip


def test_two_files_of_one_photograph_are_refused_not_counted_twice(tmp_path):
    put_set(tmp_path)
    put(tmp_path, ["elsewhere/001_03.jpg"])
    with pytest.raises(DatasetError, match=r"photograph 001_03 is there twice, elsewhere/001_03.jpg and"):
        found(tmp_path)


def test_a_line_of_the_table_that_is_none_is_named(tmp_path):
    put_set(tmp_path)
    (tmp_path / london.INFO).write_text(INFO + 'X003,"30,male,white\n')
    _, bad = found(tmp_path)
    assert "line 4" in bad[london.INFO].reason


def test_a_table_that_is_none_costs_what_people_said_and_no_photograph(tmp_path):
    put_set(tmp_path)
    (tmp_path / london.INFO).write_bytes(b"")
    samples, bad = found(tmp_path)
    assert len(samples) == len(FACES) and {sample.gender for sample in samples} == {None}
    assert "the file is empty" in bad[london.INFO].reason and "stay unknown" in bad[london.INFO].reason
