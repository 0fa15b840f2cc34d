"""Scores by group of people, as rows to read: what was scored, its value, what to hold it against."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from manifests.text import printable
from trainer.evaluation.metrics.fairness import CLAIMED, FEW

NAMES = {"accuracy": "accuracy", "macro_recall": "macro recall", "equal_opportunity": "equal opportunity"}
SHOWN = 24  # letters of a group's name
Row = tuple[str, float, str]


def fairness_rows(fairness: Mapping[str, Mapping[str, Any]], over: str) -> Iterator[Row]:
    """Yield the rows of every attribute of people: each group, then the gaps between groups.

    Args:
        fairness: attribute -> what `metrics.fairness.fairness` returns.
        over: what the intervals were drawn over (`known_people.over`).
    """
    for attribute, found in fairness.items():
        for group, scores in found["groups"].items():
            few = f"; under {FEW} faces: too few to tell" if scores["faces"] < FEW else ""
            for key in ("accuracy", "macro_recall"):
                where = f"{scores['faces']} faces{_interval(scores[f'{key}_interval'], over)}{few}"
                yield f"{NAMES[key]}, {attribute} {printable(group, SHOWN)}", scores[key], where
        yield from _gap_rows(attribute, found["gaps"])
        if found["unknown"]:
            every = found["unknown"] + sum(scores["faces"] for scores in found["groups"].values())
            share = f"{found['unknown']} of {every} faces, left out above"
            yield f"{attribute} not known", found["unknown"] / every, share


def _interval(interval: list[float] | None, over: str) -> str:
    return "" if interval is None else f"; 95 % over {over} {interval[0]:.3f} to {interval[1]:.3f}"


def _gap_rows(attribute: str, gaps: Mapping[str, Mapping[str, Any]] | None) -> Iterator[Row]:
    for key, gap in (gaps or {}).items():
        name = f"{NAMES[key]} difference" if key == "equal_opportunity" else f"largest gap of {NAMES[key]}"
        of = f" for {gap['expression']}" if "expression" in gap else ""
        claim = "more than" if gap["p"] < CLAIMED else "no more than"
        highest, lowest = (printable(gap[end], SHOWN) for end in ("highest", "lowest"))
        against = f"{highest} less {lowest}{of}; people permuted: p {gap['p']:.3f}, {claim} chance"
        yield f"{name}, {attribute}", gap["gap"], against


# --- over runs


def over_runs(runs: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the means over runs of one method by group of people; an attribute or group need not be in all.

    Args:
        runs: of each run what `fairness_rows` takes.

    Returns:
        attribute -> groups (name -> runs, faces a run, accuracy, macro_recall) and gaps (score -> runs, gap, and in how
        many runs it is more than chance).
    """
    told = {}
    for attribute in dict.fromkeys(name for run in runs for name in run):
        found = [run[attribute] for run in runs if attribute in run]
        groups = {name: [one["groups"][name] for one in found if name in one["groups"]] for name in _names(found)}
        gaps = {key: [one["gaps"][key] for one in found if key in (one["gaps"] or {})] for key in NAMES}
        told[attribute] = {
            "groups": {
                name: {"runs": len(each)} | {key: _mean(each, key) for key in ("faces", "accuracy", "macro_recall")}
                for name, each in groups.items()
            },
            "gaps": {
                key: {"runs": len(each), "gap": _mean(each, "gap"), "claimed": sum(g["p"] < CLAIMED for g in each)}
                for key, each in gaps.items() if each
            },
        }  # fmt: skip
    return told


def _names(found: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({name for one in found for name in one["groups"]})


def _mean(each: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(np.mean([one[key] for one in each]))


def over_runs_text(name: str, means: Mapping[str, Any]) -> str:
    """Return the means over runs as lines to read.

    Args:
        name: of the runs.
        means: as `over_runs` returns them.
    """
    lines = [f"{name}, by group of people, means over runs:"]
    for attribute, found in means.items():
        for group, scores in found["groups"].items():
            few = f"; under {FEW} faces: too few to tell" if scores["faces"] < FEW else ""
            lines.append(
                f"  {f'{attribute} {printable(group, SHOWN)}':<32} accuracy {scores['accuracy']:.3f}, macro recall "
                f"{scores['macro_recall']:.3f}; {scores['runs']} runs of {scores['faces']:.0f} faces{few}"
            )
        for key, gap in found["gaps"].items():
            claimed = f"more than chance (p < {CLAIMED}) in {gap['claimed']} of {gap['runs']} runs"
            lines.append(f"  {f'{NAMES[key]}, gap by {attribute}':<32} {gap['gap']:.3f}; {claimed}")
    return "\n".join(lines)
