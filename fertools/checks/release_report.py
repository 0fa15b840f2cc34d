"""Published against found counts, and what else a raw folder has wrong, as data and in words."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from fertools.datasets.base import Dataset, Release
from fertools.datasets.reasons import grouped

KINDS = {  # of findings, as they are told
    "exchanged": "parts exchanged",
    "across": "exact copies across official splits",
    "count": "counts that are not the published ones",
    "folder": "unknown folders",
    "missing": "missing",
    "duplicate": "duplicates",
    "empty": "empty",
    "undecodable": "undecodable",
    "extra": "extra, or not usable",
}

Counts = Mapping[tuple[str, str | None], int]  # part, published label: how many
Labels = Mapping[str | None, int]  # published label: how many
Parts = dict[str, tuple[Labels | None, Labels]]  # part: published, found


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as published."""

    kind: str  # of KINDS
    path: str | None  # below the raw folder, `@` and the place in its file; null: counts tell it
    reason: str


@dataclass(frozen=True, slots=True)
class Count:
    """One class of one part; published is null where no counts are."""

    part: str
    label: str | None
    expression: str | None
    published: int | None
    found: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a raw folder holds, against the release that it is a copy of. It is complete where nothing was found."""

    dataset: str
    raw: str
    release: str | None  # null: no counts are published
    unit: str  # that is counted
    counts: list[Count]
    absent: list[str]  # parts that a copy may lack, and this one does
    subjects: int
    published_subjects: int | None
    images: int
    deep: bool  # every image was hashed and decoded
    drawn: bool  # a stand-in made by `fertools draw`
    findings: list[Finding]  # in the order of their kinds, by path
    notes: list[str] = field(default_factory=list)  # how labels, names and people were read


# --- counts


def by_part(release: Release | None, found: Counts) -> Parts:
    """Return published and found counts of every part; of a part that a copy may lack, only where it is there."""
    published = release.counts if release else {}
    labels: dict[str, Counter[str | None]] = {part: Counter() for part in published}
    for (part, label), num in found.items():
        labels.setdefault(part, Counter())[label] += num
    if release and not release.all_parts:
        labels = {part: of_part for part, of_part in labels.items() if of_part}
    return {part: (published.get(part, {}) if release else None, of_part) for part, of_part in labels.items()}


def distance(release: Release, found: Counts) -> int:
    """Return by how many images or sequences a folder differs from a release."""
    return sum(_apart(*part) for part in by_part(release, found).values())


def _apart(published: Labels | None, found: Labels) -> int:
    published = published or {}
    return sum(abs(published.get(label, 0) - found.get(label, 0)) for label in published.keys() | found.keys())


def compare(dataset: Dataset, parts: Parts) -> list[Count]:
    """Return published against found, part by part and label by label, as published first."""
    counts = []
    for part, (published, found) in parts.items():
        for label in dict.fromkeys((*(published or ()), *sorted(found, key=str))):
            num = None if published is None else published.get(label, 0)
            counts.append(Count(part, label, dataset.labels.get(label or ""), num, found.get(label, 0)))
    return counts


def differences(dataset: Dataset, parts: Parts, named: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the counts that are not as published; parts that were exchanged are compared with each other's.

    Args:
        dataset: names the classes.
        parts: published and found counts.
        named: what is known by name to be missing or extra.
    """
    misplaced = Counter(part for item in named if item.kind == "extra" for part in _folders(item) & parts.keys())
    for one, other in combinations(tuple(parts), 2):
        (of_one, one_found), (of_other, other_found) = parts[one], parts[other]
        if _exchanged((of_one, of_other), (one_found, other_found)):
            parts = parts | {one: (of_other, one_found), other: (of_one, other_found)}
            yield Finding("exchanged", None, f"{one} and {other} are swapped: each has the counts of the other")
        totals: list[Labels] = [{None: sum((of or {}).values())} for of in (of_one, of_other)]
        if _exchanged(totals, [{None: misplaced[one]}, {None: misplaced[other]}]):
            parts = {part: counts for part, counts in parts.items() if part not in (one, other)}
            yield Finding("exchanged", None, f"{one} and {other} are swapped: their folders hold each other's files")
    lacking = {count: (count.published or 0) - count.found for count in compare(dataset, parts)}
    silent = sum(item.kind == "missing" for item in named) < sum(num for num in lacking.values() if num > 0)
    for count, num in lacking.items():
        if num > 0:
            which = " (the release does not say which)" if silent else ""
            yield Finding("count", None, f"{class_name(count)}: {num} missing{which}")
        elif num < 0:
            yield Finding("count", None, f"{class_name(count)}: {-num} extra")


def _exchanged(published: Sequence[Labels | None], found: Sequence[Labels]) -> bool:
    """Whether two parts have each other's counts, but for a tenth of all."""
    as_is = sum(map(_apart, published, found))
    crossed = sum(map(_apart, published, reversed(found)))
    return crossed * 2 < as_is and crossed * 10 < sum(_apart(of, {}) for of in published)


def _folders(finding: Finding) -> set[str]:
    return set((finding.path or "").split("/")[:-1])


def class_name(count: Count) -> str:
    """Return how a class of a part is called in words."""
    name = count.expression or ("unlabelled" if count.label is None else f"label {count.label}")
    return name if count.part == "all" else f"{count.part}, {name}"


# --- words


def describe(verdict: Verdict) -> str:
    """Return a verdict as lines to read: a table of counts, then the first findings of each kind."""
    release = f", release {verdict.release}" if verdict.release else ", of which no counts are published"
    release = "" if verdict.release == verdict.dataset else release
    first = f"{verdict.raw}: {verdict.dataset}{release}; {verdict.images} images, {verdict.unit} counted"
    lines = [first, *_table(verdict)]
    if verdict.absent:
        lines.append(f"not there, and need not be: {', '.join(verdict.absent)}")
    for kind, title in KINDS.items():
        found = [finding for finding in verdict.findings if finding.kind == kind]
        lines += [f"{title}: {len(found)}"] if found else []
        lines += [f"  {line}" for line in grouped((item.path, item.reason) for item in found)]
    lines += verdict.notes
    if not verdict.findings:
        looked = "every image decodes, no two are equal" if verdict.deep else "no image was opened; --deep opens them"
        lines.append(f"{'complete' if verdict.release else 'nothing is amiss'}; {looked}")
    if verdict.drawn:
        lines.append("drawn faces, a stand-in: not the dataset")
    return "\n".join(lines)


def _table(verdict: Verdict) -> list[str]:
    """Return the counts as aligned columns, with a total of every part."""
    rows: list[tuple[str, ...]] = [("part", "label", "expression", "published", "found", "")]
    for part in dict.fromkeys(count.part for count in verdict.counts):
        counts = [count for count in verdict.counts if count.part == part]
        for count in counts:
            rows.append((part, count.label or "none", count.expression or "", *_numbers(count.published, count.found)))
        if len(counts) > 1:
            published = sum(count.published or 0 for count in counts) if verdict.release else None
            rows.append((part, "total", "", *_numbers(published, sum(count.found for count in counts))))
    if verdict.subjects or verdict.published_subjects:
        rows.append(("", "people", "", *_numbers(verdict.published_subjects, verdict.subjects)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(_align, row, widths, range(6))).rstrip() for row in rows]


def _numbers(published: int | None, found: int) -> tuple[str, str, str]:
    if published is None:
        return "-", str(found), ""
    return str(published), str(found), f"{found - published:+d}" if found != published else ""


def _align(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column < 3 else cell.rjust(width)
