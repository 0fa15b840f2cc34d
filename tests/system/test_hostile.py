"""Hostile files end as rows with a reason: nothing crashes, hangs, or takes more memory than an image may."""

import io
import json
import re
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, png_header
from PIL import Image

from fertools.faces.align import AlignmentError, crop_matrix
from fertools.faces.detector import Detector
from fertools.faces.images import ImageError, decode
from manifests import files

NOISE = np.random.default_rng(0).integers(0, 256, (120, 100, 3), dtype=np.uint8)
SMOOTH = np.repeat(np.add.outer(np.arange(120), np.arange(100)).astype(np.uint8)[:, :, None], 3, axis=2)


def bomb():
    """A PNG of 80 kB that would decode to 81 million pixels, rows and checksums in order."""
    data = bytearray(png_header(9_000, 9_000))
    rows = zlib.compress(bytes(9_001 * 9_000))
    at = data.index(b"IDAT") - 4
    chunk = b"IDAT" + rows
    return bytes(data[:at]) + len(rows).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[-12:]


def growing_gif():
    """A GIF whose screen is 10 x 10 and whose only frame is 30,000 x 30,000."""
    data = bytearray(encoded(np.zeros((10, 10), np.uint8), "GIF"))
    at = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    data[at + 5 : at + 9] = (30_000).to_bytes(2, "little") * 2
    return bytes(data)


def polyglot():
    """A JPEG that is a ZIP archive, too."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("script.js", "alert(1)" * 1000)
    return encoded(SMOOTH, "JPEG") + archive.getvalue()


def animated():
    data = io.BytesIO()
    first, *others = (Image.fromarray(np.full((60, 50), 40 * place, np.uint8)) for place in range(1, 5))
    first.save(data, "GIF", save_all=True, append_images=others, duration=10)
    return data.getvalue()


STRIP = np.random.default_rng(1).integers(0, 256, (30, 20_000), dtype=np.uint8)
HOSTILE = {  # file -> its content, how its reason starts
    "bomb.png": (bomb, "too large: 9000 x 9000 px"),
    "grown.gif": (growing_gif, "too large|does not decode"),
    "polyglot.jpg": (polyglot, "no face found"),
    "extension.png": (lambda: encoded(SMOOTH, "JPEG"), "no face found"),
    "page.jpg": (lambda: b"<html>503</html>", "not an image"),
    "one.png": (lambda: encoded(NOISE[:1, :1]), "no face found"),
    "strip.png": (lambda: encoded(STRIP), "no face found"),
    "column.png": (lambda: encoded(STRIP.T.copy()), "no face found"),
    "animated.gif": (animated, "no face found"),
    "noise.png": (lambda: encoded(NOISE), "no face found"),
    "black.png": (lambda: encoded(NOISE * 0), "no face found"),
}
PREPARE = """
import json, re, sys
from pathlib import Path
from fertools.datasets import DATASETS
from fertools.preparation.prepare import prepare
summary = prepare(DATASETS["folder"], Path(sys.argv[1]), Path(sys.argv[2]), labels=Path(sys.argv[1]) / "labels.csv")
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())  # ru_maxrss begins with the parent's
print(json.dumps([summary.quarantined, int(peak[1])]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells peak memory on Linux only")
def test_each_is_a_row_with_its_reason_within_the_memory_of_one_image(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, (make, _) in HOSTILE.items():
        (raw / name).write_bytes(make())
    (raw / "labels.csv").write_text("path,expression,subject\n" + "".join(f"{name},anger,a\n" for name in HOSTILE))
    command = [sys.executable, "-c", PREPARE, str(raw), str(tmp_path / "out")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    quarantined, peak = json.loads(run.stdout)
    told = {item["path"]: item["reason"] for item in quarantined}
    assert set(told) == set(HOSTILE)

    for name, (_, reason) in HOSTILE.items():
        assert re.match(reason, told[name]), (name, told[name])
    assert peak < 1_300_000  # KiB: torch and OpenCV alone have about 500,000
    assert len(files.read(tmp_path / "out/folder.parquet")) == len(HOSTILE)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF"])
def test_cut_at_every_hundredth_of_its_length_it_gives_a_picture_or_a_reason(form):
    data = encoded(SMOOTH, form)
    shapes = set()
    for hundredth in range(100):
        try:
            shapes.add(decode(data[: len(data) * hundredth // 100]).shape)
        except ImageError as error:
            assert str(error)
    assert shapes <= {SMOOTH.shape} and decode(data).shape == SMOOTH.shape


def test_landmarks_that_are_no_numbers_are_refused():
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(AlignmentError, match="not a number"):
            crop_matrix(np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, value]]))


def test_noise_of_any_size_gives_faces_whose_landmarks_are_numbers_or_none():
    detector, rng = Detector("cpu"), np.random.default_rng(2)
    for height, width in ((1, 1), (1, 400), (19, 19), (20, 20), (21, 500), (144, 144)):
        for face in detector(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)):
            assert np.isfinite(face.landmarks).all() and np.isfinite(face.box).all()
