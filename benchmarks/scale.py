"""`fertools prepare` over more and more images, and over one worker and two: seconds and peak memory.

1,280 pictures of 160 drawn people are linked as often as it takes; each is read, decoded, searched and stored anew.
Each size runs three times: in an empty folder, again with nothing to do, and after one picture in a hundred is new.
Peak memory is of the whole tree of processes, proportionally shared pages (PSS), looked at four times a second.

    python benchmarks/scale.py --work FOLDER --sizes 1000 10000 100000
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from fertools.drawn.corpus import write_whole
from fertools.faces import images

PEOPLE, PER_PERSON, PER_FOLDER = 160, 8, 100
PACKAGES = ("numpy", "pyarrow", "torch", "opencv-python-headless", "pillow")


def draw(folder: Path) -> list[Path]:
    """Return drawn pictures, drawn once."""
    if not folder.exists():
        program = str(Path(sys.executable).with_name("fertools"))
        subprocess.run([program, "draw", "casia-webface", "--subjects", str(PEOPLE), "--raw", str(folder)], check=True)
    return sorted(folder.rglob("*.jpg"))


def link(pictures: list[Path], raw: Path, first: int, last: int) -> None:
    """Add pictures to a folder of folders, as links to the drawn ones."""
    for number in range(first, last):
        place = raw / "happiness" / f"person{number // PER_FOLDER:05d}" / f"{number:06d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(pictures[number % len(pictures)], place)


def run(raw: Path, out: Path, workers: int) -> dict[str, Any]:
    """Prepare a folder; wall and processor seconds, and peak memory of all processes."""
    line = [str(Path(sys.executable).with_name("fertools")), "prepare", "folder", "--raw", str(raw), "--manifests"]
    before, started, peak = os.times(), time.perf_counter(), [0]
    with subprocess.Popen([*line, str(out), "--workers", str(workers), "--json"], stdout=subprocess.PIPE) as process:
        watcher = threading.Thread(target=_watch, args=(process, peak))
        watcher.start()
        told = json.loads(process.communicate()[0])
        watcher.join()
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "usable": told["usable"], "seconds": round(time.perf_counter() - started, 1),
        "processor seconds": round(seconds, 1), "peak MiB of the tree": round(peak[0] / 1024),
    }  # fmt: skip


def _watch(process: subprocess.Popen[bytes], peak: list[int]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(map(_shared_kib, _family(process.pid))))
        time.sleep(0.25)


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
    return found


def _shared_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def decoding(pictures: list[Path]) -> float:
    """Return processor seconds that reading and decoding a picture takes, alone."""
    started = time.process_time()
    for path in pictures:
        images.decode(path.read_bytes())
    return (time.process_time() - started) / len(pictures)


def main() -> None:
    """Measure, and write what was found after each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="an empty folder, or one of an earlier run")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--out", type=Path, default=Path("docs/results/scale.json"))
    asked = parser.parse_args()
    pictures = draw(asked.work / "drawn")
    found: dict[str, Any] = {
        "date": str(datetime.date.today()),
        "host": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, no GPU used",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "command": f"python benchmarks/scale.py --work FOLDER --sizes {' '.join(map(str, asked.sizes))}",
        "decoding alone, processor seconds a picture": round(decoding(pictures), 5), "runs": [],
    }  # fmt: skip
    for size in asked.sizes:
        raw, out = asked.work / "raw", asked.work / "manifests"
        for folder in (raw, out):
            shutil.rmtree(folder, ignore_errors=True)
        link(pictures, raw, 0, size)
        for workers in (1, 2) if size == min(asked.sizes) else (2,):
            shutil.rmtree(out, ignore_errors=True)
            found["runs"].append({"pictures": size, "workers": workers, "what": "all"} | run(raw, out, workers))
        found["runs"].append({"pictures": size, "workers": 2, "what": "nothing to do"} | run(raw, out, 2))
        link(pictures, raw, size, size + size // 100)
        found["runs"].append({"pictures": size, "workers": 2, "what": "1 in 100 new"} | run(raw, out, 2))
        write_whole(asked.out, (json.dumps(found, indent=1) + "\n").encode())
        for row in found["runs"][-4:]:
            print(row, flush=True)


if __name__ == "__main__":
    main()
