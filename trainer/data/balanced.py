"""Balanced epochs, drawn from an index of the training part: a class, a face that shows it, a partner of that face."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class ClassIndex:
    """Faces sorted by class.

    Attributes:
        order: (faces,) the faces.
        starts: (classes,) where each class that is there begins in `order`.
        sizes: (classes,) how many faces it has.
    """

    order: Int[Tensor, " faces"]
    starts: Int[Tensor, " classes"]
    sizes: Int[Tensor, " classes"]

    @classmethod
    def of(cls, classes: Int[Tensor, " faces"]) -> "ClassIndex":
        """Return the index of faces of these classes."""
        order = classes.argsort(stable=True)
        starts, sizes = _runs(classes[order])
        return cls(order, starts, sizes)

    def draw(self, num: int, generator: torch.Generator) -> Int[Tensor, " num"]:
        """Draw faces with replacement: first a class, all evenly, then one of its faces, all evenly."""
        drawn = torch.randint(len(self.sizes), (num,), generator=generator)
        start, size = (column.index_select(0, drawn) for column in (self.starts, self.sizes))
        return self.order.index_select(0, start + _draw_below(size, generator))


@dataclass(frozen=True)
class PairIndex:
    """Faces sorted by class, then by person: a person's faces of a class are a run within the run of that class.

    Attributes:
        order: (faces,) the faces.
        anchors: (anchors,) positions in `order` of those that have a partner: a face of their class and another person.
        classes: index of the anchors.
        class_start: (anchors,) position in `order` where the run of an anchor's class begins.
        person_start: (anchors,) position in `order` where the run of its class and person begins.
        person_size: (anchors,) how long that is.
        num_partners: (anchors,) how many partners it has.
    """

    order: Int[Tensor, " faces"]
    anchors: Int[Tensor, " anchors"]
    classes: ClassIndex
    class_start: Int[Tensor, " anchors"]
    person_start: Int[Tensor, " anchors"]
    person_size: Int[Tensor, " anchors"]
    num_partners: Int[Tensor, " anchors"]

    @classmethod
    def of(cls, classes: Int[Tensor, " faces"], people: Int[Tensor, " faces"]) -> "PairIndex":
        """Return the index of faces of these classes and people."""
        order = people.argsort(stable=True)
        order = order[classes[order].argsort(stable=True)]
        sorted_classes, sorted_people = classes[order], people[order]
        class_start, class_size = _runs_of_each(sorted_classes)
        person_start, person_size = _runs_of_each(sorted_classes * (int(people.max()) + 1) + sorted_people)
        anchors = (class_size > person_size).nonzero()[:, 0]
        columns = (class_start, person_start, person_size, class_size - person_size)
        return cls(order, anchors, ClassIndex.of(sorted_classes[anchors]), *(column[anchors] for column in columns))

    def draw(self, num: int, generator: torch.Generator) -> tuple[Int[Tensor, " num"], Int[Tensor, " num"]]:
        """Draw anchors as `ClassIndex` draws faces, and for each a partner, all evenly and without rejection."""
        drawn = self.classes.draw(num, generator)
        columns = (self.class_start, self.person_start, self.person_size, self.num_partners)
        class_start, person_start, person_size, num_partners = (column.index_select(0, drawn) for column in columns)
        partner = class_start + _draw_below(num_partners, generator)
        partner += (partner >= person_start) * person_size  # step over the anchor's own run
        return self.order.index_select(0, self.anchors.index_select(0, drawn)), self.order.index_select(0, partner)


def _runs(keys: Int[Tensor, " faces"]) -> tuple[Int[Tensor, " runs"], Int[Tensor, " runs"]]:
    """Return where each run of equal keys begins, and how long it is."""
    starts = (keys.diff(prepend=keys[:1] - 1) != 0).nonzero()[:, 0]
    return starts, starts.diff(append=starts.new_tensor([len(keys)]))


def _runs_of_each(keys: Int[Tensor, " faces"]) -> tuple[Int[Tensor, " faces"], Int[Tensor, " faces"]]:
    """Return, for each face, where the run of equal keys that it is in begins, and how long that is."""
    starts, sizes = _runs(keys)
    return starts.repeat_interleave(sizes), sizes.repeat_interleave(sizes)


def _draw_below(limits: Int[Tensor, " num"], generator: torch.Generator) -> Int[Tensor, " num"]:
    """Draw a whole number from 0 up to below each limit; of 53 random bits, so all are equally likely to 1e-10."""
    return (torch.rand(len(limits), generator=generator, dtype=torch.float64) * limits).long()
