"""Semantic segmentation in Detectron2's way: dicts of images in, losses or label maps out.

`SemanticSegmenter` goes around any network from images to logits: `build_smp`'s, or
`project.modeling.u2net.U2Net`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import project  # noqa: F401 - makes `detectron2` importable
from project.errors import UserError
from project.modeling.postprocess.morphology import remove_small_parts
from project.modeling.semantic_losses import IGNORE, check_outputs, with_background
from project.modeling.semantic_networks import build_smp

import numpy as np
import torch
from detectron2.structures import ImageList
from torch import nn
from torch.nn import functional as F

__all__ = ["SemanticSegmenter", "build_smp", "num_outputs"]


class SemanticSegmenter(nn.Module):
    """A network from images to logits as a model of Detectron2's kind.

    Attributes:
        num_classes: K, without the background.
        input_format: order of the image's channels, "RGB" or "BGR".
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        loss: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str = "BGR",
        size_divisibility: int = 32,
        smallest_part: float = 0.0,
    ):
        """
        Args:
            network: images ``[N, 3, H, W]`` to logits ``[N, C, H', W']``, resized where they are
                smaller than the images; in training it may give a list of them, the main ones
                first. C is K + 1 with the background last, or 1 for K = 1. Its batch norms become
                `OneValueBatchNorm`.
            loss: a list of logits ``[N, C, H, W]`` and the labels ``[N, H, W]`` to a dict of
                losses: `project.modeling.semantic_losses.SemanticLoss`.
            pixel_mean, pixel_std: 3 numbers each, in the range of the images and the order of
                ``input_format``.
            size_divisibility: what the network needs the sides of a batch to be multiples of.
            smallest_part: share of the image, 0-1; connected parts of a class below it are told to
                be something else. A pixel by mistake is a whole object to an image without any.

        Raises:
            UserError: if a size or number of classes is out of its range.
        """
        super().__init__()
        if not 1 <= num_classes < IGNORE:
            raise UserError(f"num_classes={num_classes} must be at least 1 and below {IGNORE}")
        if not 0 <= smallest_part < 1:
            raise UserError(f"smallest_part={smallest_part} must be a share of the image, 0 to 1")
        _check_divisibility(network, size_divisibility)
        self.network = network
        self.num_classes = num_classes
        self.loss = loss
        self.input_format = input_format
        self.size_divisibility = size_divisibility
        self.smallest_part = smallest_part
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            values = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        forgive_single_values(network)

    @property
    def device(self) -> torch.device:
        """Where the model is; inputs go there."""
        return self.pixel_mean.device

    @property
    def backbone(self) -> nn.Module:
        """The whole network: what ``train.compile`` and ``train.checkpoint_activations`` mean."""
        return self.network

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Losses in training, else label probabilities.

        Args:
            batched_inputs: for each image ``image``, ``[3, H, W]``, uint8 or float; in training
                ``sem_seg``, int64 ``[H, W]``: 0..K-1 the classes, K the background, 255 ignored;
                else ``height`` and ``width`` of the result, by default the image's.

        Returns:
            In training the loss's dict. Else for each image ``{"sem_seg": float32 [K + 1, height,
            width]}``: probabilities that sum to 1 over dim 0, background last. They don't depend on
            the other images of the batch.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self._pad([self._normalise(x["image"]) for x in batched_inputs])
        labels = self._labels(batched_inputs)
        outputs = self.network(images)
        outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        return self.loss([_resized(x, images.shape[-2:]) for x in outputs], labels)

    def inference(self, batched_inputs: list[dict]) -> list[dict]:
        """As `forward` in evaluation mode."""
        images = [self._normalise(x["image"]) for x in batched_inputs]
        results: list[dict] = [{} for _ in images]
        # Padding to a neighbour's size would reach the result through large kernels and pooling.
        places = sorted(range(len(images)), key=lambda k: self._padded_size(images[k]))
        for _, group in itertools.groupby(places, lambda k: self._padded_size(images[k])):
            group = list(group)
            for k, scores in zip(group, self._scores([images[k] for k in group]), strict=True):
                given, (h, w) = batched_inputs[k], images[k].shape[-2:]
                size = (int(given.get("height", h)), int(given.get("width", w)))
                scores = _resized(scores[None, :, :h, :w], size)[0]
                results[k] = {"sem_seg": without_small_parts(scores, self.smallest_part)}
        return results

    def _scores(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Probabilities ``[N, K + 1, H, W]``, float32, of images of one padded size."""
        batch = self._pad(images)
        outputs = self.network(batch)
        logits = outputs[0] if isinstance(outputs, list | tuple) else outputs
        check_outputs(logits.shape[1], self.num_classes)
        return with_background(_resized(logits.float(), batch.shape[-2:])).softmax(1)

    def _normalise(self, image: torch.Tensor) -> torch.Tensor:
        return (image.to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std

    def _pad(self, images: list[torch.Tensor]) -> torch.Tensor:
        """One batch, padded with zeros, the mean colour, on the right and at the bottom."""
        return ImageList.from_tensors(images, self.size_divisibility).tensor

    def _padded_size(self, image: torch.Tensor) -> tuple[int, ...]:
        return tuple(-(-side // self.size_divisibility) for side in image.shape[-2:])

    def _labels(self, batched_inputs: list[dict]) -> torch.Tensor:
        """Labels of the padded batch; what is padding is ignored."""
        if any("sem_seg" not in x for x in batched_inputs):
            raise UserError(
                "a semantic model trains on label maps, and the images come without sem_seg; take "
                "project.data.semantic_mapper.SemanticMapper as dataloader.train.mapper"
            )
        labels = [x["sem_seg"].to(self.device, non_blocking=True) for x in batched_inputs]
        return ImageList.from_tensors(labels, self.size_divisibility, pad_value=IGNORE).tensor


def without_small_parts(scores: torch.Tensor, share: float) -> torch.Tensor:
    """Probabilities ``[K + 1, H, W]`` in which a class keeps only parts of a share of the image.

    In smaller connected parts of the label map its probability goes to the others, in proportion.
    """
    if not share:
        return scores
    scores = scores.clone()
    labels = scores.argmax(0).cpu().numpy()
    for k in set(np.unique(labels).tolist()) - {len(scores) - 1}:
        mask = labels == k
        small = torch.from_numpy(mask & ~remove_small_parts(mask, share * mask.size))
        scores[k][small.to(scores.device)] = 0
    total = scores.sum(0)
    scores[-1][total == 0] = 1
    return scores / scores.sum(0)


def _resized(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """``x`` ``[N, C, H, W]`` at another size, bilinear; each value a mean of neighbours."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def num_outputs(num_classes: int, sigmoid: bool = True) -> int:
    """How many channels of logits a network needs: K + 1, or 1 for the sigmoid of a single class.

    Args:
        sigmoid: whether one class against the background has one channel; else it has two.
    """
    return 1 if sigmoid and num_classes == 1 else num_classes + 1


class OneValueBatchNorm(nn.BatchNorm2d):
    """Batch norm that normalises by the running statistics where a channel has one value only.

    That is a batch of one image at 1x1, as in DeepLab's image pooling: there is no variance, and
    PyTorch's refuses. Evaluation does the same, so a model trained on such batches alone agrees
    with itself.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.track_running_stats and x.numel() == x.shape[1]:
            mean, var = self.running_mean, self.running_var
            return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


def forgive_single_values(network: nn.Module) -> None:
    """Make every plain batch norm in ``network`` a `OneValueBatchNorm`, in place."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = OneValueBatchNorm


def _check_divisibility(network: nn.Module, size_divisibility: int) -> None:
    """Raise a `UserError` if the sides of padded batches don't suit a network of the package."""
    stride = 1
    if getattr(network, "requires_divisible_input_shape", False):
        stride = network.encoder.output_stride
    if size_divisibility < 1 or size_divisibility % stride:
        raise UserError(
            f"size_divisibility={size_divisibility}: {type(network).__name__} needs a multiple of "
            f"{stride}"
        )
