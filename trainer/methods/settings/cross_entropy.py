"""Control: the ResNet-18 on labels, with as many steps and faces as DICE-FER, classes as even."""

from trainer.methods.settings.controls import ControlConfig, equal_budget

PRESETS = equal_budget(ControlConfig)
TRIED = dict.fromkeys(PRESETS, 0)  # settings, before a preset was chosen
