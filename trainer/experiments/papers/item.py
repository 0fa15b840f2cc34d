"""A table or figure of a paper: what it prints, and what is trained and measured to fill it anew."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from trainer.experiments.papers.printed import Printed


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train: a row of a table, or a point of a curve.

    Attributes:
        title: the row's name.
        method: by name.
        settings: name=value, over the preset.
        printed_as: what the paper calls it; empty where it prints nothing of it.
        branch: stage from which on it differs from the run without settings of its fold and seed, whose earlier stages
            it takes over; None: it is trained from the first stage.
    """

    title: str
    method: str = "dicefer"
    printed_as: str = ""
    settings: tuple[str, ...] = ()
    branch: str | None = None
    paints: bool = False


@dataclass(frozen=True, kw_only=True)
class Item:
    """A table or figure.

    Attributes:
        title: what it shows.
        variants: what is trained, a row each for every dataset.
        datasets: manifests, by name.
        protocols: dataset -> protocols whose faces it takes, the one to prepare with first; of a dataset that is not
            named, those of any.
        measures: names in `trainer.evaluation.reporting.columns.MEASURES`, a column each.
        printed: every number of the paper's table; those of methods that are no variant stand as rows of their own.
        printed_faces: dataset -> how many faces a printed share is of, where it is known.
        extra: dataset -> those that are trained on besides, where they are prepared.
        averages: dataset -> those whose average faces it takes, where all are prepared and show all expressions.
        targets: for a cross-dataset item, what each dataset's runs are judged on, and the expressions they share.
        figure: name in `trainer.experiments.figures.FIGURES`, where it is one.
        notes: what a reader must know.
    """

    title: str
    variants: tuple[Variant, ...]
    datasets: tuple[str, ...]
    measures: tuple[str, ...]
    protocols: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    printed: tuple[Printed, ...] = ()
    printed_faces: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    averages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    targets: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    figure: str | None = None
    notes: tuple[str, ...] = ()

    def datasets_of(self, dataset: str) -> set[str]:
        """Return what a dataset is trained with, besides itself."""
        return {*self.extra.get(dataset, ()), *self.averages.get(dataset, ())}

    def printed_number(self, variant: Variant, train: str, test: str, measure: str) -> Printed | None:
        """Return what the paper prints for a variant trained and judged on these datasets; None where nothing."""
        wanted = (variant.printed_as, train, test, measure)
        found = (cell for cell in self.printed if (cell.method, cell.train, cell.test, cell.measure) == wanted)
        return next(found, None) if variant.printed_as else None

    def quoted(self) -> dict[str, list[Printed]]:
        """Return the printed numbers of methods that are no variant, by what names their row."""
        own, rows = {variant.printed_as for variant in self.variants}, defaultdict[str, list[Printed]](list)
        for cell in self.printed:
            if cell.method not in own:
                rows[cell.row].append(cell)
        return dict(rows)
