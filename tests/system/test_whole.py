"""Catches a byte of any file that changes without anybody noticing, and a repair of more than what is damaged."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from manifest_files import bytes_of
from safetensors.torch import load_file, save_file
from small_runs import CPU, built, run_spec, silent
from typer.testing import CliRunner

from fertools.checks import whole
from fertools.cli import app
from fertools.datasets import DATASETS
from fertools.folds.make_folds import make_folds
from fertools.preparation.prepare import describe, prepare
from manifests import faces as crops
from manifests import files, schema
from manifests.errors import ManifestError
from manifests.parquet import atomic_parquet, read_table
from trainer.errors import TrainerError
from trainer.methods import build
from trainer.methods.pretrained import weights
from trainer.runs.run import Run
from trainer.training.fit import fit

NUM_FLIPS = 40  # of each kind of file


def flipped(path, seed):
    """Yield a file with one bit changed, again and again, then as it was."""
    data = path.read_bytes()
    for position in random.Random(seed).sample(range(8 * len(data)), NUM_FLIPS):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        path.write_bytes(changed)
        yield position
    path.write_bytes(data)


@pytest.fixture
def manifest(drawn_manifest, tmp_path):
    return Path(shutil.copytree(drawn_manifest.parent, tmp_path / "manifests")) / drawn_manifest.name


@pytest.mark.parametrize("kind", ["ckplus.parquet", "faces/part-00000", "pairs", "whitening/fold02"])
def test_a_flipped_bit_of_a_manifest_is_found(kind, manifest):
    (path,) = [path for path in manifest.parent.rglob("*.parquet") if kind in str(path)]
    for position in flipped(path, kind):
        found = whole.examine(manifest)
        assert [damage.file for damage in found.damage] == [str(path)], position
        assert "\n" not in found.damage[0].found
    assert whole.examine(manifest).damage == []


@pytest.mark.parametrize(("kind", "read"), [
    ("ckplus.parquet", lambda manifest: files.read(manifest)),
    ("pairs", lambda manifest: files.read_pairs(manifest, 1, files.read(manifest))),
    ("whitening/fold02", lambda manifest: files.read_whitening(manifest, 2, files.read(manifest))),
])  # fmt: skip
def test_a_flipped_bit_is_refused_where_it_is_read(kind, read, manifest):
    (path,) = [path for path in manifest.parent.rglob("*.parquet") if kind in str(path)]
    for position in flipped(path, kind):
        with pytest.raises(ManifestError, match="make it again: fertools (prepare|make-folds) ckplus") as refusal:
            read(manifest)
        assert path.name in str(refusal.value) and "\n" not in str(refusal.value), position


def test_a_flipped_bit_of_a_crop_is_refused_where_crops_are_read(manifest):
    path = crops.folder(manifest) / "part-00000.parquet"
    data, rows = path.read_bytes(), np.flatnonzero(np.array(files.read(manifest)["usable"]))
    for place in (len(data) // 3, len(data) // 2):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(ManifestError, match="part-00000.parquet .*has other bytes.*fertools prepare ckplus$"):
            files.read_images(manifest, rows)


def test_what_others_have_written_has_no_seal_and_is_read(tmp_path):
    table = pa.table({"a": [1, 2]})
    pq.write_table(table, tmp_path / "foreign.parquet")
    with atomic_parquet(tmp_path / "own.parquet", table.schema, {}) as writer:
        writer.write_table(table)
    for path in (tmp_path / "foreign.parquet", tmp_path / "own.parquet"):
        assert read_table(path)["a"].to_pylist() == pq.read_table(path)["a"].to_pylist() == [1, 2]
    for position in flipped(tmp_path / "own.parquet", "own"):
        with pytest.raises(ManifestError, match="own.parquet is (damaged|not a complete Parquet file)"):
            read_table(tmp_path / "own.parquet")
        del position


def test_verify_names_the_rows_and_the_command(manifest):
    path = crops.folder(manifest) / "part-00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    files.whitening_path(manifest, 3).unlink()
    result = CliRunner().invoke(app, ["verify", "--manifest", "ck+", "--manifests", str(manifest.parent)])
    assert result.exit_code == 1 and "7 files read, 2 damaged" in result.stdout
    assert "crops that cannot be read: rows 0 to " in result.stdout and "fold03.parquet does not exist" in result.stdout
    assert "make it again: fertools prepare ckplus\n" in result.stdout


def test_prepare_makes_the_damaged_part_again_and_says_so(drawn_raw, manifest):
    before, path = bytes_of(manifest), crops.folder(manifest) / "part-00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    written = manifest.stat().st_mtime_ns
    summary = prepare(DATASETS["ckplus"], drawn_raw, manifest.parent)
    assert summary.repaired == ["part-00000.parquet"] and not summary.up_to_date
    assert "part-00000.parquet was damaged, and is made again" in describe(summary)
    assert bytes_of(manifest) == before and manifest.stat().st_mtime_ns == written
    assert prepare(DATASETS["ckplus"], drawn_raw, manifest.parent).up_to_date
    manifest.write_bytes(manifest.read_bytes()[:5000])
    with pytest.raises(ManifestError, match="not a complete Parquet file.*fertools prepare ckplus --overwrite"):
        prepare(DATASETS["ckplus"], drawn_raw, manifest.parent)
    prepare(DATASETS["ckplus"], drawn_raw, manifest.parent, overwrite=True)
    make_folds(manifest, 4, "zca", seed=0)
    assert bytes_of(manifest) == before and whole.examine(manifest).damage == []


def test_make_folds_makes_damaged_pairs_and_whitening_again(manifest):
    paths = [files.pairs_path(manifest), files.whitening_path(manifest, 2)]
    before = [path.read_bytes() for path in paths]
    for path, data in zip(paths, before, strict=True):
        path.write_bytes(data[:-30] + bytes([data[-30] ^ 1]) + data[-29:])
    make_folds(manifest, 4, "zca", seed=0)
    assert [path.read_bytes() for path in paths] == before


# --- runs


@pytest.fixture(scope="module")
def trained(patterns, tmp_path_factory):
    return fit(run_spec(patterns, "resnet", "epochs=1"), tmp_path_factory.mktemp("runs"), CPU, silent)


@pytest.fixture
def run(trained, tmp_path):
    return Run(Path(shutil.copytree(trained.folder, tmp_path / trained.folder.name)))


@pytest.mark.parametrize("name", ["config.json", "provenance.json", "scores.json"])
def test_a_flipped_bit_of_a_run_s_settings_or_scores_is_refused(name, run):
    for position in flipped(run.folder / name, name):
        with pytest.raises(TrainerError, match=rf"{name} is (damaged|not valid JSON)"):
            run.read_json(name)
        del position
    run.read_json(name)


def test_a_flipped_bit_of_weights_or_predictions_is_refused(run):
    method = build(**built(run))
    for position in flipped(run.folder / "weights.safetensors", "weights"):
        with pytest.raises(TrainerError, match=r"weights.safetensors (is damaged|does not fit|holds values)"):
            run.load_weights(method)
        del position
    for position in flipped(run.folder / "predictions.parquet", "predictions"):
        with pytest.raises(TrainerError, match="predictions.parquet is .*trainer evaluate"):
            run.read_table("predictions.parquet")
        del position
    run.load_weights(method)


def test_weights_that_are_no_numbers_are_refused(run):
    path = run.folder / "weights.safetensors"
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    for bad in (torch.nan, torch.inf):
        tensors[name].view(-1)[0] = bad
        save_file(tensors, path)
        with pytest.raises(TrainerError, match=f"no numbers, or infinite, in {name}"):
            run.load_weights(build(**built(run)))
        with pytest.raises(TrainerError, match="is refused: it holds values that are no numbers"):
            weights.read(str(path))


def test_weights_of_another_config_are_refused(run):
    config = run.read_json("config.json")
    run.write_json("config.json", config | {"seed": 5})
    with pytest.raises(TrainerError, match="was trained with another config.json"):
        run.load_weights(build(**built(run)))


def test_files_from_before_hashes_are_read(run):
    config = json.loads((run.folder / "config.json").read_text())
    del config["sha256"]
    (run.folder / "config.json").write_text(json.dumps(config))
    save_file(load_file(run.folder / "weights.safetensors"), run.folder / "weights.safetensors")
    run.load_weights(build(**built(run)))
    assert schema.VERSION == 3
