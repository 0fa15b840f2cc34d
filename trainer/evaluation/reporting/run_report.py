"""A run's page: does it read expressions, does it leak people, can it be trusted?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.fold_data import FoldData
from trainer.evaluation.evaluate import Outputs, judge
from trainer.evaluation.metrics.retrieval import cosine_similarities
from trainer.evaluation.reporting import pictures, run_figures
from trainer.evaluation.reporting.drawing import inline, svg
from trainer.evaluation.reporting.pages import image_uri, render
from trainer.evaluation.reporting.run_cards import MOST_WRONG, expression_card, leak_card, trust_card, wrong_faces
from trainer.evaluation.reporting.score_rows import CODES, notes
from trainer.methods.base import Method
from trainer.runs.run import Run

NUM_QUERIES, NUM_FOUND = 6, 6


def judge_and_report(run: Run, method: Method, data: FoldData) -> dict[str, Any]:
    """Judge a trained run on its test part; write its predictions, its page and, last, its scores.

    Returns:
        The scores. A run that has them is finished.
    """
    with run.writer():
        scores, unseen = judge(run, method, data)
        run.write_text("report.html", run_page(run, scores, unseen, data, pictures.sections(method, data)))
        run.write_json("scores.json", scores)
    return scores


def run_page(
    run: Run, scores: dict[str, Any], unseen: Outputs, data: FoldData, painted: list[dict[str, Any]]
) -> str:  # fmt: skip
    """Return a judged run's page.

    Args:
        run: which has its predictions.
        scores: as `judge` returns them.
        unseen: what the method makes of the faces of the validation and the test part, as `judge` returns it.
        data: with the test part open.
        painted: where the method paints, its pictures (`pictures.sections`).
    """
    config, provenance = run.read_json("config.json"), run.read_json("provenance.json")
    people, faces = data.column("test", "subject"), data.pictures("validation", "test")
    return render(
        Path(__file__).with_name("run_report.html"), title=run.folder.name, config=config, provenance=provenance,
        expression=expression_card(scores), wrong=_wrong(run, data), leaks=leak_card(scores),
        num_wrong=scores["classification"]["faces"] - scores["classification"]["correct"],
        trust=trust_card(scores, config, provenance, len({name for name in people if name is not None})),
        notes=notes(run.metrics()), figures=_figures(run, scores, unseen, scores["people"]["named"] > 0),
        retrieved=retrieval_rows(unseen.codes, unseen.labels["subject"], faces.__getitem__),
        painted=[section | {"picture": image_uri(section["picture"])} for section in painted],
    )  # fmt: skip


def _wrong(run: Run, data: FoldData) -> list[dict[str, Any]]:
    """Return the wrongly read faces, some of them with their pictures."""
    table, faces = run.read_table("predictions.parquet"), data.pictures("test")
    probabilities = np.stack([np.array(table[f"p_{name}"]) for name in data.expressions], axis=1)
    found = wrong_faces(np.array(table["expression"]), np.array(table["predicted"]), probabilities, data.expressions)
    return [wrong | {"picture": image_uri(faces[wrong["index"]])} for wrong in found[:MOST_WRONG]]


def _figures(run: Run, scores: dict[str, Any], unseen: Outputs, named: bool) -> dict[str, list[tuple[str, str]]]:
    """Return a page's figures, each a caption and an SVG, by where they stand."""
    drawn = {
        "curves": run_figures.curves(run.metrics()),
        "reliability": [("Share of faces that are read right, by how probable the answer is",
                         run_figures.reliability(scores["calibration"]))],
        "codes": run_figures.code_maps(unseen.codes, unseen.labels, named),
    }  # fmt: skip
    return {
        where: [(words, inline(svg(figure), words)) for words, figure in figures] for where, figures in drawn.items()
    }


def retrieval_rows(
    codes: dict[str, NDArray[np.float32]], subjects: NDArray[Any], picture: Callable[[int], NDArray[np.uint8]]
) -> list[dict[str, Any]]:
    """Return queries, evenly spaced over the unseen faces, each with the nearest faces of every code, as pictures."""
    rows = []
    for query in np.linspace(0, len(subjects) - 1, NUM_QUERIES).astype(int).tolist():
        found = {}
        for name, code in codes.items():
            nearest = nearest_faces(name, code, subjects, query)[:NUM_FOUND]
            found[CODES.get(name, name)] = [image_uri(picture(int(place))) for place in nearest]
        rows.append({"query": image_uri(picture(query)), "found": found})
    return rows


def nearest_faces(name: str, code: NDArray[np.float32], subjects: NDArray[Any], query: int) -> NDArray[np.int64]:
    """Return all faces from the nearest to a query on, those it is not to find last.

    An expression code finds other people's faces only, so that a look-alike photograph is not taken for the same
    expression.
    """
    barred = np.arange(len(subjects)) == query if name == "identity" else subjects == subjects[query]
    similar = cosine_similarities(code)[query]
    return np.argsort(np.where(barred, np.inf, -similar), kind="stable")
