"""Instance masks as polygons, as bitmaps, and as soft masks inside boxes.

Follows the API of ``detectron2.structures.masks``. Better than there: polygons are cropped all at
once, bitmaps are cropped from the box's window only, NumPy arrays index polygons, and polygons with
negative coordinates have their true bounds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..layers.mask_ops import paste_masks_in_image
from ..layers.roi_align import crop_masks
from .boxes import Boxes
from .polygon_fill import fill_polygon, fill_polygons


def polygons_to_bitmask(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """(height, width) bool: the union of the polygons, filled by COCO's rule.

    Args:
        polygons: parts ``[x0, y0, x1, y1, ...]`` in pixels; none gives an empty mask.
    """
    mask = np.zeros((height, width), bool)
    for part in polygons:
        mask |= fill_polygon(np.asarray(part, np.float64).reshape(-1, 2), height, width)
    return mask


class PolygonMasks:
    """The masks of N objects, each a list of polygons in image pixels; lives on the CPU.

    Args:
        polygons: for each object a list of parts ``[x0, y0, x1, y1, ...]`` of 3 points or more
            (arrays, tensors or lists). Kept as float64 arrays in ``.polygons``.

    Raises:
        ValueError: if it isn't a list of lists, or a part has an odd count of numbers or < 6.
    """

    def __init__(self, polygons: list[list]):
        _want_list(polygons, "polygons")
        self.polygons = [
            [_as_polygon(part) for part in _want_list(parts, f"polygons[{i}]")]
            for i, parts in enumerate(polygons)
        ]

    @classmethod
    def _wrap(cls, polygons: list[list[np.ndarray]]) -> PolygonMasks:
        """Masks from parts that were checked before: indexing is on the training path."""
        masks = cls.__new__(cls)
        masks.polygons = polygons
        return masks

    def to(self, *args, **kwargs) -> PolygonMasks:
        """The masks themselves: polygons stay on the CPU."""
        return self

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    def area(self) -> torch.Tensor:
        """(N,) float64 square pixels: the sum over parts, overlaps and holes not looked at."""
        return torch.tensor(
            [sum(map(_shoelace, parts)) for parts in self.polygons], dtype=torch.float64
        )

    def get_bounding_boxes(self) -> Boxes:
        """N tight boxes around all parts; (0, 0, 0, 0) for an object without any."""
        boxes = np.zeros((len(self), 4), np.float32)
        for box, parts in zip(boxes, self.polygons, strict=True):
            if parts:
                points = np.concatenate(parts).reshape(-1, 2)
                box[:2], box[2:] = points.min(axis=0), points.max(axis=0)
        return Boxes(torch.from_numpy(boxes))

    def nonempty(self) -> torch.Tensor:
        """(N,) bool: the object has a part."""
        return torch.tensor([len(parts) > 0 for parts in self.polygons], dtype=torch.bool)

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Mask n inside box n, filled on a square grid by COCO's rule: what a mask head learns.

        Args:
            boxes: (N, 4) XYXY pixels, on any device. A side shorter than 0.1 counts as 0.1.

        Returns:
            (N, mask_size, mask_size) bool, on the device of the boxes.

        Raises:
            AssertionError: if there aren't as many boxes as masks.
        """
        assert len(boxes) == len(self), f"{len(boxes)} boxes for {len(self)} masks"
        masks = np.zeros((len(self), mask_size, mask_size), bool)
        parts = [part for object_ in self.polygons for part in object_]
        if parts:
            number = np.array([len(object_) for object_ in self.polygons])
            corners = np.array([len(part) // 2 for part in parts])
            origin, ratio = _box_frame(boxes, mask_size)
            owner = np.repeat(np.repeat(np.arange(len(self)), number), corners)
            points = (np.concatenate(parts).reshape(-1, 2) - origin[owner]) * ratio[owner]
            filled = fill_polygons(points, corners, mask_size)
            first = (np.cumsum(number) - number)[number > 0]
            masks[number > 0] = np.logical_or.reduceat(filled, first)
        return torch.from_numpy(masks).to(boxes.device)

    def __getitem__(self, item) -> PolygonMasks:
        """Some of the masks; an int keeps a sequence of one.

        Args:
            item: an int, a slice, a list, or a bool, int32 or int64 tensor or array.

        Raises:
            ValueError: for an index of another dtype.
            IndexError: for a place that isn't there.
        """
        if isinstance(item, slice):
            return PolygonMasks._wrap(self.polygons[item])
        if isinstance(item, torch.Tensor):
            item = item.cpu().numpy()
        places = np.atleast_1d(np.asarray(item, dtype=None if np.size(item) else np.int64))
        if np.size(item) and places.dtype not in (np.bool_, np.int32, np.int64):
            raise ValueError(f"masks can't be indexed by {places.dtype}; want bool or integers")
        return PolygonMasks._wrap([self.polygons[i] for i in np.arange(len(self))[places]])

    def __len__(self) -> int:
        return len(self.polygons)

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        return iter(self.polygons)

    @classmethod
    def cat(cls, polymasks_list: list[PolygonMasks]) -> PolygonMasks:
        """The masks of all, one after another."""
        assert len(polymasks_list) > 0, "want at least one PolygonMasks"
        assert all(isinstance(m, PolygonMasks) for m in polymasks_list), "want PolygonMasks only"
        return cls._wrap([parts for masks in polymasks_list for parts in masks.polygons])

    def __repr__(self) -> str:
        return f"PolygonMasks(num_instances={len(self)})"


class BitMasks:
    """The masks of N objects as bitmaps of the whole image: ``.tensor`` is bool (N, H, W).

    Args:
        tensor: anything that makes such a tensor.

    Raises:
        AssertionError: if it isn't three-dimensional.
    """

    def __init__(self, tensor):
        tensor = torch.as_tensor(tensor).to(torch.bool)
        assert tensor.ndim == 3, f"want (N, H, W), got {tuple(tensor.shape)}"
        self.tensor = tensor
        self.image_size = tuple(tensor.shape[1:])

    @classmethod
    def from_polygon_masks(
        cls, polygon_masks: PolygonMasks | list[list[np.ndarray]], height: int, width: int
    ) -> BitMasks:
        """Bitmaps of polygons, by COCO's rule."""
        objects = getattr(polygon_masks, "polygons", polygon_masks)
        bitmaps = np.zeros((len(objects), height, width), bool)
        for bitmap, parts in zip(bitmaps, objects, strict=True):
            bitmap[:] = polygons_to_bitmask(parts, height, width)
        return cls(torch.from_numpy(bitmaps))

    def to(self, *args, **kwargs) -> BitMasks:
        """The masks on another device."""
        return BitMasks(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> torch.device:
        """Where the bitmaps live."""
        return self.tensor.device

    def nonempty(self) -> torch.Tensor:
        """(N,) bool: the mask has a pixel."""
        return self.tensor.flatten(1).any(dim=1)

    def get_bounding_boxes(self) -> Boxes:
        """N tight boxes: pixel i covers [i, i + 1); (0, 0, 0, 0) for an empty mask."""
        left, right = _first_and_end(self.tensor.any(dim=1))
        top, bottom = _first_and_end(self.tensor.any(dim=2))
        return Boxes(torch.stack([left, top, right, bottom], dim=1))

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """Mask n inside box n by RoIAlign, a pixel is set where at least half of it is covered.

        Args:
            boxes: (N, 4) XYXY pixels, on the device of the masks.

        Returns:
            (N, mask_size, mask_size) bool.

        Raises:
            AssertionError: if there aren't as many boxes as masks.
        """
        assert len(boxes) == len(self), f"{len(boxes)} boxes for {len(self)} masks"
        return crop_masks(self.tensor, boxes, mask_size) >= 0.5

    def __getitem__(self, item) -> BitMasks:
        """Some of the masks; an int keeps three dimensions."""
        return BitMasks(self.tensor[item][None] if isinstance(item, int) else self.tensor[item])

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from self.tensor

    @classmethod
    def cat(cls, bitmasks_list: list[BitMasks]) -> BitMasks:
        """The masks of all (of one image size), one after another."""
        assert len(bitmasks_list) > 0, "want at least one BitMasks"
        assert all(isinstance(m, BitMasks) for m in bitmasks_list), "want BitMasks only"
        return cls(torch.cat([m.tensor for m in bitmasks_list]))

    def __repr__(self) -> str:
        return f"BitMasks(num_instances={len(self)})"


class ROIMasks:
    """N soft masks, each on a square grid inside its object's box: ``.tensor`` is (N, M, M).

    Raises:
        AssertionError: if the tensor isn't three-dimensional.
    """

    def __init__(self, tensor: torch.Tensor):
        assert tensor.ndim == 3, f"want (N, M, M), got {tuple(tensor.shape)}"
        self.tensor = tensor

    def to(self, device: torch.device | str) -> ROIMasks:
        """The masks on another device."""
        return ROIMasks(self.tensor.to(device))

    @property
    def device(self) -> torch.device:
        """Where the masks live."""
        return self.tensor.device

    def to_bitmasks(
        self, boxes: torch.Tensor, height: int, width: int, threshold: float = 0.5
    ) -> BitMasks:
        """The masks pasted into an image of that size; see `layers.paste_masks_in_image`."""
        return BitMasks(paste_masks_in_image(self.tensor, boxes, (height, width), threshold))

    def __getitem__(self, item) -> ROIMasks:
        """Some of the masks; an int keeps three dimensions."""
        return ROIMasks(self.tensor[item][None] if isinstance(item, int) else self.tensor[item])

    def __len__(self) -> int:
        return len(self.tensor)

    def __repr__(self) -> str:
        return f"ROIMasks(num_instances={len(self)})"


def _want_list(value, name: str) -> list:
    if not isinstance(value, list):
        raise ValueError(
            f"{name} is a {type(value).__name__}; want a list (objects) of lists (parts) of numbers"
        )
    return value


def _as_polygon(part) -> np.ndarray:
    if isinstance(part, torch.Tensor):
        part = part.cpu().numpy()
    polygon = np.asarray(part, dtype=np.float64)
    if polygon.ndim != 1 or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError(
            f"a polygon is [x0, y0, x1, y1, ...] of 3 points or more, got shape {polygon.shape}"
        )
    return polygon


def _shoelace(polygon: np.ndarray) -> float:
    """Square pixels inside a polygon: half of |sum of x_i y_(i+1) - x_(i+1) y_i|."""
    # Coordinates from the first point lose no digits far from the origin.
    x, y = (polygon.reshape(-1, 2) - polygon[:2]).T
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def _box_frame(boxes: torch.Tensor, mask_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) origins and (N, 2) grid pixels per image pixel of boxes, both float32 as upstream."""
    corners = boxes.detach().cpu().numpy().astype(np.float32)
    origin = corners[:, :2]
    side = np.maximum(corners[:, 2:] - origin, np.float32(0.1))
    return origin, np.float32(mask_size) / side


def _first_and_end(occupied: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First set place and one past the last one in each row of a bool (N, L); zeros if none."""
    length = occupied.shape[1]
    place = torch.arange(length, device=occupied.device)
    first = torch.where(occupied, place, length).amin(dim=1) if length else occupied.sum(1)
    end = torch.where(occupied, place + 1, 0).amax(dim=1) if length else occupied.sum(1)
    return torch.where(end > 0, first, 0), end
