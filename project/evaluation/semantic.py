"""Evaluation of maps of classes while the model runs, against labels of instances.

Follows the interface of Detectron2's ``SemSegEvaluator``, which needs label images: here the labels
are painted from a COCO file's masks. Predictions go to disk as COCO results, one entry for each
class of an image, so that all that reads predicted instances reads them too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from project.errors import UserError
from project.evaluation.coco import category_ids, registered_truth
from project.evaluation.label_maps import LabelMaps
from project.evaluation.overlap import PixelOverlap
from project.evaluation.results_file import ResultsFile
from project.evaluation.rle import encode_masks, mask_boxes

import torch
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from tabulate import tabulate

RESULTS_FILE = "sem_seg_predictions.json"  # Detectron2's name

_PER_CLASS = ("IoU", "Dice", "BoundaryIoU", "ImageDice")

logger = logging.getLogger(__name__)


class SemanticEvaluator(DatasetEvaluator):
    """Overlap of predicted maps of classes with the labels, in percent (0-100).

    Pixels are summed up over all images (`project.evaluation.overlap`), except in ImageDice: the
    mean over images of the Dice in each, images left out that have the class neither in truth nor
    in the prediction. Where a class has no true pixel, its other metrics are NaN.

    Args:
        dataset_name: registered, with a ``json_file`` in its metadata.
        distributed: judge the predictions of all processes together; else each judges its own.
        output_dir: gets ``sem_seg_predictions.json``; None keeps no file. All processes must reach
            it.

    Attributes:
        RESULTS_FILE: name of the file in ``output_dir``.
        DRAWN_FROM: score from which a prediction is drawn: a map has decided already.

    Raises:
        UserError: for a dataset without a ``json_file``.
    """

    RESULTS_FILE = RESULTS_FILE
    DRAWN_FROM = 0.0

    def __init__(
        self, dataset_name: str, distributed: bool = True, output_dir: str | None = None
    ) -> None:
        self._distributed = distributed
        truth = registered_truth(dataset_name)
        self._categories = category_ids(dataset_name, truth)
        self._labelled = truth.labelled
        self._truth = LabelMaps(truth, self._categories)
        self._file = ResultsFile(RESULTS_FILE, output_dir, distributed)

    def reset(self) -> None:
        """Begin anew, with an empty file for this process."""
        self._num_images = 0
        self._overlap = PixelOverlap(len(self._categories))
        self._file.begin()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Write and count the maps of a batch.

        Args:
            inputs: dicts with ``image_id``.
            outputs: dicts with ``sem_seg``: probabilities [K + 1, H, W] of the image's size,
                background last.
        """
        for image, output in zip(inputs, outputs, strict=True):
            if "sem_seg" not in output:
                raise UserError(
                    f"the model gives {sorted(output)} and no sem_seg; instances are judged by "
                    f"project.evaluation.coco.InstanceEvaluator"
                )
            self._take(image["image_id"], output["sem_seg"].detach())

    def _take(self, image_id: int, probabilities: torch.Tensor) -> None:
        expected = (len(self._categories) + 1, *self._truth.size(image_id))
        if tuple(probabilities.shape) != expected:
            raise UserError(
                f"image {image_id}: the model gives a map of {tuple(probabilities.shape)}, and "
                f"{expected} is needed: the dataset's classes and the background, height, width"
            )
        self._num_images += 1
        scores, found = (x.cpu() for x in probabilities.max(0))
        self._file.add(to_results(found, scores, image_id, self._categories))
        if self._labelled:
            truth, counts = self._truth.read(image_id)
            self._overlap.update_maps(truth, found.numpy(), counts)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """``{"sem_seg": {metric: percent}}``; ``{}`` on other ranks, and if there was nothing.

        ``mIoU``, ``mDice`` and ``mBoundaryIoU`` are means over the classes that have true pixels,
        ``pACC`` is the share of pixels, background included, that got their class; then each of
        ``IoU``, ``Dice``, ``BoundaryIoU`` and ``ImageDice`` with ``-<class>``.
        """
        self._file.close()
        parts = [(self._num_images, self._overlap)]
        if self._distributed:
            comm.synchronize()
            parts = comm.gather(parts[0])
            if not comm.is_main_process():
                self._file.forget_temporary()
                return {}
        try:
            self._file.join(len(parts))
        finally:
            self._file.forget_temporary()
        if not sum(number for number, _ in parts):
            logger.warning("No predictions were processed: nothing to judge")
            return {}
        if not self._labelled:
            logger.info("The dataset has no annotations: nothing to judge")
            return {}
        counts = PixelOverlap(len(self._categories))
        for _, part in parts:
            counts.merge(part)
        metrics = summarize(counts, self._truth.class_names)
        logger.info("Results of sem_seg:\n%s", metrics_table(metrics))
        return {"sem_seg": metrics}


def to_results(
    labels: torch.Tensor, scores: torch.Tensor, image_id: int, categories: Mapping[int, int]
) -> Iterator[dict[str, Any]]:
    """A map of classes in COCO's result form: an entry for each class that has pixels.

    Args:
        labels: int64 [H, W]; classes that ``categories`` lacks are background.
        scores: [H, W], the probability of each pixel's class; an entry has the mean of its pixels.
        categories: category id by class number.
    """
    present = [k for k in labels.unique().tolist() if k in categories]
    masks = labels == torch.tensor(present, dtype=labels.dtype).reshape(-1, 1, 1)
    rles = encode_masks(masks)
    boxes = mask_boxes(rles).tolist()
    for k, mask, rle, box in zip(present, masks, rles, boxes, strict=True):
        yield {
            "image_id": image_id,
            "category_id": categories[k],
            "bbox": box,
            "score": float(scores[mask].double().mean()),
            "segmentation": rle,
        }


def summarize(counts: PixelOverlap, class_names: Sequence[str]) -> dict[str, float]:
    """The metrics of `SemanticEvaluator` from counts of pixels, percent."""
    result = counts.result(class_names)
    mean = result["mean"]
    metrics = {
        "mIoU": mean["iou"],
        "mDice": mean["dice"],
        "mBoundaryIoU": mean["boundary_iou"],
        "pACC": result["pixel_accuracy"],
    }
    for name, dice in zip(class_names, counts.image_dice().tolist(), strict=True):
        own = result["classes"][name]
        values = own["iou"], own["dice"], own["boundary_iou"], dice
        metrics |= {f"{key}-{name}": x for key, x in zip(_PER_CLASS, values, strict=True)}
    return metrics


def metrics_table(metrics: Mapping[str, float]) -> str:
    """A line for each class, and one for all."""
    names = [key.removeprefix("IoU-") for key in metrics if key.startswith("IoU-")]
    rows = [[name, *(metrics[f"{column}-{name}"] for column in _PER_CLASS)] for name in names]
    rows.append(["mean", metrics["mIoU"], metrics["mDice"], metrics["mBoundaryIoU"], None])
    table = tabulate(
        rows, ("class", *_PER_CLASS), tablefmt="pipe", floatfmt=".2f", disable_numparse=[0]
    )
    return f"{table}\nPixel accuracy: {metrics['pACC']:.2f} %"
