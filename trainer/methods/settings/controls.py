"""What the controls' settings have in common: DICE-FER's encoder, budget and optimizer, by its names."""

from dataclasses import dataclass, fields
from typing import TypeVar

from trainer.methods.config import one_of
from trainer.methods.settings import dicefer


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """DICE-FER's settings of encoder, budget and optimizer."""

    batch_size: int  # pairs: twice as many faces
    epochs_expression: int
    epochs_classifier: int
    learning_rate: float
    weight_decay: float
    schedule: str
    width: int
    code_size: int
    standardise: bool
    balanced: bool

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        one_of("schedule", self.schedule, dicefer.SCHEDULES)


Config = TypeVar("Config", bound=ControlConfig)


def equal_budget(kind: type[Config]) -> dict[str, Config]:
    """Return a control's presets: what it shares with DICE-FER's of that name; its own settings by their defaults."""
    shared = [field.name for field in fields(ControlConfig)]
    return {
        name: kind(**{field: getattr(dicefer.PRESETS[name], field) for field in shared})
        for name in ("paper", "default", "demo")
    }
