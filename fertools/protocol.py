"""Published row selections, as data: which frames of which sequences, and what they are taken for."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fertools.dataset import Sample
from fertools.errors import FertoolsError


class ProtocolError(FertoolsError):
    """A protocol that the dataset does not have."""


@dataclass(frozen=True)
class Selected:
    """One image that a protocol takes, as what."""

    sample: Sample
    expression: str
    role: str  # neutral: first frame of a sequence; apex: last frames; image: a single image


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which images of a dataset are taken. Folds are dealt to the subjects that remain after the class filter."""

    name: str
    dataset: str
    expressions: tuple[str, ...]  # labelled sequences or images of these classes are taken
    condition: str = ""  # of recording: the names of the sequences that are taken start so
    frames: tuple[int, ...] = ()  # by number, of those that are taken; empty: any
    first_as_neutral: int = 0  # frames from the start of each taken sequence, as neutral
    last: int | None = None  # frames from its end, with its expression; null: every image
    num_images: int | None = None  # in a complete copy
    source: str

    def select(self, samples: Iterable[Sample], labels: Mapping[str, str]) -> list[Selected]:
        """Return what the protocol takes, in path order within each sequence, sequences in first-seen order."""
        sequences: dict[object, list[Sample]] = defaultdict(list)
        for sample in samples:
            if self.frames and sample.frame not in self.frames:
                continue
            if (sample.sequence or "").startswith(self.condition):
                sequences[sample.sequence or sample.path].append(sample)
        selected = []
        for frames in sequences.values():
            label = frames[0].label
            expression = labels.get(label) if label is not None else None
            if expression not in self.expressions:
                continue
            if self.last is None:
                selected += [Selected(sample, expression, "image") for sample in frames]
                continue
            frames = sorted(frames, key=lambda sample: sample.frame or 0)
            neutral = frames[: self.first_as_neutral] if len(frames) > self.first_as_neutral else []
            selected += [Selected(sample, "neutral", "neutral") for sample in neutral]
            selected += [Selected(sample, expression, "apex") for sample in frames[len(neutral) :][-self.last :]]
        return selected


SIX = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
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
            source="last three frames, contempt as seventh class: what the baselines in DICE-FER Table 3 use",
        ),
        Protocol(
            name="dice_oulu", dataset="oulucasia", expressions=SIX, condition="VL/Strong/", last=3, num_images=1440,
            source="DICE-FER section 5.1: last three frames of 480 sequences. It names no light; this is the usual one",
        ),
        Protocol(
            name="ifgan_bu3dfe", dataset="bu3dfe", expressions=SIX, frames=(3, 4), num_images=1200,
            source="IF-GAN: the last two levels of intensity of six expressions of 100 people; frontal textures",
        ),
        Protocol(
            name="jaffe_7c", dataset="jaffe", expressions=tuple(sorted((*SIX, "neutral"))), num_images=213,
            source="every image, seven classes (Lyons et al. 1998)",
        ),
        Protocol(
            name="all", dataset="folder", expressions=tuple(sorted((*SIX, "contempt", "neutral"))),
            source="every labelled image",
        ),
    )
}  # fmt: skip


def find(dataset: str, name: str | None) -> Protocol:
    """Return a dataset's protocol by name, or its default.

    Raises:
        ProtocolError: the dataset has no such protocol.
    """
    known = {protocol.name: protocol for protocol in PROTOCOLS.values() if protocol.dataset == dataset}
    if name is None:
        return next(iter(known.values()))
    if name not in known:
        raise ProtocolError(f"no protocol {name!r} for {dataset}; known: {', '.join(known)}")
    return known[name]
