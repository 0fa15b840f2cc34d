import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from trainer.evaluation.reporting import run_report


def test_the_nearest_by_expression_are_other_people_and_the_query_is_never_found():
    subjects = np.repeat(["a", "b"], 8)
    codes = {"expression": np.random.default_rng(0).normal(size=(16, 4)), "identity": np.eye(16)}
    codes = {name: code.astype(np.float32) for name, code in codes.items()}
    pictures = np.arange(16, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    place = {run_report._png(picture): number for number, picture in enumerate(pictures)}
    for row in run_report.retrieval_rows(codes, subjects, pictures.__getitem__):
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

    from trainer.training.fit import RunSpec, fit

    settings = ("width=4", "code_size=8", "epochs=1")
    run_spec = RunSpec(
        manifest=patterns, method="resnet", preset="demo", settings=settings, epochs=None, fold=1, seed=0
    )  # fmt: skip
    run = fit(run_spec, tmp_path, torch.device("cpu"), lambda *_: None)
    text = Path(run.folder / "report.html").read_text()
    page = Addresses()
    page.feed(text)
    assert page.found and all(address.startswith(("data:", "#")) for address in page.found)
    accuracy = json.loads((run.folder / "scores.json").read_text())["classification"]["accuracy"]
    assert f"{accuracy:.3f}" in text and "Drawn faces, a stand-in" in text and run.folder.name in text
