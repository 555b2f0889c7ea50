"""Feature extractors; API of ``detectron2.modeling.backbone``."""

from ...utils.aliases import names_of_submodules
from .backbone import Backbone
from .fpn import FPN
from .resnet import BasicStem, BottleneckBlock, ResNet, ResNetBlockBase, make_stage

__all__ = [
    "FPN",
    "Backbone",
    "BasicStem",
    "BottleneckBlock",
    "ResNet",
    "ResNetBlockBase",
    "make_stage",
]

__getattr__ = names_of_submodules(
    __name__, {"fpn": ["LastLevelMaxPool", "LastLevelP6P7"], "resnet": ["BasicBlock"]}
)
