"""What the drawn sets share: a recording, and what each set's layout has to say of it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Recording(ABC):
    """One recording: who, which of theirs, what it is labelled as, and in what format it was kept."""

    subject_index: int  # which person of all that a seed can draw: no two sets share one
    subject: str
    number: int
    expression: str | None
    num_frames: int
    height: int
    width: int
    colour: bool

    @property
    @abstractmethod
    def frames(self) -> list[PurePosixPath]:
        """Paths of all images below the root, from neutral to peak; a name ends in the frame's number."""

    @property
    @abstractmethod
    def beside(self) -> dict[PurePosixPath, bytes | None]:
        """What else lies there, by path below the root: a file's content, or None for an empty folder."""
