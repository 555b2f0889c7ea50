"""Images of several sizes as one padded batch.

Follows the API of ``detectron2.structures.image_list``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch


class ImageList:
    """A batch (N, ..., H, W) of images, each at the top left, and how large each one really is.

    Attributes:
        tensor: the padded batch.
        image_sizes: one (height, width) an image, without the padding.
    """

    def __init__(self, tensor: torch.Tensor, image_sizes: Sequence[tuple[int, int]]):
        self.tensor = tensor
        self.image_sizes = [tuple(size) for size in image_sizes]

    @classmethod
    def from_tensors(
        cls,
        tensors: Sequence[torch.Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: Mapping[str, int] | None = None,
    ) -> ImageList:
        """Images (..., H_i, W_i) of one dtype in one batch, padded on the right and at the bottom.

        Args:
            size_divisibility: both sides of the batch become multiples of it (0 and 1: as is).
            pad_value: what fills the rest.
            padding_constraints: ``square_size`` > 0 sets both sides, before the rounding;
                ``size_divisibility`` replaces the argument of that name.

        Raises:
            AssertionError: for no images, or images whose leading dimensions differ.
        """
        assert isinstance(tensors, (list, tuple)), f"want a list of images, got {type(tensors)}"
        assert len(tensors) > 0, "want at least one image"
        lead = tensors[0].shape[:-2]
        assert all(t.shape[:-2] == lead for t in tensors), (
            f"leading dimensions differ: {[tuple(t.shape) for t in tensors]}"
        )
        sizes = [(int(t.shape[-2]), int(t.shape[-1])) for t in tensors]
        height, width = _batch_size(sizes, size_divisibility, dict(padding_constraints or {}))
        batch = tensors[0].new_full((len(tensors), *lead, height, width), pad_value)
        for i, (tensor, (h, w)) in enumerate(zip(tensors, sizes, strict=True)):
            batch[i, ..., :h, :w] = tensor
        return cls(batch, sizes)

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, index: int) -> torch.Tensor:
        """One image without its padding: a view (..., H, W)."""
        height, width = self.image_sizes[index]
        return self.tensor[index, ..., :height, :width]

    def to(self, *args, **kwargs) -> ImageList:
        """The batch on another device or in another dtype, as `torch.Tensor.to`."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @property
    def device(self) -> torch.device:
        """Where the batch lives."""
        return self.tensor.device


def _batch_size(sizes, divisibility: int, constraints: dict[str, int]) -> tuple[int, int]:
    if square := max(0, constraints.get("square_size", 0)):
        sides = (square, square)
    else:
        sides = tuple(map(max, zip(*sizes, strict=True)))
    step = max(1, constraints.get("size_divisibility", divisibility))
    return tuple(-(-side // step) * step for side in sides)
