import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
from manifest_files import official_of_nobody
from small_runs import CPU, run_spec, silent

from manifests import files
from trainer.errors import TrainerError
from trainer.evaluation.evaluate import _labels, examine, judge_elsewhere, load
from trainer.evaluation.reporting import score_rows
from trainer.runs.run import RunError
from trainer.training.fit import fit


@pytest.fixture(scope="module", autouse=True)
def quick_judging():
    """Judge by all measures, as users do."""


@pytest.fixture(scope="module")
def run(patterns, tmp_path_factory):
    return fit(run_spec(patterns, "dicefer"), tmp_path_factory.mktemp("runs"), CPU, silent)


def table(path, sources):
    """Known factors: one of the photograph, one of the face, which is not read."""
    with path.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["path", "nuisance.light", "nuisance.scenery", "identity.age"])
        writer.writerows([source, place % 5 / 5, "wall" if place % 2 else "plain", 1] for place, source in sources)
    return path


def test_an_examination_tells_both_terms_and_reads_the_factors_of_the_photograph(run, patterns, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "trainer.evaluation.evaluate.information_gap", lambda parts: {part: sorted(parts[part]) for part in parts}
    )
    method, data = load(run, patterns.parent, CPU)
    sources = dict.fromkeys(files.read(patterns)["source"].to_pylist())
    examined = examine(run, method, data, table(tmp_path / "factors.csv", enumerate(sources)))
    assert set(examined["information"]) == {"train", "validation", "test"}
    assert examined["information"]["test"] == ["expression", "expressions", "identity", "subjects"]
    assert set(examined["factors"]) == {"nuisance.light", "nuisance.scenery"}
    assert set(examined["dci"]["factors"]) >= {"expression", "subject"}
    assert run.read_json("examination.json").keys() == examined.keys()


def test_a_table_of_factors_without_a_face_is_refused(run, patterns, tmp_path):
    with pytest.raises(TrainerError, match="has no row for drawn .* expected a column path"):
        examine(run, *load(run, patterns.parent, CPU), table(tmp_path / "factors.csv", [(0, "another.png")]))


def test_an_absent_table_of_factors_is_refused(run, patterns, tmp_path):
    with pytest.raises(TrainerError, match="no table .*none.csv; the drawn corpus has one"):
        examine(run, *load(run, patterns.parent, CPU), tmp_path / "none.csv")


def test_a_method_without_identity_code_is_not_examined(patterns, tmp_path):
    plain = fit(run_spec(patterns, "resnet"), tmp_path, CPU, silent)
    with pytest.raises(RunError, match="has no identity code"):
        examine(plain, *load(plain, patterns.parent, CPU))


def test_the_dataset_of_the_training_is_no_other_dataset(run, patterns):
    with pytest.raises(RunError, match="was trained on set; its own test fold judges it"):
        judge_elsewhere(run, *load(run, patterns.parent, CPU), patterns)


def test_a_face_of_nobody_known_stands_for_itself():
    columns = {"face_id": np.array(["a", "b"]), "subject": np.array([None, "p"]), "sequence": np.array([None, None])}
    labels = _labels(columns)
    assert list(labels["subject"]) == ["a", "p"] and list(labels["sequence"]) == ["a", "b"]


def test_an_official_split_in_which_nobody_is_named_is_judged_by_expressions(patterns, tmp_path):
    manifest = official_of_nobody(patterns, tmp_path / "set.parquet")
    run = fit(run_spec(manifest, "resnet"), tmp_path / "runs", CPU, silent)
    lines = score_rows.text(run.read_json("scores.json")).splitlines()
    assert any("of 12;" in line for line in lines)
    assert any("identity read from E" in line and "needs people who are named" in line for line in lines)
    assert (
        pq.read_table(run.folder / "predictions.parquet")["face_id"].to_pylist()
        == files.read(patterns)["face_id"].to_pylist()[:12]
    )
