"""The whole detector; API of ``detectron2.modeling.meta_arch.rcnn``.

Images travel to the device as they are (uint8), asynchronously, and are normalised there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ...structures import ImageList, Instances
from ...utils.events import get_event_storage
from ..backbone import Backbone
from ..postprocessing import detector_postprocess
from ..transfer import instances_on

_NUM_SHOWN_PROPOSALS = 20


class GeneralizedRCNN(nn.Module):
    """A backbone, a proposal generator and heads on each proposal: Faster and Mask R-CNN."""

    def __init__(
        self,
        *,
        backbone: Backbone,
        roi_heads: nn.Module,
        proposal_generator: nn.Module | None,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        vis_period: int = 0,
        input_format: str | None = None,
    ):
        """
        Args:
            proposal_generator: None where the inputs bring their ``proposals``.
            pixel_mean: per channel, in the scale of the images (0-255); so is ``pixel_std``.
            input_format: order of the channels, for pictures only ("BGR", "RGB", ...).
            vis_period: > 0 puts a picture into the event storage every that many iterations.

        Raises:
            AssertionError: if mean and std differ in length, or pictures lack ``input_format``.
        """
        super().__init__()
        mean, std = (torch.tensor(list(x)).view(-1, 1, 1) for x in (pixel_mean, pixel_std))
        assert mean.shape == std.shape, f"{len(mean)} means, but {len(std)} standard deviations"
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)
        self.backbone, self.proposal_generator = backbone, proposal_generator
        self.roi_heads = roi_heads
        self.input_format, self.vis_period = input_format, vis_period
        assert vis_period <= 0 or input_format is not None, "vis_period needs an input_format"

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Training: the losses by name. Evaluation: ``{"instances": Instances}`` for each image.

        Args:
            batched_inputs: dicts with ``image`` ``[C, H, W]``; for training ``instances``; without
                a proposal generator ``proposals``; optionally ``height`` and ``width`` of the
                wanted output, else that of the image.

        Raises:
            AssertionError: in training without ``instances``, or if ``proposals`` are missing.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        targets = None
        if "instances" in batched_inputs[0]:
            targets = [instances_on(self.device, x["instances"]) for x in batched_inputs]
        features = self.backbone(images.tensor)
        proposals, proposal_losses = self._propose(images, features, batched_inputs, targets)
        _, losses = self.roi_heads(images, features, proposals, targets)
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            self._put_picture(batched_inputs[0], proposals[0])
        return {**losses, **proposal_losses}

    def inference(
        self,
        batched_inputs: list[dict],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict] | list[Instances]:
        """Detections of each image.

        Args:
            detected_instances: with ``pred_boxes`` and ``pred_classes``: only the rest (masks) is
                predicted then.
            do_postprocess: False gives Instances at the size of the network's input, masks soft.

        Raises:
            AssertionError: in training mode.
        """
        assert not self.training, "inference needs evaluation mode"
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is None:
            proposals, _ = self._propose(images, features, batched_inputs, None)
            results, _ = self.roi_heads(images, features, proposals, None)
        else:
            given = [instances_on(self.device, x) for x in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, given)
        if not do_postprocess:
            return results
        sized = zip(results, batched_inputs, images.image_sizes, strict=True)
        return [
            {"instances": detector_postprocess(r, x.get("height", h), x.get("width", w))}
            for r, x, (h, w) in sized
        ]

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalised images on the model's device, padded with zeros as the backbone needs it.

        Padding comes last: zeros then stand for the mean colour.
        """
        images = (x["image"].to(self.device, non_blocking=True) for x in batched_inputs)
        return ImageList.from_tensors(
            [(x - self.pixel_mean) / self.pixel_std for x in images],
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )

    def _propose(self, images, features, batched_inputs, targets):
        if self.proposal_generator is not None:
            return self.proposal_generator(images, features, targets)
        assert all("proposals" in x for x in batched_inputs), (
            "without a proposal generator every input needs proposals"
        )
        return [instances_on(self.device, x["proposals"]) for x in batched_inputs], {}

    @torch.no_grad()
    def _put_picture(self, batched_input: dict, proposals: Instances) -> None:
        """Put one image into the event storage: ground truth left, best proposals right."""
        from ...data.detection_utils import convert_image_to_rgb
        from ...utils.visualizer import Visualizer

        image = batched_input["image"].permute(1, 2, 0)
        image = convert_image_to_rgb(image.cpu().numpy(), self.input_format)
        shown = proposals.proposal_boxes[:_NUM_SHOWN_PROPOSALS].tensor.cpu().numpy()
        truth = batched_input["instances"].gt_boxes.tensor.cpu().numpy()
        halves = [
            torch.tensor(Visualizer(image).overlay_instances(boxes=boxes).get_image())
            for boxes in (truth, shown)
        ]
        picture = torch.cat(halves, dim=1).permute(2, 0, 1)
        name = f"left: ground truth, right: the {len(shown)} best proposals"
        get_event_storage().put_image(name, picture)
