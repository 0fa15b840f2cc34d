"""MMI's layout: sessions, each a video from neutral to the apex and back (doi:10.1109/ICME.2005.1521424)."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from fertools.drawn.face.expressions import EXPRESSIONS, rise
from fertools.drawn.recording import THUMBNAILS, Image, Layout, Pixels, Recording, Shot, check_number

NUM_SUBJECTS, MAX_SUBJECTS = 4, 999
FIRST_PERSON = 5000
SIX = tuple(name for name in EXPRESSIONS if name != "contempt")  # in the order of the codes 1 to 6
OTHER_CODE = 9  # stands in some files, and for none of the six
RISING, STILL, FALLING = 5, 1, 5  # frames: to the apex, at it, and back
HEIGHT, WIDTH, RATE = 320, 256, 24  # px, upright; frames a second
XML = '<?xml version="1.0" encoding="utf-8"?>\n'


@dataclass(frozen=True)
class Session(Recording):
    """One session. Frontal videos lie on their side; where only action units are coded, they are upright.

    Every fourth person was filmed from two sides at once: in the half that has the profile in the originals there is
    nothing here.
    """

    @property
    def stem(self) -> str:
        """The name of the video."""
        return f"{self.subject}-{100 + self.number}"

    @property
    def path(self) -> PurePosixPath:
        """The video's, in the folder of its session; sessions are numbered from 1."""
        session = (self.subject_index - FIRST_PERSON) * (len(SIX) + 1) + self.number
        return PurePosixPath("Sessions", str(session), f"{self.stem}.avi")

    @property
    def is_dual(self) -> bool:
        """Whether there are two views in one frame."""
        return self.subject_index % 4 == 3

    @property
    def has_units(self) -> bool:
        """Whether action units are coded in time."""
        return self.expression in ("happiness", None) and self.subject_index % 2 == 0

    @property
    def images(self) -> list[Image]:
        """Every frame of the video."""
        return [Image(self.path, frame, frame) for frame in range(self.num_frames)]

    @property
    def files(self) -> list[PurePosixPath]:
        """The video."""
        return [self.path]

    @property
    def sequence(self) -> str:
        """The name of the video."""
        return self.stem

    def parts(self, rng: np.random.Generator) -> list[float]:
        """From neutral to the apex and back."""
        return rise(RISING, rng) + [1.0] * STILL + rise(FALLING, rng)[::-1]

    def contents(self, shots: Iterable[Shot]) -> Iterator[bytes]:
        """The video."""
        yield _video([self._recorded(shot.image) for shot in shots])

    def _recorded(self, image: Pixels) -> Pixels:
        """A picture as it lies in the video."""
        if self.is_dual:
            nothing = np.full_like(image, 96)
            halves = [image, nothing] if self.subject_index % 8 == 3 else [nothing, image]
            return np.hstack(halves)
        return image if self.expression is None and self.has_units else np.rot90(image)

    @property
    def beside(self) -> Mapping[PurePosixPath, bytes | None]:
        """What is known of it, and thumbnails."""
        view, names = (2 if self.is_dual else 0), [f"{self.stem}.xml"]
        code = OTHER_CODE if self.expression is None else SIX.index(self.expression) + 1
        tag = "" if self.expression is None and self.has_units else f'<Metatag Name="Emotion" Value="{code}"/>'
        texts = {f"{self.stem}.xml": f'<annotation><Metatag Name="Source" Value="drawn"/>{tag}</annotation>'}
        if self.has_units:
            names.append(f"{self.stem}-oao_aucs.xml")
            texts[names[-1]] = f"<annotation>{_unit(25)}{_unit(12)}</annotation>"
        listed = "".join(f'<annotation filename="{name}"/>' for name in names)
        texts["session.xml"] = f'<session><track filename="{self.path.name}" view="{view}">{listed}</track></session>'
        found: dict[PurePosixPath, bytes | None] = {
            self.path.with_name(name): f"{XML}{text}\n".encode() for name, text in texts.items()
        }
        if self.number == 1:
            found[self.path.with_name("Thumbs.db")] = THUMBNAILS
        return found


def _unit(number: int) -> str:
    """When an action unit was neutral, began, was at its apex and ended; frames count from 1."""
    phases = ((1, 0), (2, 1), (RISING, 2), (RISING + STILL + 1, 3), (RISING + STILL + FALLING, 0))
    markers = "".join(f'<Marker Frame="{frame}" Type="{phase}"/>' for frame, phase in phases)
    return f'<ActionUnit Number="{number}">{markers}</ActionUnit>'


def _video(images: list[Pixels]) -> bytes:
    """A Motion JPEG AVI; OpenCV writes to files only."""
    height, width = images[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "video.avi")
        code = cv2.VideoWriter.fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, code, RATE, (width, height))
        for image in images:
            writer.write(np.ascontiguousarray(image[..., ::-1]))
        writer.release()
        return path.read_bytes()


def plan(num_subjects: int = NUM_SUBJECTS, seed: int = 0) -> list[Session]:  # noqa: ARG001
    """Seven sessions a person: the six expressions, and one of none of these.

    Raises:
        FertoolsError: too few or too many subjects.
    """
    check_number(num_subjects, MAX_SUBJECTS)
    return [
        Session(
            FIRST_PERSON + index, f"S{index + 1:03d}", number, expression, RISING + STILL + FALLING, HEIGHT, WIDTH, True
        )
        for index in range(num_subjects)
        for number, expression in enumerate((*SIX, None), start=1)
    ]


LAYOUT = Layout(plan, NUM_SUBJECTS, published="how many of its sessions show what is not published")
