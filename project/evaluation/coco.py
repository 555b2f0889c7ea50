"""COCO evaluation of a model's predictions while it runs; follows Detectron2's ``COCOEvaluator``.

Better: predictions go to disk batch by batch, as RLE, so that memory doesn't grow with the dataset;
each process writes its own part and none has to hold them all; AR, AR by size, and AP50, AP75 and
AR of each class are told too; boundary IoU.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from project.errors import UserError, unknown_name
from project.evaluation.evaluate import evaluate_results
from project.evaluation.ground_truth import GroundTruth, load_ground_truth
from project.evaluation.protocol import IOU_TYPES, check_backend
from project.evaluation.results import load_results
from project.evaluation.results_file import ResultsFile
from project.evaluation.rle import encode_boxed_masks, encode_masks

import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from detectron2.utils.logger import create_small_table
from tabulate import tabulate

RESULTS_FILE = "coco_instances_results.json"  # Detectron2's name

logger = logging.getLogger(__name__)


class InstanceEvaluator(DatasetEvaluator):
    """COCO metrics of boxes, masks and their boundaries, in percent (0-100).

    Metrics have Detectron2's names (AP, AP50, AP75, APs, APm, APl, AP-<class>); AR@1, AR@10,
    AR@100, ARs, ARm, ARl, and AP50-, AP75- and AR-<class> are added
    (`project.evaluation.curves.summarize`). Where nothing was detected, they are 0; where there
    is nothing to detect, NaN.

    Args:
        dataset_name: registered, with a ``json_file`` in its metadata.
        tasks: of "bbox", "segm" and "boundary"; default "bbox", and "segm" for outputs with masks.
        distributed: judge the predictions of all processes together; else each judges its own.
        output_dir: gets ``coco_instances_results.json``; None keeps no file. All processes must
            reach it.
        max_dets_per_image: of each image and class, AP is taken of the best 1, 10 or this many,
            whichever is most; default 100.
        iou_thresholds: default 0.5, 0.55, ... 0.95.
        sizes: area ranges in square pixels by the ending of their metrics; default COCO's s, m, l.
        backend: "hotcoco", or "pycocotools" for the slow reference.

    Attributes:
        RESULTS_FILE: name of the file in ``output_dir``.
        DRAWN_FROM: score from which a prediction is worth a look (0-1).

    Raises:
        UserError: for unknown tasks, or a dataset without a ``json_file``.
    """

    RESULTS_FILE = RESULTS_FILE
    DRAWN_FROM = 0.5

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int | None = None,
        iou_thresholds: Sequence[float] | None = None,
        sizes: Mapping[str, tuple[float, float]] | None = None,
        backend: str = "hotcoco",
    ) -> None:
        for task in tasks or ():
            if task not in IOU_TYPES:
                raise UserError(unknown_name("task", task, IOU_TYPES))
        check_backend(backend)
        self._tasks = None if tasks is None else tuple(tasks)
        self._distributed = distributed
        limit = 100 if max_dets_per_image is None else max_dets_per_image
        self._options = {
            "max_detections": sorted({1, 10, limit}),
            "iou_thresholds": iou_thresholds,
            "sizes": sizes,
            "backend": backend,
        }
        self._ground_truth = registered_truth(dataset_name)
        self._categories = category_ids(dataset_name, self._ground_truth)
        self._file = ResultsFile(RESULTS_FILE, output_dir, distributed)

    def reset(self) -> None:
        """Begin anew, with an empty file for this process."""
        self._num_images = 0
        self._has_masks = False
        self._file.begin()

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Write the detections of a batch.

        Args:
            inputs: dicts with ``image_id``.
            outputs: dicts with ``instances``: pred_boxes, scores, pred_classes, and pred_masks if
                any: bool [N, H, W], or soft [N, 1, M, M] inside the boxes (`unpasted`).
        """
        for image, output in zip(inputs, outputs, strict=True):
            if "instances" not in output:
                raise UserError(
                    f"the model gives {sorted(output)} and no instances; maps of classes are "
                    f"judged by project.evaluation.semantic.SemanticEvaluator"
                )
            instances = output["instances"]
            self._num_images += 1
            self._has_masks |= instances.has("pred_masks")
            self._file.add(to_results(instances, image["image_id"], self._categories))

    def evaluate(self, img_ids: Sequence[int] | None = None) -> dict[str, dict[str, float]]:
        """``{task: {metric: percent}}``; ``{}`` on other ranks, and if nothing was processed.

        Args:
            img_ids: judge these images only.

        Raises:
            UserError: for predictions of images that the dataset doesn't have.
        """
        self._file.close()
        told = [(self._num_images, self._has_masks)]
        if self._distributed:
            comm.synchronize()
            told = comm.gather(told[0])
            if not comm.is_main_process():
                self._file.forget_temporary()
                return {}
        try:
            results_file = self._file.join(len(told))
            if not any(number for number, _ in told):
                logger.warning("No predictions were processed: nothing to judge")
                return {}
            if not self._ground_truth.labelled:
                logger.info("The dataset has no annotations: nothing to judge")
                return {}
            default = ("bbox", "segm") if any(masks for _, masks in told) else ("bbox",)
            return self._judge(results_file, self._tasks or default, img_ids)
        finally:
            self._file.forget_temporary()

    def _judge(self, results_file: Path, tasks, img_ids) -> dict[str, dict[str, float]]:
        truth: GroundTruth = self._ground_truth
        results = load_results(results_file, truth)
        judged = {}
        for task in tasks:
            metrics = evaluate_results(truth, results, task, image_ids=img_ids, **self._options)
            overall = {name: value for name, value in metrics.items() if "-" not in name}
            logger.info("Results of %s:\n%s", task, create_small_table(overall))
            if len(overall) < len(metrics):  # a single class has no rows of its own
                logger.info("Per class:\n%s", class_table(metrics))
            judged[task] = metrics
        return judged


def registered_truth(dataset_name: str) -> GroundTruth:
    """The labels of a registered dataset.

    Raises:
        UserError: for a dataset without a ``json_file``.
    """
    json_file = MetadataCatalog.get(dataset_name).get("json_file")
    if json_file is None:
        raise UserError(
            f"dataset {dataset_name!r} has no json_file in its metadata; write it as a COCO "
            f"file (detectron2.data.datasets.convert_to_coco_json) and register that"
        )
    return load_ground_truth(json_file)


def category_ids(dataset_name: str, truth: GroundTruth) -> dict[int, int]:
    """Category ids of a dataset's json by the model's class numbers."""
    to_class = MetadataCatalog.get(dataset_name).get("thing_dataset_id_to_contiguous_id")
    if to_class:
        return {number: id_ for id_, number in to_class.items()}
    return dict(enumerate(truth.category_ids.tolist()))


def class_table(metrics: Mapping[str, float]) -> str:
    """A line for each class: its AP, AP50, AP75 and AR."""
    columns = ("AP", "AP50", "AP75", "AR")
    names = [key.removeprefix("AP-") for key in metrics if key.startswith("AP-")]
    rows = [[name, *(metrics[f"{column}-{name}"] for column in columns)] for name in names]
    headers = ("class", *columns)
    return tabulate(rows, headers, tablefmt="pipe", floatfmt=".3f", disable_numparse=[0])


def to_results(
    instances: Instances, image_id: int, categories: Mapping[int, int]
) -> Iterator[dict[str, Any]]:
    """The detections of one image in COCO's result form.

    Args:
        instances: pred_boxes, scores, pred_classes; pred_masks if any, bool [N, H, W] or soft
            [N, 1, M, M].
        categories: category id by class number.

    Raises:
        UserError: for a class that ``categories`` doesn't have.
    """
    boxes = instances.pred_boxes.tensor.detach().cpu()
    classes = instances.pred_classes.tolist()
    if strange := sorted(set(classes) - categories.keys()):
        raise UserError(
            f"image {image_id}: predictions have the class {strange[0]}, but the dataset has the "
            f"classes 0 to {len(categories) - 1}"
        )
    columns: dict[str, list] = {
        "category_id": [categories[k] for k in classes],
        "bbox": BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist(),
        "score": instances.scores.tolist(),
    }
    if instances.has("pred_masks"):
        masks = getattr(instances.pred_masks, "tensor", instances.pred_masks)
        if masks.dtype == torch.bool:
            columns["segmentation"] = encode_masks(masks)
        else:
            columns["segmentation"] = encode_boxed_masks(masks, boxes, instances.image_size)
    for row in zip(*columns.values(), strict=True):
        yield {"image_id": image_id, **dict(zip(columns, row, strict=True))}
