"""A paper's table or figure, written: what is printed beside what was measured."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from trainer.evaluation.metrics.statistics import reproduction_verdict
from trainer.evaluation.reporting import budgets, drawing, pages, tables
from trainer.evaluation.reporting.columns import MEASURES, column, measured
from trainer.experiments import figures
from trainer.experiments.jobs import finished
from trainer.experiments.papers import ITEMS, TITLES
from trainer.experiments.papers.item import Item
from trainer.experiments.papers.printed import Printed
from trainer.experiments.reproduce import Cast, Grid, casts, protocol_of
from trainer.runs.atomic import write_whole
from trainer.runs.made_by import made_by
from trainer.runs.run import Run

TEMPLATE = Path(pages.__file__).with_name("paper.html")


def tabulate(name: str, item: Item, grid: Grid) -> tables.Table:
    """Return an item as a table: a row a dataset and variant, then what is printed of other methods."""
    found = [(cast, _runs(cast, grid)) for cast in casts(item, grid)]
    budgeted = {_row_name(cast): budgets.budget_of(runs) for cast, runs in found if runs}
    columns = budgets.COLUMNS if any(map(budgets.recorded, budgeted.values())) else ()
    measured_rows = [_measured_row(item, cast, runs, grid) for cast, runs in found]
    marks = _marks(found)
    rows = [
        tables.Row(row.name + mark, (*row.cells, *budgets.cells(runs)[: len(columns)]))
        for row, mark, (_, runs) in zip(measured_rows, marks, found, strict=True)
    ]
    rows += [tables.Row(row.name, (*row.cells, *(tables.Cell() for _ in columns))) for row in _quoted_rows(item)]
    notes = (
        f"Preset {grid.preset}; a run is one fold and one seed. {grid.start.sentence()}",
        *_besides(item, grid), *item.notes, *_printed_notes(item),
        *budgets.notes(budgeted, any(marks), "the first row of its dataset"),
    )  # fmt: skip
    made = made_by(grid.options(), [run.read_json("provenance.json") for _, runs in found for run in runs])
    shown = (*(column(measure) for measure in item.measures), *columns)
    return tables.Table(name, item.title, "dataset: trained", shown, tuple(rows), notes, made)


def _marks(found: Sequence[tuple[Cast, list[Run]]]) -> list[str]:
    """Return of each row the mark of another budget than that of the first row of its dataset, or nothing."""
    references: dict[tuple[str, str | None], budgets.Budget] = {}
    marks = []
    for cast, runs in found:
        budget = budgets.budget_of(runs)
        marks.append(budgets.mark(budget, references.setdefault((cast.dataset, cast.target), budget)))
    return marks


def _measured_row(item: Item, cast: Cast, runs: list[Run], grid: Grid) -> tables.Row:
    return tables.Row(_row_name(cast), tuple(_cell(item, cast, measure, runs, grid) for measure in item.measures))


def _quoted_rows(item: Item) -> Iterator[tables.Row]:
    """Yield what is printed of methods that are not implemented here."""
    for row, printed in item.quoted().items():
        by_measure = {cell.measure: cell for cell in printed}
        yield tables.Row(row, tuple(_quoted(by_measure.get(measure), measure) for measure in item.measures))


def _quoted(printed: Printed | None, measure: str) -> tables.Cell:
    if printed is None:
        return tables.Cell()
    return tables.Cell(printed=printed.share, printed_decimals=_decimals(printed, measure), quoted=True)


def _decimals(printed: Printed, measure: str) -> int | None:
    """Return how many digits a printed number has in the unit of its column; None where its point is missing."""
    digits = len(printed.printed.partition(".")[2])
    if not digits:
        return None
    return digits if printed.unit == "percent" or not MEASURES[measure].percent else max(0, digits - 2)


def _printed_notes(item: Item) -> list[str]:
    """Return what is odd about printed numbers, each once."""
    return list(dict.fromkeys(f"{cell.method}: {cell.note}." for cell in item.printed if cell.note))


def _besides(item: Item, grid: Grid) -> Iterator[str]:
    """Yield what each dataset is trained with, of what the paper takes."""
    for dataset in item.datasets:
        if grid.manifest(item, dataset) and item.datasets_of(dataset):
            extra, averages = grid.others(item, dataset)
            with_these = ", ".join(f"{path.stem} ({protocol_of(path)})" for path in extra) or "no other dataset"
            whose = ", ".join(path.stem for path in averages) or "its own training part"
            yield f"{dataset} was trained with {with_these} besides; its average faces are of {whose}."


def _runs(cast: Cast, grid: Grid) -> list[Run]:
    """Return the finished runs of a row, where it is of another dataset, those that were judged on it."""
    runs = [run for run in (finished(spec, grid.runs) for spec in cast.specs) if run]
    return [run for run in runs if not cast.target or (run.folder / f"scores-on-{cast.target}.json").exists()]


def _row_name(cast: Cast) -> str:
    return f"{cast.dataset}{f' on {cast.target}' if cast.target else ''}: {cast.variant.title}"


def _cell(item: Item, cast: Cast, measure: str, runs: list[Run], grid: Grid) -> tables.Cell:
    printed = item.printed_number(cast.variant, cast.dataset, cast.target or cast.dataset, measure)
    cell = measured(measure, runs, cast.target)
    if cell.mean is None:
        first = measure == item.measures[0] or printed is not None
        cell = replace(cell, needs=_needs(item, cast, grid) if first else "")
    if printed is None:
        return cell
    verdict = ""
    if cell.mean is not None:
        faces = item.printed_faces.get(cast.target or cast.dataset) if MEASURES[measure].percent else None
        verdict = reproduction_verdict(printed.share, cell.mean, cell.interval, printed_faces=faces, drawn=cell.drawn)
    return replace(cell, printed=printed.share, printed_decimals=_decimals(printed, measure), verdict=verdict)


def _needs(item: Item, cast: Cast, grid: Grid) -> str:
    wanted = [name for name in (cast.dataset, cast.target) if name]
    return " and ".join(filter(None, (grid.lacks(item, name) for name in wanted))) or "to be run: trainer reproduce"


def write(name: str, item: Item, grid: Grid, out: Path) -> tables.Table:
    """Write an item as JSON, Markdown and LaTeX, as a picture where it is a figure; and its paper's page anew."""
    table = tabulate(name, item, grid)
    tables.write_forms(table, out)
    if item.figure and any(row.measured for row in table.rows):
        drawn = [figures.Drawn(cast.variant, cast.dataset, tuple(_runs(cast, grid))) for cast in casts(item, grid)]
        picture = figures.FIGURES[item.figure]([row for row in drawn if row.runs], grid.manifests, grid.device)
        write_whole(out / f"{name}.svg", f"{picture}<!-- {tables.made_text(table.made).replace('--', '- -')} -->\n")
    paper = name.partition("/")[0]
    write_whole(out / f"{paper}.html", paper_page(paper, out))
    return table


def paper_page(paper: str, out: Path) -> str:
    """Return a page of all items of a paper that are written below `out`, figures inline, in the paper's order."""
    sections = []
    for name in (name for name in ITEMS if name.startswith(f"{paper}/") and (out / f"{name}.json").exists()):
        table, picture = tables.from_json((out / f"{name}.json").read_text()), out / f"{name}.svg"
        label = ". ".join([table.title, *ITEMS[name].notes])
        sections.append({
            "table": table, "html": tables.to_html(table), "label": label, "state": _state(table),
            "picture": drawing.inline(picture.read_text(), label) if picture.exists() else "",
        })  # fmt: skip
    return pages.render(TEMPLATE, title=TITLES[paper], sections=sections)


def _state(table: tables.Table) -> str:
    """Return how much of a table was run."""
    measured, quoted = sum(row.measured for row in table.rows), sum(row.quoted for row in table.rows)
    drawn = any(cell.drawn and cell.mean is not None for row in table.rows for cell in row.cells)
    return f"{measured} of {len(table.rows) - quoted} rows run{', on drawn faces' if drawn else ''}"
