"""Published protocols, as data: which frames of which sequences are taken, as what, and in which parts."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fertools.datasets.base import Sample
from fertools.errors import FertoolsError


class ProtocolError(FertoolsError):
    """A protocol that the dataset does not have."""


@dataclass(frozen=True)
class Selected:
    """One image that a protocol takes, as what."""

    sample: Sample
    expression: str | None  # null where the dataset is not one of expressions
    role: str  # neutral: first frame of a sequence; apex: last or middle frames; image: a single image
    retry: bool = True  # without a face, it is looked at again, brightened and turned


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which images of a dataset are taken, and how its parts come about.

    Folds are dealt to the subjects who are left after the class filter, sorted by id, in turn (fertools.folds).
    """

    name: str
    dataset: str
    expressions: tuple[str, ...]  # labelled sequences or images of these classes are taken; none: every image is
    conditions: tuple[str, ...] = ()  # of recording: the names of the sequences that are taken start so; empty: any
    frames: tuple[int, ...] = ()  # by number, of those that are taken; empty: any
    first_as_neutral: int = 0  # frames from the start of each taken sequence, as neutral
    last: int | None = None  # frames from its end, with its expression; null: every image
    at_apex: int | None = None  # instead: frames around the strongest
    num_images: int | None = None  # in a complete copy
    retry: bool = True  # images without a face are looked at again, brightened, then turned by quarters
    folds: str = "subject"  # dealt by subject, or the official split
    subject_independent: bool | None = True  # no person in two parts; null: nobody is named, so nobody can say
    source: str

    def select(self, samples: Iterable[Sample], labels: Mapping[str, str]) -> list[Selected]:
        """Return what the protocol takes, in path order within each sequence, sequences in first-seen order."""
        sequences: dict[object, list[Sample]] = defaultdict(list)
        for sample in samples:
            if self.frames and sample.frame not in self.frames:
                continue
            if not self.conditions or (sample.sequence or "").startswith(self.conditions):
                sequences[sample.sequence or (sample.path, sample.place, sample.face)].append(sample)
        selected: list[Selected] = []
        for frames in sequences.values():
            label = frames[0].label
            expression = labels.get(label) if label is not None else None
            if not self.expressions or expression in self.expressions:
                selected += self._of_sequence(frames, expression)
        return selected

    def _of_sequence(self, frames: list[Sample], expression: str | None) -> Iterator[Selected]:
        if self.last is None and self.at_apex is None:
            yield from (Selected(sample, expression, "image", self.retry) for sample in frames)
            return
        frames = sorted(frames, key=lambda sample: sample.frame or 0)
        neutral = frames[: self.first_as_neutral] if len(frames) > self.first_as_neutral else []
        yield from (Selected(sample, "neutral", "neutral", self.retry) for sample in neutral)
        others = frames[len(neutral) :]
        taken = others[-self.last :] if self.last else sorted(others, key=_from_apex)[: self.at_apex]
        taken = sorted(taken, key=lambda one: one.frame or 0)
        yield from (Selected(sample, expression, "apex", self.retry) for sample in taken)


def _from_apex(sample: Sample) -> tuple[int, int]:
    """Order frames by their distance from the strongest one, the earlier of two first."""
    frame = sample.frame or 0
    return abs(frame - (frame if sample.apex is None else sample.apex)), frame


SIX = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
SEVEN = tuple(sorted((*SIX, "neutral")))
EIGHT = tuple(sorted((*SEVEN, "contempt")))
PROTOCOLS = {  # the first of a dataset is its default
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="dice_ckplus", dataset="ckplus", expressions=SIX, first_as_neutral=1, last=1, num_images=618,
            source="DICE-FER section 5.1: first and last frames, seven classes; the only reading that gives both",
        ),
        Protocol(
            name="dice_ckplus_7c", dataset="ckplus", expressions=tuple(sorted((*SIX, "contempt"))), last=3,
            num_images=981,
            source="last three frames, contempt as seventh class: what the baselines in DICE-FER Table 3 use. Folds as "
            "published: CK+_10-fold_sample_IDascendorder_step10 of 118 subjects",
        ),
        Protocol(
            name="ifgan_ckplus", dataset="ckplus", expressions=SIX, last=3, num_images=927,
            source="IF-GAN: last three frames of 309 sequences. It says 118 subjects; without contempt they are 106, "
            "and the folds are dealt to these",
        ),
        Protocol(
            name="ifgan_ckplus_neutral", dataset="ckplus", expressions=SIX, first_as_neutral=1, last=3, num_images=1236,
            source="IF-GAN: of these, BU-3DFE's and MMI's are RAF-DB's average faces; first frames are neutral",
        ),
        Protocol(
            name="dice_oulu", dataset="oulucasia", expressions=SIX, conditions=("VL/Strong/",), last=3, num_images=1440,
            source="DICE-FER section 5.1: last three frames of 480 sequences. It names no light; this is the usual one",
        ),
        Protocol(
            name="dice_rafdb", dataset="rafdb", expressions=SEVEN, num_images=15339, folds="official",
            subject_independent=None,
            source="DICE-FER section 5.1: 12,271 and 3,068 images. Its ten folds (section 5.2) contradict that; the "
            "methods it compares with use the official split",
        ),
        Protocol(
            name="ifgan_rafdb", dataset="rafdb", expressions=SEVEN, num_images=15339, folds="official",
            subject_independent=None, source="IF-GAN: the official split, seven classes",
        ),
        Protocol(
            name="dice_affectnet7", dataset="affectnet", expressions=SEVEN, num_images=287401, folds="official",
            subject_independent=None,
            source="DICE-FER section 5.1: about 280,000 and 3,500 images, so the crops without contempt (283,901 and "
            "3,500); the official validation set is the test part, as everywhere",
        ),
        Protocol(
            name="ifgan_bu3dfe", dataset="bu3dfe", expressions=SIX, frames=(3, 4), num_images=1200,
            source="IF-GAN: the last two levels of intensity of six expressions of 100 people; frontal textures",
        ),
        Protocol(
            name="ifgan_bu3dfe_neutral", dataset="bu3dfe", expressions=SEVEN, frames=(0, 3, 4), num_images=1300,
            source="IF-GAN: of these, CK+'s and MMI's are RAF-DB's average faces; NE00 is neutral",
        ),
        Protocol(
            name="ifgan_mmi", dataset="mmi", expressions=SIX, conditions=("frontal/", "dual/"), at_apex=3,
            num_images=624,
            source="IF-GAN: three middle frames of 208 frontal sequences of 31 people; it does not say which these "
            "are: frontal videos, and the frontal face of dual ones, with one of six expressions",
        ),
        Protocol(
            name="ifgan_mmi_neutral", dataset="mmi", expressions=SIX, conditions=("frontal/", "dual/"),
            first_as_neutral=1, at_apex=3, num_images=832,
            source="IF-GAN: of these, BU-3DFE's and CK+'s are RAF-DB's average faces; first frames are neutral",
        ),
        Protocol(
            name="fer2013_7c", dataset="fer2013", expressions=SEVEN, num_images=35887, folds="official",
            subject_independent=None, source="the challenge's three parts (Goodfellow et al. 2013)",
        ),
        Protocol(
            name="ferplus_8c", dataset="ferplus", expressions=EIGHT, num_images=31412, folds="official",
            subject_independent=None, source="majority of ten votes, the challenge's three parts (Barsoum et al. 2016)",
        ),
        Protocol(
            name="jaffe_7c", dataset="jaffe", expressions=SEVEN, num_images=213,
            source="every image, seven classes (Lyons et al. 1998)",
        ),
        Protocol(
            name="yale_4c", dataset="yale", expressions=("happiness", "neutral", "sadness", "surprise"),
            source="the four of its eleven conditions that are expressions; not a benchmark of expression recognition",
        ),
        Protocol(
            name="ckplus48_7c", dataset="ckplus48", expressions=tuple(sorted((*SIX, "contempt"))), num_images=981,
            source="every image of the 48 x 48 copy, in folds by subject: not the split by position it is known by, in "
            "which 63 % of test images show a person of the training part",
        ),
        Protocol(
            name="ckextended_8c", dataset="ckextended", expressions=EIGHT, num_images=920, folds="official",
            subject_independent=None,
            source="the file's own split; it names nobody, though CK+ does, so nobody can check it: use CK+ itself",
        ),
        Protocol(
            name="webface_faces", dataset="casiawebface", expressions=(),
            source="every image, for the identity (Yi et al. 2014); it has no expressions",
        ),
        Protocol(
            name="london_front", dataset="london", expressions=("happiness", "neutral"), frames=(3, 8), num_images=204,
            source="frontal photographs, neutral and smiling (DeBruine & Jones 2017); chosen here, not published",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CrossDataset:
    """Train on one protocol's faces, judge on another's, by the classes that both have."""

    train: str
    test: str
    source: str = "DICE-FER Table 7"

    @property
    def expressions(self) -> tuple[str, ...]:
        """Classes of both sides."""
        sides = [PROTOCOLS[name] for name in (self.train, self.test)]
        own = [{*side.expressions, *("neutral",) * bool(side.first_as_neutral)} for side in sides]
        return tuple(sorted(own[0] & own[1]))


CROSS_DATASET = (
    CrossDataset(train="dice_ckplus", test="dice_oulu"),
    CrossDataset(train="dice_oulu", test="dice_ckplus"),
    CrossDataset(train="dice_rafdb", test="dice_ckplus"),
    CrossDataset(train="dice_affectnet7", test="dice_ckplus"),
)


def of_dataset(dataset: str) -> dict[str, Protocol]:
    """Return the protocols of a dataset by name, the default first; of one without any, every labelled image."""
    known = {protocol.name: protocol for protocol in PROTOCOLS.values() if protocol.dataset == dataset}
    return known or {"all": Protocol(name="all", dataset=dataset, expressions=EIGHT, source="every labelled image")}


def find(dataset: str, name: str | None) -> Protocol:
    """Return a dataset's protocol by name, or its default.

    Raises:
        ProtocolError: the dataset has no such protocol.
    """
    known = of_dataset(dataset)
    if name is None:
        return next(iter(known.values()))
    if name not in known:
        raise ProtocolError(f"no protocol {name!r} for {dataset}; known: {', '.join(known)}")
    return known[name]


def describe(protocol: Protocol) -> str:
    """Return a protocol as lines to read."""
    taken = f"the last {protocol.last}" if protocol.last else f"{protocol.at_apex} at the apex"
    frames = f"{taken} of each sequence" if protocol.last or protocol.at_apex else "every image"
    frames += f" numbered {' or '.join(map(str, protocol.frames))}" if protocol.frames else ""
    frames += f", the first {protocol.first_as_neutral} as neutral" if protocol.first_as_neutral else ""
    frames += f", of {', '.join(name.rstrip('/') for name in protocol.conditions)}" if protocol.conditions else ""
    people = {True: "subject-independent", False: "NOT subject-independent", None: "people unknown"}
    folds = {"subject": "folds by subject", "official": "official split"}[protocol.folds]
    return (
        f"{protocol.name} ({protocol.dataset}): {frames}"
        + (f"; {protocol.num_images:,} images" if protocol.num_images else "")
        + f"\n  {', '.join(protocol.expressions) or 'no expressions'}"
        + f"\n  {folds}, {people[protocol.subject_independent]}\n  {protocol.source}"
    )


def describe_pair(pair: CrossDataset) -> str:
    """Return a cross-dataset protocol as lines to read."""
    return f"{pair.train} -> {pair.test}\n  {', '.join(pair.expressions)}\n  {pair.source}"
