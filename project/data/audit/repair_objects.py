"""One annotation made proper: its mask first, then what follows from the mask."""

from __future__ import annotations

from collections.abc import Callable

from project.data.audit.objects import FRAME, Objects, area_faults, box_faults
from project.data.audit.repair_masks import crowd_rle, mended_polygons
from project.data.coco_masks import Mask, Rle, mask_area, mask_box

import msgspec
import numpy as np

_DECODER = msgspec.json.Decoder(list[list[float]] | Rle)


class Mender:
    """Repairs plain annotation ``records``, those of ``objects``, in place.

    Args:
        note: called with kind, sentence, image id and annotation id for each change.
    """

    def __init__(self, objects: Objects, records: list[dict], note: Callable) -> None:
        self._objects, self._records, self._note = objects, records, note
        masks = objects.masks
        self._box_faults, self._area_faults = box_faults(objects), area_faults(objects)
        self._odd_crowd = (objects.crowds != 0) & (objects.crowds != 1)
        self._crowd_polygons = (objects.crowds == 1) & (masks.num_parts > 0)
        crossing = np.isin(np.arange(len(records)), list(masks.crossing))
        self._polygons = (masks.bad_parts > 0) | (objects.mask_over > FRAME) | crossing
        self._polygons &= masks.num_parts > 0
        every = [self._polygons, self._crowd_polygons, self._odd_crowd]
        every += [*self._box_faults.values(), *self._area_faults.values()]
        self._any = np.any(every, axis=0)

    def mend(self, i: int) -> bool:
        """Repair annotation number ``i``, whose mask is usable; False if nothing of it is left."""
        if not self._any[i]:
            return True
        if self._odd_crowd[i]:
            # Nobody outlines a crowd by polygons, and nobody stores one object as RLE by mistake.
            self._records[i]["iscrowd"] = int(self._objects.masks.is_rle[i])
            self._say(i, "odd-iscrowd", f"iscrowd is now {self._records[i]['iscrowd']}")
        mask, changed = self._mend_mask(i)
        if not mask:
            self._say(i, "mask-out-of-frame", "left out: nothing of its mask is in the image")
            return False
        self._mend_box(i, mask, changed)
        self._mend_area(i, mask, changed)
        return True

    def _mend_mask(self, i: int) -> tuple[Mask, bool]:
        """The mask, empty if none is left, and whether it differs from the source's."""
        mask = _DECODER.decode(self._objects.split.annotations[i].segmentation)
        size = self._size(i)
        changed = False
        if self._polygons[i]:
            mask, done = mended_polygons(mask, size)
            changed = bool(done)
            for kind, what in done:
                self._say(i, kind, what)
        if self._crowd_polygons[i] and mask:
            mask, changed = crowd_rle(mask, size), True
            self._say(i, "crowd-polygons", "stored as RLE")
        if changed:
            self._records[i]["segmentation"] = msgspec.to_builtins(mask)
        return mask, changed

    def _mend_box(self, i: int, mask: Mask, changed: bool) -> None:
        kinds = [kind for kind, wrong in self._box_faults.items() if wrong[i]]
        if not kinds and not changed:
            return
        record = self._records[i]
        if kinds == ["box-out-of-frame"] and not changed:
            record["bbox"] = _clipped(record["bbox"], self._size(i))
        else:
            record["bbox"] = list(mask_box(mask))
        for kind in kinds:
            self._say(i, kind, f"bbox is now {record['bbox']}")

    def _mend_area(self, i: int, mask: Mask, changed: bool) -> None:
        kinds = [kind for kind, wrong in self._area_faults.items() if wrong[i]]
        if kinds or changed:
            area = self._records[i]["area"] = mask_area(mask)
            for kind in kinds:
                self._say(i, kind, f"area is now {area:.1f}")

    def _size(self, i: int) -> tuple[int, int]:
        return int(self._objects.heights[i]), int(self._objects.widths[i])

    def _say(self, i: int, kind: str, what: str) -> None:
        self._note(kind, what, int(self._objects.image_ids[i]), int(self._objects.ids[i]))


def _clipped(box: list[float], size: tuple[int, int]) -> list[float]:
    """``box`` (x, y, width, height) cut at the frame of an image of ``size`` (height, width)."""
    x0, y0 = max(box[0], 0.0), max(box[1], 0.0)
    x1, y1 = min(box[0] + box[2], size[1]), min(box[1] + box[3], size[0])
    return [x0, y0, x1 - x0, y1 - y0]
