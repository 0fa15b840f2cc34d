"""Runs to tables, plots and one self-contained HTML page."""

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from trainer.metrics.retrieval import cosine_similarities
from trainer.run import Run

matplotlib.use("svg")  # no display
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

NUM_QUERIES, NUM_FOUND = 6, 6
CODES = {"expression": "E", "identity": "I"}


def run_page(run: Run, scores: dict[str, Any], retrieved: list[dict[str, Any]]) -> str:
    """Return a run's page: what it is, the table, curves, confusion matrix and retrieval rows (DICE-FER Fig. 3)."""
    return _render(
        "report.html", title=run.folder.name, config=run.read_json("config.json"),
        provenance=run.read_json("provenance.json"), scores=scores, table=score_rows(scores),
        curves=_svg(_curves(run.metrics())), confusion=_svg(_confusion(scores["classification"])), rows=retrieved,
    )  # fmt: skip


def score_rows(scores: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Return the scores to show: name, value, what to hold it against."""
    classification = scores["classification"]
    low, high = classification["accuracy_interval"]
    rows = [
        ("expression accuracy", classification["accuracy"],
         f"{classification['correct']} of {classification['faces']}; 95 % over people {low:.3f} to {high:.3f}; "
         f"chance {classification['chance']:.3f}"),
        *((name.replace("_", " "), classification[name], "")
          for name in ("balanced_accuracy", "macro_precision", "macro_recall", "macro_f1")),
    ]  # fmt: skip
    for code, read in scores["codes"].items():
        symbol = CODES.get(code, code)
        for what in ("expression", "identity"):
            probe, found = read[f"{what}_probe"], read[f"{what}_retrieval"]
            against = f"chance {probe['chance']:.3f}; {probe['accuracy'] / probe['chance']:.1f} times that"
            rows.append((f"{what} read from {symbol}", probe["accuracy"], against))
            for k in (1, 5):
                if f"precision@{k}" in found:
                    ceiling = f"; ceiling {found[f'ceiling@{k}']:.3f}" if found[f"ceiling@{k}"] < 1 else ""
                    against = f"chance {found['chance']:.3f}{ceiling}"
                    rows.append((f"{what} retrieved by {symbol}, precision@{k}", found[f"precision@{k}"], against))
    return rows


def text(scores: dict[str, Any]) -> str:
    """Return a run's scores as lines to read."""
    return "\n".join(f"  {name:<44} {value:.3f}  {against}" for name, value, against in score_rows(scores))


def retrieval_rows(
    codes: dict[str, NDArray[np.float32]], subjects: NDArray[Any], pictures: NDArray[np.uint8]
) -> list[dict[str, Any]]:
    """Return queries, evenly spaced over the unseen faces, each with the nearest faces of every code, as pictures.

    The nearest by E are of other people, so that a look-alike photograph does not count as the same expression.
    """
    rows = []
    similar = {name: cosine_similarities(code) for name, code in codes.items()}
    for query in np.linspace(0, len(subjects) - 1, NUM_QUERIES).astype(int):
        found = {}
        for name, matrix in similar.items():
            barred = subjects == subjects[query] if name == "expression" else np.arange(len(subjects)) == query
            order = np.argsort(np.where(barred, np.inf, -matrix[query]), kind="stable")
            found[CODES.get(name, name)] = [_png(pictures[place]) for place in order[:NUM_FOUND]]
        rows.append({"query": _png(pictures[query]), "found": found})
    return rows


# --- several runs


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one row a group of runs that differ in fold and seed only: means, sample spreads, number of runs."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        config = run.read_json("config.json")
        groups[" ".join([config["dataset"], config["method"], *run.folder.name.split("-")[2:-2]])].append(run)
    return [_group(name, members) for name, members in sorted(groups.items())]


def _group(name: str, runs: list[Run]) -> dict[str, Any]:
    scores = [run.read_json("scores.json") for run in runs]
    configs = [run.read_json("config.json") for run in runs]
    columns = {
        "accuracy": [score["classification"]["accuracy"] for score in scores],
        "macro_f1": [score["classification"]["macro_f1"] for score in scores],
    }
    for code in scores[0]["codes"]:
        for what in ("expression", "identity"):
            probes = [score["codes"][code][f"{what}_probe"] for score in scores]
            columns[f"{what} from {CODES.get(code, code)}"] = [probe["accuracy"] for probe in probes]
            columns[f"chance of {what}"] = [probe["chance"] for probe in probes]
    correct = sum(score["classification"]["correct"] for score in scores)
    faces = sum(score["classification"]["faces"] for score in scores)
    return {
        "runs": name, "count": len(runs), "folds": sorted({config["fold"] for config in configs}),
        "seeds": sorted({config["seed"] for config in configs}), "pooled": f"{correct}/{faces}",
        "devices": sorted({run.read_json("provenance.json")["device"] for run in runs}),
        "mean": {key: float(np.mean(values)) for key, values in columns.items()},
        "spread": {key: float(np.std(values, ddof=1)) if len(values) > 1 else None for key, values in columns.items()},
    }  # fmt: skip


def markdown(groups: list[dict[str, Any]]) -> str:
    """Return the table of several runs, each score as mean and spread over runs, never a bare best."""
    keys = list(dict.fromkeys(key for group in groups for key in group["mean"]))
    lines = [
        "| runs | number | correct of all | " + " | ".join(keys) + " |",
        "|---" * (len(keys) + 3) + "|",
    ]
    for group in groups:
        cells = [_cell(group["mean"].get(key), group["spread"].get(key)) for key in keys]
        lines.append(f"| {group['runs']} | {group['count']} | {group['pooled']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(mean: float | None, spread: float | None) -> str:
    if mean is None:
        return ""
    return f"{mean:.3f}" + ("" if spread is None else f" +- {spread:.3f}")


# --- pictures


def _curves(rows: list[dict[str, Any]]) -> Figure:
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    figure, axes = plt.subplots(1, len(stages), figsize=(4.6 * len(stages), 3.2), layout="constrained", squeeze=False)
    for axis, stage in zip(axes[0], stages, strict=True):
        mine = [row for row in rows if row["stage"] == stage]
        for name in (key for key in mine[0] if key not in ("stage", "epoch", "seconds")):
            axis.plot([row["epoch"] + 1 for row in mine], [row[name] for row in mine], label=name.replace("_", " "))
        axis.set(title=f"stage {stage}", xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def _confusion(scores: dict[str, Any]) -> Figure:
    counts = np.array(scores["confusion"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axis = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names, places = scores["expressions"], range(len(counts))
    axis.set(xticks=places, yticks=places, yticklabels=names, xlabel="predicted", ylabel="true")
    axis.set_xticklabels(names, rotation=45, ha="right")
    for row, column in np.ndindex(counts.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)
    return figure


def _svg(figure: Figure) -> str:
    """Return a figure as SVG to stand in a page."""
    text = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "fertools"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _png(picture: NDArray[np.uint8]) -> str:
    """Return a picture as a data address."""
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(Path(__file__).with_name(template).read_text()).render(**values)


def write_summary(runs: Sequence[Run], path: Path) -> str:
    """Write a page with the table of several runs; return the table as Markdown."""
    groups = table(runs)
    keys = list(dict.fromkeys(key for group in groups for key in group["mean"]))
    part = path.with_name(f".{path.name}.part")
    part.write_text(_render("summary.html", groups=groups, keys=keys, cell=_cell))
    part.replace(path)
    return markdown(groups)
