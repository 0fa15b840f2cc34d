"""A table as data, and the same table as Markdown, HTML, LaTeX and JSON: no value stands without its uncertainty."""

import html
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainer.evaluation.metrics.statistics import DRAWN, NOT_REPRODUCED, NOT_RUN, REPRODUCED
from trainer.runs.atomic import write_whole

MARK, OTHER_BUDGET = "†", "‡"
FEWEST_RUNS = 3  # that an interval over runs is shown of: of two, Student's quantile is 12.7
LEGEND = (
    "Ours: mean ± sample standard deviation over runs, then the 95 % interval: of an accuracy over people drawn anew "
    "(faces, where nobody is named), of anything else over three runs or more."
)
COUNTED_LEGEND = "Mean ± sample standard deviation over runs."
DRAWN_NOTE = f"{MARK} drawn faces, not the dataset"


@dataclass(frozen=True)
class Column:
    """What a column's numbers are.

    Attributes:
        name: its heading.
        percent: whether its numbers are shares, which are shown in percent.
        decimals: digits to show; as the paper prints them.
        counted: whether its numbers are counted, so that a missing interval is not worth a word.
    """

    name: str
    percent: bool = True
    decimals: int = 2
    counted: bool = False


@dataclass(frozen=True)
class Cell:
    """A printed number and what was measured here; both in shares where the column is in percent.

    Attributes:
        printed: the published number; None where there is none.
        mean: ours, over all runs; None where nothing was run.
        spread: sample standard deviation over runs; None of a single run.
        runs: how many runs the mean is over.
        interval: 95 % interval of ours; None where there is none, which the cell says.
        interval_over: what was drawn anew for it: runs, or people (faces, where nobody is named).
        verdict: what ours says about the printed number (`trainer.evaluation.metrics.statistics.verdict`).
        drawn: whether it was measured, or would be, on drawn faces.
        needs: what to do to have it run, on the dataset where it was run on drawn faces.
        quoted: whether it is of a method that is not implemented here: it stands as printed.
        printed_decimals: digits of the printed number in the column's unit; None: as many as the column shows.

    Raises:
        ValueError: a mean of several runs without their spread, an interval over fewer than three runs, or a printed
            number that is not run and does not say what it needs.
    """

    printed: float | None = None
    mean: float | None = None
    spread: float | None = None
    runs: int = 0
    interval: tuple[float, float] | None = None
    verdict: str = ""
    drawn: bool = False
    needs: str = ""
    quoted: bool = False
    printed_decimals: int | None = None
    interval_over: str = "runs"

    def __post_init__(self) -> None:
        if self.mean is None and self.printed is not None and not (self.needs or self.quoted):
            raise ValueError(f"{self.printed} is printed and not run; say what is needed to run it")
        if self.mean is not None and (self.runs < 1 or (self.spread is None) != (self.runs == 1)):
            raise ValueError(f"mean {self.mean} with spread {self.spread} of {self.runs} runs; one run has no spread")
        if self.interval and not _may_stand(self.interval_over, self.runs):
            raise ValueError(f"interval {self.interval} over {self.runs} runs; it takes {FEWEST_RUNS}")
        assert not (self.drawn and self.verdict in (REPRODUCED, NOT_REPRODUCED)), f"of drawn faces, say {DRAWN!r}"


def _may_stand(interval_over: str, runs: int) -> bool:
    return interval_over != "runs" or runs >= FEWEST_RUNS


@dataclass(frozen=True)
class Row:
    """A named row, one cell a column."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def measured(self) -> bool:
        """Whether anything of it was run."""
        return any(cell.mean is not None for cell in self.cells)

    @property
    def quoted(self) -> bool:
        """Whether it stands as another paper's method is printed."""
        return any(cell.quoted for cell in self.cells)


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        name: what it is asked for by, say dice-fer/table1.
        title: its caption.
        heading: what the rows are.
        columns: one for each cell of a row.
        rows: top to bottom; shown are those measured first, then those quoted, then those not run.
        notes: sentences to stand below.
        made: what made it (`trainer.runs.made_by`); empty where nobody wrote it down.
    """

    name: str
    title: str
    heading: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    made: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            assert len(row.cells) == len(self.columns), f"{self.name}, {row.name}: {len(row.cells)} cells"

    def ordered(self) -> list[Row]:
        """Return the rows as they are shown: measured, quoted, not run; within these, top to bottom."""
        return sorted(self.rows, key=lambda row: (not row.measured, not row.quoted))


def to_json(table: Table) -> str:
    """Return a table as JSON; a number that is not finite is refused."""
    return json.dumps(asdict(table), indent=1, ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> Table:
    """Return the table that `to_json` wrote."""
    found = json.loads(text)
    columns = tuple(Column(**column) for column in found.pop("columns"))
    rows = tuple(Row(row["name"], tuple(_cell(**cell) for cell in row["cells"])) for row in found.pop("rows"))
    return Table(columns=columns, rows=rows, notes=tuple(found.pop("notes")), **found)


def _cell(interval: list[float] | None, **found: Any) -> Cell:
    """Return a cell; an interval over too few runs, of an earlier version, is left out."""
    kept = interval and _may_stand(found.get("interval_over", "runs"), found["runs"])
    return Cell(interval=(interval[0], interval[1]) if interval and kept else None, **found)


def write_forms(table: Table, out: Path) -> None:
    """Write a table as JSON, Markdown and LaTeX, below a folder by its name."""
    path = out / table.name
    for suffix, text in ((".json", to_json(table)), (".md", to_markdown(table)), (".tex", to_latex(table))):
        write_whole(path.with_name(path.name + suffix), text)


# --- what stands where, the same in all three forms


def _layout(
    table: Table, escape: Callable[[str], str], stack: Callable[[list[str]], str]
) -> tuple[list[list[str]], list[str]]:
    """Return the headings and the rows, and below them the notes, all escaped; `stack` joins the lines of a cell."""
    lines = [[[table.heading], *([column.name + (" (%)" if column.percent else "")] for column in table.columns)]]
    for row in table.ordered():
        cells = zip(row.cells, table.columns, strict=True)
        lines.append([[row.name], *(_lines(cell, column) for cell, column in cells)])
    grid = [[stack([escape(line) for line in cell]) for cell in cells] for cells in lines]
    return grid, [escape(note) for note in notes_of(table)]


def notes_of(table: Table) -> list[str]:
    """Return the sentences below a table: what its signs mean, its own, and what made it."""
    shown = [cell for row in table.rows for cell in row.cells]
    measured = {column.counted for row in table.rows for cell, column in zip(row.cells, table.columns, strict=True)
                if cell.mean is not None}  # fmt: skip
    notes = [LEGEND if False in measured else COUNTED_LEGEND] if measured else []
    notes += [DRAWN_NOTE] if any(cell.drawn for cell in shown) else []
    return [*notes, *table.notes, *([made_text(table.made)] if table.made else [])]


def made_text(made: dict[str, Any]) -> str:
    """Return what made a table as one sentence."""
    processor = made["processor"]
    options = " ".join(f"{name}={value}" for name, value in made["options"].items())
    asked = f", with {options}" if options else ""
    code = "" if made["code"] else " The code that trained its runs is not recorded, or not the same in all."
    return (
        f"Written on {made['date']} at commit {made['commit'] or 'unknown'} on {processor['model']} "
        f"({processor['instruction_set']}, {made['threads']} threads){asked}.{code}"
    )


def _lines(cell: Cell, column: Column) -> list[str]:
    """Return what a cell shows. Drawn faces have no difference to a number of the dataset."""

    def number(value: float, sign: str = "", decimals: int | None = None) -> str:
        digits = column.decimals if decimals is None else decimals
        return f"{value * (100 if column.percent else 1):{sign}.{digits}f}".replace("-", "−")

    lines, mark = [], MARK if cell.drawn else ""
    if cell.mean is not None:
        spread = "" if cell.spread is None else f" ± {number(cell.spread)}"
        lines.append(f"{number(cell.mean)}{spread}{mark} ({cell.runs} run{'s' if cell.runs > 1 else ''})")
        if cell.interval or not column.counted:
            lines.append("95 %: " + (" to ".join(map(number, cell.interval)) if cell.interval else "no interval"))
    if cell.printed is not None:
        difference = ""
        if cell.mean is not None and not cell.drawn:
            difference = f", difference {number(cell.mean - cell.printed, '+')}"
        lines.append(f"printed {number(cell.printed, decimals=cell.printed_decimals)}{difference}")
    if cell.mean is None and (cell.verdict or cell.needs):
        lines.append((cell.verdict or NOT_RUN) + mark)
    elif cell.verdict:
        lines.append(cell.verdict)
    return [*lines, *([f"needs {cell.needs}"] if cell.needs else [])] or ["–" + mark]


# --- the three forms


def to_markdown(table: Table) -> str:
    """Return a table as GitHub Markdown."""
    (headings, *body), notes = _layout(table, _markdown, "<br>".join)
    lines = [f"| {' | '.join(cells)} |" for cells in body]
    top = [f"**{_markdown(table.title)}**", "", f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    return "\n".join([*top, *lines, *(f"\n{note}" for note in notes), ""])


def to_html(table: Table) -> str:
    """Return a table as a fragment of HTML, without style: what was not run is folded, all where nothing was run."""
    (headings, *body), notes = _layout(table, html.escape, _html_lines)
    head = "<thead><tr>" + "".join(f'<th scope="col">{heading}</th>' for heading in headings) + "</tr></thead>"
    rows = list(zip(table.ordered(), body, strict=True))
    shown = [cells for row, cells in rows if row.measured or row.quoted]
    folded = [cells for row, cells in rows if not (row.measured or row.quoted)]
    parts = [_html_rows(head, shown, table.title)] if shown else []
    if folded:
        parts.append(
            _fold(
                f"Not run here: {len(folded)} row{'s' if len(folded) > 1 else ''}",
                _html_rows(head, folded, f"{table.title}: not run"),
            )
        )
    parts += [f"<p>{note}</p>" for note in notes]
    content = "\n".join(parts)
    if not any(row.measured for row in table.rows):
        content = _fold("Nothing of this was run here; what is printed, and what is needed to run it", content)
    return "\n".join([
        f'<section id="{html.escape(table.name)}">', f"<h2>{html.escape(table.title)}</h2>", content, "</section>", "",
    ])  # fmt: skip


def _html_lines(lines: list[str]) -> str:
    """Return the lines of a cell, those below the first small."""
    return lines[0] + "".join(f"<small>{line}</small>" for line in lines[1:])


def _fold(summary: str, content: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n{content}\n</details>"


def _html_rows(head: str, rows: list[list[str]], label: str) -> str:
    lines = [f'<th scope="row">{name}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) for name, *cells in rows]
    return "\n".join([
        '<div class="scroll" tabindex="0">', f'<table aria-label="{html.escape(label)}">', head,
        "<tbody>", *(f"<tr>{line}</tr>" for line in lines), "</tbody>", "</table>", "</div>",
    ])  # fmt: skip


def to_latex(table: Table) -> str:
    """Return a table as LaTeX; the document needs the package booktabs, and UTF-8 for the letters of names."""
    grid, notes = _layout(table, _latex, r"\\".join)
    headings, *body = (" & ".join(map(_stacked, cells)) + r" \\" for cells in grid)
    label = re.sub(r"[^\w/-]", "-", table.name)
    return "\n".join([
        r"\begin{table}", rf"\caption{{{_latex(table.title)}}}\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{'l' * len(grid[0])}}}", r"\toprule", headings, r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}", *(rf"\par\footnotesize {note}" for note in notes), r"\end{table}", "",
    ])  # fmt: skip


LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "−": "$-$", MARK: r"$^\dagger$", "–": "--",
    OTHER_BUDGET: r"$^\ddagger$",
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "[": "{[}", "*": "{*}",  # after a line break these would be its arguments
})  # fmt: skip


def _stacked(cell: str) -> str:
    return rf"\begin{{tabular}}[t]{{@{{}}l@{{}}}}{cell}\end{{tabular}}" if r"\\" in cell else cell


def _latex(text: str) -> str:
    return " ".join(text.split()).translate(LATEX)


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_|\[\]~$])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
