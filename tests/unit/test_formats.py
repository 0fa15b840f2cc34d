"""Catches sound pictures that are refused, and pictures that come out dark, lying, negative, or partly made up."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from pictures import encoded
from PIL import Image

from fertools.faces.formats import exif, jpeg, tiff
from fertools.faces.images import ImageError, decode, inspect, load

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(120), np.arange(100)).astype(np.uint8)
COLOURS = np.ascontiguousarray(np.dstack([SMOOTH, SMOOTH[::-1], SMOOTH[:, ::-1]]))


def deep(values, suffix):
    """A PNG or TIFF of the values as they are."""
    _, data = cv2.imencode(suffix, values)
    return data.tobytes()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(data, kind, body):
    """A PNG with one more chunk before its pixels."""
    at = data.index(b"IDAT") - 4
    return data[:at] + chunk(kind, body) + data[at:]


# --- depth


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_values_of_any_depth_in_16_bits_come_out_as_bright_as_they_are(bits, suffix):
    for picture in (SMOOTH, COLOURS):
        stored = picture.astype(np.uint16) << (bits - 8)
        pixels = load(deep(stored, suffix)).pixels
        np.testing.assert_array_equal(pixels if pixels.ndim == 2 else pixels[..., ::-1], picture)  # OpenCV writes BGR


@pytest.mark.parametrize("top", [1, 255, 4095, 65535])
def test_floats_of_0_to_1_or_of_as_many_levels_as_integers(top):
    stored = (SMOOTH / 255 * top).astype(np.float32)
    np.testing.assert_allclose(load(encoded(stored, "TIFF")).pixels.astype(int), SMOOTH, atol=1)


def test_8_bits_in_32_and_what_has_no_depth():
    np.testing.assert_array_equal(load(encoded(SMOOTH.astype(np.int32), "TIFF")).pixels, SMOOTH)
    for values, reason in [
        (SMOOTH.astype(np.int32) * 100_000, "grey values up to 2.1.*e\\+07; expected 0 to 1, or 8 to 16 bits"),
        (SMOOTH.astype(np.int32) - 5, "grey values below 0"),
        (np.where(SMOOTH == 7, np.nan, SMOOTH).astype(np.float32), "no numbers"),
    ]:
        with pytest.raises(ImageError, match=reason):
            load(encoded(values, "TIFF"))


def test_a_pgm_says_its_depth_itself():
    values = (SMOOTH.astype(np.uint16) // 16 + 5).astype(">u2")  # dark: its brightest is 20 of 4095
    assert load(b"P5 100 120 4095\n" + values.tobytes()).pixels.max() == 1


def test_a_16_bit_tiff_whose_zero_is_white_is_no_negative():
    data = bytearray(encoded(SMOOTH.astype(np.uint16) * 257, "TIFF"))
    at = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
    data[at] = 0
    np.testing.assert_array_equal(load(bytes(data)).pixels, 255 - SMOOTH)


# --- orientation

CORNER = np.zeros((40, 30), np.uint8)
CORNER[:10, :12], CORNER[20:26, 3:9] = 200, 90
AS_SEEN = {  # EXIF 2.32, 4.6.4: which side of the scene row 0 and column 0 are
    1: CORNER, 2: CORNER[:, ::-1], 3: CORNER[::-1, ::-1], 4: CORNER[::-1], 5: CORNER.T, 6: np.rot90(CORNER, -1),
    7: np.rot90(CORNER, 2).T, 8: np.rot90(CORNER),
}  # fmt: skip
ODD = {  # entries (tag, type, count, raw value) before and after the orientation
    "none": ([], []),
    "offset out of range": ([(0x010F, 2, 40, b"\xff\xff\xff\x7f")], [(0x9286, 7, 2**31, b"\xff" * 4)]),
    "wrong type": ([(0x011A, 99, 1, b"abcd")], [(0x0131, 3, 3, b"\0\0\0\0")]),
    "no number": ([(0x0100, 5, 1, b"\0" * 4)], [(0x8769, 4, 1, b"\xfe\xff\xff\xff")]),
    "doubled, first broken": ([(0x0112, 3, 1, b"\x63\x63\0\0")], []),
    "huge count": ([(0x9C9B, 1, 2**32 - 1, b"\x08\0\0\0")], [(0, 0, 0, b"\0" * 4)]),
}


def exif_block(order, orientation, kind, before=(), after=(), more=0):
    value = {1: "B3x", 3: "H2x", 4: "I", 8: "h2x", 9: "i"}[kind]
    entries = [*before, (0x0112, kind, 1, struct.pack(order + value, orientation)), *after]
    rows = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IH", 8, len(entries) + more) + rows + bytes(4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_sets_a_picture_upright_whatever_stands_beside_it(orientation):
    for order in "<>":
        for kind in (1, 3, 4, 8, 9):
            for before, after in ODD.values():
                block = exif_block(order, orientation, kind, before, after)
                assert exif.orientation(b"Exif\0\0" + block) == orientation
        block = exif_block(order, orientation, 3, *ODD["offset out of range"], more=500)  # says more than there are
        for data in (
            with_chunk(encoded(CORNER), b"eXIf", block),
            encoded(CORNER, "JPEG", quality=100, exif=b"Exif\0\0" + block),
            encoded(CORNER, "WEBP", lossless=True, exif=block),
        ):
            pixels = decode(data)[..., 1].astype(int)
            assert pixels.shape == AS_SEEN[orientation].shape
            assert np.abs(pixels - AS_SEEN[orientation]).mean() < 5


def test_xmp_is_asked_where_exif_says_nothing():
    packet = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = with_chunk(encoded(CORNER), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    np.testing.assert_array_equal(load(data).pixels, AS_SEEN[6])
    assert exif.orientation(exif_block("<", 3, 3), packet) == 3
    assert exif.orientation(b"II*\0\xff\xff\xff\xff", packet) == 6 and exif.orientation(b"", b"") == 1


# --- PNG


def test_a_png_is_read_whatever_it_holds_beside_its_pixels(tmp_path):
    whole = encoded(PICTURE)
    for name, data in {
        "behind its end": whole + b"\0" * 5000,
        "another file behind": whole + encoded(PICTURE, "JPEG"),
        "text": with_chunk(whole, b"tEXt", b"Comment\0" + b"long " * 500_000),
        "text that unpacks to 100 MB": with_chunk(whole, b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000))),
        "a broken profile": with_chunk(whole, b"iCCP", b"no profile"),
        "gamma": with_chunk(whole, b"gAMA", struct.pack(">I", 1)),
        "a chunk with a wrong sum": with_chunk(whole, b"tIME", b"1234567").replace(b"tIME1", b"tIME2"),
    }.items():
        np.testing.assert_array_equal(decode(data), PICTURE, name)
        (tmp_path / "a.png").write_bytes(data)
        inspect(tmp_path, "a.png")


# --- JPEG

JPEGS = [
    dict(quality=quality, progressive=progressive, subsampling=sampling)
    for quality in (60, 95) for progressive in (False, True) for sampling in (0, 2)
]  # fmt: skip


@pytest.mark.parametrize("options", JPEGS, ids=str)
@pytest.mark.parametrize("picture", [PICTURE, COLOURS, SMOOTH], ids=["noise", "colour", "grey"])
def test_a_jpeg_that_lacks_its_end_alone_is_whole_and_one_that_lacks_more_is_not(picture, options):
    data = encoded(picture, "JPEG", **options)
    for cut in (1, 2):
        np.testing.assert_array_equal(decode(data[:-cut]), decode(data))
    np.testing.assert_array_equal(decode(data[:-2] + b"\0" * 300), decode(data))  # a block of the disk, filled up
    for length in (*range(len(data) - 12, len(data) - 3), *(len(data) * part // 100 for part in range(1, 99))):
        with pytest.raises(ImageError):
            decode(data[:length])


def test_a_progressive_jpeg_between_two_scans_is_not_whole():
    data = encoded(COLOURS, "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    for at in scans[1:]:
        with pytest.raises(ImageError):
            decode(data[:at])


@pytest.mark.parametrize("options", JPEGS, ids=str)
def test_opencv_and_pillow_give_the_same_pixels(options):
    colourful = np.asarray(cv2.resize(PICTURE, (133, 97), interpolation=cv2.INTER_CUBIC))
    for picture in (PICTURE, COLOURS, SMOOTH, colourful, colourful[..., 0]):
        for more in ({}, {"restart_marker_rows": 1}, {"icc_profile": b"no profile"}):
            data = encoded(np.ascontiguousarray(picture), "JPEG", **options, **more)
            np.testing.assert_array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    rgb = encoded(colourful, "JPEG", keep_rgb=True)
    np.testing.assert_array_equal(decode(rgb), np.asarray(Image.open(io.BytesIO(rgb))))


def test_cmyk_is_read_as_pillow_reads_it():
    for form in ("JPEG", "TIFF"):
        data = io.BytesIO()
        Image.fromarray(COLOURS).convert("CMYK").save(data, form)
        np.testing.assert_array_equal(decode(data.getvalue()), np.asarray(Image.open(data).convert("RGB")))


def test_png_of_every_kind_gives_the_pixels_that_pillow_gives():
    image = Image.fromarray(COLOURS)
    for other in (image.convert("1"), image.quantize(7), image.quantize(200), image.convert("LA"), image.convert("L")):
        data = io.BytesIO()
        other.save(data, "PNG", transparency=3 if other.mode in "PL" else None)
        np.testing.assert_array_equal(decode(data.getvalue()), np.asarray(other.convert("RGB")))


def test_a_photograph_of_50_megapixels_is_decoded_at_half_its_size():
    large = np.zeros((6144, 8192), np.uint8)
    large[1024:2048, 4096:] = 255
    found = load(encoded(large, "JPEG"))
    assert found.scale == 2 and found.pixels.shape == (3072, 4096)
    assert found.pixels[520:1020, 2052:].min() == 255 and found.pixels[:510].max() == 0
    edge = np.array([[2047.5, 511.5]], np.float32)  # between pixels 2047 and 2048: between 4095 and 4096 in the file
    np.testing.assert_allclose(found.in_file(edge), [[4095.5, 1023.5]])
    np.testing.assert_allclose(found.of_file(found.in_file(edge)), edge)
    matrix = np.array([[0.5, 0.1, 3], [-0.1, 0.5, 4]])
    seen = matrix @ [*edge[0], 1]
    np.testing.assert_allclose(found.matrix_of_file(matrix) @ [4095.5, 1023.5, 1], seen)


def test_one_of_more_pixels_than_are_reduced_is_refused():
    frame = jpeg.parse(encoded(SMOOTH, "JPEG"))
    data = bytearray(encoded(SMOOTH, "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 12_300, 12_300)
    assert frame.single_scan
    with pytest.raises(ImageError, match="too large: 12300 x 12300 px; at most 150,000,000 pixels of a JPEG"):
        decode(bytes(data))


# --- TIFF


def tiff_of_large_tiles():
    """A TIFF of 64 x 64 whose one tile is 20000 x 20000, in numbers of a kind that Pillow passes over, libtiff not."""
    short, long, signed_long8 = 3, 4, 17
    entries = [(256, long, 64), (257, long, 64), (258, short, 8), (259, short, 5), (262, short, 1), (273, long, 8),
               (277, short, 1), (279, long, 100), (322, signed_long8, 150), (323, signed_long8, 150)]  # fmt: skip
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    start = b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)
    return start.ljust(150, b"\0") + struct.pack("<q", 20_000) + bytes(200)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "tiff_deflate"])
def test_tiffs_as_photoshop_writes_them_are_read_and_refused_where_cut(compression, tmp_path):
    for picture in (COLOURS, SMOOTH, SMOOTH.astype(np.uint16) * 257, np.dstack([COLOURS, SMOOTH])):
        data = encoded(picture, "TIFF", compression=compression)
        wanted = picture if picture.dtype == np.uint8 else SMOOTH
        np.testing.assert_array_equal(load(data).pixels, wanted[..., :3] if wanted.ndim == 3 else wanted)
        (tmp_path / "a.tif").write_bytes(data)
        inspect(tmp_path, "a.tif")
        for part in range(100):
            try:
                pixels = load(data[: len(data) * part // 100]).pixels
            except ImageError:
                continue
            np.testing.assert_array_equal(pixels, load(data).pixels)


def test_a_predictor_stays():
    for values in (COLOURS, COLOURS.astype(np.uint16) << 4):
        _, data = cv2.imencode(".tiff", values, [cv2.IMWRITE_TIFF_COMPRESSION, 5, cv2.IMWRITE_TIFF_PREDICTOR, 2])
        np.testing.assert_array_equal(load(data.tobytes()).pixels[..., ::-1], COLOURS)


def test_the_header_that_a_decoder_gets_is_ours():
    data = encoded(COLOURS, "TIFF", compression="tiff_lzw", description="a" * 100)
    again = Image.open(io.BytesIO(tiff.rewritten(data).data))
    assert set(again.tag_v2) <= {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 320, 338, 339, 266}
    assert 20_000 not in Image.open(io.BytesIO(tiff.rewritten(tiff_of_large_tiles()).data)).tag_v2.values()
    for tag, value, reason in [
        (256, 60_000, "too large: 60000 x 60000"), (259, 7, "a TIFF compressed by JPEG; read are none, LZW, deflate"),
        (277, 9, "9 samples of 8 bits"), (262, 6, "colours that are not read"), (273, 2**31, "cut short"),
    ]:  # fmt: skip
        changed = bytearray(data)
        for each in (tag, 257) if tag == 256 else (tag,):
            (first,) = struct.unpack_from("<I", data, 4)
            at = next(at for at in range(first + 2, len(data), 12) if data[at : at + 2] == struct.pack("<H", each))
            changed[at + 2 : at + 12] = struct.pack("<HII", 4, 1, value)
        with pytest.raises(ImageError, match=reason):
            tiff.rewritten(bytes(changed))


def test_heic_says_what_to_install_and_is_read_where_it_is(monkeypatch):
    start = struct.pack(">I4s4s", 24, b"ftyp", b"heic") + bytes(40)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"pip install 'fertools\[heif\]'"):
        decode(start)
    monkeypatch.undo()
    pillow_heif = pytest.importorskip("pillow_heif")
    data = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(COLOURS)).save(data, quality=95)
    assert np.abs(decode(data.getvalue()).astype(int) - COLOURS).mean() < 8


def test_avif_is_read():
    assert np.abs(decode(encoded(COLOURS, "AVIF", quality=95)).astype(int) - COLOURS).mean() < 8
