"""Mask2Former of `transformers` as a model of Detectron2's kind: dicts of images in, instances out.

For comparison with Mask R-CNN on the same data, by the same evaluator: a transformer's queries find
one object each, without anchors, proposals and non-maximum suppression. Cheng et al. 2022,
"Masked-attention mask transformer for universal image segmentation".
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import project  # noqa: F401 - makes `detectron2` importable
from project.errors import UserError
from project.modeling.query_instances import query_instances
from project.modeling.transformers_weights import register_weights

import numpy as np
import torch
from detectron2.structures import ImageList, Instances, PolygonMasks, polygons_to_bitmask
from torch import nn

# The network's names of its losses, and ours; those of earlier layers have a number at their end.
_LOSSES = {"cross_entropy": "class", "mask": "mask", "dice": "dice"}


class TransformersSegmenter(nn.Module):
    """A network of queries as an instance-segmentation model of Detectron2's kind.

    Attributes:
        num_classes: K, without "no object".
        input_format: order of the image's channels, "RGB" or "BGR".
        test_score_thresh: detections have a higher score than this.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str = "RGB",
        *,
        max_detections: int = 100,
        test_score_thresh: float = 0.0,
        size_divisibility: int = 32,
    ) -> None:
        """
        Args:
            network: of `project.modeling.transformers_network.build_mask2former`.
            pixel_mean, pixel_std: 3 numbers each, in grey levels and the order of
                ``input_format``. Published weights want RGB and ImageNet's, (123.675, 116.28,
                103.53) and (58.395, 57.12, 57.375).
            max_detections: for each image.
            size_divisibility: of the sides of a batch; the network's coarsest stride.

        Raises:
            UserError: if the network has another number of classes.
        """
        super().__init__()
        if network.config.num_labels != num_classes:
            raise UserError(
                f"the network has {network.config.num_labels} classes and the model "
                f"{num_classes}; leave model.network.num_classes to the config"
            )
        self.network = network
        self.num_classes = num_classes
        self.input_format = input_format
        self.max_detections = max_detections
        self.test_score_thresh = test_score_thresh
        self.size_divisibility = size_divisibility
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            values = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        register_weights()

    @property
    def device(self) -> torch.device:
        """Where the model is; inputs go there."""
        return self.pixel_mean.device

    @property
    def backbone(self) -> nn.Module:
        """Images to feature maps: what ``train.compile`` means."""
        return self.network.model.pixel_level_module.encoder

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Losses in training, else instances.

        Args:
            batched_inputs: for each image ``image``, ``[3, H, W]``, uint8 or float; in training
                ``instances`` with ``gt_classes`` and ``gt_masks`` (`BitMasks` or `PolygonMasks`);
                else ``height`` and ``width`` of the result, by default the image's.

        Returns:
            In training ``loss_class``, ``loss_mask`` and ``loss_dice`` of the last decoder layer,
            weighted, and with ``_aux`` at their end the sums of those of the layers before. Else
            for each image ``{"instances": ...}``, see `inference`.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self._pad([self._normalise(x["image"]) for x in batched_inputs])
        masks, classes = self._targets(batched_inputs, images.shape[-2:])
        found = self.network(images, output_auxiliary_logits=True)
        # Sampling points of masks and assigning queries need more than half precision.
        with torch.autocast(self.device.type, enabled=False):
            losses = self.network.get_loss_dict(
                found.masks_queries_logits.float(),
                found.class_queries_logits.float(),
                masks,
                classes,
                [{key: x.float() for key, x in layer.items()} for layer in found.auxiliary_logits],
            )
        return _by_name(losses)

    def inference(
        self, batched_inputs: list[dict], do_postprocess: bool = True
    ) -> list[dict] | list[Instances]:
        """The instances of each image, the best first, whatever else is in the batch.

        Args:
            batched_inputs: as in `forward`.
            do_postprocess: False gives the `Instances` without a dict around each. Masks are as
                large as the result either way: they have no boxes to stay in.

        Returns:
            Instances of size (height, width) with ``pred_boxes`` (tight around the masks),
            ``scores`` (0-1), ``pred_classes`` and ``pred_masks`` (bool ``[N, height, width]``).
        """
        images = [self._normalise(x["image"]) for x in batched_inputs]
        results: list[Instances] = [None] * len(images)
        # The network attends to padding: only images of one padded size go in together.
        places = sorted(range(len(images)), key=lambda k: self._padded_size(images[k]))
        for size, group in itertools.groupby(places, lambda k: self._padded_size(images[k])):
            group = list(group)
            found = self.network(self._pad([images[k] for k in group]))
            logits = zip(found.class_queries_logits, found.masks_queries_logits, strict=True)
            for k, (classes, masks) in zip(group, logits, strict=True):
                given, (height, width) = batched_inputs[k], images[k].shape[-2:]
                results[k] = query_instances(
                    classes,
                    masks,
                    padded_size=size,
                    image_size=(height, width),
                    output_size=(int(given.get("height", height)), int(given.get("width", width))),
                    max_detections=self.max_detections,
                    score_threshold=self.test_score_thresh,
                )
        return [{"instances": x} for x in results] if do_postprocess else results

    def _normalise(self, image: torch.Tensor) -> torch.Tensor:
        return (image.to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std

    def _pad(self, images: list[torch.Tensor]) -> torch.Tensor:
        """One batch, padded with zeros, the mean colour, on the right and at the bottom."""
        return ImageList.from_tensors(images, self.size_divisibility).tensor

    def _padded_size(self, image: torch.Tensor) -> tuple[int, int]:
        step = self.size_divisibility
        return tuple(-(-side // step) * step for side in image.shape[-2:])

    def _targets(
        self, batched_inputs: list[dict], size: Sequence[int]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Masks ``[N, *size]`` of each image, 0 in the padding (as in the paper), and classes."""
        masks, classes = [], []
        for given in batched_inputs:
            if "instances" not in given:
                raise UserError(
                    "an instance model trains on objects, and the images come without instances; "
                    "take project.data.mapper.InstanceMapper as dataloader.train.mapper"
                )
            objects = given["instances"]
            found = _bitmaps(objects).to(self.device, non_blocking=True)
            padded = torch.zeros((len(found), *size), device=self.device)
            padded[:, : found.shape[1], : found.shape[2]] = found
            masks.append(padded)
            classes.append(objects.gt_classes.to(self.device, non_blocking=True))
        return masks, classes


def _bitmaps(objects: Instances) -> torch.Tensor:
    """Masks of an image's objects, bool ``[N, H, W]``; also of an image without any."""
    height, width = objects.image_size
    if not len(objects):
        return torch.zeros((0, height, width), dtype=torch.bool)
    masks = objects.gt_masks
    if isinstance(masks, PolygonMasks):
        drawn = [polygons_to_bitmask(polygons, height, width) for polygons in masks.polygons]
        return torch.from_numpy(np.stack(drawn))
    return masks.tensor


def _by_name(losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The network's losses by our names, those of all earlier layers summed up."""
    sums: dict[str, torch.Tensor] = defaultdict(float)
    for key, value in losses.items():
        kind = key.removeprefix("loss_").rstrip("0123456789").rstrip("_")
        ending = "_aux" if key[-1].isdigit() else ""
        name = f"loss_{_LOSSES[kind]}{ending}"
        sums[name] = sums[name] + value
    return dict(sums)
