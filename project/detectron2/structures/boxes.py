"""Axis-aligned boxes, their formats, and how they overlap.

Follows the API of ``detectron2.structures.boxes``. Better than there: lists keep float64 through
`BoxMode.convert`, no method writes into a tensor that the caller still holds, and overlaps take two
(N, M) temporaries instead of (N, M, 2) ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import IntEnum

import numpy as np
import torch


class BoxMode(IntEnum):
    """How the numbers of a box are meant; ABS is pixels, REL is a fraction of the image's side.

    XYWHA is (centre x, centre y, width, height, counter-clockwise degrees).
    """

    XYXY_ABS = 0
    XYWH_ABS = 1
    XYXY_REL = 2
    XYWH_REL = 3
    XYWHA_ABS = 4

    @staticmethod
    def convert(box, from_mode: BoxMode, to_mode: BoxMode):
        """The same box or boxes in another format, in the container and dtype they came in.

        Args:
            box: one box as a list or tuple of 4 (XYWHA: 5) numbers, or an (N, k) array or tensor;
                copied, unless the modes are equal: then the very object comes back.

        Raises:
            AssertionError: for a relative mode, or a box of another length than its mode has.
            NotImplementedError: for any pair but XYXY <-> XYWH, XYWH -> XYWHA, XYWHA -> XYXY
                (the tightest upright box around the rotated one).
        """
        if from_mode == to_mode:
            return box
        relative = {BoxMode.XYXY_REL, BoxMode.XYWH_REL}
        assert not relative & {from_mode, to_mode}, "relative boxes can't be converted"
        converter = _CONVERTERS.get((from_mode, to_mode))
        if converter is None:
            raise NotImplementedError(f"no conversion from {from_mode!r} to {to_mode!r}")
        numbers = box if isinstance(box, (np.ndarray, torch.Tensor)) else np.asarray(box, float)
        length = 5 if from_mode == BoxMode.XYWHA_ABS else 4
        assert numbers.shape[-1:] == (length,), (
            f"{BoxMode(from_mode).name} boxes have {length} numbers, got shape {numbers.shape}"
        )
        out = _stack_like(numbers, converter(*_columns(numbers)))
        return type(box)(out.tolist()) if isinstance(box, (list, tuple)) else out


def _columns(numbers):
    return [numbers[..., k] for k in range(numbers.shape[-1])]


def _stack_like(like, columns):
    if isinstance(like, torch.Tensor):
        return torch.stack(columns, dim=-1).to(like.dtype)
    return np.stack(columns, axis=-1).astype(like.dtype)


def _xyxy_from_xywh(x, y, w, h):
    return x, y, x + w, y + h


def _xywh_from_xyxy(x0, y0, x1, y1):
    return x0, y0, x1 - x0, y1 - y0


def _rotated_from_xywh(x, y, w, h):
    return x + w / 2, y + h / 2, w / 1, h / 1, w * 0.0


def _xyxy_from_rotated(cx, cy, w, h, degrees):
    # float64, because cos(90 degrees) in float32 would widen the box by 1e-8 of its length
    double = torch.Tensor.double if isinstance(cx, torch.Tensor) else np.float64
    cx, cy, w, h, angle = (double(v) for v in (cx, cy, w, h, degrees))
    lib = torch if isinstance(cx, torch.Tensor) else np
    cos, sin = abs(lib.cos(angle * (math.pi / 180))), abs(lib.sin(angle * (math.pi / 180)))
    half_w, half_h = (cos * w + sin * h) / 2, (cos * h + sin * w) / 2
    return cx - half_w, cy - half_h, cx + half_w, cy + half_h


_CONVERTERS = {
    (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS): _xyxy_from_xywh,
    (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS): _xywh_from_xyxy,
    (BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS): _rotated_from_xywh,
    (BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS): _xyxy_from_rotated,
}


class Boxes:
    """N boxes (x0, y0, x1, y1) in absolute, continuous pixels: ``.tensor`` is float32 (N, 4).

    Args:
        tensor: anything that makes a float32 (N, 4) tensor; a tensor stays on its device. Whatever
            is empty, of any shape, makes (0, 4).

    Raises:
        AssertionError: for any other shape.
    """

    def __init__(self, tensor):
        tensor = torch.as_tensor(tensor, dtype=torch.float32)
        if tensor.numel() == 0:
            tensor = tensor.reshape(0, 4)
        assert tensor.shape == (len(tensor), 4), f"want (N, 4), got {tuple(tensor.shape)}"
        self.tensor = tensor

    def clone(self) -> Boxes:
        """Boxes with a tensor of their own."""
        return Boxes(self.tensor.clone())

    def to(self, device: torch.device | str) -> Boxes:
        """The boxes on another device."""
        return Boxes(self.tensor.to(device=device))

    @property
    def device(self) -> torch.device:
        """Where the coordinates live."""
        return self.tensor.device

    def area(self) -> torch.Tensor:
        """(N,) signed products of width and height, in square pixels."""
        width, height = (self.tensor[:, 2:] - self.tensor[:, :2]).unbind(1)
        return width * height

    def clip(self, box_size: tuple[int, int]) -> None:
        """Move coordinates outside an image of ``(height, width)`` onto its border, in place.

        Raises:
            AssertionError: if a coordinate is infinite or NaN (on a GPU the look waits for it).
        """
        assert torch.isfinite(self.tensor).all(), "boxes hold infinite or NaN coordinates"
        height, width = box_size
        xs = self.tensor[:, 0::2].clamp(0, width)
        ys = self.tensor[:, 1::2].clamp(0, height)
        self.tensor = torch.stack((xs, ys), dim=2).flatten(1)

    def nonempty(self, threshold: float = 0.0) -> torch.Tensor:
        """(N,) bool: both sides are longer than ``threshold`` pixels."""
        return (self.tensor[:, 2:] - self.tensor[:, :2] > threshold).all(dim=1)

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> torch.Tensor:
        """(N,) bool: within an image of ``(height, width)`` grown by the threshold on each side."""
        height, width = box_size
        x0, y0, x1, y1 = self.tensor.unbind(1)
        t = boundary_threshold
        return (x0 >= -t) & (y0 >= -t) & (x1 < width + t) & (y1 < height + t)

    def get_centers(self) -> torch.Tensor:
        """(N, 2) centres (x, y)."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply x and y coordinates by a factor each, in place."""
        self.tensor = self.tensor * self.tensor.new_tensor([scale_x, scale_y, scale_x, scale_y])

    @classmethod
    def cat(cls, boxes_list: list[Boxes]) -> Boxes:
        """All boxes in one; no boxes from an empty list."""
        assert isinstance(boxes_list, (list, tuple)), f"want a list, got {type(boxes_list)}"
        assert all(isinstance(b, Boxes) for b in boxes_list), "want a list of Boxes"
        if not boxes_list:
            return cls(torch.empty(0))
        return cls(torch.cat([b.tensor for b in boxes_list]))

    def __getitem__(self, item) -> Boxes:
        """One box for an int (still one row), else what the index takes from the rows."""
        if isinstance(item, int):
            return Boxes(self.tensor[item][None])
        picked = self.tensor[item]
        assert picked.ndim == 2, f"index {item} on Boxes doesn't leave rows of 4 numbers"
        return Boxes(picked)

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from self.tensor

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N, M) areas in which box n of the first and box m of the second overlap, square pixels."""
    return _overlap(boxes1.tensor[:, None], boxes2.tensor[None])


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N, M) intersection over union, 0 where two boxes don't overlap (empty ones included)."""
    inter = pairwise_intersection(boxes1, boxes2)
    union = boxes1.area()[:, None] + boxes2.area() - inter
    return torch.where(inter > 0, inter / union, 0.0)


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N, M) part of each second box that a first box covers, 0..1; 0 for an empty second box."""
    inter = pairwise_intersection(boxes1, boxes2)
    return torch.where(inter > 0, inter / boxes2.area(), 0.0)


def matched_pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> torch.Tensor:
    """(N,) intersection over union of box n of the first with box n of the second.

    NaN for two empty boxes, as upstream.

    Raises:
        AssertionError: if there aren't equally many.
    """
    assert len(boxes1) == len(boxes2), f"{len(boxes1)} boxes can't match {len(boxes2)} one by one"
    inter = _overlap(boxes1.tensor, boxes2.tensor)
    return inter / (boxes1.area() + boxes2.area() - inter)


def pairwise_point_box_distance(points: torch.Tensor, boxes: Boxes) -> torch.Tensor:
    """(N, M, 4) distances of points (N, 2) to the left, top, right and bottom side, > 0 inside."""
    corners = boxes.tensor[None]
    points = points[:, None]
    return torch.cat([points - corners[..., :2], corners[..., 2:] - points], dim=2)


def _overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    width = torch.minimum(a[..., 2], b[..., 2]) - torch.maximum(a[..., 0], b[..., 0])
    height = torch.minimum(a[..., 3], b[..., 3]) - torch.maximum(a[..., 1], b[..., 1])
    return width.clamp(min=0) * height.clamp(min=0)
