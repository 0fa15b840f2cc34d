"""Who is who in a user's table: what certainly names one person, what names nobody, and what only looks alike."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from manifests.text import storable

NOBODY = {  # what people, pandas and spreadsheets write for "not known"; compared without case and blanks
    "", "nan", "none", "null", "nil", "na", "n/a", "n.a.", "#n/a", "#na", "#n/v", "<na>", "nat", "-", "--", "?", "??",
    ".", "-1", "-1.0", "unknown", "unk", "unnamed", "anonymous", "not available", "unbekannt", "inconnu", "inconnue",
    "desconocido", "desconocida", "desconhecido", "sconosciuto", "未知", "不明", "알 수 없음", "неизвестно",
}  # fmt: skip
WHOLE = re.compile(r"([+-]?\d+)\.0+")  # pandas' 7.0, of a column of integers with gaps
ROUNDED = re.compile(r"\d([.,]\d+)?e\+\d+", re.IGNORECASE)  # a spreadsheet's 1.23457E+12
EXAMPLES = 5  # that a note names


def identify(written: Sequence[str | None]) -> tuple[list[str | None], list[str]]:
    """Return who is meant by each cell, and what a user should know of it.

    Spellings that differ in case, blanks, Unicode form or a trailing `.0` are one person for certain, called as most
    cells call it. Spellings that differ in leading zeros, accents or punctuation may be two people: they stay two, and
    a note names them, since one person under two names leaks from a training into a test part.

    Args:
        written: one cell a face; null or a word for nobody where a face shows an unknown person.
    """
    spellings = Counter(_spelling(cell) for cell in written if cell is not None)
    of_key: dict[str, Counter[str]] = defaultdict(Counter)
    nobody: Counter[str] = Counter()
    for spelling, count in spellings.items():
        (nobody if spelling.casefold() in NOBODY else of_key[_key(spelling)])[spelling] += count
    called = {key: min(names, key=lambda name: (-names[name], name)) for key, names in of_key.items()}
    people = [
        None if cell is None or (spelling := _spelling(cell)) in nobody else called[_key(spelling)] for cell in written
    ]
    return people, list(_notes(nobody, of_key, called))


def attribute(written: str) -> str | None:
    """Return what a cell says of a person, such as a gender, without case and blanks; null where it says nothing."""
    spelling = _key(_spelling(written))
    return None if spelling in NOBODY else storable(spelling)


def _spelling(cell: str) -> str:
    """Return a cell without what nobody sees: blanks around and doubled, invisible characters, other Unicode forms."""
    text = unicodedata.normalize("NFKC", cell)
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    return " ".join(text.split())


def _key(spelling: str) -> str:
    """Return what spellings of one person have in common for certain."""
    whole = WHOLE.fullmatch(spelling)
    return (whole[1] if whole else spelling).casefold()


def _likeness(key: str) -> str:
    """Return what spellings that may be one person's have in common: letters without accents, numbers by value."""
    letters = unicodedata.normalize("NFKD", key)
    letters = "".join(character for character in letters if unicodedata.category(character) != "Mn")
    return re.sub(r"\W|_", "", re.sub(r"\d+", lambda digits: digits[0].lstrip("0") or "0", letters))


def _notes(nobody: Counter[str], of_key: dict[str, Counter[str]], called: dict[str, str]) -> Iterator[str]:
    if words := {word: count for word, count in nobody.items() if word}:
        listed = ", ".join(f"{word!r} ({count})" for word, count in sorted(words.items())[:EXAMPLES])
        yield f"subjects: {sum(words.values())} faces are nobody's by the words {listed}; rename whoever is called so"
    merged = [sorted(names) for names in of_key.values() if len({name for name in names if name}) > 1]
    if merged:
        listed = "; ".join(" = ".join(map(repr, names[:EXAMPLES])) for names in merged[:EXAMPLES])
        yield f"subjects: {len(merged)} people are written in several ways and taken as one each: {listed}"
    alike: dict[str, list[str]] = defaultdict(list)
    for key, name in called.items():
        if likeness := _likeness(key):
            alike[likeness].append(name)
    if doubtful := [sorted(names) for names in alike.values() if len(names) > 1]:
        listed = "; ".join(" and ".join(map(repr, names[:EXAMPLES])) for names in doubtful[:EXAMPLES])
        yield (
            f"subjects: {len(doubtful)} names look alike and are kept apart: {listed}; if they are one person, write "
            "them alike, or that person may be in two folds"
        )
    if rounded := sorted(name for name in called.values() if ROUNDED.fullmatch(name)):
        listed = ", ".join(map(repr, rounded[:EXAMPLES]))
        yield (
            f"subjects: {len(rounded)} numbers were rounded by a spreadsheet ({listed}): several people may have "
            "become one; store the column as text"
        )
