"""What the controls' settings have in common: DICE-FER's encoder, budget and optimizer, by its names."""

from dataclasses import dataclass, fields
from typing import TypeVar

from trainer.methods.config import one_of
from trainer.methods.settings.dicefer import PAPER, PRESETS, SCHEDULES


@dataclass(frozen=True, kw_only=True)
class ControlConfig:
    """DICE-FER's settings of encoder, budget and optimizer; by default those of its preset `paper`."""

    batch_size: int = PAPER.batch_size  # pairs: twice as many faces
    epochs_expression: int = PAPER.epochs_expression
    epochs_classifier: int = PAPER.epochs_classifier
    learning_rate: float = PAPER.learning_rate
    weight_decay: float = PAPER.weight_decay
    schedule: str = PAPER.schedule
    width: int = PAPER.width
    code_size: int = PAPER.code_size
    standardise: bool = PAPER.standardise
    balanced: bool = PAPER.balanced

    def __post_init__(self) -> None:
        """Refuse unknown names."""
        one_of("schedule", self.schedule, SCHEDULES)


Config = TypeVar("Config", bound=ControlConfig)


def equal_budget(kind: type[Config]) -> dict[str, Config]:
    """Return a control's presets: what it shares with DICE-FER's of that name; its own settings by their defaults."""
    shared = [field.name for field in fields(ControlConfig)]
    return {
        name: kind(**{field: getattr(PRESETS[name], field) for field in shared})
        for name in ("paper", "default", "demo")
    }
