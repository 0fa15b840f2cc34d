"""What a method that paints faces makes of them, and where it looks, as pictures to look at (IF-GAN Figs. 5 and 6)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from trainer.data.crops import Resident
from trainer.data.fold_data import FoldData, upright, whitener
from trainer.errors import TrainerError
from trainer.evaluation.reporting.image_grid import Cell, Row, draw, pixels
from trainer.methods import find_method, names
from trainer.methods.base import Method
from trainer.runs.run import Run, RunError

NUM_PEOPLE, NUM_SHOWN, BATCH = 4, 24, 16  # on a run's page; at most, on a sheet; faces at a time
POINTS = {  # x, y as shares of an aligned face: its template has eyes and mouth corners there
    "eye, on the left": (0.34, 0.46),
    "eye, on the right": (0.66, 0.46),
    "mouth, on the left": (0.37, 0.82),
    "mouth, on the right": (0.63, 0.82),
    "forehead": (0.5, 0.25),
    "background": (0.04, 0.06),
}


@runtime_checkable
class Painter(Protocol):
    """A method that makes of each face the average face with its expression, which its buffer `averages` holds."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return one logit an expression."""

    def transfer(self, images: Tensor) -> Tensor:
        """Return the pictures: (batch, channels, height, width), from -1 to 1, as large as the averages."""

    def attention_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return each position's maps, (batch, positions, positions), whose rows sum to 1; none without attention."""

    def get_buffer(self, target: str) -> Tensor:
        """Return a buffer: `averages` are (expressions, channels, height, width), from -1 to 1."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Return the weights by name."""


def as_painter(method: Method) -> Painter | None:
    """Return a method, ready to be shown faces, if it paints."""
    return method.eval() if isinstance(method, Painter) else None


def painter(run: Run, method: Method, attends: bool = False) -> Painter:
    """Return a run's method, ready to be shown faces.

    Raises:
        RunError: it paints nothing, or is to attend and does not.
    """
    config = run.read_json("config.json")
    found = as_painter(method)
    if found is None:
        known = ", ".join(name for name in names() if issubclass(find_method(name), Painter))
        raise RunError(f"{run.folder} is of method {config['method']}, which makes no pictures; those that do: {known}")
    if attends and not config["settings"].get("attention"):
        raise RunError(f"{run.folder} was trained with attention=false: it has no attention maps")
    return found


# --- faces made average


@dataclass(frozen=True)
class Transferred:
    """Faces, what is made of them and what is read from both."""

    faces: NDArray[np.uint8]  # (faces, height, width), in colour (faces, height, width, 3)
    pictures: NDArray[np.uint8]  # the same
    probabilities: NDArray[np.float32]  # (faces, expressions)
    nearest: NDArray[np.int64]  # (faces,) index of the expression whose average face a picture is nearest to


def prepared(crops: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
    """Return stored crops as faces that a painter sees: (faces, channels, height, width), from -1 to 1."""
    stored = Resident(torch.from_numpy(np.stack(crops)).to(device))
    return torch.cat(list(upright(stored, whitener(Path(), 0, "none", device))))


@torch.inference_mode()
def transfer(painter: Painter, faces: Tensor) -> Transferred:
    """Return what is made of faces, and what is read."""
    pictures, probabilities, nearest = [], [], []
    for batch in torch.split(faces, BATCH):
        made = painter.transfer(batch).float()
        pictures.append(levels(made))
        probabilities.append(painter(batch).float().softmax(1).cpu().numpy())
        distance = torch.cdist(made.flatten(1), painter.get_buffer("averages").flatten(1), p=1)
        nearest.append(distance.argmin(1).cpu().numpy())
    return Transferred(levels(faces), *map(np.concatenate, (pictures, probabilities, nearest)))


def levels(faces: Tensor) -> NDArray[np.uint8]:
    """Return faces from -1 to 1 as levels to look at: (faces, height, width), in colour (faces, height, width, 3)."""
    whole = ((faces.float() + 1) * 127.5).round().clamp(0, 255).byte().movedim(1, -1)
    image: NDArray[np.uint8] = (whole.squeeze(-1) if whole.shape[-1] == 1 else whole).cpu().numpy()
    return image


def records(shown: Transferred, expressions: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is read of each face: its expression, how probable, and the average face it is nearest to."""
    return [
        {"expression": expressions[one.argmax()], "probability": float(one.max()), "nearest_average": expressions[near]}
        for one, near in zip(shown.probabilities, shown.nearest, strict=True)
    ]


def transfer_sheet(names: Sequence[str], shown: Transferred, painter: Painter, expressions: Sequence[str]) -> list[Row]:
    """Return a row a face: itself, what is made of it, the average face of what is read; then all average faces.

    Of more faces than 24, the first are shown.
    """
    averages, rows = levels(painter.get_buffer("averages")), []
    for index, (name, read) in enumerate(zip(names[:NUM_SHOWN], records(shown, expressions), strict=False)):
        titles = ("face I", "G(I)", "average of the\nexpression read")
        pictures = (shown.faces[index], shown.pictures[index], averages[expressions.index(read["expression"])])
        text = f"{_short(name)}\n{read['expression']} {read['probability']:.2f}\n"
        text += f"nearest average: {read['nearest_average']}"
        rows.append(Row(text, [Cell(*each) for each in zip(pictures, titles if index == 0 else [""] * 3, strict=True)]))
    return [*rows, Row("average faces", [Cell(*each) for each in zip(averages, expressions, strict=True)])]


def _short(name: str, longest: int = 26) -> str:
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}...{name[-longest // 2 + 2 :]}"


def people(
    subjects: NDArray[Any], expressions: NDArray[Any], columns: Sequence[str], num: int
) -> dict[str, list[int | None]]:
    """Return whom to show: one by one the person with most expressions that are not yet shown, or seldom.

    Where people are not named, a row is of different people: the first face of every expression, the second, ...

    Returns:
        person -> the index of the last face of each expression, None where there is none.
    """
    named = all(subject is not None for subject in subjects)
    found: dict[str, list[int | None]] = {}
    counts = dict.fromkeys(columns, 0)
    for index, (subject, expression) in enumerate(zip(subjects, expressions, strict=True)):
        counts[expression] += 1
        person = subject.rpartition("/")[2] if named else f"people {counts[expression]}"
        found.setdefault(person, [None] * len(columns))[columns.index(expression)] = index
    chosen: dict[str, list[int | None]] = {}
    worth = np.ones(len(columns))  # of an expression: with each person who shows it, half
    while found and len(chosen) < num:
        shows = {person: np.array([index is not None for index in line]) for person, line in found.items()}
        best = max(found, key=lambda person: float(worth[shows[person]].sum()))
        worth[shows[best]] /= 2
        chosen[best] = found.pop(best)
    return chosen


def transfer_grid(
    painter: Painter, faces: Tensor, chosen: Mapping[str, Sequence[int | None]], expressions: Sequence[str]
) -> list[Row]:
    """Return each person's faces of all expressions above what is made of them, then the average faces (Fig. 5).

    Args:
        chosen: person -> the index of their face of each expression among the faces, or None.
    """
    shown = transfer(painter, faces)
    rows: list[Row] = []
    for person, line in chosen.items():
        titles = expressions if not rows else [""] * len(line)
        for name, pictures, above in ((person, shown.faces, titles), ("G(I)", shown.pictures, [""] * len(line))):
            found = [None if index is None else pictures[index] for index in line]
            rows.append(Row(name, [Cell(*each) for each in zip(found, above, strict=True)]))
    return [*rows, Row("average", [Cell(average) for average in levels(painter.get_buffer("averages"))])]


# --- where it looks


def point(text: str) -> tuple[float, float]:
    """Return a position like 0.34,0.46.

    Raises:
        TrainerError: it is none.
    """
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        x, y = math.nan, math.nan
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise TrainerError(f"--at {text}: expected x,y as shares of the aligned face, from 0 to 1, like 0.34,0.46")
    return x, y


@torch.inference_mode()
def query_maps(painter: Painter, face: Tensor, points: Sequence[tuple[float, float]]) -> dict[str, NDArray[np.float32]]:
    """Return, at each attention layer, what share some points of a face give to all its positions.

    Args:
        face: (1, channels, height, width).
        points: x, y as shares of the face.

    Returns:
        position -> (points, rows, columns), a quarter of the face's size; each point's shares sum to 1.
    """
    found = {}
    for position, maps in painter.attention_maps(face).items():
        side = math.isqrt(maps.shape[-1])
        column, row = (np.array(points).T * side).astype(int).clip(0, side - 1)
        found[position] = maps[0, row * side + column].float().cpu().numpy().reshape(-1, side, side)
    return found


def attention_rows(painter: Painter, face: Tensor, points: Mapping[str, tuple[float, float]]) -> list[Row]:
    """Return a row a point: the face with its dot, then its map at each attention layer (Fig. 6).

    Colours run to each map's largest share, at least to twice an even one; its title tells it as a multiple of that.
    """
    image = levels(face)[0]
    maps, gammas = query_maps(painter, face, list(points.values())), _gammas(painter)
    rows = []
    for number, (name, dot) in enumerate(points.items()):
        cells = [Cell(image, "" if number else "face", dot)]
        for position, gamma in gammas.items():
            head = "" if number else f"{position}\ngamma {gamma:.2g}\n"
            times = maps[position][number] * maps[position][number].size
            cells.append(Cell(_heat(image, times), f"{head}up to {times.max():.1f} x even", dot))
        rows.append(Row(name, cells))
    return rows


def _gammas(painter: Painter) -> dict[str, float]:
    """Return the learnt share of each attention layer, in the network's order: at 0, it changes nothing."""
    named = ((name.split("."), value) for name, value in painter.named_parameters())
    return {parts[-2]: float(value.detach()) for parts, value in named if parts[-1] == "gamma"}


def _heat(face: NDArray[np.uint8], times: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a map, in multiples of an even share, over a face, in colours."""
    import matplotlib

    heat = Image.fromarray(times / max(2, times.max())).resize(face.shape[1::-1], Image.Resampling.BILINEAR)
    colours = matplotlib.colormaps["inferno"](np.asarray(heat))[..., :3] * 255
    blended: NDArray[np.uint8] = (0.35 * np.atleast_3d(face) + 0.65 * colours).round().astype(np.uint8)
    return blended


# --- of a run's unseen people; the test part must be open


def transfer_of(painter: Painter, data: FoldData) -> list[Row]:
    """Return people of the test part, what is made of them, and the average faces (Fig. 5)."""
    return transfer_grid(painter, *_unseen(data), data.expressions)


def attention_of(painter: Painter, data: FoldData) -> list[Row]:
    """Return where the generator looks in one face of the test part (Fig. 6)."""
    faces, chosen = _unseen(data)
    one = next(index for index in next(iter(chosen.values())) if index is not None)
    return attention_rows(painter, faces[one : one + 1], POINTS)


def _unseen(data: FoldData) -> tuple[Tensor, dict[str, list[int | None]]]:
    """Return faces of the test part to show, and for each person the places of their expressions among them."""
    chosen = people(data.column("test", "subject"), data.column("test", "expression"), data.expressions, NUM_PEOPLE)
    wanted = sorted(index for line in chosen.values() for index in line if index is not None)
    faces: list[Tensor] = []
    first = 0
    for batch in data.upright("test"):
        faces += [batch[index - first] for index in wanted if first <= index < first + len(batch)]
        first += len(batch)
    renumbered = {
        person: [None if index is None else wanted.index(index) for index in line] for person, line in chosen.items()
    }
    return torch.stack(faces), renumbered


def sections(method: Method, data: FoldData) -> list[dict[str, Any]]:
    """Return what a run's page shows of a method that paints; nothing of another."""
    found = as_painter(method)
    if found is None:
        return []
    shown = [{
        "title": "Faces as the average person would make them", "picture": pixels(draw(transfer_of(found, data))),
        "about": "Unseen people, and below each G(I), what is made of them. It is to be the average face of the "
        "expression, in the last row: one person who makes all of these faces.",
    }]  # fmt: skip
    if _gammas(found):
        shown.append({
            "title": "Where the generator looks", "picture": pixels(draw(attention_of(found, data))),
            "about": "Where the attention of the point with the dot goes; each map's colours run to its own largest "
            "share, told as a multiple of an even one. Gamma is how much what is gathered so counts.",
        })  # fmt: skip
    return shown
