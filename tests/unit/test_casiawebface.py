import struct
from pathlib import Path

import pytest

from fertools.datasets.base import DatasetError, Quarantined, Sample
from fertools.datasets.casiawebface import DATASET
from fertools.datasets.readers import recordio

JPEGS = [b"\xff\xd8\xff\xe0" + bytes([number]) * 9 for number in range(5)]
PEOPLE = [0, 0, 1, 2, 2]  # who the five show, as the pack numbers them
LISTED = ["0000045/001", "0000045/003", "0000099/001", "6573881/007", "6573881/008"]
LIST = "".join(
    f"1\t/data/CASIA-WebFace/{name}.jpg\t{who}\t30.3\t51.7\n" for name, who in zip(LISTED, PEOPLE, strict=True)
)


def put(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def found(root):
    items = list(DATASET.samples(root, None))
    return (
        [item for item in items if isinstance(item, Sample)],
        [(item.path.as_posix(), item.reason) for item in items if isinstance(item, Quarantined)],
    )


@pytest.fixture
def pack(tmp_path):
    folder = tmp_path / "faces_webface_112x112"
    recordio.write_pack(folder, recordio.entries(zip(PEOPLE, JPEGS, strict=True)))
    (folder / "train.lst").write_text(LIST)
    (folder / "property").write_text("3,112,112\n")
    return folder


# --- a folder an identity


@pytest.mark.parametrize("nest", ["", "CASIA-WebFace/", "wrapper/CASIA-maxpy-clean/"])
def test_the_folder_is_who_is_shown(tmp_path, nest):
    put(tmp_path, f"{nest}0000045/002.jpg", f"{nest}0000099/1001.JPG", f"{nest}0000045/001.jpeg", f"{nest}.DS_Store")
    images, bad = found(tmp_path)
    assert [(s.path.name, s.subject, s.label, s.place) for s in images] == [
        ("001.jpeg", "0000045", None, None),
        ("002.jpg", "0000045", None, None),
        ("1001.JPG", "0000099", None, None),
    ]
    assert bad == []


def test_what_is_not_known_or_there_twice_or_empty_is_named(tmp_path):
    put(tmp_path, "0000045/001.jpg", "0000045/0001.jpg", "0000045/face.jpg", "0000046/001.jpg", "list.txt")
    put(tmp_path, "0000046/more/002.jpg", "45/001.jpg")
    (tmp_path / "0000047").mkdir()
    images, bad = found(tmp_path)
    assert [s.path.as_posix() for s in images] == ["0000045/0001.jpg", "0000046/001.jpg"]
    unknown = "not the name of a CASIA-WebFace image, such as 0000045/001.jpg"
    assert bad == [
        ("0000045/001.jpg", "a second image 1 of 0000045"),
        ("0000045/face.jpg", unknown),
        ("0000046/more/002.jpg", unknown),
        ("45/001.jpg", unknown),
        ("list.txt", unknown),
        ("0000047", "an identity without images"),
    ]


def test_two_copies_are_not_chosen_between(tmp_path, pack):
    put(tmp_path, "CASIA-WebFace/0000045/001.jpg")
    with pytest.raises(DatasetError, match="there twice, CASIA-WebFace and faces_webface_112x112; --raw can name one"):
        found(tmp_path)
    assert len(found(pack)[0]) == 5 and len(found(tmp_path / "CASIA-WebFace")[0]) == 1


def test_the_release_is_told_by_what_lies_there(tmp_path, pack):
    put(tmp_path, "elsewhere/0000045/001.jpg")
    sizes = {release.name: (release.counts["all"][None], release.subjects) for release in DATASET.releases}
    assert sizes[DATASET.release(pack)] == (490_623, 10_572)
    assert sizes[DATASET.release(tmp_path / "elsewhere")] == (494_414, 10_575)


def test_nothing_beyond_a_link_is_read(tmp_path, pack):
    raw = put(tmp_path / "raw", "0000045/001.jpg")
    for name in ("train.rec", "train.idx"):
        (raw / name).symlink_to(pack / name)
    (raw / "0000099").symlink_to(put(tmp_path / "other", "001.jpg"))
    images, bad = found(raw)
    assert [s.subject for s in images] == ["0000045"]
    assert {path: "leaves the raw folder" in reason for path, reason in bad} == dict.fromkeys(
        ["0000099", "train.idx", "train.rec"], True
    )
    with pytest.raises(DatasetError, match="not a file below the raw folder"):
        DATASET.read(raw, Sample(Path("train.rec"), None, place=0))


@pytest.mark.parametrize("name", ["CASIA-WebFace.zip", "pack/faces_webface_112x112.zip"])
def test_still_packed_says_what_to_unpack(tmp_path, name):
    with pytest.raises(DatasetError, match=rf"unpack {Path(name).name} first\nexpected: 0000045/001.jpg"):
        found(put(tmp_path, name))


# --- the pack


def test_a_pack_gives_the_images_by_key_under_their_original_identities(pack):
    root = pack.parent
    images, bad = found(root)
    assert [s.subject for s in images] == [name[:7] for name in LISTED] and bad == []
    assert [DATASET.read(root, s) for s in images] == JPEGS
    assert {s.path.as_posix() for s in images} == {"faces_webface_112x112/train.rec"}


def test_without_its_list_a_pack_keeps_its_own_numbers(pack):
    (pack / "train.lst").unlink()
    images, bad = found(pack)
    assert [s.subject for s in images] == ["0", "0", "1", "2", "2"] and bad == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LIST.replace("6573881", "0000045"), "one identity has two numbers"),
        (LIST.replace("\t2\t", "\t1\t"), "line 4: 1 is 6573881, and was 0000099"),
        (LIST + "1\tphoto.jpg\t7\n", r"line 6 is '1\tphoto.jpg\t7', not a path and a number"),
        ("<!DOCTYPE html><html>", "web page"),
    ],
    ids=["merged", "split", "other", "page"],
)
def test_a_list_that_is_not_sound_is_not_used(pack, text, reason):
    (pack / "train.lst").write_text(text)
    images, [(path, found_reason)] = found(pack)
    assert path == "train.lst" and reason in repr(found_reason).replace("\\\\", "\\")
    assert [s.subject for s in images] == ["0", "0", "1", "2", "2"]


@pytest.mark.parametrize("width", ["f", "d"])
def test_labels_of_several_numbers_and_an_image_in_parts(tmp_path, width):
    # The image starts at a multiple of four of the record, and holds the magic at such.
    image = b"\xff\xd8\xff\xe0" + recordio.MAGIC + b"rest" + recordio.MAGIC * 2
    payloads = [
        struct.pack("<IfQQ", len(labels), 0, 1, 0) + struct.pack(f"<{len(labels)}{width}", *labels) + image
        for labels in ([7], [8, 1], [9, 0, 0])
    ]
    recordio.write_pack(tmp_path, list(enumerate(payloads, 1)))
    images, bad = found(tmp_path)
    assert [s.subject for s in images] == ["7", "8", "9"] and bad == []
    assert [DATASET.read(tmp_path, s) for s in images] == [image] * 3


def test_where_key_0_is_an_image_every_key_is_one(tmp_path):
    recordio.write_pack(tmp_path, [(key, recordio.entry(key, [key], JPEGS[key])) for key in (2, 0, 1)])
    images, bad = found(tmp_path)
    assert [DATASET.read(tmp_path, s) for s in images] == JPEGS[:3] and bad == []


def test_a_pack_that_is_cut_short_names_the_record_and_how_many_follow(pack):
    whole = (pack / "train.rec").read_bytes()
    starts = sorted(s.place for s in found(pack)[0])
    (pack / "train.rec").write_bytes(whole[: starts[2] + 20])
    images, bad = found(pack)
    assert len(images) == 2
    assert bad == [
        ("train.rec", "record of key 3 is cut short: 12 of 37 bytes are left of the file"),
        (
            "train.rec",
            f"cut short: 6 records, of keys 0 to 8, start beyond its end at byte {starts[2] + 20}; copy it again",
        ),
    ]


def test_a_record_that_is_damaged_is_named_and_the_rest_is_read(pack):
    data = bytearray((pack / "train.rec").read_bytes())
    first, second, third, fourth, _ = (s.place for s in found(pack)[0])
    data[first] ^= 1  # the magic
    data[second + 32 : second + 35] = b"\x89PN"  # the image
    data[third + 12 : third + 16] = struct.pack("<f", -1)  # the label
    data[fourth + 12 : fourth + 16] = struct.pack("<f", float("nan"))
    (pack / "train.rec").write_bytes(data)
    images, bad = found(pack)
    assert [s.subject for s in images] == ["6573881"]
    assert [reason for _, reason in bad] == [
        "record of key 1 is not there: no record starts at its byte",
        "record of key 2 holds no JPEG",
        "record of key 3 has the label -1, which is no identity",
        "record of key 4 has the label nan, which is no identity",
    ]


def edit(path: Path, change):
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def test_keys_that_the_index_lacks_are_named(pack):
    edit(pack / "train.idx", lambda lines: [lines[0], *lines[3:]])
    images, bad = found(pack)
    assert len(images) == 3
    assert bad == [("train.rec", "2 of 5 images are not there: keys 2 to 3")]


def test_lines_of_the_index_that_are_not_sound_are_counted(pack):
    edit(pack / "train.idx", lambda lines: [*lines, lines[1], "99\t0\n", "five\t5\n"])
    images, bad = found(pack)
    assert len(images) == 5
    assert bad == [("train.idx", "3 of its lines are not used: line 10 repeats key 2")]


@pytest.mark.parametrize(
    ("text", "words"),
    [("<!doctype html><html>", "web page"), ("1;0\n2;80\n", "no index of a pack: line 1 is '1;0'"), ("", "empty")],
    ids=["page", "other", "empty"],
)
def test_what_is_no_index_is_refused(pack, text, words):
    (pack / "train.idx").write_text(text)
    with pytest.raises(DatasetError, match=words):
        found(pack)


def test_a_pack_without_its_index_is_refused(pack):
    (pack / "train.idx").unlink()
    with pytest.raises(DatasetError, match="no train.idx beside it"):
        found(pack)


@pytest.mark.parametrize("ends", [(0, 0), (6, 5), (6, 1e30), (float("nan"), 9), (6, 9, 12)])
def test_a_key_0_that_makes_no_sense_is_named_and_costs_nothing(pack, ends):
    recordio.write_pack(
        pack, [*list(recordio.entries(zip(PEOPLE, JPEGS, strict=True)))[:5], (0, recordio.entry(0, ends))]
    )
    images, [(_, reason)] = found(pack)
    assert len(images) == 5 and reason.startswith("record of key 0 says (")
