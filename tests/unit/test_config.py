import dataclasses

import pytest

from trainer.methods import METHODS, find_method
from trainer.methods.config import ConfigError, override
from trainer.methods.dicefer import SCHEDULES
from trainer.methods.objectives.mutual_information import ESTIMATORS
from trainer.methods.settings import dicefer, ifgan, resnet_island
from trainer.methods.settings.dicefer import DiceFerConfig
from trainer.networks.critics import CRITICS, NEGATIVES
from trainer.networks.resnet import DEPTHS

SOME = {int: "7", float: "0.125", bool: "true", str: None}


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_of_every_method_can_be_overridden(name):
    config = find_method(name).Config()
    for field in dataclasses.fields(config):
        before = getattr(config, field.name)
        text = SOME[type(before)] or before
        assert getattr(override(config, [f"{field.name}={text}"]), field.name) == type(before)(
            text if text != "true" else True
        )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=5", "no setting 'epoch'; DiceFerConfig has batch_size, "),
        ("width=wide", "width=wide: expected int"),
        ("swap=maybe", "swap=maybe: expected bool"),
        ("negatives=some", "negatives=some: expected one of all, shift"),
        ("expression_estimator=kl", "expected one of dv, jsd"),
        ("schedule=step", "expected one of constant, cosine"),
    ],
)
def test_what_a_method_does_not_take_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        override(DiceFerConfig(), [setting])


def test_the_settings_name_what_there_is():
    """They are read without torch, so that they cannot ask the networks."""
    assert tuple(CRITICS) == dicefer.CRITICS and dicefer.NEGATIVES == NEGATIVES
    assert (*ESTIMATORS, "mine") == dicefer.ESTIMATORS and tuple(SCHEDULES) == dicefer.SCHEDULES
    assert ifgan.CLASSIFIERS == resnet_island.CLASSIFIERS == tuple(DEPTHS)
