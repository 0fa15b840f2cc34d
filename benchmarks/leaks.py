"""Are planted leaks found, and nothing else; do groups agree with people; how long does a large audit take?

Copies of test faces are planted in the training part as images: changed, found by the detector and aligned anew. The
same person in another photograph is planted with all names taken away. Thresholds were chosen on the development corpus
(drawn CK+ of seed 1); what is held against a bound is of seed 0, and of people that the embedder never saw.

Writes docs/results/leaks.json and .png: python benchmarks/leaks.py --work build/leaks
"""

import argparse
import importlib.metadata
import io
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import embedder
import matplotlib
import numpy as np
import pyarrow as pa
import torch
from leaks_size import timed
from numpy.typing import NDArray

from fertools.checks.leaks import examine
from fertools.checks.splits import Split
from fertools.datasets import DATASETS
from fertools.drawn import corpus
from fertools.faces import align, detector, images, near_copies
from fertools.folds.identities import clustering, embed
from fertools.preparation import prepare
from manifests import files

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

PACKAGES = ("numpy", "scipy", "faiss-cpu", "opencv-python-headless", "torch", "facenet-pytorch")
CORPORA = {"drawn CK+": ("ckplus", 0), "drawn Oulu-CASIA": ("oulucasia", 0), "development": ("ckplus", 1)}
SHARES = {0.001: 100, 0.01: 40, 0.05: 20, 0.2: 10}  # of test faces that leak: how often they are drawn anew
STRANGERS = (1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001)
BOUND = 0.95  # of recall and precision
NOBODY = np.empty(0, np.int64)  # no validation part
Image = NDArray[np.uint8]
Integers = NDArray[np.int64]
Row = dict[str, Any]


# --- how a copy is changed


def recompressed(image: Image, rng: np.random.Generator) -> Image:
    """Saved again as a JPEG of quality 50 to 90."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 91))]
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR), np.uint8)


def mirrored(image: Image, _: np.random.Generator) -> Image:
    """Left and right changed."""
    return np.ascontiguousarray(image[:, ::-1])


def cropped(image: Image, rng: np.random.Generator) -> Image:
    """Up to 6 % of the image cut off at each side."""
    height, width = image.shape[:2]
    top, bottom, left, right = (rng.uniform(0, 0.06, 4) * (height, height, width, width)).astype(int).tolist()
    return np.ascontiguousarray(image[top : height - bottom, left : width - right])


def brightened(image: Image, rng: np.random.Generator) -> Image:
    """Contrast changed by up to 20 %, brightness by up to 20 grey levels."""
    return np.asarray((image * rng.uniform(0.8, 1.2) + rng.uniform(-20, 20)).clip(0, 255), np.uint8)


CHANGES: dict[str, Callable[[Image, np.random.Generator], Image] | None] = {
    "exact": None, "recompressed": recompressed, "mirrored": mirrored, "cropped": cropped, "brightened": brightened,
}  # fmt: skip


class Corpus:
    """The usable faces of a prepared drawn dataset; half of its people test, half train."""

    def __init__(self, work: Path, name: str) -> None:
        dataset, seed = CORPORA[name]
        raw, manifests = work / f"data{seed}" / dataset, work / f"manifests{seed}"
        manifest = files.manifest_path(manifests, dataset)
        if not manifest.exists():
            corpus.draw(raw, seed=seed, dataset=dataset, workers=1)
            prepare.prepare(DATASETS[dataset], raw, manifests, device="cpu")
        faces = files.read(manifest)
        rows = np.flatnonzero(np.array(faces["usable"]))
        self.name, self.raw, self.sources = name, raw, faces["source"].take(pa.array(rows)).to_pylist()
        self.crops = files.read_images(manifest, rows)
        self.people, self.recordings = (
            np.unique(faces[column].take(pa.array(rows)).to_pylist(), return_inverse=True)[1]
            for column in ("subject", "sequence")
        )
        self.test, self.train = (np.flatnonzero(self.people % 2 == side) for side in (0, 1))

    def image(self, row: int) -> Image:
        """The image file of a face, decoded."""
        return images.decode(images.read_bytes(self.raw, Path(self.sources[row])))


# --- copies


def planted_copies(drawn: Corpus, seed: int) -> list[Row]:
    """Recall and precision of every kind and share of planted copies, of one photograph a recording.

    The photographs beside a copied one, of the same second, are as alike as the copy is; they take no part.
    """
    rng, detect = np.random.default_rng(seed), detector.Detector("cpu")
    order = rng.permutation(len(drawn.people))
    alone = np.sort(order[np.unique(drawn.recordings[order], return_index=True)[1]])
    test, train = np.intersect1d(drawn.test, alone), np.intersect1d(drawn.train, alone)
    crops, hashes = list(drawn.crops), list(range(len(drawn.crops)))  # a number stands for a file's hash
    found: dict[str, dict[int, int]] = {kind: {} for kind in CHANGES}  # original: row of its copy
    for kind, change in CHANGES.items():
        for original in test.tolist():
            crop = crops[original] if change is None else crop_anew(change(drawn.image(original), rng), detect)
            if crop is None:
                continue  # prepare does not take it either
            found[kind][original] = len(crops)
            hashes.append(original if change is None else len(crops))
            crops.append(crop)
    recordings = np.r_[drawn.recordings, np.full(len(crops) - len(drawn.recordings), -1)]
    copies = near_copies.near_copies(near_copies.thumbnails(np.array(crops)), recordings)
    keys = {"exact copy": np.array(hashes)}
    return [
        scored(
            drawn.name,
            kind,
            share,
            *_copies(kind, share, Split("", test, NOBODY, train), found[kind], keys, copies, rng),
        )
        for kind in CHANGES
        for share in SHARES
    ]


def crop_anew(image: Image, detect: detector.Detector) -> Image | None:
    """The stored crop of an image's face, as prepare cuts it; None where no face is found."""
    if not (faces := detect(image)):
        return None
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    return align.crop(grey, align.crop_matrix(detector.choose(faces, image.shape).landmarks))


def _copies(
    kind: str, share: float, clean: Split, found: dict[int, int], keys: dict[str, Integers],
    copies: near_copies.Copies, rng: np.random.Generator,
) -> list[int]:  # fmt: skip
    """Leaking faces that are found, leaking faces that are not, and others that are told."""
    counts = np.zeros(3, int)
    for _ in range(SHARES[share]):
        leaking = rng.permutation(list(found))[: max(1, round(share * len(clean.test)))]
        train = np.r_[clean.train, [found[original] for original in leaking.tolist()]]
        told = []
        for test in (leaking, np.setdiff1d(clean.test, leaking)):
            audited = examine(Split("", test, NOBODY, train), keys, copies)
            kinds = {leak.kind: leak.faces for leak in audited.leaks}
            told.append(kinds["exact copy" if kind == "exact" else "near copy"])
        counts += told[0], len(leaking) - told[0], told[1]
    numbers: list[int] = counts.tolist()
    return numbers


def scored(name: str, kind: str, share: float, hits: int, misses: int, wrong: int) -> Row:
    """Recall and precision."""
    recall, precision = hits / (hits + misses), hits / max(1, hits + wrong)
    print(f"{name:<18} {kind:<13} {share:>6.1%} recall {recall:.3f} precision {precision:.3f}", flush=True)
    return {
        "corpus": name, "kind": kind, "share": share, "planted": hits + misses, "found": hits, "wrong": wrong,
        "recall": recall, "precision": precision, "holds": min(recall, precision) >= BOUND,
    }  # fmt: skip


# --- people


def planted_people(drawn: Corpus, vectors: NDArray[np.float32], seed: int) -> list[Row]:
    """Recall and precision where people of test faces are in training too, in one photograph of another recording."""
    rng, rows = np.random.default_rng(seed), []
    for share, trials in SHARES.items():
        counts = np.zeros(3, int)
        for _ in range(trials):
            leaking, moved, dropped = _leaking_people(drawn, max(1, round(share * len(drawn.test))), rng)
            test, train = np.setdiff1d(drawn.test, np.r_[moved, dropped]), np.r_[drawn.train, moved]
            groups = np.full(len(drawn.people), -1)
            groups[np.r_[test, train]] = grouped(vectors[np.r_[test, train]])
            (found,) = examine(Split("", test, NOBODY, train), {"group": groups}).leaks
            (right,) = examine(Split("", leaking, NOBODY, train), {"group": groups}).leaks
            counts += right.faces, len(leaking) - right.faces, found.faces - right.faces
        rows.append(scored(drawn.name, "same person", share, *counts.tolist()))
    return rows


def _leaking_people(drawn: Corpus, number: int, rng: np.random.Generator) -> tuple[Integers, Integers, Integers]:
    """Test faces that leak, the one photograph of each person that trains, and what of these people is left out.

    The faces are of as many people as can be: of a few faces, each is alone with its photograph in training.
    """
    leaking, moved, dropped = [], [], [NOBODY]
    people = rng.permutation(np.unique(drawn.people[drawn.test])).tolist()
    for place, person in enumerate(people):
        mine = rng.permutation(np.flatnonzero(drawn.people == person))
        elsewhere = mine[drawn.recordings[mine] != drawn.recordings[mine[0]]]
        share = -(-(number - len(leaking)) // (len(people) - place))
        if len(leaking) < number and len(elsewhere):
            stay = elsewhere[:share]
            leaking += stay.tolist()
            moved.append(int(mine[0]))
            dropped.append(np.setdiff1d(mine, np.r_[stay, mine[0]]))
    return np.array(leaking), np.array(moved), np.concatenate(dropped)


def grouped(vectors: NDArray[np.float32]) -> Integers:
    """Groups, by the threshold that fertools chooses."""
    return clustering.group(vectors, clustering.choose_threshold(vectors, np.random.default_rng(0)))


def groups(drawn: Corpus, vectors: NDArray[np.float32], strangers: float) -> Row:
    """Agreement of groups with people, and what is estimated of it without their names."""
    threshold = clustering.choose_threshold(vectors, np.random.default_rng(0), strangers)
    found = clustering.group(vectors, threshold)
    row = {
        "corpus": drawn.name, "strangers": strangers, "threshold": threshold, "faces": len(found),
        "people": len(np.unique(drawn.people)), "groups": int(found.max()) + 1,
        **asdict(clustering.agreement(found, drawn.people)),
        "estimated precision": clustering.purity(vectors, found, threshold),
    }  # fmt: skip
    print(
        *(f"{key} {round(value, 3) if isinstance(value, float) else value}" for key, value in row.items()), flush=True
    )
    return row


# --- all


def measure(work: Path, size: bool, seed: int) -> dict[str, Any]:
    """All figures, printed as they come."""
    path = work / "embedder.onnx"
    if not path.exists():
        embedder.make(path, embedder.NUM_PEOPLE, embedder.EPOCHS, embedder.SEED)
    network = embed.load(str(path), "cpu")
    planted, agreements = [], []
    for name in CORPORA:
        drawn = Corpus(work, name)
        vectors = np.concatenate([network(drawn.crops[at : at + 100]) for at in range(0, len(drawn.crops), 100)])
        chosen = STRANGERS if name == "development" else (clustering.STRANGERS,)
        agreements += [groups(drawn, vectors, strangers) for strangers in chosen]
        planted += [*planted_copies(drawn, seed), *planted_people(drawn, vectors, seed)]
    return {"planted": planted, "groups": agreements, "size": timed() if size else []}


def picture(rows: list[Row]) -> bytes:
    """Recall and precision by kind and share, a panel a corpus."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
    for axis, name in zip(axes, list(CORPORA)[:2], strict=True):
        for place, kind in enumerate(dict.fromkeys(row["kind"] for row in rows)):
            mine = [row for row in rows if (row["corpus"], row["kind"]) == (name, kind)]
            shares = [100 * row["share"] for row in mine]
            axis.plot(shares, [row["recall"] for row in mine], marker="o", color=f"C{place}", label=kind)
            axis.plot(shares, [row["precision"] for row in mine], marker="x", color=f"C{place}", linestyle=":")
        axis.axhline(BOUND, color="0.5", linewidth=0.8)
        axis.set(title=name, xscale="log", xlabel="test faces that leak, %", ylim=(0.8, 1.01))
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="recall (o), precision (x)")
    axes[1].legend(fontsize=8, loc="lower right")
    content = io.BytesIO()
    figure.savefig(content, dpi=110, metadata={"Software": None})
    return content.getvalue()


def main() -> None:
    """Measure, print, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of corpora and embedder; made where missing")
    parser.add_argument("--no-size", action="store_true", help="leave out the large made-up sets")
    parser.add_argument("--seed", type=int, default=0, help="of what is planted")
    parser.add_argument("--out", type=Path, default=Path("docs/results/leaks.json"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    started = time.process_time()
    measured = measure(arguments.work, not arguments.no_size, arguments.seed)
    result = {
        "date": date.today().isoformat(),
        "host": f"{platform.processor() or platform.machine()}, {os.cpu_count()} shared cores, one thread, no GPU used",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "drawing version": corpus.VERSION,
        "command": f"python benchmarks/leaks.py --work FOLDER --seed {arguments.seed}",
        "processor minutes": round((time.process_time() - started) / 60, 1),
    } | measured
    corpus.write_whole(arguments.out, (json.dumps(result, indent=2) + "\n").encode())
    corpus.write_whole(arguments.out.with_suffix(".png"), picture(result["planted"]))
    print(arguments.out)


if __name__ == "__main__":
    main()
