"""A manifest as one picture: its aligned faces by expression, and last what gave no face."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fertools.folds.whitening import centre
from manifests import files, schema

MAX_FACES = 600  # on one sheet; of more, equally many of each expression, evenly spaced
SIDE = schema.DEFAULT_CROP.face  # px of a tile, whatever the manifest's
COLUMNS = 12
CAPTION = 14  # px below a face and above a block


def contact_sheet(manifest: Path) -> Image.Image:
    """Draw the faces of a manifest, a block an expression, each face with its name below."""
    faces, seen = files.read(manifest), replace(files.read_crop(manifest), size=schema.DEFAULT_CROP.size)
    names = faces["face_id"].to_pylist()
    expressions = [name for name in schema.EXPRESSIONS if name in pc.unique(faces["expression"]).to_pylist()]
    blocks = []
    for expression in expressions:
        rows = _rows(faces, pc.and_(faces["usable"], pc.equal(faces["expression"], expression)))
        shown = _spaced(rows, MAX_FACES // len(expressions))
        tiles = centre(files.read_images(manifest, shown, seen))
        heading = f"{expression}: {len(rows)} faces" + (f", {len(shown)} shown" if len(shown) < len(rows) else "")
        blocks.append(_block(heading, tiles, [names[row] for row in shown]))
    if len(refused := _rows(faces, pc.invert(faces["usable"]))):
        shown = _spaced(refused, MAX_FACES // 6)
        blank = np.full((len(shown), SIDE, SIDE), 128, np.uint8)
        captions = [f"{names[row].rsplit('/', 1)[-1]}: {faces['reason'][int(row)]}" for row in shown]
        blocks.append(_block(f"not usable: {len(refused)}", blank, captions))
    return _stack(blocks)


def _rows(faces: pa.Table, mask: pa.ChunkedArray) -> NDArray[np.int64]:
    assert len(mask) == len(faces)
    return np.flatnonzero(mask.fill_null(False).to_numpy())


def _spaced(rows: NDArray[np.int64], room: int) -> NDArray[np.int64]:
    return rows if len(rows) <= room else rows[np.linspace(0, len(rows) - 1, room).astype(int)]


def _block(heading: str, tiles: NDArray[np.uint8], captions: Sequence[str]) -> Image.Image:
    """Draw a heading and a grid of (faces, 112, 112, ...) tiles with their captions, cut to the tile's width."""
    side, lines, mode = SIDE, -(-len(tiles) // COLUMNS), "L" if tiles.ndim == 3 else "RGB"
    block = Image.new(mode, (COLUMNS * (side + 2), 2 * CAPTION + lines * (side + CAPTION)), "white")
    draw, font = ImageDraw.Draw(block), ImageFont.load_default(size=10)
    draw.text((2, CAPTION // 2), heading, fill="black", font=ImageFont.load_default(size=13))
    for index, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        x, y = index % COLUMNS * (side + 2), 2 * CAPTION + index // COLUMNS * (side + CAPTION)
        block.paste(Image.fromarray(tile), (x, y))
        while font.getlength(caption) > side:  # the end of a name tells faces apart
            caption = caption[1:]
        draw.text((x, y + side), caption, fill="black", font=font)
    return block


def _stack(blocks: Sequence[Image.Image]) -> Image.Image:
    mode = max(block.mode for block in blocks)  # in colour where one is
    sheet = Image.new(mode, (max(block.width for block in blocks), sum(block.height for block in blocks)), "white")
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return sheet
