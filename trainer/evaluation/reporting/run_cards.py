"""What a run's page says, by the three questions it answers: each a card of sentences, numbers and rows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.metrics.statistics import wilson_interval
from trainer.evaluation.reporting.fairness_rows import fairness_rows
from trainer.evaluation.reporting.known_people import heading, over
from trainer.evaluation.reporting.score_rows import CODES, NEEDS_NAMES

CLAIMED = 0.05  # p below which a page says that people are found in a code
MOST_WRONG = 24  # faces shown


def percent(share: float | None) -> str:
    """Return a share in percent; a dash where it is not defined."""
    return "–" if share is None or math.isnan(share) else f"{100 * share:.1f}\u00a0%"


def number(value: float | None) -> str:
    """Return a number with three decimals; a dash where it is not defined."""
    if value is None or math.isnan(value):
        return "–"
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")  # + 0.0: there is no minus zero


# --- does it read expressions?


def expression_card(scores: dict[str, Any]) -> dict[str, Any]:
    """Return how well expressions are read: an answer, a row a class, the confusion matrix, groups of people."""
    found = scores["classification"]
    low, high = found["accuracy_interval"]
    return {
        "accuracy": percent(found["accuracy"]), "interval": f"{percent(low)} to {percent(high)}",
        "answer": f"{found['correct']} of {found['faces']} unseen faces are read right: {percent(found['accuracy'])}, "
        f"95 % over {over(scores)} {percent(low)} to {percent(high)}; chance is {percent(found['chance'])}.",
        "means": [(name, percent(found[key])) for name, key in (
            ("macro F1", "macro_f1"), ("macro precision", "macro_precision"),
            ("macro recall (balanced accuracy)", "macro_recall"))],
        "classes": class_rows(found["confusion"], found["expressions"]), "names": found["expressions"],
        "confusion": _confusion_rows(found["confusion"], found["expressions"]),
        "groups": [(name, number(value), against)
                   for name, value, against in fairness_rows(scores.get("fairness", {}), over(scores))],
    }  # fmt: skip


def class_rows(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return each class: how many faces show it and are read so, recall and precision with their Wilson intervals.

    Args:
        confusion: counts, a row a true class.
        names: of the classes.
    """
    faces, read = map(sum, confusion), map(sum, zip(*confusion, strict=True))
    return [
        {"name": name, "faces": shown, "read": told,
         "recall": _share(confusion[place][place], shown), "precision": _share(confusion[place][place], told)}
        for place, (name, shown, told) in enumerate(zip(names, faces, read, strict=True))
    ]  # fmt: skip


def _share(right: int, faces: int) -> dict[str, Any] | None:
    """Return a share of faces with its interval; None of no face."""
    if not faces:
        return None
    low, high = wilson_interval(right / faces, faces)
    text = f"{percent(right / faces)} ({100 * low:.1f} to {100 * high:.1f})"
    return {"value": right / faces, "low": low, "high": high, "text": text}


def _confusion_rows(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    rows = [(name, counts, max(1, sum(counts))) for name, counts in zip(names, confusion, strict=True)]
    return [
        {"name": name, "cells": [(count, round(100 * count / total), count / total > 0.5) for count in counts]}
        for name, counts, total in rows
    ]


def wrong_faces(
    truth: NDArray[Any], predicted: NDArray[Any], probabilities: NDArray[np.floating], expressions: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the wrongly read faces, the most confident first: index, label, what was read and its probability.

    Args:
        truth: (faces,) names.
        predicted: (faces,) names.
        probabilities: (faces, expressions).
        expressions: their names.
    """
    wrong = np.flatnonzero(truth != predicted)
    wrong = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")]
    return [
        {"index": int(face), "label": truth[face], "read": predicted[face],
         "probability": percent(float(probabilities[face].max())),
         "of_label": percent(float(probabilities[face, expressions.index(truth[face])]))}
        for face in wrong
    ]  # fmt: skip


# --- does it leak people?


def leak_card(scores: dict[str, Any]) -> dict[str, Any]:
    """Return what the codes tell of people, and of expressions: an answer, rows by code, what cannot be measured."""
    codes = scores["codes"]
    rows = [(name, [cell(read) for read in codes.values()]) for name, cell in LEAKS]
    rows_of_expression = [(name, [cell(read) for read in codes.values()]) for name, cell in TOLD]
    unmeasured = [name for name, cells in (*rows, *rows_of_expression) if not any(cells)]
    return {
        "codes": [CODES.get(code, code) for code in codes], "answer": leak_answer(codes["expression"]),
        "area": number(codes["expression"]["identity_verification"]["matched_auc"]),
        "people": [row for row in rows if any(row[1])], "unmeasured": unmeasured, "needs": NEEDS_NAMES,
        "expressions": [row for row in rows_of_expression if any(row[1])], "dependence": _dependence(scores),
    }  # fmt: skip


def leak_answer(read: dict[str, Any]) -> str:
    """Return whether people are found in a code, in words: what knows of the expression says it, against its null."""
    area, probe = read["identity_verification"]["matched_auc"], read["identity_within_expression"]
    information = read["person_information"]
    if math.isnan(area) or math.isnan(probe["maximum"]):
        return f"Whether E tells people cannot be measured on these faces: it {NEEDS_NAMES}."
    found = min(probe["p"], information["p"]) < CLAIMED
    lead = (
        "E tells people apart, more than by chance."
        if found
        else "No leak is found; that does not say that there is none."
    )
    return (
        f"{lead} At one expression, E tells people apart with an AUC of {number(area)}; chance is 0.5. The best probe "
        f"finds the person for {percent(probe['maximum'])} of faces, with people permuted {percent(probe['null'])} (p "
        f"{number(probe['p'])}). Beyond the expression, E holds at least {number(information['nats'])} nats of the "
        f"person, permuted {number(information['null'])} (p {number(information['p'])})."
    )


Cell = tuple[str, str] | None  # what was measured, and what to hold it against


def _area(read: dict[str, Any]) -> Cell:
    pairs = read["identity_verification"]
    return _cell(pairs["matched_auc"], f"{pairs['matched_pairs']} pairs of one person; chance 0.5")


def _within(read: dict[str, Any]) -> Cell:
    probe = read["identity_within_expression"]
    times = "" if math.isnan(probe["times_null"]) else f": {probe['times_null']:.1f} times that"
    against = f"permuted {number(probe['null'])}{times}, p {number(probe['p'])}"
    return _cell(probe["maximum"], against)


def _information(read: dict[str, Any]) -> Cell:
    found = read["person_information"]
    against = f"permuted {number(found['null'])}, p {number(found['p'])}; at most {number(found['ceiling'])}"
    return _cell(found["nats"], against)


def _probe(what: str) -> Any:
    def cell(read: dict[str, Any]) -> Cell:
        probe = read[f"{what}_probe"]
        return _cell(probe["maximum"], f"chance {number(probe['chance_maximum'])}; linear {number(probe['accuracy'])}")

    return cell


def _retrieved(what: str) -> Any:
    def cell(read: dict[str, Any]) -> Cell:
        found = read[f"{what}_retrieval"]
        value = found.get("precision@5", math.nan)
        return _cell(value, f"chance {number(found['chance'])}; ceiling {number(found.get('ceiling@5'))}")

    return cell


def _expression_area(read: dict[str, Any]) -> Cell:
    return _cell(read["expression_verification"]["matched_auc"], "chance 0.5")


def _cell(value: float, against: str) -> Cell:
    return None if math.isnan(value) else (number(value), against)


LEAKS = (  # name -> a code's cell; the first three know of the expression, which sets their chance right
    ("told apart among faces of one expression, AUC", _area),
    ("found within an expression, balanced accuracy of the best of three probes", _within),
    ("I(code; person | expression), nats, at least", _information),
    ("found whatever the expression, balanced accuracy of the best of three probes", _probe("identity")),
    ("retrieved, precision@5", _retrieved("identity")),
)
TOLD = (
    ("told apart among faces of one person, AUC", _expression_area),
    ("read by the best of three probes, balanced accuracy", _probe("expression")),
    ("retrieved among other people, precision@5", _retrieved("expression")),
)


def _dependence(scores: dict[str, Any]) -> str:
    found = scores.get("dependence")
    if found is None:
        return ""
    told = [
        f"{name} {number(found[key])} ({against})"
        for name, key, against in (
            ("CKA", "cka_debiased", "debiased: 0 where they are unrelated"),
            ("HSIC", "hsic", f"p {number(found['hsic_p'])}, {found['observations']} sequences"),
        )
        if not math.isnan(found[key])
    ]
    return f"Dependence of E and I: {'; '.join(told)}." if told else ""


# --- can it be trusted?


def trust_card(
    scores: dict[str, Any], config: Mapping[str, Any], provenance: Mapping[str, Any], num_people: int
) -> dict[str, Any]:
    """Return on whom, with what and how carefully it was tested; what is not recorded is said."""
    return {
        "answer": f"{heading(scores)}.", "people": _short(scores["people"], num_people),
        "facts": _facts(scores, config, provenance, num_people),
        "budget": _budget(provenance), "calibration": _calibration(scores["calibration"]),
    }  # fmt: skip


def _facts(
    scores: dict[str, Any], config: Mapping[str, Any], provenance: Mapping[str, Any], num_people: int
) -> list[tuple[str, str]]:
    faces = scores["faces"]
    data, robust, opened = provenance["data"], scores["robustness"], provenance["test_opened"]
    weights = (provenance.get("encoder_weights") or {}).get("note") or config.get("encoder_weights")
    tried = (scores.get("budget") or {}).get("settings_tried")
    versions = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
    return [
        ("tested on", _who(scores["people"], num_people)),
        ("split", f"protocol {data.get('protocol', 'not recorded')}, fold {config['fold']} tests"
         f"; {faces['train']} faces train, {faces['validation']} validate, {faces['test']} test"),
        ("test part opened", f"{len(opened)} time{'s' if len(opened) != 1 else ''}: {', '.join(opened)}"),
        ("started from", str(weights or "random weights")),
        ("settings tried before", "not recorded" if tried is None else str(tried)),
        ("turned and flipped", f"mean accuracy {percent(robust['mean'])} over 14 variants of each face, worst "
         f"{percent(robust['worst'])}; the same answer in all 14 for {percent(robust['consistency'])} of faces"),
        ("whitening", str(data.get("whitening", "not recorded"))),
        ("made with", f"commit {provenance.get('commit') or 'not recorded'}, {provenance.get('device', '')}, "
         f"{provenance.get('precision', 'precision not recorded')}; {versions}"),
    ]  # fmt: skip


def _short(people: Mapping[str, int], num_people: int) -> str:
    return f"{num_people} people" if people["named"] == people["faces"] else f"{people['faces']} faces"


def _who(people: Mapping[str, int], num_people: int) -> str:
    faces, named, grouped = people["faces"], people["named"], people["grouped"]
    if named == faces:
        return f"{faces} faces of {num_people} people, all named"
    unknown = faces - named - grouped
    return (
        f"{faces} faces: {named} of named people, {grouped} of people told apart by groups, {unknown} of nobody known"
    )


def _budget(provenance: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    return [
        (stage + ("" if given["trains_code"] else " (leaves E as it is)"),
         [*(f"{given[name]:,}".replace(",", " ") for name in ("steps", "faces", "updates")),
          f"{given['processor_seconds']:.0f}"])
        for stage, given in (provenance.get("budget") or {}).items()
    ]  # fmt: skip


def _calibration(found: dict[str, Any]) -> str:
    sure = "too sure" if found["overconfidence"] > 0 else "not sure enough"
    return (
        f"Not calibrated: probabilities stand as the network gives them. They are off by "
        f"{percent(found['calibration_error'])} on average ({percent(found['calibration_error_if_honest'])} for honest "
        f"probabilities of as many faces), on the whole {percent(abs(found['overconfidence']))} {sure}. trainer export "
        "sets one temperature by the validation faces."
    )
