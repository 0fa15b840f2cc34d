"""What may be said of the people that a run was tested on: one place decides, every page, text and card asks it."""

from typing import Any


def over(scores: dict[str, Any]) -> str:
    """Return what an interval of the test part was drawn over: people, or faces where nobody is named."""
    people = scores.get("people")
    if people is None:  # judged before this was counted
        return "people, where they are named"
    if people["named"] == people["faces"]:
        return "people"
    return f"people, of {people['faces'] - people['named']} faces over faces" if people["named"] else "faces"


def heading(scores: dict[str, Any]) -> str:
    """Return what a page may call the scores of a run."""
    people = scores.get("people")
    if people is None:
        return "Scores on the test part"
    if people["named"] == people["faces"]:
        return "Scores on people that no training saw"
    if people["named"] + people["grouped"] == people["faces"]:
        return "Scores on people that no training saw, as far as an embedder's groups tell them apart"
    return "Scores on the test part, whose people are not all named: some may be in the training part too"
