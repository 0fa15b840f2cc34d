"""A run's scores as rows to read: name, value, what to hold it against."""

import math
from collections import defaultdict
from typing import Any

from trainer.evaluation.reporting.fairness_rows import fairness_rows
from trainer.evaluation.reporting.known_people import over

CODES = {"expression": "E", "identity": "I", "generated": "G(I)"}
NEEDS_NAMES = "needs people who are named, with several faces each"
TERMS = {"shared": "I(E_M; E_N)", "entangled": "I(E_M; I_M)", "gap": "MIG"}  # DICE-FER's names


def notes(rows: list[dict[str, Any]]) -> list[str]:
    """Return what was noted of a training, each with the epochs it holds for."""
    epochs: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in rows:
        if "note" in row:
            epochs[row["stage"], row["note"]].append(row["epoch"] + 1)
    return [
        f"stage {stage}, {len(those)} epoch(s) from {those[0]} on: {note}" for (stage, note), those in epochs.items()
    ]


def score_rows(scores: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Return the scores to show: name, value, what to hold it against."""
    classification = scores["classification"]
    low, high = classification["accuracy_interval"]
    rows = [
        ("expression accuracy", classification["accuracy"],
         f"{classification['correct']} of {classification['faces']}; 95 % over {over(scores)} {low:.3f} to {high:.3f}; "
         f"chance {classification['chance']:.3f}"),
        *((name.replace("_", " "), classification[name], "")
          for name in ("balanced_accuracy", "macro_precision", "macro_recall", "macro_f1")),
    ]  # fmt: skip
    rows += [row for code, read in scores["codes"].items() for row in _leak_rows(CODES.get(code, code), read)]
    rows += [row for code, read in scores["codes"].items() for row in _code_rows(CODES.get(code, code), read)]
    rows += _reliability_rows(scores)
    rows += fairness_rows(scores.get("fairness", {}), over(scores))
    return [(name, value, NEEDS_NAMES if math.isnan(value) else against) for name, value, against in rows]


def _leak_rows(symbol: str, read: dict[str, Any]) -> list[tuple[str, float, str]]:
    """Return what a code tells of the person at one expression: first of all, as only this has a null that is right."""
    probe, information = read["identity_within_expression"], read["person_information"]
    return [
        (f"identity told apart by {symbol}, AUC", read["identity_verification"]["matched_auc"],
         "at one expression; chance 0.5"),
        (f"identity read from {symbol}, within an expression", probe["maximum"],
         f"people permuted {probe['null']:.3f}: {probe['times_null']:.1f} times that, p {probe['p']:.3f}"),
        (f"I({symbol}; person | expression), nats", information["nats"],
         f"at least; people permuted {information['null']:.3f}, at most {information['ceiling']:.3f}"),
    ]  # fmt: skip


def _code_rows(symbol: str, read: dict[str, Any]) -> list[tuple[str, float, str]]:
    rows = []
    for what in ("expression", "identity"):
        probe, found = read[f"{what}_probe"], read[f"{what}_retrieval"]
        against = f"chance {probe['chance']:.3f}; {probe['accuracy'] / probe['chance']:.1f} times that"
        rows.append((f"{what} read from {symbol}", probe["accuracy"], against))
        against = f"best of three probes; chance {probe['chance_maximum']:.3f}"
        rows.append((f"{what} read from {symbol} at most", probe["maximum"], against))
        if what == "expression":
            area = read["expression_verification"]["matched_auc"]
            rows.append((f"expression told apart by {symbol}, AUC", area, "at one person; chance 0.5"))
        for k in (1, 5):
            if f"precision@{k}" in found:
                ceiling = f"; ceiling {found[f'ceiling@{k}']:.3f}" if found[f"ceiling@{k}"] < 1 else ""
                against = f"chance {found['chance']:.3f}{ceiling}"
                rows.append((f"{what} retrieved by {symbol}, precision@{k}", found[f"precision@{k}"], against))
    return rows


def _reliability_rows(scores: dict[str, Any]) -> list[tuple[str, float, str]]:
    calibration, robustness = scores["calibration"], scores["robustness"]
    honest = f"{calibration['calibration_error_if_honest']:.3f} for honest probabilities of as many faces"
    rows = [
        ("calibration error", calibration["calibration_error"], honest),
        ("accuracy, turned and flipped", robustness["mean"], f"mean of 14 variants; worst {robustness['worst']:.3f}"),
        ("same answer in all 14 variants", robustness["consistency"], "share of faces"),
    ]
    if "dependence" in scores:
        found = scores["dependence"]
        rows += [
            ("CKA of E and I", found["cka_debiased"], "debiased: 0 where they are unrelated"),
            ("HSIC of E and I", found["hsic"], f"p {found['hsic_p']:.3f}, {found['observations']} sequences"),
        ]
    return rows


def elsewhere(dataset: str, scores: dict[str, Any]) -> str:
    """Return the scores on another dataset as lines to read."""
    low, high = scores["accuracy_interval"]
    against = f"{scores['correct']} of {scores['faces']}; 95 % over {over(scores)} {low:.3f} to {high:.3f}"
    rows = [(f"accuracy on {dataset}", scores["accuracy"], against), ("macro recall", scores["macro_recall"], "")]
    return _lines([*rows, *fairness_rows(scores.get("fairness", {}), over(scores))])


def examination(examined: dict[str, Any]) -> str:
    """Return what E and I hold as lines to read."""
    rows = []
    for name, terms in examined["information"]["estimators"].items():
        for term, found in terms.items():
            null = f"; permuted {found['null']:.3f}" if "null" in found else ""
            against = f"+- {found['spread']:.3f}{null}" + ("" if found["accepted"] else "; not accepted")
            rows.append((f"{TERMS[term]} by {name}, nats", found["nats"], against))
    rows += [
        ("MIG of Chen et al.", examined["mutual_information_gap"]["gap"], "of the best two dimensions of a factor"),
        ("DCI disentanglement", examined["dci"]["disentanglement"], ""),
        ("DCI completeness", examined["dci"]["completeness"], ""),
        ("SAP", examined["sap"]["gap"], ""),
    ]
    for factor, by_code in examined["factors"].items():
        for code, found in by_code.items():
            rows.append(
                (f"{factor} from {CODES[code]}", found["score"], f"{found['measure']}; chance {found['chance']:.3f}")
            )
    return _lines(rows)


def text(scores: dict[str, Any]) -> str:
    """Return a run's scores as lines to read."""
    return _lines(score_rows(scores))


def _lines(rows: list[tuple[str, float, str]]) -> str:
    return "\n".join(f"  {name:<44} {value:.3f}  {against}" for name, value, against in rows)
