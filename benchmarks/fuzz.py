"""Mutated images through decoding and alignment: does any of them crash, hang, or take more memory than it may?

Small drawn faces in every format that is read are damaged in seeded ways (bits flipped, bytes overwritten, cut out,
doubled or inserted, two files spliced, lengths and sizes made huge, the end cut off) and go through `images.decode`,
then `align.crop`, with landmarks of which some are no numbers, coincide, or lie far outside. Each has a bound of time
and of memory; a process that dies or is silent is counted and replaced.

    python benchmarks/fuzz.py --seed 0
"""

import argparse
import datetime
import importlib.metadata
import io
import json
import multiprocessing
import os
import platform
import resource
import struct
import time
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fertools.drawn.corpus import person
from fertools.drawn.face.expressions import sample_peak
from fertools.drawn.face.factors import sample_nuisance
from fertools.drawn.face.render import landmarks, render_colour
from fertools.faces import align, images

SECONDS = 5.0  # an image may take
MEGABYTES = 1024  # an image may add: a decoded one of 50 million pixels has 150, and is there up to four times
SILENCE = 60.0  # s: then a process hangs
SIDE = 96
LANDMARKS = ("its own", "no number", "infinite", "coincident", "far outside", "tiny", "noise")


def sources(seed: int) -> tuple[dict[str, bytes], NDArray[np.float32]]:
    """Return a drawn face as a file of every kind that is read, and its landmarks."""
    rng = np.random.default_rng([seed, 1])
    action, _ = sample_peak("happiness", rng)
    about = person(seed, 0), action, sample_nuisance(rng), SIDE, SIDE
    face = Image.fromarray(render_colour(*about, rng))
    noise = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.asarray(face.convert("L")).astype(np.uint16) * 257)
    kinds: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "png grey": (face.convert("L"), "PNG", {}), "png colour": (face, "PNG", {}),
        "png palette": (face.quantize(64), "PNG", {}), "png alpha": (face.convert("RGBA"), "PNG", {}),
        "png 16 bit": (deep, "PNG", {}), "png text": (face, "PNG", {"pnginfo": _text()}),
        "jpeg": (face, "JPEG", {}), "jpeg progressive": (face, "JPEG", {"progressive": True}),
        "jpeg cmyk": (face.convert("CMYK"), "JPEG", {}), "jpeg turned": (face, "JPEG", {"exif": exif}),
        "jpeg noise": (noise, "JPEG", {"quality": 98}),
        "bmp": (face, "BMP", {}), "bmp palette": (face.quantize(16), "BMP", {}),
        "tiff": (face, "TIFF", {}), "tiff deep": (deep, "TIFF", {}),
        "tiff lzw": (face, "TIFF", {"compression": "tiff_lzw"}),
        "tiff packbits": (face.convert("L"), "TIFF", {"compression": "packbits"}),
        "tiff deflate": (deep, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "avif": (face, "AVIF", {}), "webp": (face, "WEBP", {}),
        "webp lossless": (face, "WEBP", {"lossless": True}),
        "ppm": (face, "PPM", {}), "pgm": (face.convert("L"), "PPM", {}),
        "gif": (face, "GIF", {}),
        "gif animated": (face, "GIF", {"save_all": True, "append_images": [noise, face], "duration": 40}),
        "png animated": (face, "PNG", {"save_all": True, "append_images": [noise, face]}),
        "webp animated": (face, "WEBP", {"save_all": True, "append_images": [noise, face]}),
    }  # fmt: skip
    found = np.asarray(landmarks(*about), np.float32)
    return {name: _encode(*kind) for name, kind in kinds.items()}, found


def _text() -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("note", "long " * 20_000, zip=True)
    return info


def _encode(image: Image.Image, form: str, options: dict[str, Any]) -> bytes:
    data = io.BytesIO()
    image.save(data, format=form, **options)
    return data.getvalue()


def mutated(files: list[bytes], rng: np.random.Generator) -> bytes:
    """Return one of the files, damaged once to four times; header and body are hit alike."""
    data = bytearray(files[rng.integers(len(files))])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if len(data) < 8:
            break
        reach = len(data) if rng.random() < 0.5 else min(len(data), 128)
        at = int(rng.integers(reach))
        length = int(rng.integers(1, 64))
        match rng.integers(8):
            case 0:
                data[at] ^= 1 << rng.integers(8)
            case 1:
                data[at : at + length] = rng.bytes(len(data[at : at + length]))
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = data[at : at + length] * int(rng.integers(1, 50))
            case 4:
                data[at:at] = rng.bytes(length)
            case 5:
                other = files[rng.integers(len(files))]
                data[at:] = other[int(rng.integers(len(other))) :]
            case 6:  # a length or a size that is huge, or just too large
                kind = rng.choice([">I", "<I", ">H", "<H"])
                value = int(rng.choice([0, 1, 0x7FFF, 0xFFFF, 7000, 65_500])) & 0xFFFF
                value = int(rng.choice([0xFFFFFFFF, 0x7FFFFFFF, 60_000, 7_000])) if kind[1] == "I" else value
                data[at : at + struct.calcsize(kind)] = struct.pack(kind, value)
            case 7:
                del data[max(8, int(len(data) * rng.random())) :]
    return bytes(data)


def points(kind: str, own: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return five landmarks of a kind."""
    if kind == "noise":
        return rng.normal(0, 10.0 ** rng.integers(-3, 30), (5, 2)).astype(np.float32)
    marks = own.copy()
    match kind:
        case "no number":
            marks[rng.integers(5), rng.integers(2)] = np.nan
        case "infinite":
            marks[rng.integers(5), rng.integers(2)] = np.inf
        case "coincident":
            marks[:] = marks[0]
        case "far outside":
            marks += 1e6
        case "tiny":
            marks = marks * 1e-3 + 40
    return marks


def attempt(data: bytes, own: NDArray[np.float32], rng: np.random.Generator) -> tuple[str, str]:
    """Decode an image and cut a face out of it; what came of both."""
    try:
        image = images.decode(data)
    except images.ImageError as error:
        return str(error).split(":")[0].split(" px")[0], ""
    kind = str(rng.choice(LANDMARKS))
    try:
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        matrix = align.crop_matrix(points(kind, own, rng))
        assert align.crop(grey, matrix).shape == (144, 144)
    except align.AlignmentError as error:
        return "decoded", str(error)
    return "decoded", "aligned"


def work(
    pipe: Connection, files: list[bytes], own: NDArray[np.float32], seed: int, start: int, stop: int
) -> None:  # fmt: skip
    """Attempt images one after the other; say of each what came of it."""
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    for data in files:  # what is imported or kept at the first images is not counted as any image's
        attempt(data, own, np.random.default_rng(0))
    held = 2**20 * MEGABYTES * 4
    resource.setrlimit(resource.RLIMIT_DATA, (held, held))  # the machine is safe whatever an image does
    for number in range(start, stop):
        rng = np.random.default_rng([seed, 2, number])
        data = mutated(files, rng)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before, started = _memory("VmRSS"), time.perf_counter()
        outcome = attempt(data, own, rng)
        seconds = time.perf_counter() - started
        pipe.send((number, outcome, seconds, (_memory("VmHWM") - before) / 1024))


def _memory(name: str) -> int:
    """Return what the kernel says of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def run(num: int, seed: int) -> dict[str, Any]:
    """Attempt all images in processes that may die; an exception that is nobody's reason ends its process, too."""
    files, own = sources(seed)
    ends: list[dict[str, Any]] = []
    told: list[tuple[int, tuple[str, str], float, float]] = []
    number = 0
    while number < num and len(ends) < 20:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=work, args=(sender, list(files.values()), own, seed, number, num)
        )
        process.start()
        sender.close()
        try:
            while number < num:
                if not receiver.poll(SILENCE):
                    ends.append({"image": number, "end": f"silent for {SILENCE:g} s"})
                    break
                told.append(receiver.recv())
                number += 1
        except EOFError:
            process.join()
            ends.append({"image": number, "end": f"exit code {process.exitcode}"})
        process.kill()
        process.join()
        number += number < num
    outcomes, aligned = (Counter(one[1][place] for one in told) for place in (0, 1))
    del aligned[""]
    seconds, megabytes = (np.array([one[place] for one in told]) for place in (2, 3))
    return {
        "kinds": list(files), "images": len(told), "ended or hung their process": ends,
        "slower than the bound": int((seconds > SECONDS).sum()),
        "larger than the bound": int((megabytes > MEGABYTES).sum()),
        "seconds": _spread(seconds) | {"bound": SECONDS}, "MiB added": _spread(megabytes) | {"bound": MEGABYTES},
        "decoding": dict(outcomes.most_common()), "alignment of what decoded": dict(aligned.most_common()),
    }  # fmt: skip


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    shares = {"median": 0.5, "99 %": 0.99, "99.9 %": 0.999, "most": 1.0}
    return {name: round(float(np.quantile(values, share)), 4) for name, share in shares.items()}


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-images", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/fuzz.json"))
    options = parser.parse_args()
    found = run(options.num_images, options.seed)
    packages = ("numpy", "pillow", "opencv-python-headless")
    result = {
        "date": str(datetime.date.today()),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} shared cores, one thread, no GPU used",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
        "command": f"python benchmarks/fuzz.py --num-images {options.num_images} --seed {options.seed}",
        **found,
    }  # fmt: skip
    text = json.dumps(result, indent=2)
    print(text)
    part = options.out.with_suffix(".part")
    part.write_text(text + "\n")
    part.replace(options.out)


if __name__ == "__main__":
    main()
