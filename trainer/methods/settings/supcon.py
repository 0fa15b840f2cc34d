"""Control: supervised contrastive learning, then a linear classifier, with DICE-FER's budget."""

from dataclasses import dataclass

from trainer.methods.settings.controls import ControlConfig, equal_budget


@dataclass(frozen=True, kw_only=True)
class SupConConfig(ControlConfig):
    """The source's values beside DICE-FER's budget."""

    temperature: float = 0.1  # section 4.4
    projection_size: int = 128  # section 3.1: what the contrast is of; thrown away after training


PRESETS = equal_budget(SupConConfig)
TRIED = dict.fromkeys(PRESETS, 0)  # settings, before a preset was chosen
