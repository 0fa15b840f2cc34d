"""Draw the picture of the README: a frame, its face, that face's variants, and its nearest training faces by each code.

After `make demo`, on the drawn faces of its validation fold, whose people no training saw:

    python docs/picture.py --demo demo          writes docs/picture.png
"""

import argparse
import base64
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from trainer.data.augment import VARIANTS, variant_grids
from trainer.evaluation import evaluate
from trainer.evaluation.reporting.image_grid import Cell, Row, draw, write
from trainer.inference.demo import corpus
from trainer.inference.model import of_run
from trainer.runs.run import Run

CODES = {"expression": "nearest by E,\nthe code of expression", "identity": "nearest by I,\nthe code of identity"}


def main() -> None:
    """Draw the strip of one face."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="where make demo has worked")
    parser.add_argument("--run", default="ckplus-dicefer-demo-fold03-seed0")
    parser.add_argument("--face", type=int, default=0, help="which of the correctly read validation faces")
    parser.add_argument("--out", type=Path, default=Path("docs/picture.png"))
    asked = parser.parse_args()
    run = Run(asked.demo / "runs" / asked.run)
    method, data = evaluate.load(run, asked.demo / "manifests", torch.device("cpu"))
    model, outputs = of_run(run, method, data), evaluate.infer(method, data, "validation")
    rows = data.rows["validation"]
    correct = outputs.logits.argmax(1) == np.array(
        [data.expressions.index(each) for each in outputs.labels["expression"]]
    )
    chosen = int(np.flatnonzero(correct & (outputs.labels["expression"] != "neutral"))[asked.face])
    source = data.table["source"][int(rows[chosen])].as_py()
    frame = np.asarray(Image.open(io.BytesIO((asked.demo / "data/ckplus" / source).read_bytes())).convert("L"))
    crop, margin = data.pictures("validation")[chosen], data.crop.margin
    turned = torch.nn.functional.grid_sample(
        torch.from_numpy(crop[None, None] / 255).float().expand(len(VARIANTS), -1, -1, -1), variant_grids(data.crop),
        align_corners=False,
    )  # fmt: skip
    variants = [(255 * picture[0].numpy()).round().astype(np.uint8) for picture in turned]
    shown = [1, 3, 5, 7, 10]
    names = [f"{angle:+.0f}°{', mirrored' if flipped else ''}" for angle, flipped in VARIANTS]
    near = corpus(model, data)
    height, width = frame.shape
    middle = frame[:, (width - height) // 2 : (width + height) // 2]
    first = [Cell(middle, "a frame"), Cell(crop[margin:-margin, margin:-margin], "its face, aligned")]
    strip = [
        Row(
            "the face, and five\nof its 14 variants",
            [*first, *(Cell(variants[number], names[number]) for number in shown)],
        )
    ]
    for code, name in CODES.items():
        found = near.nearest(code, outputs.codes[code][chosen])
        cells = [
            Cell(picture_of(each["picture"]), f"{each['expression']}\n{each['subject'].rpartition('/')[2]}")
            for each in found
        ]
        strip.append(Row(name, cells))
    write(draw(strip), asked.out)
    print(asked.out, source, outputs.labels["expression"][chosen])


def picture_of(uri: str) -> np.ndarray:
    """Return the pixels of a picture in a data URI."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


if __name__ == "__main__":
    main()
