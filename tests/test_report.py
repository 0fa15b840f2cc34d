import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from trainer import report
from trainer.run import Run

CLASSIFICATION = {"faces": 10, "correct": 8, "accuracy": 0.8, "macro_f1": 0.7}


def finished(folder, fold, accuracy, chance=0.1):
    run = Run(folder / f"set-resnet-demo-fold{fold:02d}-seed0")
    run.folder.mkdir(parents=True)
    run.write_json("config.json", {"dataset": "set", "method": "resnet", "fold": fold, "seed": 0})
    run.write_json("provenance.json", {"device": "cpu: x"})
    probe = {"accuracy": 0.3, "chance": chance}
    codes = {"expression": {"expression_probe": probe, "identity_probe": probe}}
    run.write_json("scores.json", {"classification": CLASSIFICATION | {"accuracy": accuracy}, "codes": codes})
    return run


def test_a_table_gives_mean_sample_spread_and_number_of_runs(tmp_path):
    (group,) = report.table([finished(tmp_path, fold, accuracy) for fold, accuracy in ((1, 0.7), (2, 0.9))])
    assert (group["count"], group["pooled"], group["folds"]) == (2, "16/20", [1, 2])
    assert group["mean"]["accuracy"] == pytest.approx(0.8)
    assert group["spread"]["accuracy"] == pytest.approx(0.2 / 2**0.5)  # of a sample: n - 1
    assert "0.800 +- 0.141" in report.markdown([group])


def test_one_run_has_no_spread(tmp_path):
    (group,) = report.table([finished(tmp_path, 1, 0.7)])
    assert group["spread"]["accuracy"] is None and "0.700 |" in report.markdown([group])


def test_runs_of_other_settings_are_not_averaged(tmp_path):
    one, other = finished(tmp_path, 1, 0.7), finished(tmp_path, 2, 0.9)
    renamed = other.folder.with_name("set-resnet-demo-width=8-fold02-seed0")
    other.folder.rename(renamed)
    assert [group["count"] for group in report.table([one, Run(renamed)])] == [1, 1]


def test_the_nearest_by_expression_are_other_people_and_the_query_is_never_found():
    subjects = np.repeat(["a", "b"], 8)
    codes = {"expression": np.random.default_rng(0).normal(size=(16, 4)), "identity": np.eye(16)}
    codes = {name: code.astype(np.float32) for name, code in codes.items()}
    pictures = np.arange(16, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    place = {report._png(picture): number for number, picture in enumerate(pictures)}
    for row in report.retrieval_rows(codes, subjects, pictures):
        query = place[row["query"]]
        assert all((place[found] < 8) != (query < 8) for found in row["found"]["E"])
        assert query not in [place[found] for found in row["found"]["I"]]


class Addresses(HTMLParser):
    """Every address that a page asks a browser for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href") and tag != "use"]


def test_a_runs_page_is_self_contained(patterns, tmp_path):
    import torch

    from trainer.fit import Asked, fit

    settings = ("width=4", "code_size=8", "epochs=1")
    asked = Asked(
        manifest=patterns, method="resnet", preset="demo", settings=settings, epochs=None, fold=1, seed=0
    )  # fmt: skip
    run = fit(asked, tmp_path, torch.device("cpu"), lambda *_: None)
    text = Path(run.folder / "report.html").read_text()
    page = Addresses()
    page.feed(text)
    assert page.found and all(address.startswith(("data:", "#")) for address in page.found)
    accuracy = json.loads((run.folder / "scores.json").read_text())["classification"]["accuracy"]
    assert f"{accuracy:.3f}" in text and "Drawn faces, a stand-in" in text and run.folder.name in text
