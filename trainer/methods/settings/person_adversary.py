"""Control: the ResNet-18 on labels, whose code is to hide the person from an adversary; DICE-FER's budget."""

from dataclasses import dataclass

from trainer.methods.settings.controls import ControlConfig, equal_budget


@dataclass(frozen=True, kw_only=True)
class PersonAdversaryConfig(ControlConfig):
    """The source's values beside DICE-FER's budget."""

    adversarial_weight: float = 1.0  # lambda, at the end of its rise
    num_people: int = 256  # (ours) outputs of the adversary: as many as the training part has people, or more


PRESETS = equal_budget(PersonAdversaryConfig)
TRIED = dict.fromkeys(PRESETS, 0)  # settings, before a preset was chosen
