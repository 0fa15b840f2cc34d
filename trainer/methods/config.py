"""A method's settings: one flat frozen dataclass, overridden by name=value on the command line."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from trainer.errors import TrainerError


class ConfigError(TrainerError):
    """A setting that the method does not have, or a value that it does not take."""


def override(config: Any, settings: Iterable[str]) -> Any:
    """Return config with each "name=value" applied; the field's own default says the type."""
    fields: dict[str, Any] = dataclasses.asdict(config)
    changed: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in fields:
            raise ConfigError(f"no setting {name!r}; {type(config).__name__} has {', '.join(fields)}")
        kind = type(fields[name])
        try:
            changed[name] = kind(text) if kind is not bool else {"true": True, "false": False}[text.lower()]
        except (ValueError, KeyError) as error:
            raise ConfigError(f"{name}={text}: expected {kind.__name__}") from error
    return dataclasses.replace(config, **changed)


def one_of(name: str, value: str, known: Iterable[str]) -> None:
    """Refuse a value that is not one of the known ones.

    Raises:
        ConfigError: it is not.
    """
    if value not in known:
        raise ConfigError(f"{name}={value}: expected one of {', '.join(known)}")
