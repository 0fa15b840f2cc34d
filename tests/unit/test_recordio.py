import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fertools.datasets.readers import recordio
from fertools.datasets.readers.recordio import MAGIC, RecordError

payloads = st.lists(st.one_of(st.just(MAGIC), st.binary(max_size=9), st.binary(min_size=4, max_size=4)), max_size=9)
packs = st.lists(payloads.map(b"".join), min_size=1, max_size=6)


def read(data, offset=0):
    return recordio.read(io.BytesIO(data), offset)


def head(kind, length):
    return MAGIC + struct.pack("<I", kind * 2**29 + length)


@pytest.mark.parametrize(
    ("payload", "record"),
    [
        (b"hello", "0a23d7ce 05000000 68656c6c6f 000000"),
        (b"", "0a23d7ce 00000000"),
        (b"abcd" + MAGIC + b"ef", "0a23d7ce 04000020 61626364  0a23d7ce 02000060 6566 0000"),
        (MAGIC, "0a23d7ce 00000020  0a23d7ce 00000060"),
        (MAGIC * 2 + b"x", "0a23d7ce 00000020  0a23d7ce 00000040  0a23d7ce 01000060 78 000000"),
        (b"ab" + MAGIC, "0a23d7ce 06000000 6162 0a23d7ce 0000"),  # not where a reader would take it for a start
    ],
)
def test_a_record_is_written_byte_for_byte_as_the_format_says(payload, record):
    assert recordio.encode(payload).hex() == record.replace(" ", "")
    assert read(bytes.fromhex(record)) == payload


@settings(deadline=None)  # it writes files
@given(packs)
def test_every_record_of_a_pack_is_read_back_from_where_the_index_says(tmp_path_factory, payloads):
    folder = tmp_path_factory.mktemp("pack")
    recordio.write_pack(folder, list(enumerate(payloads)))
    data = (folder / "train.rec").read_bytes()
    offsets = [int(line.split("\t")[1]) for line in (folder / "train.idx").read_text().splitlines()]
    assert [read(data, offset) for offset in offsets] == payloads
    with (folder / "train.rec").open("rb", buffering=0) as file:
        starts = [recordio.read_start(file, offset, len(data)) for offset in offsets]
    assert starts == [payload[: recordio.START] for payload in payloads]
    assert sorted(path.name for path in folder.iterdir()) == ["train.idx", "train.rec"]


@given(packs)
def test_the_magic_stands_where_parts_start_and_nowhere_else(payloads):
    data, at, starts = b"".join(map(recordio.encode, payloads)), 0, []
    magics = [at for at in range(0, len(data), 4) if data[at : at + 4] == MAGIC]
    while at < len(data):
        starts.append(at)
        at += 8 + (struct.unpack_from("<I", data, at + 4)[0] % 2**29 + 3) // 4 * 4
    assert magics == starts and at == len(data)


@pytest.mark.parametrize("payload", [b"twelve bytes", b"abcd" + MAGIC + b"efgh"])
def test_a_record_that_is_cut_anywhere_is_cut_short(payload):
    record = recordio.encode(payload)
    for length in range(len(record)):
        with pytest.raises(RecordError, match="is cut short: "):
            read(record[:length])
        with pytest.raises(RecordError, match="is cut short: "):
            recordio.read_start(io.BytesIO(record[:length]), 0, length)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (b"\x89PNG\r\n\x1a\n", "is not there: no record starts at its byte"),
        (head(2, 4) + b"abcd", "a part of kind 2 where 0 or 1 belongs"),
        (head(7, 4) + b"abcd", "a part of kind 7 where 0 or 1 belongs"),
        (head(1, 4) + b"abcd" + head(0, 4) + b"efgh", "a part of kind 0 where 2 or 3 belongs"),
        (head(1, 4) + b"abcd" + b"no magic", "is not there"),
        (head(0, 2**29 - 1) + b"abcd", "is larger than 16 MiB"),
        (head(1, 0) + (head(2, 2**22) + bytes(2**22)) * 5, "is larger than 16 MiB"),
    ],
    ids=["png", "middle", "unknown", "whole-within", "lost", "huge", "huge-in-parts"],
)
def test_what_is_no_record_says_why(record, words):
    with pytest.raises(RecordError, match=words):
        read(record)
    with pytest.raises(RecordError, match=words):
        recordio.read_start(io.BytesIO(record), 0, len(record))


JPEG = b"\xff\xd8\xff\xe0rest"


@pytest.mark.parametrize(
    ("following", "image", "labels"),
    [
        ((0, 7.0), JPEG, (7,)),
        ((2, 0.0, struct.pack("<2f", 7, 1)), JPEG, (7, 1)),
        ((2, 0.0, struct.pack("<2d", 7, 1)), JPEG, (7, 1)),  # an old writer's
        ((2, 7.0), JPEG, (7,)),  # the header says that labels follow, and none do
        ((2, 0.0, struct.pack("<2f", 490_624, 501_196)), b"", (490_624, 501_196)),
        ((1, 0.0, struct.pack("<f", 7)), JPEG, (7,)),
    ],
    ids=["header", "32-bit", "64-bit", "none", "no-image", "one"],
)
def test_labels_and_image_are_found_in_every_layout(following, image, labels):
    num, label, *array = following
    payload = struct.pack("<IfQQ", num, label, 17, 0) + b"".join(array) + image
    start = recordio.image_start(payload)
    assert recordio.labels(payload) == labels
    assert (b"" if start is None else payload[start:]) == image


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"short", "5 bytes are no header"),
        (struct.pack("<IfQQ", 17, 0, 0, 0) + bytes(200), "has 17 labels; at most 16"),
        (struct.pack("<IfQQ", 3, 0, 0, 0) + bytes(8), "ends within its labels"),
    ],
)
def test_a_payload_without_labels_says_why(payload, words):
    with pytest.raises(RecordError, match=words):
        recordio.labels(payload)


def test_a_pack_of_faces_is_numbered_as_insightface_does():
    # Three identities of 2, 1 and 3 images: keys 1 to 6, then key 0 says where images and identities end.
    faces = [(identity, JPEG + bytes([number])) for number, identity in enumerate([4, 4, 5, 9, 9, 9])]
    records = dict(recordio.entries(faces))
    assert list(records) == [1, 2, 3, 4, 5, 6, 0, 7, 8, 9]
    assert [recordio.labels(records[key]) for key in range(10)] == [
        (7, 10), (4,), (4,), (5,), (9,), (9,), (9,), (1, 3), (3, 4), (4, 7),
    ]  # fmt: skip
    assert [records[key][24:] for key in range(1, 7)] == [image for _, image in faces]


def test_a_pack_that_cannot_be_written_whole_leaves_the_old_one(tmp_path):
    def broken():
        yield 1, b"new"
        raise RuntimeError

    recordio.write_pack(tmp_path, [(1, b"old")])
    with pytest.raises(RuntimeError):
        recordio.write_pack(tmp_path, broken())
    assert read((tmp_path / "train.rec").read_bytes()) == b"old"
    assert len(list(tmp_path.iterdir())) == 2
