"""Class numbers: whether those of a list are the published ones, or another list's that would be read as others."""

from collections.abc import Iterable, Mapping

from fertools.errors import FertoolsError

ORDERS = {  # in which collections count their classes
    "RAF-DB": "surprise fear disgust happiness sadness anger neutral",
    "FER2013": "anger disgust fear happiness sadness surprise neutral",
    "AffectNet": "neutral happiness sadness surprise fear disgust anger contempt",
    "FER+": "neutral happiness surprise sadness anger disgust fear contempt",
    "CK+": "anger contempt disgust fear happiness sadness surprise",
    "the alphabet": "anger disgust fear happiness neutral sadness surprise",
    "the alphabet with contempt": "anger contempt disgust fear happiness neutral sadness surprise",
}
ENOUGH = 300  # labels of expressions, of which frequencies tell
LIKE = 0.05  # total variation distance of frequencies that are taken for the same; a sample of 300 is within 0.04
RATIO = 3  # by which another order must be nearer


class CodesError(FertoolsError):
    """A list whose numbers are not the published ones; the message says what it looks like."""


def check(counts: Mapping[int, int], published: Mapping[str, str], frequencies: Mapping[str, int]) -> None:
    """Refuse a list whose numbers fit the published ones less well than those of another origin.

    One number out of range is a slip of its row. Several, or all classes, in a range that is moved by one are another
    list, and so are frequencies that are not the published ones and become these when the numbers are read otherwise.

    Args:
        counts: number as written -> how many.
        published: number, as text -> expression.
        frequencies: expression -> how many are published; empty: not known.

    Raises:
        CodesError: another list than the published one. The message does not name it.
    """
    own = sorted(map(int, published))
    found = {code for code, num in counts.items() if num}
    first = 0 if own[0] else 1  # what else one counts from
    moved = {code - own[0] + first for code in own}
    num_beyond = sum(num for code, num in counts.items() if code not in own)
    if found <= moved and (num_beyond > 1 or (num_beyond and found == moved)):
        raise CodesError(
            f"counts from {first} to {max(moved)}, the published list from {own[0]} to {own[-1]}: this is another list "
            f"than the published one; --labels-from {first} reads it so"
        )
    if (told := _other_order(counts, published, frequencies)) is not None:
        raise CodesError(told)


def _other_order(counts: Mapping[int, int], published: Mapping[str, str], frequencies: Mapping[str, int]) -> str | None:
    """Return as what a list's numbers have the published frequencies, where as the published ones they have not."""
    if not frequencies or sum(counts.values()) < ENOUGH:
        return None
    own = _distance({int(code): name for code, name in published.items()}, counts, frequencies)
    if own <= LIKE:
        return None
    others = {
        (name, first): dict(enumerate(order.split(), first)) for name, order in ORDERS.items() for first in (0, 1)
    }
    best = min(others, key=lambda other: _distance(others[other], counts, frequencies))
    if _distance(others[best], counts, frequencies) > min(LIKE, own / RATIO):
        return None
    meant = ",".join(f"{code}={name}" for code, name in others[best].items() if name in frequencies)
    return (
        f"counts its classes in the order of {best[0]} from {best[1]}, by how frequent they are, and not as published: "
        f"this is another list than the published one; --map {meant} reads it so"
    )


def _distance(meaning: Mapping[int, str], counts: Mapping[int, int], frequencies: Mapping[str, int]) -> float:
    """Return the total variation distance of a list's frequencies, read in some way, from the published ones."""
    total, published = sum(counts.values()), sum(frequencies.values())
    read = dict.fromkeys(frequencies, 0.0)
    for code, num in counts.items():
        name = meaning.get(code, "")
        read[name] = read.get(name, 0.0) + num / total
    return sum(abs(share - frequencies.get(name, 0) / published) for name, share in read.items()) / 2


def recode(first: int | None, meant: Mapping[str, str], published: Mapping[str, str]) -> dict[str, str]:
    """Return what a list's numbers are in the published numbering.

    Args:
        first: number that the list counts from, in the published order; null: as published, or as `meant` says.
        meant: number as written -> expression.
        published: number -> expression.

    Raises:
        CodesError: an expression that has no published number.
    """
    code_of = {name: code for code, name in published.items()}
    if unknown := sorted(set(meant.values()) - code_of.keys()):
        raise CodesError(f"--map: no class {' or '.join(unknown)} here; known: {', '.join(code_of)}")
    if first is not None:
        start = min(map(int, published))
        return {str(int(code) - start + first): code for code in published}
    return {number: code_of[name] for number, name in meant.items()}


def numbers(codes: Iterable[str]) -> dict[int, int]:
    """Return how often each number stands among codes as they are written; what is no number is left out."""
    counts: dict[int, int] = {}
    for code in codes:
        text = code.strip().removesuffix(".0")
        if text.isdecimal() and len(text) < 4:
            counts[int(text)] = counts.get(int(text), 0) + 1
    return counts
