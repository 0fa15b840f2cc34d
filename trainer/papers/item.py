"""A table or figure of a paper: what it prints, and what is trained and measured to fill it anew."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train: a row of a table, or a point of a curve.

    Attributes:
        title: the row's name.
        method: by name.
        settings: name=value, over the preset.
        branch: stage from which on it differs from the run without settings of its fold and seed, whose earlier stages
            it takes over; None: it is trained from the first stage.
    """

    title: str
    method: str = "dicefer"
    settings: tuple[str, ...] = ()
    branch: str | None = None


@dataclass(frozen=True, kw_only=True)
class Item:
    """A table or figure.

    Attributes:
        title: what it shows.
        variants: what is trained, a row each for every dataset.
        datasets: manifests, by name.
        measures: names in `trainer.reproduce.MEASURES`, a column each.
        printed: (row, dataset, measure) -> what the paper prints, a share where the measure is shown in percent; rows
            that are no variant's are of other methods, and stand as printed.
        targets: for a cross-dataset item, what each dataset's runs are judged on, and the expressions they share.
        figure: name in `trainer.figures.FIGURES`, where it is one.
        notes: what a reader must know.
    """

    title: str
    variants: tuple[Variant, ...]
    datasets: tuple[str, ...]
    measures: tuple[str, ...]
    printed: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    targets: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    figure: str | None = None
    notes: tuple[str, ...] = ()
