"""The figures of papers, drawn from runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.data.crops import Pictures
from trainer.data.fold_data import FoldData
from trainer.evaluation.evaluate import Outputs, infer, load, open_test
from trainer.evaluation.reporting.drawing import pyplot, svg
from trainer.evaluation.reporting.image_grid import Row, draw
from trainer.evaluation.reporting.pictures import Painter, attention_of, painter, transfer_of
from trainer.evaluation.reporting.run_figures import embedding
from trainer.evaluation.reporting.run_report import nearest_faces
from trainer.experiments.papers.item import Variant
from trainer.methods.base import Method
from trainer.runs.run import Run

NUM_QUERIES, NUM_NEAREST = 4, 5


@dataclass(frozen=True)
class Drawn:
    """The runs of one row."""

    variant: Variant
    dataset: str
    runs: tuple[Run, ...]


def _opened(run: Run, manifests: Path, device: torch.device) -> tuple[Method, FoldData]:
    """Return a judged run's method, and its data with the test part open."""
    method, data = load(run, manifests, device)
    open_test(run, data)
    return method, data


def _unseen(run: Run, manifests: Path, device: torch.device) -> tuple[Outputs, Pictures]:
    """Return the faces, and their pictures, of people that no weight of a judged run was trained on."""
    method, data = _opened(run, manifests, device)
    parts = ("validation", "test")
    outputs = [infer(method, data, part) for part in parts]
    return outputs[0] + outputs[1], data.pictures(*parts)


def _where(row: Drawn) -> str:
    """Return the dataset, marked where its faces are drawn."""
    drawn = row.runs[0].read_json("provenance.json")["data"]["drawn"]
    return f"{row.dataset}, drawn faces" if drawn else row.dataset


def retrieval(rows: Sequence[Drawn], manifests: Path, device: torch.device) -> str:
    """DICE-FER Figure 3: queries, and the faces nearest to them by E and by I, of the first run of each dataset."""
    figure, grid = pyplot().subplots(
        NUM_QUERIES * len(rows), 1 + 2 * NUM_NEAREST, squeeze=False, layout="constrained",
        figsize=(1 + 2 * NUM_NEAREST, 1.05 * NUM_QUERIES * len(rows) + 0.4),
    )  # fmt: skip
    for index, row in enumerate(rows):
        outputs, pictures = _unseen(row.runs[0], manifests, device)
        lines = grid[index * NUM_QUERIES : (index + 1) * NUM_QUERIES]
        queries = np.linspace(0, len(pictures) - 1, NUM_QUERIES).astype(int).tolist()
        for axes, query in zip(lines, queries, strict=True):
            nearest = [nearest_faces(name, outputs.codes[name], outputs.labels["subject"], query)[:NUM_NEAREST]
                       for name in ("expression", "identity")]  # fmt: skip
            for axis, face in zip(axes, [query, *nearest[0], *nearest[1]], strict=True):
                axis.imshow(pictures[face], cmap="gray", vmin=0, vmax=255)
                axis.axis("off")
    grid[0][0].set_title("query")
    middle = 1 + NUM_NEAREST // 2
    grid[0][middle].set_title("by E, other people")
    grid[0][middle + NUM_NEAREST].set_title("by I")
    figure.suptitle("; ".join(_where(row) for row in rows))
    return svg(figure)


SWEPT = {  # heading -> where in a run's scores, and its chance
    "expression accuracy": (("classification", "accuracy"), ("classification", "chance")),
    "identity read from E": (("codes", "expression", "identity_probe", "maximum"),
                             ("codes", "expression", "identity_probe", "chance_maximum")),
    "expression read from I": (("codes", "identity", "expression_probe", "maximum"),
                               ("codes", "identity", "expression_probe", "chance_maximum")),
    "identity read from I": (("codes", "identity", "identity_probe", "maximum"),
                             ("codes", "identity", "identity_probe", "chance_maximum")),
}  # fmt: skip


def sweep(rows: Sequence[Drawn], _manifests: Path, _device: torch.device) -> str:
    """DICE-FER Figure 4: scores against zeta, with E frozen in stage 2 and with E moving; bars span the runs."""
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    figure, grid = pyplot().subplots(
        len(datasets), len(SWEPT), figsize=(4 * len(SWEPT), 3.1 * len(datasets)), squeeze=False, layout="constrained"
    )
    for dataset, axes in zip(datasets, grid, strict=True):
        of_dataset = [row for row in rows if row.dataset == dataset]
        for axis, (heading, paths) in zip(axes, SWEPT.items(), strict=True):
            _sweep_panel(axis, of_dataset, *paths)
            axis.set(title=heading, xlabel="zeta", ylim=(0, 1))
        axes[0].set_ylabel(_where(of_dataset[0]))
    grid[0][0].legend()
    return svg(figure)


def _sweep_panel(axis: Any, rows: Sequence[Drawn], path: tuple[str, ...], chance: tuple[str, ...]) -> None:
    for kind, colour in (("frozen", "tab:blue"), ("joint", "tab:orange")):
        of_kind = [row for row in rows if row.variant.title.startswith(kind)]
        points = sorted(((_zeta(row), row) for row in of_kind), key=lambda point: point[0])
        if not points:
            continue
        values = [[run.value("scores.json", *path) for run in row.runs] for _, row in points]
        mean, low, high = (np.array([function(runs) for runs in values]) for function in (np.mean, min, max))
        zetas = [zeta for zeta, _ in points]
        axis.errorbar(zetas, mean, [mean - low, high - mean], color=colour, marker="o", capsize=3, label=f"E {kind}")
    level = float(np.mean([run.value("scores.json", *chance) for row in rows for run in row.runs]))
    axis.axhline(level, color="grey", linestyle=":", label="chance")
    axis.set_xscale("symlog", linthresh=0.005)
    axis.set_xlim(-0.001, 1.4)
    axis.set_xticks([0, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def _zeta(row: Drawn) -> float:
    return float(row.runs[0].read_json("config.json")["settings"]["adversarial_weight"])


def confusion(rows: Sequence[Drawn], _manifests: Path, _device: torch.device) -> str:
    """DICE-FER Figure 5: a confusion matrix a dataset, over the test faces of all runs: row percentages and counts."""
    figure, grid = pyplot().subplots(
        len(rows), 1, figsize=(5.6, 5.0 * len(rows)), squeeze=False, layout="constrained"
    )  # fmt: skip
    for axis, row in zip(grid[:, 0], rows, strict=True):
        scores = [run.read_json("scores.json")["classification"] for run in row.runs]
        names, counts = scores[0]["expressions"], np.sum([score["confusion"] for score in scores], axis=0)
        _confusion_panel(axis, counts, names)
        runs = f"{len(row.runs)} run{'s' if len(row.runs) > 1 else ''}"
        axis.set_title(f"{row.variant.title}, {_where(row)}\n{counts.sum()} test faces of {runs}", fontsize=10)
    return svg(figure)


def row_percentages(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a confusion matrix with each row, a true class, as percentages; nan in a row without faces."""
    faces = counts.sum(1, keepdims=True)
    percentages: NDArray[np.float64] = np.full(counts.shape, np.nan)
    np.divide(100.0 * counts, faces, out=percentages, where=faces > 0)
    return percentages


def _confusion_panel(axis: Any, counts: NDArray[np.int64], names: Sequence[str]) -> None:
    percentages, ticks = row_percentages(counts), range(len(names))
    axis.imshow(percentages, cmap="Blues", vmin=0, vmax=100)
    axis.set(xticks=ticks, yticks=ticks, xlabel="predicted", ylabel="true")
    axis.set_xticklabels(names, rotation=45, ha="right")
    axis.set_yticklabels(f"{name} ({total})" for name, total in zip(names, counts.sum(1), strict=True))
    for (true, predicted), count in np.ndenumerate(counts):
        if count:
            share = percentages[true, predicted]
            colour = "white" if share > 50 else "black"
            axis.text(predicted, true, f"{share:.1f} %\n{count}", ha="center", va="center", color=colour, fontsize=7)


def tsne(rows: Sequence[Drawn], manifests: Path, device: torch.device) -> str:
    """Codes of unseen people by t-SNE, coloured by expression and by person; no figure of the paper."""
    columns = ("expression", "subject")
    figure, grid = pyplot().subplots(
        len(rows), len(columns), figsize=(5.4 * len(columns), 4.2 * len(rows)), squeeze=False, layout="constrained"
    )
    for axes, row in zip(grid, rows, strict=True):
        outputs, _ = _unseen(row.runs[0], manifests, device)
        positions = embedding(outputs.codes["expression"])
        for axis, label in zip(axes, columns, strict=True):
            names, classes = np.unique(outputs.labels[label], return_inverse=True)
            colours = "tab10" if label == "expression" else "nipy_spectral"
            points = axis.scatter(*positions.T, c=classes, cmap=colours, s=14)
            axis.set(title=f"E of {row.variant.title}, {_where(row)}: {label}", xticks=[], yticks=[])
            if label == "expression":
                handles = points.legend_elements(num=list(range(len(names))))[0]
                axis.legend(handles, names, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return svg(figure)


def transfer(rows: Sequence[Drawn], manifests: Path, device: torch.device) -> str:
    """IF-GAN Figure 5: unseen people, their generated pictures, and the average faces, of the first run of each row."""
    return _painted(rows, manifests, device, transfer_of)


def attention(rows: Sequence[Drawn], manifests: Path, device: torch.device) -> str:
    """IF-GAN Figure 6: points of an unseen face and their attention maps, of the first run of each row."""
    return _painted(rows, manifests, device, attention_of)


def _painted(
    rows: Sequence[Drawn], manifests: Path, device: torch.device,
    show: Callable[[Painter, FoldData], list[Row]],
) -> str:  # fmt: skip
    lines = []
    for row in rows:
        method, data = _opened(row.runs[0], manifests, device)
        shown = show(painter(row.runs[0], method, show is attention_of), data)
        lines += [shown[0]._replace(name=f"{row.variant.title},\n{_where(row)}:\n{shown[0].name}"), *shown[1:]]
    return svg(draw(lines))


FIGURES: dict[str, Callable[[Sequence[Drawn], Path, torch.device], str]] = {
    "retrieval": retrieval, "sweep": sweep, "confusion": confusion, "tsne": tsne, "transfer": transfer,
    "attention": attention,
}  # fmt: skip
