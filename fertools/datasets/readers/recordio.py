"""The RecordIO pack that sets of faces are shared in: train.rec, record after record, and train.idx, where each starts.

A record is a magic number, a length, a payload, and zeros up to four bytes. Where the payload itself holds the magic at
a multiple of four bytes it is written in parts without it, so that the magic stands only where a part starts
(dmlc-core, recordio.h). The payload is a header with the labels, then an image (MXNet, recordio.py, IRHeader); who is
who stands in records of their own (InsightFace, recognition/arcface_torch/dataset.py).
"""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from fertools.errors import FertoolsError

MAGIC = bytes.fromhex("0a23d7ce")  # 0xCED7230A, lowest byte first as every number here
PART = struct.Struct("<4sI")  # magic; which part in the upper 3 bits, length in the lower 29
WHOLE, FIRST, MIDDLE, LAST = range(4)
LENGTH_BITS = 29
HEADER = struct.Struct("<IfQQ")  # how many labels follow (0: the one here counts), label, key, a second key
MAX_LABELS = 16
MAX_PAYLOAD = 16 << 20  # bytes; an image of 112 x 112 px has some thousand
START = 256  # bytes of a payload that hold its header, its labels and where its image starts
TOO_LARGE = f"is larger than {MAX_PAYLOAD >> 20} MiB"
JPEG = b"\xff\xd8\xff"


class RecordError(FertoolsError):
    """A record that cannot be read; the message is the reason, without the file or the key."""


def encode(payload: bytes) -> bytes:
    """Return a record: its parts, each after a magic number and a length, and the padding."""
    assert len(payload) <= MAX_PAYLOAD
    cuts = [at for at in range(0, len(payload) - 3, 4) if payload[at : at + 4] == MAGIC] if MAGIC in payload else []
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(payload)]
    flags = [FIRST, *[MIDDLE] * (len(cuts) - 1), LAST] if cuts else [WHOLE]
    parts = [
        PART.pack(MAGIC, flag << LENGTH_BITS | end - start) + payload[start:end]
        for flag, start, end in zip(flags, starts, ends, strict=True)
    ]
    return b"".join([*parts, bytes(-len(payload) % 4)])


def read(file: BinaryIO, offset: int) -> bytes:
    """Return the payload of the record that starts at a byte of the file, its parts joined.

    Raises:
        RecordError: no record starts there, it is cut short, or it is larger than 16 MiB.
    """
    file.seek(offset)
    flag, length = _part(file.read(PART.size), (WHOLE, FIRST))
    payload = bytearray(_data(file, length))
    while flag not in (WHOLE, LAST):
        flag, length = _part(file.read(PART.size), (MIDDLE, LAST))
        payload += MAGIC + _data(file, length)
        if len(payload) > MAX_PAYLOAD:
            raise RecordError(TOO_LARGE)
    return bytes(payload)


def read_start(file: BinaryIO, offset: int, size: int) -> bytes:
    """Return the first 256 bytes of a record's payload, fewer where it has fewer; the rest is there, but not read.

    Args:
        file: unbuffered, or more is read than is asked for.
        offset: byte at which the record starts.
        size: of the file, in bytes.

    Raises:
        RecordError: as `read`.
    """
    file.seek(offset)
    data = file.read(PART.size + START)
    flag, length = _part(data[: PART.size], (WHOLE, FIRST))
    if flag != WHOLE or length > size - offset - PART.size:
        return read(file, offset)[:START]
    return data[PART.size : PART.size + length]


def _part(head: bytes, expected: tuple[int, int]) -> tuple[int, int]:
    """Return which part of a record begins here, and its length."""
    if len(head) < PART.size:
        raise RecordError("is cut short: the file ends before it does")
    magic, word = PART.unpack(head)
    if magic != MAGIC:
        raise RecordError("is not there: no record starts at its byte")
    flag, length = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
    if flag not in expected:
        raise RecordError(f"is damaged: a part of kind {flag} where {expected[0]} or {expected[1]} belongs")
    if length > MAX_PAYLOAD:
        raise RecordError(TOO_LARGE)
    return flag, length


def _data(file: BinaryIO, length: int) -> bytes:
    """Return what a part holds; the next one is read from here."""
    data = file.read(length)
    if len(data) < length:
        raise RecordError(f"is cut short: {len(data)} of {length} bytes are left of the file")
    file.seek(-length % 4, os.SEEK_CUR)
    return data


def labels(payload: bytes) -> tuple[float, ...]:
    """Return the labels of a record: that of its header, or those that follow it, in 32 bits or, of old packs, 64.

    Raises:
        RecordError: no whole header, or more than 16 labels.
    """
    num, label = _header(payload)
    if num == 0:
        return (label,)
    at = image_start(payload) or len(payload)
    if at == HEADER.size:
        return (label,)  # labels should follow, and none do
    wide = at == HEADER.size + 8 * num
    if at < HEADER.size + num * (8 if wide else 4):
        raise RecordError("is damaged: it ends within its labels")
    return struct.unpack_from(f"<{num}{'d' if wide else 'f'}", payload, HEADER.size)


def image_start(payload: bytes) -> int | None:
    """Return the byte of a record's payload at which its JPEG starts; null where it holds none.

    Raises:
        RecordError: no whole header, or more than 16 labels.
    """
    num, _ = _header(payload)
    places = (HEADER.size + 4 * num, HEADER.size + 8 * num, HEADER.size)
    return next((at for at in places if payload.startswith(JPEG, at)), None)


def _header(payload: bytes) -> tuple[int, float]:
    """Return how many labels follow a record's header, and the label in it."""
    if len(payload) < HEADER.size:
        raise RecordError(f"is damaged: {len(payload)} bytes are no header")
    num, label, _, _ = HEADER.unpack_from(payload)
    if num > MAX_LABELS:
        raise RecordError(f"has {num} labels; at most {MAX_LABELS} are read")
    return num, label


def entry(key: int, labels: Sequence[float], image: bytes = b"") -> bytes:
    """Return the payload of a record: one label stands in the header, several follow it."""
    assert 1 <= len(labels) <= MAX_LABELS
    if len(labels) == 1:
        return HEADER.pack(0, labels[0], key, 0) + image
    return HEADER.pack(len(labels), 0, key, 0) + struct.pack(f"<{len(labels)}f", *labels) + image


def entries(faces: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the records of a pack, by key: images from key 1, then key 0 and a record an identity, as InsightFace does.

    Args:
        faces: identity and JPEG file, those of one identity in a row.
    """
    key, ranges = 1, []
    for identity, group in groupby(faces, key=lambda face: face[0]):
        start = key
        for _, image in group:
            yield key, entry(key, [identity], image)
            key += 1
        ranges.append((start, key))
    yield 0, entry(0, [key, key + len(ranges)])
    for number, pair in enumerate(ranges, key):
        yield number, entry(number, pair)


def write_pack(folder: Path, records: Iterable[tuple[int, bytes]]) -> None:
    """Write train.rec and train.idx of records, (key, payload), in the order given; neither is left half-written."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("train.rec", "train.idx")
    parts = [folder / f".{name}.part" for name in names]
    try:
        with parts[0].open("wb") as rec, parts[1].open("wb") as idx:
            for key, payload in records:
                idx.write(b"%d\t%d\n" % (key, rec.tell()))
                rec.write(encode(payload))
        for part, name in zip(parts, names, strict=True):
            part.replace(folder / name)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
