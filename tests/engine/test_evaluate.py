"""What is said of models without weights, and where predictions are kept."""

from pathlib import Path

from project.engine.config import load_config
from project.engine.evaluate import results_file, unfrozen
from project.errors import UserError

import pytest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BACKBONE = "model.backbone.bottom_up"


@pytest.mark.parametrize(
    "config, overrides, remedy",
    [
        ("mask_rcnn_R_50_FPN.py", [], f"{BACKBONE}.stem.norm=BN {BACKBONE}.freeze_at=0"),
        ("mask_rcnn_R_50_FPN.py", [f"{BACKBONE}.stem.norm=GN"], f"{BACKBONE}.freeze_at=0"),
        ("quickstart.py", [], ""),
        ("quickstart.py", [f"{BACKBONE}.norm=FrozenBN"], f"{BACKBONE}.norm=BN"),
        ("quickstart.py", [f"{BACKBONE}.freeze_at=2"], f"{BACKBONE}.freeze_at=0"),
        (
            "mask_rcnn_resnet18_FPN.py",
            [f"{BACKBONE}.norm=FrozenBN", f"{BACKBONE}.freeze_at=1"],
            f"{BACKBONE}.norm=BN {BACKBONE}.freeze_at=0",
        ),
        ("person_unet_R34.py", [], ""),
    ],
)
def test_the_keys_that_free_a_backbone_are_those_of_the_config(config, overrides, remedy):
    said = unfrozen(load_config(CONFIGS / config, overrides))
    assert said == (f" {remedy}" if remedy else "")
    assert unfrozen(load_config(CONFIGS / config, [*overrides, *said.split()])) == ""


@pytest.mark.parametrize("name", ["../../elsewhere_val", "/elsewhere_val", "a/../../b_val"])
def test_predictions_stay_in_the_run_folder(name):
    cfg = load_config(CONFIGS / "quickstart.py")
    inside = "output/quickstart/inference/my/own set.._val/coco_instances_results.json"
    assert results_file(cfg, "my/own set.._val") == Path(inside)
    with pytest.raises(UserError, match="_val' leads out of the run folder"):
        results_file(cfg, name)
