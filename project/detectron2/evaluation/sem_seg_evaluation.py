"""IoU, accuracy and boundary IoU of label maps; follows
``detectron2.evaluation.sem_seg_evaluation``.

Better: the metrics are one pure function of two confusion matrices (`semantic_metrics`), and an
erosion of n steps is a single one with a larger window.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..structures.rle import encode_masks
from ..utils import comm
from ..utils.file_io import PathManager
from .evaluator import DatasetEvaluator

__all__ = ["SemSegEvaluator"]

logger = logging.getLogger(__name__)

_BOUNDARY_SHARE = 0.02  # width of the boundary as a share of the image's diagonal


def load_label_map(path: str, dtype: type = int) -> np.ndarray:
    """A label image [H, W] as an array."""
    from PIL import Image

    with PathManager.open(path, "rb") as file:
        return np.array(Image.open(file), dtype=dtype)


class SemSegEvaluator(DatasetEvaluator):
    """Semantic segmentation against label images, in percent.

    Args:
        dataset_name: a registered dataset whose records have ``file_name`` and
            ``sem_seg_file_name``, and whose metadata has ``stuff_classes`` and ``ignore_label``
            (and ``stuff_dataset_id_to_contiguous_id`` if the ids in result files differ).
        distributed: gather what all processes counted.
        output_dir: gets ``sem_seg_predictions.json`` and ``sem_seg_evaluation.pth``.
        sem_seg_loading_fn: called as ``(path, dtype=int)``, gives a label map [H, W].
        num_classes: must agree with the metadata if given.
        ignore_label: default the metadata's.

    Raises:
        AssertionError: if ``num_classes`` differs from the number of ``stuff_classes``.
    """

    def __init__(
        self,
        dataset_name: str,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        sem_seg_loading_fn: Callable[..., np.ndarray] = load_label_map,
        num_classes: int | None = None,
        ignore_label: int | None = None,
    ) -> None:
        from ..data.catalog import DatasetCatalog, MetadataCatalog

        metadata = MetadataCatalog.get(dataset_name)
        self._class_names = list(metadata.stuff_classes)
        self._num_classes = len(self._class_names)
        agree = num_classes in (None, self._num_classes)
        assert agree, f"num_classes={num_classes}, but {self._num_classes} stuff_classes"
        self._ignore_label = metadata.ignore_label if ignore_label is None else ignore_label
        to_contiguous = metadata.get("stuff_dataset_id_to_contiguous_id") or {}
        self._to_dataset_id = {contiguous: i for i, contiguous in to_contiguous.items()}
        self._label_files = {
            record["file_name"]: record["sem_seg_file_name"]
            for record in DatasetCatalog.get(dataset_name)
        }
        self._distributed = distributed
        self._output_dir = output_dir
        self._load = sem_seg_loading_fn
        self._with_boundaries = _has_opencv() and self._num_classes < np.iinfo(np.uint8).max
        self.reset()

    def reset(self) -> None:
        # The last row and column are for what isn't labelled.
        shape = (self._num_classes + 1, self._num_classes + 1)
        self._confusion = np.zeros(shape, dtype=np.int64)  # [prediction, ground truth]
        self._boundary_confusion = np.zeros(shape, dtype=np.int64)
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Count a batch.

        Args:
            inputs: dicts with ``file_name``.
            outputs: dicts with ``sem_seg``, scores [K, H, W].
        """
        for image, output in zip(inputs, outputs, strict=True):
            predicted = output["sem_seg"].argmax(dim=0).cpu().numpy().astype(int)
            truth = self._load(self._label_files[image["file_name"]], dtype=int)
            truth = np.where(truth == self._ignore_label, self._num_classes, truth)
            self._confusion += self._count(predicted, truth)
            if self._with_boundaries:
                edges = [label_boundary(labels.astype(np.uint8)) for labels in (predicted, truth)]
                self._boundary_confusion += self._count(*(edge.astype(int) for edge in edges))
            self._predictions += self._to_json(predicted, image["file_name"])

    def _count(self, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Pixels per pair (prediction, ground truth): int64 [K + 1, K + 1]."""
        k = self._num_classes + 1
        counts = np.bincount((k * predicted + truth).reshape(-1), minlength=k * k)
        assert counts.size == k * k, f"a label map holds labels outside 0..{k - 2}"
        return counts.reshape(k, k)

    def _to_json(self, labels: np.ndarray, file_name: str) -> list[dict[str, Any]]:
        """One record with an RLE for each label of a map."""
        present = np.unique(labels)
        rles = encode_masks(torch.from_numpy(labels == present[:, None, None]))
        records = []
        for label, rle in zip(present.tolist(), rles, strict=True):
            if self._to_dataset_id:
                assert label in self._to_dataset_id, f"label {label} has no dataset id"
                label = self._to_dataset_id[label]
            records.append({"file_name": file_name, "category_id": label, "segmentation": rle})
        return records

    def evaluate(self) -> dict[str, dict[str, float]]:
        """``{"sem_seg": metrics}`` of `semantic_metrics`; ``{}`` on other ranks."""
        if self._distributed:
            comm.synchronize()
            parts = comm.gather((self._confusion, self._boundary_confusion, self._predictions))
            if not comm.is_main_process():
                return {}
            confusions, boundaries, predictions = zip(*parts, strict=True)
            self._confusion = np.sum(confusions, axis=0)
            self._boundary_confusion = np.sum(boundaries, axis=0)
            self._predictions = list(itertools.chain(*predictions))
        boundary = self._boundary_confusion if self._with_boundaries else None
        metrics = semantic_metrics(self._confusion, boundary, self._class_names)
        if self._output_dir:
            self._save(metrics)
        logger.info("Semantic segmentation: %s", metrics)
        return {"sem_seg": metrics}

    def _save(self, metrics: dict[str, float]) -> None:
        PathManager.mkdirs(self._output_dir)
        path = os.path.join(self._output_dir, "sem_seg_predictions.json")
        with PathManager.open(path, "w") as file:
            file.write(json.dumps(self._predictions))
        path = os.path.join(self._output_dir, "sem_seg_evaluation.pth")
        with PathManager.open(path, "wb") as file:
            torch.save(metrics, file)


def semantic_metrics(
    confusion: np.ndarray, boundary_confusion: np.ndarray | None, class_names: Sequence[str]
) -> dict[str, float]:
    """Metrics in percent; NaN for classes without ground truth.

    Args:
        confusion: pixels [K + 1, K + 1] by prediction and ground truth; the last of each isn't
            labelled, and pixels there don't count.
        boundary_confusion: the same for boundaries, or None for no boundary metrics.
        class_names: K names.

    Returns:
        mIoU, fwIoU (weighted by ground truth), ``IoU-<class>``, ``BoundaryIoU-<class>``,
        ``min(IoU, B-Iou)-<class>``, mACC, pACC (of pixels), ``ACC-<class>``.
    """
    hits, truth, iou = _class_ious(confusion)
    with np.errstate(invalid="ignore"):
        accuracy = 100 * hits / truth  # 0 / 0 is NaN, as wanted
        frequency_weighted = np.nansum(iou * truth) / truth.sum()
        pixel_accuracy = 100 * hits.sum() / truth.sum()
    metrics = {"mIoU": _mean_of_valid(iou), "fwIoU": float(frequency_weighted)}
    boundary_iou = None if boundary_confusion is None else _class_ious(boundary_confusion)[2]
    for i, name in enumerate(class_names):
        metrics[f"IoU-{name}"] = float(iou[i])
        if boundary_iou is not None:
            metrics[f"BoundaryIoU-{name}"] = float(boundary_iou[i])
            # Python's min: a class without ground truth stays NaN.
            metrics[f"min(IoU, B-Iou)-{name}"] = float(min(iou[i], boundary_iou[i]))
    metrics["mACC"] = _mean_of_valid(accuracy)
    metrics["pACC"] = float(pixel_accuracy)
    metrics.update({f"ACC-{name}": float(a) for name, a in zip(class_names, accuracy, strict=True)})
    return metrics


def _class_ious(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per class: pixels hit, pixels of ground truth, IoU in percent (NaN without ground truth)."""
    labelled = confusion[:-1, :-1].astype(np.float64)
    hits, truth, predicted = np.diagonal(labelled), labelled.sum(axis=0), labelled.sum(axis=1)
    iou = np.full(len(hits), np.nan)
    np.divide(100 * hits, truth + predicted - hits, out=iou, where=truth > 0)
    return hits, truth, iou


def _mean_of_valid(values: np.ndarray) -> float:
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if valid.size else float("nan")


def label_boundary(labels: np.ndarray) -> np.ndarray:
    """A label map minus its erosion, uint8 [H, W]: nonzero only near where labels change.

    The erosion is a minimum over a square of 2 n + 1 pixels with zeros outside the image, n being
    2 % of the diagonal (at least 1): n erosions of 3 x 3 pixels.
    """
    import cv2

    n = max(1, round(_BOUNDARY_SHARE * float(np.hypot(*labels.shape))))
    window = np.ones((2 * n + 1, 2 * n + 1), dtype=np.uint8)
    return labels - cv2.erode(labels, window, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def _has_opencv() -> bool:
    import importlib.util

    return importlib.util.find_spec("cv2") is not None
