"""A table or figure of a paper: what it prints, and what is trained and measured to fill it anew."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train: a row of a table, or a point of a curve."""

    title: str
    method: str = "dicefer"
    settings: tuple[str, ...] = ()  # name=value, over the preset
    branch: str | None = None  # stage at which it leaves the run without settings of its fold and seed; None: none

    def base(self) -> "Variant | None":
        """Return what must be trained before it."""
        return Variant(title=self.method, method=self.method) if self.branch else None


@dataclass(frozen=True, kw_only=True)
class Item:
    """A table or figure.

    Attributes:
        title: what it shows.
        variants: what is trained, a row each.
        datasets: manifests, by name; a column each.
        measures: names in `trainer.reproduce.MEASURES`, each a column of every dataset.
        printed: (row, dataset, measure) -> what the paper prints.
        others: rows that are printed only: (row, dataset, measure) -> value.
        targets: for a cross-dataset item, what each dataset's runs are judged on, with the expressions they share.
        figure: name in `trainer.figures.FIGURES`, where it is one.
        notes: what a reader must know.
    """

    title: str
    variants: tuple[Variant, ...]
    datasets: tuple[str, ...]
    measures: tuple[str, ...]
    printed: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    others: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    targets: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    figure: str | None = None
    notes: tuple[str, ...] = ()
