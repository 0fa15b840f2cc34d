"""Faces that do not fit are streamed, and nobody could tell by what is trained."""

import itertools
import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from manifest_files import copy_manifest, with_column
from small_runs import CPU, run_spec, silent
from typer.testing import CliRunner

from manifests import files
from manifests.atomic import temporary_name
from manifests.schema import FACES, IMAGE, ROW_GROUP, ManifestError
from trainer.cli.main import app
from trainer.data import crop_cache
from trainer.data.crop_cache import CropSource, cache_path, memory_budget
from trainer.data.crops import AHEAD, Crops, Joined, Resident, Streamed, in_order, stream, take
from trainer.data.fold_data import FoldData
from trainer.methods.base import Faces, Pairs
from trainer.runs.run import Run
from trainer.training.fit import fit

NUM_BYTES = 144 * 144


@pytest.fixture
def copy(patterns, tmp_path):
    """A manifest and its pairs, to be changed."""
    return copy_manifest(patterns, tmp_path / patterns.name)


def cached(manifest):
    return sorted(manifest.with_suffix(".crops").glob("*.uint8"))


def alike(left, right):
    return all(torch.equal(*both) for both in zip(left, right, strict=True))


# --- the same bits


@pytest.mark.parametrize(("plain", "color"), [(False, False), (True, False), (True, True)])
def test_what_is_streamed_is_what_is_resident(plain, color, patterns, large_patterns):
    manifest = large_patterns if color else patterns
    kept, streamed = (FoldData(manifest, 1, CPU, plain=plain, color=color, memory=memory) for memory in (1.0, 0.0))
    for reads, share in itertools.product((Faces, Pairs), ((0, 1), (1, 2))):
        both = [data.batches(reads, 6, 3, 5, first=1, share=share) for data in (kept, streamed)]
        assert all(alike(*batches) for batches in zip(*both, strict=True))
    for data in (kept, streamed):
        data.open_test()
    assert alike(kept.upright("test"), streamed.upright("test"))
    assert torch.equal(kept.averages(), streamed.averages())
    for both in zip(kept.variants("validation"), streamed.variants("validation"), strict=True):
        assert alike(*both)
    shown, shown_streamed = (data.pictures("validation", "test") for data in (kept, streamed))
    assert np.array_equal(shown[3:17], shown_streamed[3:17]) and np.array_equal(shown[-1], shown_streamed[-1])
    assert kept.provenance() == streamed.provenance()


def test_a_streamed_training_ends_with_the_same_weights_and_scores(patterns, tmp_path):
    ask = run_spec(patterns, "dicefer")
    kept = fit(ask, tmp_path / "kept", CPU, silent)
    words = ["fit", "--manifests", patterns.parent, "--runs", tmp_path, "--device", "cpu", "--preset", "demo"]
    words += itertools.chain.from_iterable(("--set", setting) for setting in ask.settings)
    told = CliRunner().invoke(app, [*map(str, words), "--memory", "0"])
    assert told.exit_code == 0, told.stderr
    assert "48 faces take 0.000995 GB, more than the 0 GB that they may take on cpu (--memory): " in told.stderr
    streamed = Run(tmp_path / kept.folder.name)
    assert kept.weights_sha256() == streamed.weights_sha256()
    assert kept.read_json("scores.json") == streamed.read_json("scores.json")
    assert kept.read_json("provenance.json")["data"] == streamed.read_json("provenance.json")["data"]


@pytest.mark.parametrize(("own", "further"), [(0.0, 0), (0.0, 1), (1.0, 0)])
def test_further_faces_join_wherever_they_are(own, further, patterns, copy):
    def trained_on(own, further):
        data = FoldData(patterns, 1, CPU, memory=own)
        data._left = further * 10**9
        data.add(data.open(copy, np.arange(3, 9)), files.read(copy)["expression"].to_pylist()[3:9])
        return itertools.chain.from_iterable(data.batches(Faces, 7, 0, 0))

    assert alike(trained_on(1.0, 1), trained_on(own, further))


# --- ahead, and not too far


class Counted(Crops):
    """Crops of one pixel, its place; how many batches were begun is counted, and one of them fails."""

    side = 1

    def __init__(self, fails=None):
        self.begun, self.fails = 0, fails

    def __len__(self):
        return 100

    def begin(self, places, worker):
        self.begun += 1
        if self.begun == self.fails:
            return worker.submit(lambda: 1 / 0).result
        return lambda: places.to(torch.uint8).view(-1, 1, 1, 1)


def test_a_few_batches_are_begun_ahead_and_no_thread_is_left_behind(patterns):
    crops = Counted()
    batches = stream(crops, ((torch.tensor([place]), place) for place in range(100)))
    for place in range(5):
        crop, told = next(batches)
        assert crop.item() == told == place and crops.begun == place + 1 + AHEAD
    batches.close()
    data = FoldData(patterns, 1, CPU, memory=0.0)
    before = threading.active_count()
    batches = data.batches(Faces, 2, 0, 0)
    next(batches)
    assert threading.active_count() == before + 1
    batches.close()
    assert threading.active_count() == before


def test_what_fails_in_the_thread_is_raised_where_the_batch_is_asked_for():
    batches = stream(Counted(fails=3), ((torch.tensor([place]), None) for place in range(100)))
    assert [next(batches)[0].item() for _ in range(2)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_joined_crops_are_one_after_the_other_though_one_part_is_empty():
    pixels = np.arange(10, dtype=np.uint8)[:, None, None]
    parts = [
        Resident(torch.from_numpy(pixels[:4])), Resident(torch.from_numpy(pixels[:0])),
        Streamed(pixels, np.arange(4, 10), CPU),
    ]  # fmt: skip
    joined = Joined(parts)
    assert len(joined) == 10 and torch.cat(list(in_order(joined))).flatten().tolist() == list(range(10))
    assert take(joined, torch.tensor([9, 0, 4, 3, 9])).flatten().tolist() == [9, 0, 4, 3, 9]


# --- the file


def test_the_file_is_made_once_and_again_where_it_is_not_whole(copy):
    FoldData(copy, 1, CPU, memory=0.0)
    (path,) = cached(copy)
    made = path.stat().st_mtime_ns
    assert path.stat().st_size == 48 * NUM_BYTES and files.find(copy.parent) == [copy]
    FoldData(copy, 2, CPU, memory=0.0)
    assert path.stat().st_mtime_ns == made
    whole = path.read_bytes()
    for spoil in (lambda: os.truncate(path, 5), lambda: path.write_bytes(whole + b"x"), path.unlink):
        spoil()
        left = path.with_name(temporary_name(path.name))
        left.write_bytes(b"of a process that was ended")
        FoldData(copy, 1, CPU, memory=0.0)
        assert path.read_bytes() == whole and cached(copy) == [path]
        assert not left.exists()


def test_a_file_of_an_earlier_state_of_the_manifest_is_removed_and_one_of_another_crop_kept(large_patterns, tmp_path):
    manifest = copy_manifest(large_patterns, tmp_path / "set.parquet")
    crop = files.read_crop(manifest)
    for seen in (crop, crop.least):
        CropSource(manifest, seen, CPU, 48, 0)
    small, large = sorted(cached(manifest), key=lambda path: path.stat().st_size)
    assert small.stat().st_size == 48 * NUM_BYTES and large.stat().st_size == 12 * 48 * NUM_BYTES
    pixels = small.read_bytes()
    with_column(manifest, "group", ["a"] * 48)
    CropSource(manifest, crop.least, CPU, 48, 0)
    assert cached(manifest) == sorted([small, large])  # the crops are the same
    faces = files.read(manifest, images=True)
    images = pa.array(faces["image"].to_pylist()[::-1], IMAGE)
    files.write(
        [faces.set_column(FACES.get_field_index("image"), FACES.field("image"), images)], manifest, {"crop": vars(crop)}
    )
    CropSource(manifest, crop.least, CPU, 48, 0)
    (again,) = cached(manifest)
    assert again not in (small, large) and again.read_bytes() != pixels


def test_faces_that_are_not_usable_are_not_in_it(make_faces, tmp_path):
    usable = [row % 3 > 0 for row in range(2 * ROW_GROUP)]
    faces = make_faces(
        subject=["p"] * len(usable), usable=usable, reason=[None if one else "no face found" for one in usable]
    )
    manifest = tmp_path / "set.parquet"
    files.write([faces], manifest, {})
    rows = np.flatnonzero(usable)[[5, 700, 701, -1]]
    crops = CropSource(manifest, files.read_crop(manifest), CPU, 4, 0).crops(rows)
    assert np.array_equal(take(crops, torch.arange(4))[:, 0], files.read_images(manifest, rows))
    assert cached(manifest)[0].stat().st_size == sum(usable) * NUM_BYTES


def test_of_several_that_want_the_file_one_makes_it(copy, monkeypatch):
    made, write = [], crop_cache._write
    monkeypatch.setattr(crop_cache, "_write", lambda *of: (made.append(of), write(*of)))
    meet = threading.Barrier(4)

    def first(_):
        crops = CropSource(copy, files.read_crop(copy), CPU, 48, 0).crops(np.arange(48))
        meet.wait(60)
        return take(crops, torch.arange(48))

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(first, range(4)))
    assert len(made) == 1 and all(torch.equal(one, found[0]) for one in found)


def test_a_full_disk_is_told_and_leaves_nothing(copy):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (NUM_BYTES, hard))
    try:
        with pytest.raises(ManifestError, match=r"uint8 cannot be written \(.*uint8 takes 0.000995 GB.*--memory GB"):
            FoldData(copy, 1, CPU, memory=0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in copy.with_suffix(".crops").iterdir()] == [".lock"]


# --- how it is decided


def test_faces_are_streamed_from_the_first_byte_too_many_on(copy, capsys):
    crop = files.read_crop(copy)
    assert CropSource(copy, crop, CPU, 40, 40 * NUM_BYTES).left == 0
    assert capsys.readouterr().err == "" and not copy.with_suffix(".crops").exists()
    assert CropSource(copy, crop, CPU, 40, 40 * NUM_BYTES - 1).left == 40 * NUM_BYTES - 1
    assert f"streamed from {copy.with_suffix('.crops')}/" in capsys.readouterr().err and cache_path(copy, crop).exists()


def test_without_a_word_faces_may_take_half_of_what_is_free():
    assert memory_budget(CPU, 2.5) == 2_500_000_000
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory_budget(CPU) <= whole // 2


@pytest.mark.gpu
def test_a_gpu_is_given_the_same_crops(patterns):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda")
    assert 0 < memory_budget(device) <= torch.cuda.get_device_properties(device).total_memory // 2
    kept, streamed = (FoldData(patterns, 1, device, memory=memory) for memory in (1.0, 0.0))
    for reads in (Faces, Pairs):
        for batch, same in zip(kept.batches(reads, 7, 3, 5), streamed.batches(reads, 7, 3, 5), strict=True):
            assert batch[0].device.type == "cuda" and alike(batch, same)
    assert alike(kept.upright("train"), streamed.upright("train"))


# --- memory

WITHIN = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from manifests import files
from trainer.data.crops import in_order
from trainer.runs.run import Run
from trainer.data.crop_cache import CropSource

manifest = Path(sys.argv[1])
crop, cpu = files.read_crop(manifest), torch.device("cpu")
rows = np.arange(len(files.read(manifest)))
(used,) = [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData")]
limit = used + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
streamed = CropSource(manifest, crop, cpu, len(rows), 0).crops(rows)
print(sum(int(crops.numpy().sum(dtype=np.int64)) for crops in in_order(streamed)))
try:
    CropSource(manifest, crop, cpu, len(rows), 10**12).crops(rows)
except (MemoryError, RuntimeError):
    print("too much")
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_what_is_streamed_takes_less_memory_than_it_is(make_faces, tmp_path):
    """In a process of its own, whose memory is capped at four fifths of the pixels: resident ones do not fit in."""
    groups, manifest = 12, tmp_path / "set.parquet"
    faces = make_faces(subject=["p"] * ROW_GROUP)
    ids = ([[f"{group}/{row}" for row in range(ROW_GROUP)]] for group in range(groups))
    files.write((faces.set_column(0, FACES.field(0), one) for one in ids), manifest, {})
    command = [sys.executable, "-c", WITHIN, str(manifest), str(groups * ROW_GROUP * NUM_BYTES * 4 // 5)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    total = groups * int(files.read_images(manifest, np.arange(ROW_GROUP)).sum())
    assert told[:2] == [str(total), "too much"]
