"""Pictures in rows and columns, with names, titles and dots."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.errors import TrainerError
from trainer.runs.atomic import whole_file

if TYPE_CHECKING:
    import matplotlib.figure

CELL, GAP, LINE, LETTER, FONT = 112, 6, 15, 7, 11  # px of a picture, between, of a line of text, of a letter, its size
DPI = 64  # a power of 2: a picture's size in inches is exact


class Cell(NamedTuple):
    """A picture, grey or in colour, with a title above it and a dot at shares x, y of it."""

    picture: NDArray[np.uint8] | None = None
    title: str = ""
    dot: tuple[float, float] | None = None


class Row(NamedTuple):
    """Pictures in a row, named on their left."""

    name: str
    cells: Sequence[Cell]


def draw(rows: Sequence[Row]) -> "matplotlib.figure.Figure":
    """Return rows of pictures, each scaled to a square of 112 px, as a figure."""
    left = 2 * GAP + LETTER * max(len(line) for row in rows for line in row.name.split("\n"))
    tops, height = [], GAP
    for row in rows:
        lines = max(len(each.title.split("\n")) if each.title else 0 for each in row.cells)
        tops.append(height + lines * LINE)
        height = tops[-1] + CELL + GAP
    width = left + max(len(row.cells) for row in rows) * (CELL + GAP)
    from matplotlib.figure import Figure

    figure = Figure((width / DPI, height / DPI), DPI, facecolor="white")
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    style: dict[str, Any] = {"fontsize": FONT * 72 / DPI, "parse_math": False, "color": "black"}
    board = np.full((height, width, 3), 255, np.uint8)
    for top, row in zip(tops, rows, strict=True):
        axis.text(GAP, top + CELL / 2, row.name, va="center", linespacing=1.4, **style)
        for number, (picture, title, dot) in enumerate(row.cells):
            x = left + number * (CELL + GAP)
            axis.text(x + CELL / 2, top - 3, title, ha="center", va="bottom", **style)
            if picture is not None:
                scaled = Image.fromarray(picture).convert("RGB").resize((CELL, CELL), Image.Resampling.BICUBIC)
                board[top : top + CELL, x : x + CELL] = np.asarray(scaled)
            if dot:
                at = np.array([x, top]) + np.array(dot) * CELL - 0.5
                axis.plot(*at, "o", color="cyan", markeredgecolor="black", markersize=7)
    axis.imshow(board, interpolation="none")
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return figure


def pixels(figure: "matplotlib.figure.Figure") -> NDArray[np.uint8]:
    """Return a figure as (height, width, 3) RGB, or (height, width) where it is grey."""
    data = io.BytesIO()
    figure.savefig(data, format="rgba", dpi=DPI)
    width, height = (figure.get_size_inches() * DPI).astype(int)
    colours = np.frombuffer(data.getvalue(), np.uint8).reshape(height, width, 4)[..., :3]
    return colours[..., 0].copy() if (colours == colours[..., :1]).all() else colours.copy()


def check_name(out: Path) -> None:
    """Raise TrainerError unless a picture can be written there, as PNG."""
    if out.suffix.lower() != ".png" or out.is_dir():
        raise TrainerError(f"--out {out}: expected the name of a PNG file, like {out.with_suffix('.png').name}")


def write(figure: "matplotlib.figure.Figure", out: Path) -> None:
    """Write a figure as PNG, whole."""
    with whole_file(out) as temporary:
        Image.fromarray(pixels(figure)).save(temporary, format="PNG")
