"""The scores of predictions that other code has made, as lines to read."""

from collections.abc import Iterator
from typing import Any

from manifests.text import printable
from trainer.evaluation.reporting.fairness_rows import Row, fairness_rows
from trainer.evaluation.reporting.known_people import over

NAMED = 3


def text(scores: dict[str, Any]) -> str:
    """Return what `trainer.evaluation.submission.judge` tells as lines to read."""
    part = f"test part of fold {scores['fold']}" if scores["fold"] else "all usable faces with an expression"
    lines = [f"{scores['dataset']}, {part}"]
    lines += [f"  {name:<44} {value:.3f}  {against}" for name, value, against in _rows(scores)]
    lines += [f"  {line}" for line in (*_coverage(scores["coverage"]), *_leaks(scores.get("leaks")), *scores["notes"])]
    if scores["people"]["named"] < scores["people"]["faces"]:
        lines.append("  people are not all named: whether some of them were trained on cannot be told for these")
    if scores["drawn"]:
        lines.append("  these faces are drawn by code: their scores say nothing of photographs")
    return "\n".join(lines)


def _rows(scores: dict[str, Any]) -> Iterator[Row]:
    found = scores["classification"]
    low, high = found["accuracy_interval"]
    yield (
        "expression accuracy", found["accuracy"],
        f"{found['correct']} of {found['faces']}; 95 % over {over(scores)} {low:.3f} to {high:.3f}; "
        f"chance {found['chance']:.3f}",
    )  # fmt: skip
    for name in ("balanced_accuracy", "macro_precision", "macro_recall", "macro_f1"):
        yield name.replace("_", " "), found[name], ""
    for name, of in scores["by_expression"].items():
        against = f"precision {of['precision']:.3f}, recall {of['recall']:.3f}, {of['faces']} faces"
        yield f"F1, {name}", of["f1"], against
    if calibration := scores.get("calibration"):
        honest = f"{calibration['calibration_error_if_honest']:.3f} for honest probabilities of as many faces"
        yield "calibration error", calibration["calibration_error"], honest
        chance = f"nats; chance {calibration['negative_log_likelihood_chance']:.3f}"
        yield "negative log likelihood", calibration["negative_log_likelihood"], chance
        yield "Brier score", calibration["brier"], f"chance {calibration['brier_chance']:.3f}"
    yield from fairness_rows(scores.get("fairness", {}), over(scores))


def _coverage(coverage: dict[str, Any]) -> Iterator[str]:
    if coverage["missing"]:
        names = ", ".join(printable(name, 60) for name in coverage["missing_faces"][:NAMED])
        more = f" and {coverage['missing'] - NAMED} others" if coverage["missing"] > NAMED else ""
        yield (
            f"{coverage['missing']} of {coverage['faces']} faces are not predicted: {names}{more}; accuracy with these "
            f"as wrong {coverage['accuracy_with_missing_as_wrong']:.3f}"
        )
    else:
        yield f"all {coverage['faces']} faces are predicted"
    if coverage["not_asked"]:
        yield f"{coverage['not_asked']} predictions are of faces that are not judged: unusable or of another part"
    for name, num in coverage["unknown_expressions"].items():
        yield f"{num} faces of {name} are left out: there is no probability of it"


def _leaks(leaks: dict[str, Any] | None) -> Iterator[str]:
    if leaks is None:
        yield "what was trained on is not stated (--trained-on): whether it shares people with these faces is not known"
        return
    if leaks["unknown"]:
        names = ", ".join(printable(name, 60) for name in leaks["unknown_names"])
        yield f"{leaks['unknown']} names on the training list are not in the manifest and were not compared: {names}"
    shared = [
        f"{kind} {of['shared']} of {of['known']}" if of["known"] else f"{kind} not known"
        for kind, of in leaks["shares"].items()
    ]
    found = f"with the {leaks['listed']} faces on the training list, judged faces share their: {', '.join(shared)}"
    yield found
    if leaks["sharing"]:
        rest = leaks["accuracy_of_not_sharing"]
        of_rest = f"accuracy of the other {leaks['not_sharing']}: {rest:.3f}" if rest is not None else "no face is new"
        yield f"LEAK: {leaks['sharing']} judged faces share something with what was trained on; {of_rest}"
