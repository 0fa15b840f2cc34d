"""A second preparation does what is missing or changed, and ends with the bytes of a first one."""

import os
import shutil
from functools import partial

import pytest
from manifest_files import bytes_of

from fertools.datasets import DATASETS
from fertools.faces import detector
from fertools.folds.make_folds import make_folds
from fertools.preparation import chunks
from fertools.preparation.prepare import prepare
from fertools.preparation.previous import OverwriteError
from manifests import files, schema

ready = partial(prepare, DATASETS["affectnet"], published=True)  # no detector: fast


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    from fertools.drawn.corpus import draw

    root = tmp_path_factory.mktemp("drawn") / "affectnet"
    draw(root, 8, seed=0, workers=1, dataset="affectnet")
    return root


@pytest.fixture
def raw(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path / "raw")
    return tmp_path / "raw"


@pytest.fixture
def out(raw, tmp_path, monkeypatch):
    """Manifests that an undisturbed run made, in chunks of 7."""
    monkeypatch.setattr(chunks, "CHUNK", 7)
    ready(raw, tmp_path / "out")
    return tmp_path / "out"


def again(raw, out, **options):
    """Prepare once more; how many rows were made anew, and the summary."""
    calls = []
    summary = ready(raw, out, progress=lambda done, total, _: calls.append((done, total)), **options)
    return calls[0][1] - calls[0][0], summary


def same_as_fresh(raw, out, **options):
    fresh = out.parent / f"fresh{len(list(out.parent.iterdir()))}"
    ready(raw, fresh, **options)
    return bytes_of(fresh / "affectnet.parquet") == bytes_of(out / "affectnet.parquet")


def label_of(image):
    return image.parent.parent / f"annotations/{image.stem}_exp.npy"


def images_of(raw):
    """Those that the protocol takes: all but contempt, 7."""
    paths = sorted((raw / "train_set/images").glob("*.jpg"), key=lambda path: int(path.stem))
    return [path for path in paths if label_of(path).read_bytes()[-4:-3] != b"7"]


def change(raw, what):
    first, second, *_, last = images_of(raw)
    if what == "added":
        for path in (raw / "train_set").rglob(f"{first.stem}[._]*"):
            shutil.copy(path, path.with_name(path.name.replace(first.stem, "00", 1)))
    elif what == "removed":
        second.unlink()
    elif what == "changed":
        last.write_bytes(second.read_bytes())
    elif what == "no image":
        last.write_bytes(b"no picture any more")
    elif what == "another label":
        data = label_of(first).read_bytes()
        label_of(first).write_bytes(data[:-4] + (b"1" if data[-4:-3] == b"0" else b"0") + data[-3:])


@pytest.mark.parametrize(
    ("what", "num_made"), [("added", 1), ("removed", 0), ("changed", 1), ("no image", 1), ("another label", 1)]
)
def test_what_changed_is_done_again_and_nothing_else(what, num_made, raw, out):
    before = bytes_of(out / "affectnet.parquet")
    change(raw, what)
    made, summary = again(raw, out)
    assert made == num_made and not summary.up_to_date
    assert bytes_of(out / "affectnet.parquet") != before and same_as_fresh(raw, out)
    assert again(raw, out)[1].up_to_date
    assert len(list(out.iterdir())) == 3  # rows, crops, ledger: no rest of what it replaced


def test_a_file_that_was_only_touched_is_hashed_and_its_row_stays(raw, out, monkeypatch):
    written = (out / "affectnet.parquet").stat().st_mtime_ns
    for path in images_of(raw):
        os.utime(path, ns=(0, 0))
    made, summary = again(raw, out)
    assert made == 0 and summary.up_to_date and (out / "affectnet.parquet").stat().st_mtime_ns == written
    hashed = []
    monkeypatch.setattr(chunks, "digests", lambda *args: hashed.append(args))
    assert again(raw, out)[1].up_to_date and hashed == []  # they are known by their new time


def test_a_file_of_the_same_size_and_time_is_told_by_its_hash_on_request(raw, out):
    path = images_of(raw)[3]
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert again(raw, out)[1].up_to_date
    made, _ = again(raw, out, check_hashes=True)
    assert made == 1 and same_as_fresh(raw, out)


@pytest.mark.parametrize("what", ["added", "removed", "changed"])
def test_folds_are_not_lost_unasked(what, raw, out):
    manifest = out / "affectnet.parquet"
    make_folds(manifest, 4, "standardize", seed=0)
    before = bytes_of(manifest)
    change(raw, what)
    with pytest.raises(OverwriteError, match=r"its folds would not fit its rows any more; .* fertools make-folds"):
        again(raw, out)
    assert bytes_of(manifest) == before
    made, _ = again(raw, out, overwrite=True)
    assert made == (what != "removed") and same_as_fresh(raw, out)


def test_folds_stay_where_rows_stay(raw, out):
    manifest = out / "affectnet.parquet"
    make_folds(manifest, 4, "standardize", seed=0)
    folds = files.read(manifest)["fold"]
    (raw / "train_set/images/stray.txt").write_text("no image")
    made, summary = again(raw, out)
    assert made == 0 and not summary.up_to_date and any("stray" in item["path"] for item in summary.quarantined)
    assert files.read(manifest)["fold"].equals(folds) and folds.null_count < len(folds)
    assert again(raw, out)[1].up_to_date
    for ledger in out.glob(".*ledger*"):
        ledger.unlink()
    made, summary = again(raw, out)  # without a ledger all is done again, and found to be the same
    assert made > 20 and summary.up_to_date and files.read(manifest)["fold"].equals(folds)
    assert again(raw, out) == (0, summary)


def test_another_crop_or_other_weights_do_all_again_when_asked(raw, out, monkeypatch):
    crop = schema.Crop(256, "eyes-nose", "rgb")
    with pytest.raises(OverwriteError, match=r"other options or weights .*--overwrite .*--manifests DIR keeps both"):
        again(raw, out, crop=crop)
    made, summary = again(raw, out, crop=crop, overwrite=True)
    assert made == summary.usable and same_as_fresh(raw, out, crop=crop)
    monkeypatch.setattr(detector, "provenance", lambda **_: {"weights_sha256": "other"})
    with pytest.raises(OverwriteError, match="other options or weights"):
        prepare(DATASETS["affectnet"], raw, out, crop=crop)


@pytest.mark.usefixtures("out")  # its chunks of 7
def test_a_run_that_was_stopped_leaves_its_parts_to_one_with_more_files(raw, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, *_):
        if done >= 14:
            raise Stop

    with pytest.raises(Stop):
        ready(raw, tmp_path / "stopped", progress=stop)
    damaged = next((tmp_path / "stopped/.affectnet.parts").glob("*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:-50])
    change(raw, "added")
    made, summary = again(raw, tmp_path / "stopped")
    assert made == summary.usable - 7 and same_as_fresh(raw, tmp_path / "stopped")
