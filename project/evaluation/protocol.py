"""What a COCO evaluation is asked for: overlaps, thresholds, sizes, numbers of detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from project.errors import UserError, unknown_name

import numpy as np

IOU_TYPES = ("bbox", "segm", "boundary")
BACKENDS = ("hotcoco", "pycocotools")
# Area ranges in square pixels by the letter that metrics end in; both bounds belong to a range.
SIZES = {"s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}


@dataclass(frozen=True)
class Protocol:
    """The rules of one evaluation; the defaults are COCO's.

    Attributes:
        iou_type: "bbox", "segm" or "boundary".
        iou_thresholds: 0-1, ascending.
        sizes: area ranges in square pixels by the ending of their metrics: ``{"s": (0, 1024)}``
            gives APs and ARs.
        max_detections: best-scored detections that count per image and class, ascending: AP is
            taken at the last, AR at each.
    """

    iou_type: str = "segm"
    iou_thresholds: Sequence[float] = field(
        default_factory=lambda: tuple(np.linspace(0.5, 0.95, 10).tolist())
    )
    sizes: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(SIZES))
    max_detections: Sequence[int] = (1, 10, 100)

    def __post_init__(self) -> None:
        if self.iou_type not in IOU_TYPES:
            raise UserError(unknown_name("IoU type", self.iou_type, IOU_TYPES))
        thresholds = list(self.iou_thresholds)
        if not thresholds or thresholds != sorted(set(thresholds)):
            raise UserError(f"IoU thresholds must be different and ascending, got {thresholds}")
        if not 0 < thresholds[0] <= thresholds[-1] <= 1:
            raise UserError(f"IoU thresholds must be above 0 and at most 1, got {thresholds}")
        limits = list(self.max_detections)
        if not limits or limits != sorted(set(limits)) or limits[0] < 1:
            raise UserError(f"numbers of detections must be ascending, from 1 on, got {limits}")
        for name, bounds in self.sizes.items():
            if len(bounds) != 2 or not bounds[0] <= bounds[1]:
                raise UserError(f"area range {name!r} must be (least, most), got {bounds}")

    @property
    def thresholds(self) -> np.ndarray:
        """float64 [T]."""
        return np.array(self.iou_thresholds, dtype=np.float64)

    @property
    def areas(self) -> np.ndarray:
        """float64 [A, 2]: all sizes first, then ``sizes``."""
        return np.array([(0.0, 1e10), *self.sizes.values()], dtype=np.float64)


def check_backend(backend: str) -> None:
    """Raise a `UserError` for an unknown backend."""
    if backend not in BACKENDS:
        raise UserError(unknown_name("backend", backend, BACKENDS))
