"""Values that come from outside - metadata, settings, scores - against what they must be: one checker for all."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manifests.errors import ManifestError
from manifests.text import printable


@dataclass(frozen=True)
class Field:
    """One value by its path, `crop.size`, and what it must be, if it is there."""

    path: str
    expected: str
    holds: Callable[[Any], bool]


def of_type(path: str, kind: type | tuple[type, ...], expected: str) -> Field:
    """Return a field of a type; true and false are no numbers."""
    numbers = kind in (int, (int, float))
    return Field(path, expected, lambda value: isinstance(value, kind) and not (numbers and isinstance(value, bool)))


def text(path: str) -> Field:
    """Return a field of text."""
    return of_type(path, str, "text")


def mapping(path: str) -> Field:
    """Return a field of named values."""
    return of_type(path, dict, "values by name")


def whole(path: str, least: int, most: int = 2**31 - 1) -> Field:
    """Return a field of whole numbers."""
    kind = of_type(path, int, f"a whole number from {least} to {most}")
    return Field(path, kind.expected, lambda value: kind.holds(value) and least <= value <= most)


def share(path: str, least: float = 0.0) -> Field:
    """Return a field of a number up to 1."""
    kind = of_type(path, (int, float), f"a number from {least:g} to 1")
    return Field(path, kind.expected, lambda value: kind.holds(value) and math.isfinite(value) and least <= value <= 1)


def check_fields(values: Mapping[str, Any], fields: Iterable[Field], required: Iterable[str] = ()) -> None:
    """Raise ManifestError at the first value that is not what it must be, or is required and absent.

    Args:
        values: as they were read.
        fields: what they must be.
        required: paths.
    """
    for path in required:
        if not list(_at(values, path)):
            raise ManifestError(f"{path} is missing")
    for field in fields:
        for value in _at(values, field.path):
            if not field.holds(value):
                raise ManifestError(f"{field.path} is {printable(repr(value), 80)}, expected {field.expected}")


def _at(values: Any, path: str) -> Iterable[Any]:
    """Yield the value at a path, if there is one."""
    for key in path.split("."):
        if not isinstance(values, Mapping) or key not in values:
            return
        values = values[key]
    yield values
