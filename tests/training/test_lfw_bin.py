"""A file of pairs is read as data: what would run on unpickling does not."""

import io
import pickle
import struct
import sys

import numpy as np
import pytest
from PIL import Image

from trainer.data import lfw_pairs
from trainer.data.lfw_pairs import PairsError, parse, read


def encoded(level, size=112, form="PNG"):
    data = io.BytesIO()
    Image.new("RGB", (size, size), (level,) * 3).save(data, form)
    return data.getvalue()


def by_python_2(images, same):
    """As `pickle.dumps((images, same), 2)` of Python 2 writes them: bytes are its str."""

    def text(data, number):
        return b"T" + struct.pack("<I", len(data)) + data + b"r" + struct.pack("<I", number)

    bins = b"]q\x01(" + b"".join(text(data, 10 + number) for number, data in enumerate(images)) + b"e"
    truths = b"]q\x02(" + b"".join(b"\x88" if one else b"\x89" for one in same) + b"e"
    return b"\x80\x02" + bins + truths + b"\x86q\x03."


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_pair_of_lists_reads_as_it_was_written(protocol):
    images = [b"a", b"bc" * 200, b"", b"d"]
    data = pickle.dumps((images, [True, False]), protocol)
    assert parse(data) == (images, [True, False])


def test_one_image_in_two_pairs_is_read_twice():
    image = bytes(300)
    assert parse(pickle.dumps(([image, image], [True]), 4)) == ([image, image], [True])


def test_files_of_python_2_are_read():
    images = [b"\xff\xd8\x00" + bytes([number]) for number in range(4)]
    assert parse(by_python_2(images, [False, True])) == (images, [False, True])


def test_faces_come_as_grey_levels(tmp_path):
    path = tmp_path / "lfw.bin"
    path.write_bytes(by_python_2([encoded(level) for level in (10, 20, 30, 40)], [True, False]))
    faces, same = read(path)
    assert faces.shape == (4, 112, 112) and faces.dtype == np.uint8
    assert faces[:, 5, 5].tolist() == [10, 20, 30, 40] and same.tolist() == [True, False]


class Payload:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", range(6))
def test_a_payload_is_refused_and_does_not_run(protocol, tmp_path):
    ran = tmp_path / "ran"
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps(([Payload(ran.touch)], [True]), protocol))
    with pytest.raises(PairsError, match=r"lfw.bin is refused: it asks for"):
        read(path)
    assert not ran.exists()


def test_not_even_a_module_is_imported():
    assert "antigravity" not in sys.modules
    with pytest.raises(PairsError, match="asks for GLOBAL antigravity geohash"):
        parse(b"\x80\x02cantigravity\ngeohash\n(tR.")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle",
        pickle.dumps(([b"a"], [True]), 4),  # one image for a pair
        pickle.dumps(([], []), 4),
        pickle.dumps([b"a", b"b"], 4),
        pickle.dumps(([True, True], [True]), 4),
        pickle.dumps(([b"a", b"b"], [b"c"]), 4),
        pickle.dumps(([b"a", b"b"], [True]), 4)[:-1],
        pickle.dumps(([[b"a"], b"b"], [True]), 4),
        pickle.dumps(([b"a", b"b"], [1]), 4),
        pickle.dumps((["a", "b"], [True]), 4),
        b"\x80\x03B\xff\xff\xff\xffab.",  # bytes that claim to be 4 GiB
        b"\x80\x04\x8e" + b"\xff" * 8 + b".",
        b"\x80\x02a.",
        b"\x80\x02e.",
        b"\x80\x02h\x05.",
        b"\x80\x02]q\x00h\x00a.",  # a list in itself
    ],
)
def test_anything_else_is_refused_in_words(data):
    with pytest.raises(PairsError, match="it "):
        parse(data)


def test_any_cut_or_changed_byte_is_refused_or_read_and_nothing_else():
    whole = pickle.dumps(([b"abc", b"de", b"f", b"g" * 300], [True, False]), 4)
    for place in range(len(whole)):
        with pytest.raises(PairsError):
            parse(whole[:place])
        for value in (0, 0x28, 0x2E, 0x63, 0x93, 0xFF):
            try:
                images, same = parse(whole[:place] + bytes([value]) + whole[place + 1 :])
            except PairsError:
                continue
            assert all(type(image) is bytes for image in images) and all(type(one) is bool for one in same)


def test_sizes_are_bounded(tmp_path, monkeypatch):
    path = tmp_path / "lfw.bin"
    path.write_bytes(by_python_2([encoded(1), encoded(2, size=5000)], [True]))
    with pytest.raises(PairsError, match="image 1 is 5000 x 5000; expected 112 x 112"):
        read(path)
    monkeypatch.setattr(lfw_pairs, "MOST", 1)
    with pytest.raises(PairsError, match="more than 1"):
        read(path)
    monkeypatch.setattr(lfw_pairs, "LARGEST", 100)
    with pytest.raises(PairsError, match="at most 100 are read"):
        read(path)
    with pytest.raises(PairsError, match="no such file; expected lfw.bin"):
        read(tmp_path / "none.bin")


@pytest.mark.parametrize("image", [b"GIF89a", b"", encoded(3)[:60], encoded(3, form="GIF")])
def test_what_is_no_image_is_named(image, tmp_path):
    path = tmp_path / "lfw.bin"
    path.write_bytes(by_python_2([encoded(1), image], [True]))
    with pytest.raises(PairsError, match="image 1 is no whole JPEG or PNG"):
        read(path)
