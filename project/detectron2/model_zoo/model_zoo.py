"""Addresses of published Mask R-CNN weights (API of ``detectron2.model_zoo.model_zoo``).

Backbones pre-trained on ImageNet aren't listed here; configs name them themselves:
``detectron2://ImageNetPretrained/MSRA/R-50.pkl`` and ``.../MSRA/R-101.pkl`` (BGR, std 1, stride in
the 1x1 convolution), ``.../torchvision/R-50.pkl`` (RGB, ImageNet std, stride in the 3x3).
"""

from __future__ import annotations

import os

__all__ = ["get_checkpoint_url"]

_ROOT = "https://dl.fbaipublicfiles.com/detectron2"
# Config without its extension → what follows it in the address. R_101_FPN_1x was never published.
_PUBLISHED = {
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x": "137260431/model_final_a54504.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x": "137849600/model_final_f10217.pkl",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x": "138205316/model_final_a3ec72.pkl",
}


def get_checkpoint_url(config_path: str) -> str:
    """Address of the weights trained with an upstream config.

    Args:
        config_path: upstream's name of the config, with ``.yaml`` or ``.py``, such as
            ``"COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"``.

    Raises:
        RuntimeError: if no weights are published for it.
    """
    name, extension = os.path.splitext(config_path)
    if extension not in (".yaml", ".py") or name not in _PUBLISHED:
        raise RuntimeError(
            f"no published weights for {config_path!r}; there are weights for "
            + ", ".join(f"{known}.yaml" for known in _PUBLISHED)
        )
    return f"{_ROOT}/{name}/{_PUBLISHED[name]}"
