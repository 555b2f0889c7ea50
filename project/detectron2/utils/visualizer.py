"""Pictures of instances and label maps; follows the API of ``detectron2.utils.visualizer``.

Better than upstream: every shape becomes a small coverage map that is blended inside its own window
with NumPy and OpenCV (no figure, no global matplotlib state, several times faster); drawing never
touches the global random state and repeats exactly; masks and RLEs are drawn with their holes.
Matplotlib only supplies colour names and its bundled font.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, unique

import numpy as np

from ..structures import BoxMode
from .vis_image import VisImage
from .vis_masks import bitmap_of, mask_box, mask_list, to_numpy
from .vis_pen import Pen

__all__ = ["ColorMode", "VisImage", "Visualizer"]

_KEYPOINT_THRESHOLD = 0.05


@unique
class ColorMode(Enum):
    """How `Visualizer.draw_instance_predictions` chooses colours."""

    IMAGE = 0  # another colour for each instance
    SEGMENTATION = 1  # colours of `metadata.thing_colors`, slightly varied
    IMAGE_BW = 2  # as IMAGE, with everything outside the masks in grey


class Visualizer(Pen):
    """Draws boxes, masks, labels, keypoints and label maps on one RGB image.

    Args:
        img_rgb: ``[H, W, 3]`` uint8, RGB.
        metadata: names and colours (``thing_classes``, ``thing_colors``, ``stuff_classes``, ...).
        scale: the drawn picture is this many times larger.
        instance_mode: colours of `draw_instance_predictions`.
        font_size_scale: times the default font size.
    """

    def __init__(
        self,
        img_rgb: np.ndarray,
        metadata=None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
    ) -> None:
        super().__init__(img_rgb, scale, font_size_scale)
        self.metadata = metadata
        self._instance_mode = instance_mode

    def draw_instance_predictions(self, predictions, jittering: bool = True) -> VisImage:
        """Draw `Instances` on the CPU: any of ``pred_boxes, scores, pred_classes, pred_masks,
        pred_keypoints``; labels read "name 97%".

        ``jittering`` varies the class colours a little in mode SEGMENTATION.
        """
        fields = predictions.get_fields()
        classes = fields.get("pred_classes")
        classes = None if classes is None else classes.tolist()
        masks = mask_list(fields.get("pred_masks"))
        if self._instance_mode is ColorMode.IMAGE_BW:
            self._grey_outside(masks)
        self.overlay_instances(
            boxes=fields.get("pred_boxes"),
            labels=self._labels(classes, fields.get("scores"), None),
            masks=masks,
            keypoints=fields.get("pred_keypoints"),
            assigned_colors=self._class_colors(classes, jittering),
            alpha={ColorMode.IMAGE: 0.5, ColorMode.SEGMENTATION: 0.8, ColorMode.IMAGE_BW: 0.3}[
                self._instance_mode
            ],
        )
        return self.output

    def draw_dataset_dict(self, dic: dict) -> VisImage:
        """Draw the annotations of a dataset dict; crowds are labelled "name|crowd"."""
        annotations = dic.get("annotations") or []
        if annotations:
            boxes = [
                BoxMode.convert(list(a["bbox"]), a["bbox_mode"], BoxMode.XYXY_ABS)
                if len(a["bbox"]) == 4
                else a["bbox"]
                for a in annotations
            ]
            # An annotation may have a box only: then its mask is empty.
            masks = [a.get("segmentation") or [] for a in annotations]
            points = [a.get("keypoints") for a in annotations]
            classes = [a["category_id"] for a in annotations]
            self.overlay_instances(
                boxes=boxes,
                labels=self._labels(classes, None, [a.get("iscrowd", 0) for a in annotations]),
                masks=masks if any(m is not None and len(m) for m in masks) else None,
                keypoints=None
                if any(p is None for p in points)
                else np.array(points, dtype=np.float64).reshape(len(points), -1, 3),
                assigned_colors=self._class_colors(classes, jittering=True),
            )
        sem_seg = dic.get("sem_seg")
        if sem_seg is None and "sem_seg_file_name" in dic:
            from ..data.detection_utils import read_image

            sem_seg = read_image(dic["sem_seg_file_name"])
        if sem_seg is not None:
            self.draw_sem_seg(sem_seg, area_threshold=0, alpha=0.5)
        return self.output

    def draw_sem_seg(self, sem_seg, area_threshold: int | None = None, alpha: float = 0.8):
        """Draw a label map ``[H, W]``; labels without a name in ``stuff_classes`` are left out.

        Connected regions of fewer than ``area_threshold`` pixels stay undrawn.
        """
        label_map = to_numpy(sem_seg)
        labels, areas = np.unique(label_map, return_counts=True)
        names, colors = self._meta("stuff_classes"), self._meta("stuff_colors")
        for label in labels[np.argsort(-areas, kind="stable")].tolist():
            if names is not None and not 0 <= label < len(names):
                continue
            color = self._random_color() if colors is None else np.array(colors[label]) / 255
            self.draw_binary_mask(
                label_map == label,
                color=color,
                text=str(label) if names is None else names[label],
                alpha=alpha,
                area_threshold=area_threshold or 0,
            )
        return self.output

    def overlay_instances(
        self,
        *,
        boxes=None,
        labels: Sequence[str] | None = None,
        masks=None,
        keypoints=None,
        assigned_colors: Sequence | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw instances, the largest first so that small ones stay visible.

        Args:
            boxes: `Boxes` or anything like an ``[N, 4]`` array, XYXY.
            labels: N texts.
            masks: `PolygonMasks`, `BitMasks`, ``[N, H, W]``, or a list of polygon lists, RLE dicts
                and ``[H, W]`` arrays.
            keypoints: ``[N, K, 3]``: x, y, and a visibility or score.
            assigned_colors: N matplotlib colours; none: another colour for each instance.
            alpha: opacity of the masks.

        Raises:
            AssertionError: if the counts differ.
        """
        boxes = None if boxes is None else to_numpy(boxes).reshape(-1, 4)
        masks = mask_list(masks)
        keypoints = None if keypoints is None else to_numpy(keypoints)
        given = {"boxes": boxes, "labels": labels, "masks": masks, "keypoints": keypoints}
        given["assigned_colors"] = assigned_colors
        counts = {name: len(value) for name, value in given.items() if value is not None}
        assert len(set(counts.values())) <= 1, f"counts of instances differ: {counts}"
        count = max(counts.values(), default=0)
        if not count:
            return self.output
        if assigned_colors is None:
            assigned_colors = [self._random_color() for _ in range(count)]
        if boxes is None and masks is not None:
            extents = np.array([mask_box(m) for m in masks])
        else:
            extents = boxes
        order = range(count)
        if extents is not None:
            areas = np.prod(extents[:, 2:] - extents[:, :2], axis=1)
            order = np.argsort(-areas, kind="stable").tolist()
        for i in order:
            if masks is not None:
                self._draw_mask(masks[i], assigned_colors[i], alpha)
            if boxes is not None:
                self.draw_box(boxes[i], edge_color=assigned_colors[i])
        for i in order:  # labels last: no mask may cover one
            if labels is not None and extents is not None:
                self._draw_label(labels[i], extents[i], assigned_colors[i])
            if keypoints is not None:
                self._draw_keypoints(keypoints[i], assigned_colors[i])
        return self.output

    def _meta(self, key: str):
        return None if self.metadata is None else self.metadata.get(key)

    def _class_colors(self, classes: list[int] | None, jittering: bool) -> list | None:
        colors = self._meta("thing_colors")
        if self._instance_mode is not ColorMode.SEGMENTATION or None in (colors, classes):
            return None
        spread = 0.08 if jittering else 0.0
        return [
            np.clip(np.array(colors[c]) / 255 + self._random.uniform(-spread, spread, 3), 0, 1)
            for c in classes
        ]

    def _labels(self, classes: list[int] | None, scores, crowds) -> list[str] | None:
        names = self._meta("thing_classes")
        parts: list[list[str]] = []
        if classes is not None:
            parts.append([names[c] if names else str(c) for c in classes])
        if scores is not None:
            parts.append([f"{100 * s:.0f}%" for s in scores.tolist()])
        if not parts:
            return None
        labels = [" ".join(words) for words in zip(*parts, strict=True)]
        if crowds is not None:
            labels = [
                text + "|crowd" if crowd else text
                for text, crowd in zip(labels, crowds, strict=True)
            ]
        return labels

    def _grey_outside(self, masks: list | None) -> None:
        weights = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma
        picture = np.repeat((self.img @ weights)[..., None], 3, axis=2)
        if masks:
            size = self.img.shape[:2]
            inside = np.any([bitmap_of(mask, *size) for mask in masks], axis=0)
            picture[inside] = self.img[inside]
        self.output = VisImage(np.rint(picture), self.output.scale)

    def _draw_mask(self, mask, color, alpha: float) -> None:
        if isinstance(mask, list):
            for part in mask:
                self.draw_polygon(part, color, alpha=alpha)
        else:
            bitmap = bitmap_of(mask, *self.img.shape[:2])
            self.draw_binary_mask(bitmap, color, alpha=alpha, area_threshold=0)

    def _draw_label(self, text: str, box: np.ndarray, color) -> None:
        x0, y0, x1, y1 = np.clip(box, 0, [self.output.width, self.output.height] * 2)
        height = 1.3 * self._font_size
        # A label inside a flat box would hide what the box shows: then it goes beside it.
        y = y0 if y1 - y0 > 2.5 * height else (y1 if y1 + height < self.output.height else y0)
        self.draw_text(text, (x0, y), color=color, horizontal_alignment="left")

    def _draw_keypoints(self, points: np.ndarray, color) -> None:
        names, rules = self._meta("keypoint_names"), self._meta("keypoint_connection_rules")
        seen = points[:, 2] > _KEYPOINT_THRESHOLD
        if names and rules:
            index = {name: i for i, name in enumerate(names)}
            for start, end, line_color in rules:
                a, b = index[start], index[end]
                if seen[a] and seen[b]:
                    self.draw_line(points[[a, b], 0], points[[a, b], 1], np.array(line_color) / 255)
        for x, y, _ in points[seen]:
            self.draw_circle((x, y), color, radius=1.5 * self._line_width)
