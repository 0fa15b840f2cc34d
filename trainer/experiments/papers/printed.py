"""What the papers print: every number of their tables, read from printed.csv beside this file.

A column that is empty is not printed by the paper. Within one dataset, `train` and `test` are that dataset.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("printed.csv")
MANIFESTS = {
    "CK+": "ckplus", "Oulu-CASIA": "oulucasia", "RAF-DB": "rafdb", "AffectNet": "affectnet", "BU-3DFE": "bu3dfe",
    "MMI": "mmi",
}  # fmt: skip
MEASURES = {  # printed -> ours; the printed F1 is the harmonic mean of the printed precision and recall
    "accuracy": "accuracy", "precision": "macro precision", "recall": "macro recall", "F1": "H(P, R)",
    "MIG": "MIG (InfoNCE)",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A cell of a printed table.

    Attributes:
        paper: dice-fer or if-gan.
        table: table1, table2, ...
        method: as printed; `citation`, `year`, `setting` (image- or sequence-based) are the table's.
        classes: number of expressions; None where the paper does not say.
        train: the dataset that trains, by its manifest's name; `test` the one that is judged.
        metric: accuracy, precision, recall, F1 or MIG.
        printed: the letters of the cell; "-" where the paper has no number.
        unit: percent, share, or none (the unit of MIG is not printed).
        value: the number in that unit; None where the paper has none.
        proposed: whether it is of the paper's own method.
        note: what is odd about it.
    """

    paper: str
    table: str
    method: str
    citation: str
    year: str
    setting: str
    classes: int | None
    train: str
    test: str
    metric: str
    printed: str
    unit: str
    value: float | None
    proposed: bool
    note: str

    @property
    def measure(self) -> str:
        """Name of what it is compared with (`trainer.evaluation.reporting.columns.MEASURES`)."""
        return MEASURES[self.metric]

    @property
    def share(self) -> float:
        """Value as a share, 0 to 1, where the unit is percent; else as it is."""
        assert self.value is not None, f"{self.paper} {self.table}: {self.method} has no {self.metric}"
        return self.value / 100 if self.unit == "percent" else self.value

    @property
    def row(self) -> str:
        """What names its row in a table: datasets, method and all that the paper says of it."""
        datasets = self.train if self.train == self.test else f"{self.train} on {self.test}"
        cited = f" [{self.citation}]" if self.citation else ""
        classes = f"{self.classes} classes" if self.classes else ""
        return ", ".join(filter(None, (f"{datasets}: {self.method}{cited}", self.year, self.setting, classes)))


@cache
def every_cell() -> tuple[Printed, ...]:
    """Return all cells of all tables, in the order of the papers; those without a number too."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return tuple(_cell(row) for row in csv.DictReader(file))


def numbers(paper: str, table: str) -> tuple[Printed, ...]:
    """Return the printed numbers of one table, without the cells that have none."""
    cells = [cell for cell in every_cell() if (cell.paper, cell.table) == (paper, table)]
    return tuple(cell for cell in cells if cell.value is not None)


def _cell(row: dict[str, str]) -> Printed:
    return Printed(
        paper=row["paper"], table=row["table"], method=row["method"], citation=row["citation"], year=row["year"],
        setting=row["setting"], classes=int(row["classes"]) if row["classes"] else None,
        train=MANIFESTS[row["train"]], test=MANIFESTS[row["test"]], metric=row["metric"], printed=row["printed"],
        unit=row["unit"], value=float(row["value"]) if row["value"] else None, proposed=row["proposed"] == "yes",
        note=row["note"],
    )  # fmt: skip
