"""What may join a training from other datasets, and what may not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import CPU, run_spec, silent

from manifests import files
from manifests.crop import DEFAULT_CROP
from manifests.schema import ManifestError
from trainer.data.extra_datasets import averages_of, find_extra
from trainer.data.fold_data import FoldData
from trainer.data.provenance import faces_read
from trainer.methods.base import Faces
from trainer.methods.config import ConfigError
from trainer.training import fit as library

SHOWN = ["anger", "fear", "sadness", "anger", "fear", "happiness"]


@pytest.fixture
def further(make_faces, tmp_path):
    """Write another dataset: six faces of three people, one of which may be a picture given, the rest noise."""

    def write(name="other", picture=None, at=0, **columns):
        people = [f"{name}/{person}" for person in "aabbcc"]
        faces = make_faces(expression=SHOWN, subject=people, **columns)
        if picture is not None:
            images = faces["image"].to_pylist()
            images[at] = {"bytes": DEFAULT_CROP.encode(picture), "path": "x.pgm"}
            faces = faces.set_column(faces.schema.get_field_index("image"), faces.schema.field("image"), [images])
        path = tmp_path / f"{name}.parquet"
        files.write([faces], path, {"commit": None, "summary": {"protocol": "all", "drawn": True}})
        return path

    return write


@pytest.fixture
def data(patterns):
    return FoldData(patterns, 1, CPU, plain=True)


def held_out(data, part):
    return files.read_images(data.manifest, data.rows[part][:1])[0]


def test_faces_of_shared_expressions_join_and_are_seen_once_an_epoch(data, further):
    found = find_extra(further(), data)
    assert found.expressions == ["anger", "fear", "anger", "fear", "happiness"]  # sadness is not trained
    before = np.bincount(torch.cat([b.expression for b in data.batches(Faces, 5, 0, 0)]))
    data.add(found.crops, found.expressions)
    after = torch.cat([batch.expression for batch in data.batches(Faces, 5, 0, 0)])
    assert (np.bincount(after) - before).tolist() == [2, 2, 1]


def test_averages_and_what_probes_are_fitted_on_stay_the_folds_own(data, further):
    before, shown = data.averages(), len(next(data.upright("train")))
    found = find_extra(further(), data)
    data.add(found.crops, found.expressions)
    assert torch.equal(data.averages(), before) and len(next(data.upright("train"))) == shown


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("changed", ["as it is", "mirrored", "brighter"])
def test_a_near_copy_of_a_face_held_out_is_left_out_with_its_person(part, changed, data, further):
    picture = held_out(data, part)
    picture = {"as it is": picture, "mirrored": picture[:, ::-1], "brighter": picture * 0.9 + 20}[changed]
    found = find_extra(further(picture=picture.astype(np.uint8), at=3), data)  # b's second; the first is not trained
    assert found.about["left out"]["near copies of these"] == 1
    assert found.expressions == ["anger", "fear", "fear", "happiness"]
    found = find_extra(further("another", picture=picture.astype(np.uint8), at=0), data)
    assert found.about["left out"]["further faces of people held out"] == 1
    assert found.expressions == ["anger", "fear", "happiness"]


def test_a_copy_of_a_training_face_may_join(data, further):
    found = find_extra(further(picture=held_out(data, "train")), data)
    assert found.about["faces"] == 5


def test_a_person_held_out_is_left_out_under_the_same_name(data, further):
    name = data.table["subject"][int(data.rows["test"][0])].as_py()
    faces = files.read(path := further(), images=True)
    people = [name, name, *faces["subject"].to_pylist()[2:]]
    place = faces.schema.get_field_index("subject")
    files.write([faces.set_column(place, faces.schema.field(place), [people])], path, files.read_metadata(path))
    assert find_extra(path, data).about == {
        "read": faces_read(path, ("face_id", "usable", "expression", "subject", "source_sha256")), "faces": 3,
        "left out": {"photographs held out": 0, "near copies of these": 0, "further faces of people held out": 2},
    }  # fmt: skip


def test_what_adds_nothing_is_refused(data, further, patterns, tmp_path):
    with pytest.raises(ManifestError, match="set shows the same photographs as set: leave it out of --extra"):
        find_extra(patterns, data)
    none = FoldData(patterns, 1, CPU, ["anger", "fear"], plain=True)
    none.expressions = ["disgust"]
    with pytest.raises(ManifestError, match="other.parquet has no usable face that shows disgust: leave it out"):
        find_extra(further(), none)
    data.manifest = Path("ckplus.parquet")
    with pytest.raises(ManifestError, match=r"ckplus48 shows the same photographs as ckplus"):
        find_extra(tmp_path / "ckplus48.parquet", data)


def test_pairs_have_no_further_faces(patterns, further, tmp_path):
    ask = dataclasses.replace(run_spec(patterns, "dicefer"), extra=(further(),))
    with pytest.raises(ManifestError, match="--extra is for methods that are trained on single faces"):
        library.fit(ask, tmp_path / "runs", CPU, silent)


# --- average faces of other datasets


def test_average_faces_of_others_are_of_their_training_parts(patterns, data):
    assert torch.equal(averages_of([patterns], data), FoldData(patterns, 1, CPU, plain=True).averages())
    assert torch.equal(averages_of([patterns, patterns], data), data.averages())


def test_an_expression_that_no_other_shows_is_named(patterns, data):
    data.expressions = [*data.expressions, "neutral"]
    with pytest.raises(ManifestError, match=r"no training face of set shows neutral: .* \*_neutral has neutral faces"):
        averages_of([patterns], data)


def test_a_run_says_what_joined_it_and_of_whom_its_averages_are(patterns, further, tmp_path):
    ask = dataclasses.replace(run_spec(patterns, "ifgan", "epochs=1"), extra=(further(),), averages=(patterns,))
    run = library.fit(ask, tmp_path / "runs", CPU, silent)
    config = run.read_json("config.json")
    assert config["extra"]["other"]["faces"] == 5 and config["averages"]["of"] == ["set"]
    assert "extra=other" in run.folder.name and "averages=set" in run.folder.name
    with pytest.raises(ConfigError, match="resnet_island has no average faces: leave out --averages"):
        library.fit(
            dataclasses.replace(run_spec(patterns, "resnet_island"), averages=(patterns,)), tmp_path, CPU, silent
        )
