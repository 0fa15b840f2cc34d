"""Control: E on expressions, I on people, and HSIC between them as a penalty, with DICE-FER's budget."""

from dataclasses import dataclass

from trainer.methods.settings.controls import ControlConfig, equal_budget


@dataclass(frozen=True, kw_only=True)
class IndependenceConfig(ControlConfig):
    """Ours, beside DICE-FER's budget."""

    independence_weight: float = 1.0  # of normalised HSIC, 1 at most
    num_people: int = 256  # outputs of the classifier of people: as many as the training part has, or more


PRESETS = equal_budget(IndependenceConfig)
TRIED = dict.fromkeys(PRESETS, 0)  # settings, before a preset was chosen
