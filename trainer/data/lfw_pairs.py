"""LFW's pairs as MXNet's face packs hold them: lfw.bin, cfp_fp.bin, agedb_30.bin.

Such a file is a pickle, a program; it is not run. Its instructions are disassembled, and only those are followed that
put bytes and truth values into two lists. Anything else is refused, unread.
"""

import io
from pathlib import Path
from pickletools import genops
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from manifests.schema import DEFAULT_CROP
from trainer.errors import TrainerError

SIDE = DEFAULT_CROP.face  # 112 px, as the packs' faces are
LARGEST = 2**29  # bytes; lfw.bin has 63 MB
MOST = 200_000  # images; lfw.bin has 12,000
TEXTS = ("SHORT_BINSTRING", "BINSTRING")  # bytes, as Python 2 wrote them
BYTES = ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
TRUTHS = {"NEWTRUE": True, "NEWFALSE": False}
KEPT, TAKEN = ("BINPUT", "LONG_BINPUT", "MEMOIZE"), ("BINGET", "LONG_BINGET")
MARK = object()


class PairsError(TrainerError):
    """A file of pairs that is none, or that asks for more than bytes and truth values."""


def read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return faces and which pairs of them show one person.

    Returns:
        (faces, 112, 112) grey levels, pair i being faces 2i and 2i + 1, and (pairs,) whether it shows one person.

    Raises:
        PairsError: no such file, one too large, one that is more than two lists, or an image that is none.
    """
    if not path.is_file():
        raise PairsError(f"{path}: no such file; expected lfw.bin of a face pack")
    if (size := path.stat().st_size) > LARGEST:
        raise PairsError(f"{path} has {size} bytes; at most {LARGEST} are read")
    try:
        images, same = parse(path.read_bytes())
        faces = np.stack([_grey(number, image) for number, image in enumerate(images)])
    except PairsError as error:
        raise PairsError(f"{path} is refused: {error}") from error
    return faces, np.array(same)


def parse(data: bytes) -> tuple[list[bytes], list[bool]]:
    """Return the two lists of a pickled pair of lists; nothing in it is run.

    Raises:
        PairsError: it is something else.
    """
    stack: list[Any] = []
    memory: dict[int, Any] = {}
    try:
        for instruction, argument, _ in genops(io.BytesIO(data)):
            if instruction.name == "STOP":
                return _checked(stack)
            _follow(instruction.name, argument, stack, memory)
    except PairsError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        raise PairsError(f"it is no pickled pair of lists ({str(error) or type(error).__name__})") from error
    raise PairsError("it ends too soon")


def _follow(name: str, argument: Any, stack: list[Any], memory: dict[int, Any]) -> None:
    """Follow one instruction."""
    if name in ("PROTO", "FRAME"):
        return
    if name in BYTES or name in TEXTS:
        stack.append(argument if name in BYTES else argument.encode("latin-1"))
    elif name in TRUTHS:
        stack.append(TRUTHS[name])
    elif name in ("EMPTY_LIST", "MARK"):
        stack.append([] if name == "EMPTY_LIST" else MARK)
    elif name in KEPT:
        memory[len(memory) if name == "MEMOIZE" else argument] = stack[-1]
    elif name in TAKEN and isinstance(memory[argument], bytes):
        stack.append(memory[argument])
    elif name in ("APPEND", "APPENDS"):
        at = len(stack) - 1 if name == "APPEND" else _last_mark(stack)
        items = [item for item in stack[at:] if item is not MARK]
        if not all(isinstance(item, bytes | bool) for item in items) or len(stack[at - 1]) + len(items) > MOST:
            raise PairsError(f"a list in it holds more than bytes and truth values, or more than {MOST}")
        stack[at - 1].extend(items)
        del stack[at:]
    elif name in ("TUPLE2", "TUPLE"):
        at = len(stack) - 2 if name == "TUPLE2" else _last_mark(stack)
        stack[at:] = [tuple(item for item in stack[at:] if item is not MARK)]
    else:
        raise PairsError(
            f"it asks for {name}{f' {argument}'[:80] if argument is not None else ''}, and a pair of lists of bytes "
            "and truth values needs no such thing"
        )


def _last_mark(stack: list[Any]) -> int:
    return len(stack) - 1 - next(back for back, item in enumerate(reversed(stack)) if item is MARK)


def _checked(stack: list[Any]) -> tuple[list[bytes], list[bool]]:
    match stack:
        case [([*images], [*same])] if (
            0 < len(images) == 2 * len(same)
            and all(isinstance(image, bytes) for image in images)
            and all(isinstance(one, bool) for one in same)
        ):
            return images, same
    raise PairsError("it is not two images for every pair")


def _grey(number: int, data: bytes) -> NDArray[np.uint8]:
    """Return an aligned face as grey levels; its size is looked at before it is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.size != (SIDE, SIDE):
                raise PairsError(f"image {number} is {image.size[0]} x {image.size[1]}; expected {SIDE} x {SIDE}")
            return np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise PairsError(f"image {number} is no whole JPEG or PNG ({error})") from error
