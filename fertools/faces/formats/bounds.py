"""What is decoded at most, and the error of what is not."""

from fertools.errors import FertoolsError

MAX_PIXELS = 50_000_000  # decoded: 150 MB in colour
MAX_BYTES = 200_000_000  # of a file


class ImageError(FertoolsError):
    """A file that gives no picture; the message is the reason, without the path."""


def check_size(width: int, height: int, bound: int = MAX_PIXELS, kind: str = "pixels") -> None:
    """Refuse a picture of too many pixels, or none.

    Raises:
        ImageError: with its size and the bound.
    """
    if width * height > bound:
        raise ImageError(f"too large: {width} x {height} px; at most {bound:,} {kind} are decoded")
    if min(width, height) < 1:
        raise ImageError(f"not an image: it says that it has {width} x {height} px")
