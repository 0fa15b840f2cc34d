"""MMI: videos of posed expressions and action units, from neutral to the apex and back; sessions of several views.

The papers use 208 frontal sequences of 31 people with one of six expressions; which ones is not published, so that no
count of the whole is relied on. Most frontal videos were recorded with the camera on its side. A dual view holds the
face and its mirrored profile side by side. Pantic et al. 2005, doi:10.1109/ICME.2005.1521424.

Where action units are coded in time, markers of one unit each begin a phase: 0 neutral, 1 onset, 2 apex, 3 offset; they
count frames from 1. That is how public readers of these files take them, not a published description.
"""

import re
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path
from xml.etree import ElementTree

from fertools.datasets.base import Dataset, DatasetError, Quarantined, Sample, files_below, refuse_folder
from fertools.datasets.readers.raw_folder import ARCHIVES, is_file_below, still_packed
from fertools.inputs import codes

VIDEO = re.compile(r"(?P<subject>S\d{3})-\d+\.avi", re.IGNORECASE)
LABELS = {
    "1": "anger",
    "2": "disgust",
    "3": "fear",
    "4": "happiness",
    "5": "sadness",
    "6": "surprise",
}
VIEWS = {"0": "frontal", "1": "profile", "2": "dual"}
TURNS = {"frontal": (1, 0, 3), "profile": (3, 0, 1), "dual": (0,)}  # most of a view need the first
APEX, NO_END = "2", 1 << 31
MAX_XML = 1 << 20  # bytes


def samples(root: Path, labels: Path | None = None) -> Iterator[Sample | Quarantined]:
    """Yield every frame of every session's video below root, in path order; a video that is there twice is taken once.

    Frames count from 0. A session without an expression, or with none of the six, is unlabelled.
    """
    assert labels is None, "MMI has its own labels"
    of_folder: dict[Path, dict[str, Path]] = defaultdict(dict)
    strange: list[Quarantined] = []
    for path in files_below(root, Path()) if root.is_dir() else ():
        if isinstance(path, Quarantined):
            strange.append(path)
        elif (other := of_folder[path.parent].setdefault(path.name.lower(), path)) != path:
            strange.append(Quarantined(path, f"differs from {other.name} only in case; that is taken"))
    if not any("session.xml" in files for files in of_folder.values()):
        raise refuse_folder(root / still_packed(of_folder), DATASET)
    _check_codes(root, of_folder)
    yield from strange
    taken: dict[str, Path] = {}
    shelves = {folder.parent for folder, files in of_folder.items() if "session.xml" in files}
    for folder, files in of_folder.items():
        if "session.xml" in files:
            yield from _session(root, files, taken)
        else:
            yield from _outside(files, is_among_sessions=any(folder.is_relative_to(shelf) for shelf in shelves))


def _check_codes(root: Path, of_folder: Mapping[Path, Mapping[str, Path]]) -> None:
    """Refuse sessions whose emotions are numbered otherwise than MMI's: these are originals, which nobody renumbers."""
    written = []
    for files in of_folder.values():
        for name, path in files.items():
            if "session.xml" in files and f"{name.removesuffix('.xml')}.avi" in files:
                with suppress(DatasetError):  # it is named when its session is read
                    tags = _elements(_parse(root, path), "Metatag")
                    written += [tag.get("Value", "") for tag in tags if tag.get("Name") == "Emotion"]
    try:
        codes.check(codes.numbers(written), LABELS, {})
    except codes.CodesError as error:
        raise DatasetError(f"{root}: the emotions of its sessions: {str(error).partition(';')[0]}") from error


def _outside(files: Mapping[str, Path], *, is_among_sessions: bool) -> Iterator[Quarantined]:
    """Yield what is in no session's folder; what lies elsewhere than these only where sessions may be packed in it."""
    for name, path in files.items():
        if name.endswith(ARCHIVES):
            yield Quarantined(path, "still packed; unpack it first")
        elif is_among_sessions:
            yield Quarantined(path, "not in a session's folder: no session.xml beside it")


def read(root: Path, sample: Sample) -> bytes:
    """Return a frame as the bytes of a PPM file, as it was recorded: on its side, or of both halves.

    Raises:
        DatasetError: the video is not below the raw folder.
        VideoError: it cannot be read, or the frame does not decode.
    """
    from fertools.datasets.readers import video

    assert sample.place is not None
    if not is_file_below(root, sample.path):
        raise DatasetError("is not a file below the raw folder")
    return video.read_frame(root / sample.path, sample.place)


def _session(root: Path, files: Mapping[str, Path], taken: dict[str, Path]) -> Iterator[Sample | Quarantined]:
    """Yield the frames of one session's video, and what is amiss with its files."""
    from fertools.datasets.readers import video

    videos = [path for name, path in files.items() if name.endswith(".avi")]
    if len(videos) != 1:
        yield Quarantined(files["session.xml"].with_name("*.avi"), f"{len(videos)} videos; a session has one")
        return
    (path,) = videos
    if not (name := VIDEO.fullmatch(path.name)):
        yield Quarantined(path, "not the name of an MMI video, such as S002-106.avi")
        return
    if (stem := path.stem.upper()) in taken:
        yield Quarantined(path, f"a second {stem}; {taken[stem]} is taken", "duplicate")
        return
    reading = files["session.xml"]
    try:
        view = _view(_parse(root, reading))
        reading = path
        num_frames = video.num_frames(root / path)
    except (DatasetError, video.VideoError) as error:
        yield Quarantined(reading, str(error))
        return
    taken[stem] = path
    label = yield from _label(root, files, path)
    apex = yield from _apex(root, files, path, num_frames)
    yield from _strange(files, stem)
    for frame in range(num_frames):
        yield Sample(
            path,
            label,
            name["subject"].upper(),
            f"{view}/{stem}",
            frame,
            place=frame,
            apex=apex,
            turns=TURNS[view],
            profile_beside=view == "dual",
        )


def _strange(files: Mapping[str, Path], stem: str) -> Iterator[Quarantined]:
    known = {"session.xml", f"{stem}.avi".lower(), f"{stem}.xml".lower()}
    for name, path in files.items():
        if name not in known and not (name.startswith(f"{stem}-".lower()) and name.endswith(".xml")):
            yield Quarantined(path, f"not a file of a session, such as {stem}.xml or {stem}-oao_aucs.xml")


# --- XML


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Refuses the part of an XML file that can define entities, which could name other files or grow without end."""

    def doctype(self, *_: object) -> None:
        raise DatasetError("holds a document type, as web pages do; it was not read")


def _parse(root: Path, path: Path) -> ElementTree.Element:
    """Read an XML file of at most 1 MB.

    Raises:
        DatasetError: it is larger, cannot be read, is no XML or has a document type, as a web page has.
    """
    try:
        with (root / path).open("rb") as file:
            data = file.read(MAX_XML + 1)
        if len(data) > MAX_XML:
            raise DatasetError(f"larger than {MAX_XML} bytes; it was not read")
        parser = ElementTree.XMLParser(target=_WithoutDoctype())
        parser.feed(data)
        return parser.close()
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}") from error
    except (ElementTree.ParseError, LookupError) as error:
        raise DatasetError(f"not XML: {error}") from error


def _elements(tree: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return the elements of a name, in any namespace."""
    return [element for element in tree.iter() if element.tag.rpartition("}")[2] == name]


def _view(session: ElementTree.Element) -> str:
    """Return the view of a session: frontal, profile or dual.

    Raises:
        DatasetError: its tracks tell none, an unknown one, or several.
    """
    views = sorted({view for track in _elements(session, "track") if (view := track.get("view")) is not None})
    if len(views) != 1 or views[0] not in VIEWS:
        raise DatasetError(f"its tracks have the views {views}; one of {', '.join(VIEWS)} was expected")
    return VIEWS[views[0]]


def _label(root: Path, files: Mapping[str, Path], video: Path) -> Generator[Quarantined, None, str | None]:
    """Return the code of a session's expression; null where it has none, or another than the six."""
    path = video.with_suffix(".xml")
    try:
        if path.name.lower() not in files:
            raise DatasetError("missing")
        tags = _elements(_parse(root, path := files[path.name.lower()]), "Metatag")
        emotions = {tag.get("Value", "").strip() for tag in tags if tag.get("Name") == "Emotion"}
        if len(emotions) > 1 or not all(emotion.isdecimal() for emotion in emotions):
            raise DatasetError(f"the emotions {sorted(emotions)} are not one number")
    except DatasetError as error:
        yield Quarantined(path, f"{error}; the session is unlabelled")
        return None
    code = emotions.pop() if emotions else ""
    return code if code in LABELS else None


def _apex(root: Path, files: Mapping[str, Path], video: Path, num_frames: int) -> Generator[Quarantined, None, int]:
    """Return the frame amid the first stretch where most action units are at their apex, else that amid the video."""
    path, middle = files.get(f"{video.stem}-oao_aucs.xml".lower()), num_frames // 2
    if path is None:
        return middle
    try:
        units = _elements(_parse(root, path), "ActionUnit")
    except DatasetError as error:
        yield Quarantined(path, f"{error}; the apex is taken to be the middle of the video")
        return middle
    change = [0] * (num_frames + 1)
    for unit in units:
        for start, end in _apexes(_elements(unit, "Marker")):
            change[min(start, num_frames)] += 1
            change[min(end, num_frames)] -= 1
    active = list(accumulate(change[:num_frames]))
    first = active.index(max(active))
    num = next((at for at, count in enumerate(active[first:]) if count != active[first]), num_frames - first)
    return first + (num - 1) // 2 if max(active) else middle


def _apexes(markers: Sequence[ElementTree.Element]) -> Iterator[tuple[int, int]]:
    """Yield where one action unit's apexes begin and end, in frames from 0; a marker without number is passed over."""
    phases = sorted(
        (int(frame) - 1, marker.get("Type", ""))
        for marker in markers
        if (frame := marker.get("Frame", "")[:9]).isdecimal() and int(frame) > 0
    )
    for (start, phase), (end, _) in pairwise([*phases, (NO_END, "")]):
        if phase == APEX:
            yield start, end


DATASET = Dataset(
    name="mmi", title="MMI", source="https://mmifacedb.eu",
    licence="an account and a signed agreement, research only",
    layout="Sessions/1/session.xml, Sessions/1/S002-106.avi, Sessions/1/S002-106.xml ...",
    labels=LABELS, samples=samples, read=read, drawable=True,
    companions=re.compile(r"(^|/)(session|S\d{3}-\d+(-[^/]*)?)\.xml$", re.IGNORECASE),
    part=lambda sample: (sample.sequence or "").partition("/")[0],
    examples={  # by hand, one per label, and made up: which session has which is not published
        "Sessions/1/S001-100.avi": ("anger", "S001"),
        "Sessions/2/S002-100.avi": ("disgust", "S002"),
        "Sessions/3/S003-100.avi": ("fear", "S003"),
        "Sessions/4/S004-100.avi": ("happiness", "S004"),
        "Sessions/5/S005-100.avi": ("sadness", "S005"),
        "Sessions/6/S006-100.avi": ("surprise", "S006"),
    },
    example_texts={
        f"Sessions/{code}/{name}.xml": text
        for code in LABELS
        for name, text in (
            ("session", '<session><track view="0"/></session>'),
            (f"S00{code}-100", f'<annotation><Metatag Name="Emotion" Value="{code}"/></annotation>'),
        )
    },
)  # fmt: skip
