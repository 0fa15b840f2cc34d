"""What every engine does about a worker that dies: its chunk is begun again, then alone, then image by image."""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

Chunk = Sequence[Any]
Result = dict[str, Any]
Step = Callable[[Chunk], Result]
Attempt = Callable[[Sequence[Chunk], bool], Iterator[tuple[int, Result]]]


def finish(attempt: Attempt, chunks: Sequence[Chunk]) -> Iterator[Result]:
    """Yield what is made of each chunk, as they finish; {"lost": image} of one that no process survives.

    Args:
        attempt: begins each chunk once, if asked to, alone: no other is in work then; at all times a process has one
            chunk in hand. It yields the number and the result of those whose process lived.
        chunks: what is to be worked at.
    """
    for alone in (False, False, True):
        chunks = yield from _begin(attempt, chunks, alone)
    images = [[image] for chunk in chunks for image in chunk]
    lost = yield from _begin(attempt, images, True)
    yield from ({"lost": image} for (image,) in lost)


def _begin(attempt: Attempt, chunks: Sequence[Chunk], alone: bool) -> Generator[Result, None, list[Chunk]]:
    """Yield what is made of chunks; return those that ended their processes."""
    left = dict(enumerate(chunks))
    if chunks:
        for number, result in attempt(chunks, alone):
            del left[number]
            yield result
    return list(left.values())
