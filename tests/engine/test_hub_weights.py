"""A trained run needs no hub: its checkpoint holds what the encoder began with."""

from project.engine.evaluate import without_hub

from omegaconf import OmegaConf


def config(weights):
    return OmegaConf.create({"model": {"network": {"encoder_weights": weights, "depth": 5}}})


def test_the_copy_has_no_encoder_weights_and_the_config_keeps_them():
    cfg = config("imagenet")
    assert without_hub(cfg).model.network == {"encoder_weights": None, "depth": 5}
    assert cfg.model.network.encoder_weights == "imagenet"


def test_other_models_are_as_they_were():
    detector = OmegaConf.create({"model": {"backbone": {}}})
    assert without_hub(detector) is detector
    scratch = config(None)
    assert without_hub(scratch) is scratch
