"""The figures of a run's page: learning curves, reliability, codes of unseen faces."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.metrics.retrieval import cosine_similarities
from trainer.evaluation.reporting.drawing import ACCENT, COLOURS, LINE, MARKERS, QUIET, WIDTH, pyplot
from trainer.evaluation.reporting.score_rows import CODES

NOT_DRAWN = ("stage", "epoch", "seconds", "note")
LABELS = {  # with units; of other quantities it is their objective's
    "validation_accuracy": "validation\naccuracy\n(share of faces)",
    "nats": "information\n(nats, at least)",
    "classification": "cross-entropy\n(nats)",
}
MOST_CODES = 128  # faces of a map: exact t-SNE takes the square of it, here about a second
ITERATIONS = 400

Drawn = list[tuple[str, Any]]  # what a figure shows in words, and the figure


def curves(rows: Sequence[dict[str, Any]]) -> Drawn:
    """Return each stage's figure, a panel a quantity, and what it shows in words; the kept epoch is marked.

    Args:
        rows: logged values, a row an epoch (`Run.metrics`).
    """
    stages = dict.fromkeys(row["stage"] for row in rows)
    return [_stage_curves(stage, [row for row in rows if row["stage"] == stage]) for stage in stages]


def kept_epoch(rows: Sequence[dict[str, Any]]) -> int | None:
    """Return the epoch of a stage, from 1, whose weights were kept by their validation accuracy; None: the last."""
    if not all("validation_accuracy" in row for row in rows):
        return None
    best = max(rows, key=lambda row: float(row["validation_accuracy"]))  # the first of equals, as in training
    return int(best["epoch"]) + 1


def _stage_curves(stage: str, rows: Sequence[dict[str, Any]]) -> tuple[str, Any]:
    names = sorted((key for key in rows[0] if key not in NOT_DRAWN), key=lambda name: name != "validation_accuracy")
    figure, axes = pyplot().subplots(
        len(names), 1, figsize=(WIDTH, 0.55 + 1.05 * len(names)), sharex=True, squeeze=False, layout="constrained"
    )
    epochs, kept = [row["epoch"] + 1 for row in rows], kept_epoch(rows)
    for axis, name in zip(axes[:, 0], names, strict=True):
        values = [row.get(name, np.nan) for row in rows]
        axis.plot(epochs, values, color=ACCENT, linewidth=1.3, marker="." if len(rows) < 12 else None)
        axis.set_ylabel(LABELS.get(name, name.replace("_", "\n")), fontsize=8, rotation=0, ha="right", va="center")
        axis.ticklabel_format(useOffset=False)
        axis.locator_params(axis="y", nbins=3)
        axis.grid(alpha=0.6)
        if kept is not None:
            axis.axvline(kept, color=COLOURS[1], linestyle="--", linewidth=1)
            axis.plot(kept, values[epochs.index(kept)], "o", color=COLOURS[1], markersize=4)
    which = "the last epoch is kept" if kept is None else f"epoch {kept} is kept"
    axes[0, 0].set_title(f"stage {stage}: {which}", loc="left")
    axes[-1, 0].set_xlabel("epoch")
    shown = ", ".join(name.replace("_", " ") for name in names)
    return f"Learning curves of stage {stage} over {len(rows)} epochs: {shown}; {which}", figure


def reliability(calibration: dict[str, Any]) -> Any:
    """Return how often predictions are right against how sure they are, a dot a bin of equal mass."""
    bins = calibration["reliability"]
    figure, axis = pyplot().subplots(figsize=(WIDTH, 3.3), layout="constrained")
    axis.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1, label="as often right as sure")
    confidence, accuracy = ([one[key] for one in bins] for key in ("confidence", "accuracy"))
    axis.vlines(confidence, confidence, accuracy, color=LINE, linewidth=2)
    axis.scatter(confidence, accuracy, s=28, color=ACCENT, zorder=3, label=f"{len(bins)} bins of equally many faces")
    axis.set(xlabel="mean probability of what is read", ylabel="share that is right", xlim=(0, 1.03), ylim=(0, 1.05))
    axis.grid(alpha=0.6)
    axis.legend(loc="upper left")
    return figure


# --- codes of unseen faces


def shown_people(people: NDArray[Any], most: int = MOST_CODES) -> NDArray[np.int64]:
    """Return the faces to show, in order: all, or those of people drawn by chance (seed 0) who are `most` together.

    Of a person who alone has more, the first are shown.
    """
    if len(people) <= most:
        return np.arange(len(people))
    names, place = np.unique(people, return_inverse=True)
    rank = np.random.default_rng(0).permutation(len(names))[place]
    return np.sort(np.argsort(rank, kind="stable")[:most])


def embedding(code: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the t-SNE embedding of codes, (faces, 2), by cosine distance.

    It is the exact one: the approximation waits for all cores at each of its steps, minutes on a busy machine.
    """
    from sklearn.manifold import TSNE

    distance = (1 - cosine_similarities(code)).clip(0)
    np.fill_diagonal(distance, 0)
    perplexity = min(30.0, (len(code) - 1) / 3)
    positions: NDArray[np.float32] = TSNE(
        metric="precomputed", init="random", perplexity=perplexity, random_state=0, method="exact", max_iter=ITERATIONS
    ).fit_transform(distance)
    return positions


def code_maps(codes: Mapping[str, NDArray[np.float32]], labels: Mapping[str, NDArray[Any]], named: bool) -> Drawn:
    """Return each code's figures and what they show in words: by expression and, where people are named, by person.

    Args:
        codes: name -> (faces, dims).
        labels: `expression` and `subject`, (faces,) each.
        named: whether subjects are people.
    """
    shown = shown_people(labels["subject"])
    of_all = "" if len(shown) == len(labels["subject"]) else f" of {len(labels['subject'])}"
    positions = {CODES.get(name, name): embedding(code[shown]) for name, code in codes.items()}
    found = []
    for label, kind in (("expression", "expression"), ("subject", "person"))[: 2 if named else 1]:
        told = labels[label][shown]
        for symbol, points in positions.items():
            about = (
                f"t-SNE of {len(shown)}{of_all} unseen faces, a colour and shape for each {kind} of {len(set(told))}"
            )
            found.append(
                (f"{symbol} by {kind}: {about}", code_map(f"{symbol} by {kind}", points, told, kind == "expression"))
            )
    return found


def code_map(title: str, positions: NDArray[np.float32], labels: NDArray[Any], legend: bool) -> Any:
    """Return embedded codes, a colour and a shape a label; beyond 64 labels, these begin again.

    Args:
        title: of the panel.
        positions: (faces, 2).
        labels: (faces,).
        legend: whether to name the labels.
    """
    figure, axis = pyplot().subplots(figsize=(WIDTH, 3.4 if not legend else 3.9), layout="constrained")
    names = np.unique(labels)
    for number, name in enumerate(names):
        colour, marker = COLOURS[number % 8], MARKERS[(number + (0 if legend else number // 8)) % 8]
        axis.scatter(*positions[labels == name].T, s=22, color=colour, marker=marker, alpha=0.85, label=name, lw=0)
    axis.set(title=title, xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    if legend:
        figure.legend(loc="outside lower center", ncols=3, handletextpad=0.1, columnspacing=1)
    return figure
