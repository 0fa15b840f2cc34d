import struct

import numpy as np
import pytest
from pictures import encoded, png_header
from PIL import Image

from fertools.faces.images import ImageError, decode, inspect, read_bytes

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def claiming(format, width, height):
    """A whole BMP or TIFF of 30 x 40 whose header says another size."""
    data = bytearray(encoded(PICTURE, format))
    for at, value in zip({"BMP": (18, 22), "TIFF": (18, 30)}[format], (width, height), strict=True):
        data[at : at + 4] = struct.pack("<i", value)
    return bytes(data)


@pytest.mark.parametrize(
    ("pixels", "wanted"),
    [
        (PICTURE, PICTURE),
        (PICTURE[..., 0], np.repeat(PICTURE[..., :1], 3, 2)),
        (np.dstack([PICTURE, PICTURE[..., 0]]), PICTURE),  # transparency is dropped
        (PICTURE[..., 0].astype(np.uint16) * 257, np.repeat(PICTURE[..., :1], 3, 2)),
    ],
    ids=["colour", "grey", "alpha", "16 bit"],
)
def test_every_mode_becomes_rgb(pixels, wanted):
    np.testing.assert_array_equal(decode(encoded(pixels)), wanted)


@pytest.mark.parametrize("format", ["BMP", "TIFF"])
def test_uncompressed_formats_of_older_sets_are_read(format, tmp_path):
    np.testing.assert_array_equal(decode(encoded(PICTURE, format)), PICTURE)
    np.testing.assert_array_equal(decode(encoded(PICTURE[..., 0], format)), np.repeat(PICTURE[..., :1], 3, 2))
    (tmp_path / "good").write_bytes(encoded(PICTURE, format))
    inspect(tmp_path, "good")


@pytest.mark.parametrize("format", ["BMP", "TIFF"])
def test_their_size_is_bounded_by_the_header_before_a_pixel_is_decoded(format, tmp_path):
    for side in (30_000, 8_000):
        for data in (claiming(format, side, side), claiming(format, side, side)[:200]):
            (tmp_path / "bomb").write_bytes(data)
            with pytest.raises(ImageError, match="too large"):
                inspect(tmp_path, "bomb")
        with pytest.raises(ImageError, match="too large"):
            decode(claiming(format, side, side))
    with pytest.raises(ImageError, match="does not decode: image file is truncated"):
        decode(encoded(PICTURE, format)[:-400])


def test_a_turned_photograph_is_set_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    picture = np.zeros((40, 30), np.uint8)
    picture[:10, :10] = 200  # as stored; top right when upright
    pixels = decode(encoded(picture, "JPEG", exif=exif))
    assert pixels.shape == (30, 40, 3)
    assert pixels[:8, -8:].min() > 150 and pixels[:8, :8].max() < 50


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encoded(PICTURE)[:-400], "cut short"),
        (encoded(PICTURE)[:20], "cut short"),
        (png_header(30_000, 30_000)[:33], "too large: 30000 x 30000"),  # a header and nothing else
        (b"just some text, not a picture", "not an image: it starts with 'just some text, '"),
        (png_header(30_000, 30_000), "too large"),
        (png_header(8_000, 8_000), "too large: 8000 x 8000 px; at most 50,000,000 pixels"),
        (png_header(40, 30), "does not decode"),
        (encoded(PICTURE, "JPEG")[:300], "does not decode|not an image"),
    ],
    ids=["cut", "stub", "header", "text", "bomb", "large", "no pixels", "cut jpeg"],
)
def test_what_is_no_picture_gives_its_reason(data, reason):
    with pytest.raises(ImageError, match=reason):
        decode(data)


def test_reading_stays_below_the_root(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "secret.png").write_bytes(encoded(PICTURE))
    (tmp_path / "raw/link.png").symlink_to(tmp_path / "secret.png")
    for path in ("../secret.png", "link.png"):
        with pytest.raises(ImageError, match="leaves the raw folder"):
            read_bytes(tmp_path / "raw", path)


def test_inspection_names_what_is_wrong_without_decoding(tmp_path):
    for name, data, reason in [
        ("empty.png", b"", "empty"),
        ("text.png", b"hello", "not an image"),
        ("cut.png", encoded(PICTURE)[:-30], "cut short"),
        ("bomb.png", png_header(30_000, 30_000), "too large"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=reason):
            inspect(tmp_path, name)
    (tmp_path / "good.png").write_bytes(encoded(PICTURE))
    inspect(tmp_path, "good.png")
    with pytest.raises(ImageError, match="not a file"):
        inspect(tmp_path, "gone.png")
