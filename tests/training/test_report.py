import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from html_pages import check_page
from small_runs import CPU, run_spec, silent

from fertools.folds.make_folds import make_folds
from manifests import files, schema
from trainer.evaluation.metrics import statistics
from trainer.evaluation.reporting import run_report, score_rows
from trainer.evaluation.reporting.pages import image_uri
from trainer.evaluation.reporting.run_cards import percent
from trainer.inference.export import export
from trainer.training.fit import RunSpec, fit


def test_the_nearest_by_expression_are_other_people_and_the_query_is_never_found():
    subjects = np.repeat(["a", "b"], 8)
    codes = {"expression": np.random.default_rng(0).normal(size=(16, 4)), "identity": np.eye(16)}
    codes = {name: code.astype(np.float32) for name, code in codes.items()}
    pictures = np.arange(16, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    place = {image_uri(picture): number for number, picture in enumerate(pictures)}
    for row in run_report.retrieval_rows(codes, subjects, pictures.__getitem__):
        query = place[row["query"]]
        assert all((place[found] < 8) != (query < 8) for found in row["found"]["E"])
        assert query not in [place[found] for found in row["found"]["I"]]


FIGURES = run_report._figures  # the real ones, which the tests here leave out


def test_a_runs_page_is_whole_and_self_contained_and_says_what_it_knows(patterns, tmp_path, monkeypatch):
    monkeypatch.setattr(run_report, "_figures", FIGURES)
    settings = ("width=4", "code_size=8", "epochs=1")
    run_spec = RunSpec(
        manifest=patterns, method="resnet", preset="demo", settings=settings, epochs=None, fold=1, seed=0
    )  # fmt: skip
    run = fit(run_spec, tmp_path, CPU, silent)
    text = Path(run.folder / "report.html").read_text()
    page = check_page(text)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    scores = json.loads((run.folder / "scores.json").read_text())
    found = scores["classification"]
    assert percent(found["accuracy"]) in text and run.folder.name in text and "Drawn faces, a stand-in" in text
    wrong = found["faces"] - found["correct"]
    assert wrong and sum("that was read as" in words for words in page.alternatives) == wrong
    for figure in ("Learning curves of stage classifier", "Share of faces that are read right", "E by person"):
        assert any(figure in words for words in page.alternatives)
    assert f"{scores['people']['faces']} faces of" in text and "all named" in text and "Not calibrated" in text
    assert "how others saw people" not in text  # nobody is described


def described(patterns, target):
    """The same faces as an official split with 32 test faces, of whom gender and age are published."""
    table, num = files.read(patterns, images=True), 48
    columns = {
        "subject": [None] * num, "sequence": [None] * num, "fold": [None] * num, "age": ["30"] * num,
        "split": ["test" if row % 3 else "train" for row in range(num)],
        "gender": ["female" if row % 16 == 5 else "male" for row in range(num)],
    }  # fmt: skip
    for name, values in columns.items():
        field = schema.FACES.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
    files.write([table], target, files.read_metadata(patterns))
    make_folds(target, 4, "standardize", seed=0, by="official")
    return target


def test_scores_by_group_are_written_and_shown_where_people_are_described(patterns, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS", 50)
    run = fit(run_spec(described(patterns, tmp_path / "set.parquet"), "resnet"), tmp_path / "runs", CPU, silent)
    scores = run.read_json("scores.json")
    groups = scores["fairness"]["gender"]["groups"]
    assert {name: group["faces"] for name, group in groups.items()} == {"female": 2, "male": 30}
    assert sum(group["faces"] * group["accuracy"] for group in groups.values()) == pytest.approx(
        scores["classification"]["correct"]
    )
    assert scores["fairness"]["age"]["groups"]["20-39"]["faces"] == 32
    text, page = score_rows.text(scores), (run.folder / "report.html").read_text()
    assert "accuracy, gender female" in text and "2 faces; 95 % over faces" in text and "under 30 faces" in text
    assert "over people" not in text + page and "that no training saw" not in page  # nobody is named
    assert "macro recall, age 20-39" in page and "how others saw people" in page
    whole = check_page(page)
    assert not any("E by person" in words for words in whole.alternatives) and "of nobody known" in page
    assert page.count("Not measurable on these faces") == 1 and "Whether E tells people cannot be measured" in page
    export(run, tmp_path, "safetensors", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| macro recall, gender female |" in card and "how others saw people" in card
