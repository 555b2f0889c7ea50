"""COCO average precision; follows ``detectron2.evaluation.coco_evaluation``.

Better: survives ground truth that breaks pycocotools (see `coco_ground_truth.repair`), encodes
masks several times faster (see `structures.rle`), and prints and warns nothing.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections.abc import Sequence
from typing import Any

import torch

from ..structures import BoxMode
from ..structures.rle import encode_masks
from ..utils import comm
from ..utils.file_io import PathManager
from ..utils.logger import create_small_table
from .coco_ground_truth import (
    coco_index,
    load_ground_truth,
    with_masks_only,
)
from .coco_scores import METRICS, evaluate_task, proposal_recall, summarize
from .evaluator import DatasetEvaluator

__all__ = ["COCOEvaluator"]

logger = logging.getLogger(__name__)


class COCOEvaluator(DatasetEvaluator):
    """AP of boxes, masks and keypoints, and the recall of proposals, in percent.

    Ground truth comes from the file in the metadata's ``json_file``; a dataset without one is
    converted to ``<output_dir>/<dataset_name>_coco_format.json``. Annotation ids below 1, with
    which pycocotools would give a wrong AP, are numbered anew in memory; annotations without a mask
    count for boxes only.

    Args:
        dataset_name: a registered dataset.
        tasks: of "bbox", "segm", "keypoints"; default what the predictions hold.
        distributed: gather the predictions of all processes; else each judges its own.
        output_dir: gets ``instances_predictions.pth`` and ``coco_instances_results.json``.
        max_dets_per_image: AP is taken at the last of the sorted [1, 10, this]; default 100.
        use_fast_impl: of upstream's interface, where it picks a compiled copy of pycocotools with
            equal results; here pycocotools itself always answers.
        kpt_oks_sigmas: one per keypoint; default COCO's 17.
        allow_cached_coco: use a converted file that is already there.

    Raises:
        ValueError: if the dataset has no ``json_file`` and there is no ``output_dir``.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        from ..data.catalog import MetadataCatalog

        self._tasks = None if tasks is None else tuple(tasks)
        unknown = set(self._tasks or ()) - METRICS.keys()
        assert not unknown, f"unknown tasks {sorted(unknown)} (known: {', '.join(METRICS)})"
        self._distributed = distributed
        self._output_dir = output_dir
        self._max_dets = (1, 10, 100 if max_dets_per_image is None else max_dets_per_image)
        self._sigmas = tuple(kpt_oks_sigmas)
        self._metadata = MetadataCatalog.get(dataset_name)
        json_file = self._metadata.get("json_file")
        if json_file is None:
            json_file = self._convert(dataset_name, allow_cached_coco)
        self._indices: dict[str, Any] = {}  # by task: segm may need fewer annotations
        self._dataset: dict | None = None
        if not distributed or comm.is_main_process():
            self._dataset = load_ground_truth(json_file)
        self.reset()

    def _convert(self, dataset_name: str, allow_cached: bool) -> str:
        from ..data.datasets import convert_to_coco_json

        if self._output_dir is None:
            raise ValueError(
                f"dataset {dataset_name!r} has no json_file in its metadata: COCOEvaluator needs "
                "an output_dir, where it writes one"
            )
        path = self._file(f"{dataset_name}_coco_format.json")
        if comm.is_main_process():
            convert_to_coco_json(dataset_name, path, allow_cached=allow_cached)
        comm.synchronize()
        return path

    def reset(self) -> None:
        self._predictions: list[dict[str, Any]] = []

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep what a batch gave, on the CPU, masks as RLE.

        Args:
            inputs: dicts with ``image_id``.
            outputs: dicts with ``instances`` (fields pred_boxes, scores, pred_classes, and
                pred_masks or pred_keypoints if any), ``proposals``, or both.
        """
        for image, output in zip(inputs, outputs, strict=True):
            prediction: dict[str, Any] = {"image_id": image["image_id"]}
            if "instances" in output:
                prediction["instances"] = _to_results(output["instances"], image["image_id"])
            if "proposals" in output:
                prediction["proposals"] = output["proposals"].to("cpu")
            if len(prediction) > 1:
                self._predictions.append(prediction)

    def evaluate(self, img_ids: Sequence | None = None) -> dict[str, dict[str, float]]:
        """``{task: {metric: percent}}``; ``{}`` on other ranks, and if nothing was processed.

        Args:
            img_ids: judge these images only.

        Raises:
            AssertionError: for classes or images that the dataset doesn't have.
        """
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            predictions = list(itertools.chain(*comm.gather(predictions)))
            if not comm.is_main_process():
                return {}
        if not predictions:
            logger.warning("COCOEvaluator did not receive valid predictions")
            return {}
        if self._output_dir:
            PathManager.mkdirs(self._output_dir)
            with PathManager.open(self._file("instances_predictions.pth"), "wb") as file:
                torch.save(predictions, file)
        judged = {}
        if any("proposals" in prediction for prediction in predictions):
            judged.update(self._judge_proposals(predictions))
        if any("instances" in prediction for prediction in predictions):
            judged.update(self._judge_instances(predictions, img_ids))
        return judged

    def _file(self, name: str) -> str:
        return os.path.join(self._output_dir, name)

    @property
    def _has_annotations(self) -> bool:
        return "annotations" in self._dataset

    def _index(self, task: str):
        """The ground truth as a COCO object; kept, as COCOeval turns its polygons into RLE."""
        if task not in self._indices:
            wanted = with_masks_only(self._dataset) if task == "segm" else self._dataset
            self._indices[task] = coco_index(wanted)
        return self._indices[task]

    def _judge_proposals(self, predictions: list[dict]) -> dict[str, dict[str, float]]:
        if not self._has_annotations:
            return {}
        with_proposals = [prediction for prediction in predictions if "proposals" in prediction]
        recall = proposal_recall(self._index("bbox"), with_proposals)
        logger.info("Proposal recall:\n%s", create_small_table(recall))
        return {"box_proposals": recall}

    def _judge_instances(self, predictions: list[dict], img_ids) -> dict[str, dict[str, float]]:
        results = [r for prediction in predictions for r in prediction.get("instances", ())]
        tasks = self._tasks or _tasks_of(results)
        results = self._with_dataset_categories(results)
        if self._output_dir:
            with PathManager.open(self._file("coco_instances_results.json"), "w") as file:
                file.write(json.dumps(results))
        if not self._has_annotations:
            logger.info("The dataset has no annotations: nothing to judge")
            return {}
        return {task: self._judge_task(task, results, img_ids) for task in sorted(tasks)}

    def _with_dataset_categories(self, results: list[dict]) -> list[dict]:
        """Results with the json's category ids instead of 0..K-1.

        The metadata tell how they belong together; those of a dataset that nobody loaded don't yet,
        but loading would number the ascending ids.
        """
        to_contiguous = self._metadata.get("thing_dataset_id_to_contiguous_id", {})
        to_dataset = {contiguous: original for original, contiguous in to_contiguous.items()}
        if not to_dataset:
            ids = sorted(category["id"] for category in self._dataset["categories"])
            to_dataset = dict(enumerate(ids))
        predicted = {result["category_id"] for result in results}
        unknown = sorted(predicted - to_dataset.keys())
        known = f"the dataset has the classes 0..{len(to_dataset) - 1}"
        assert not unknown, f"predictions have the classes {unknown}, but {known}"
        return [{**result, "category_id": to_dataset[result["category_id"]]} for result in results]

    def _judge_task(self, task: str, results: list[dict], img_ids) -> dict[str, float]:
        if not results:
            logger.warning("No predictions: the metrics of %r are NaN", task)
            return dict.fromkeys(METRICS[task], float("nan"))
        ground_truth = self._index(task)
        evaluation = evaluate_task(
            ground_truth,
            results,
            task,
            max_dets=self._max_dets,
            img_ids=img_ids,
            kpt_oks_sigmas=self._sigmas,
        )
        metrics = summarize(evaluation, self._class_names(ground_truth))
        overall = {name: metrics[name] for name in METRICS[task]}
        logger.info("Results of %s:\n%s", task, create_small_table(overall))
        if per_class := {k: v for k, v in metrics.items() if k not in overall}:
            logger.info("Per class:\n%s", create_small_table(per_class))
        return metrics

    def _class_names(self, ground_truth) -> list[str]:
        names = self._metadata.get("thing_classes")
        if names is None:
            names = [ground_truth.cats[i]["name"] for i in sorted(ground_truth.cats)]
        return list(names)


def _tasks_of(results: list[dict[str, Any]]) -> set[str]:
    fields = set().union(*results) if results else set()
    optional = {"segmentation": "segm", "keypoints": "keypoints"}
    return {"bbox"} | {task for field, task in optional.items() if field in fields}


def _to_results(instances, image_id) -> list[dict[str, Any]]:
    """The detections of one image in COCO's result form, with contiguous class numbers."""
    boxes = instances.pred_boxes.tensor.detach().cpu()
    columns: dict[str, list] = {
        "category_id": instances.pred_classes.tolist(),
        "bbox": BoxMode.convert(boxes, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS).tolist(),
        "score": instances.scores.tolist(),
    }
    if instances.has("pred_masks"):
        masks = getattr(instances.pred_masks, "tensor", instances.pred_masks)  # or BitMasks
        columns["segmentation"] = encode_masks(masks)
    if instances.has("pred_keypoints"):
        points = instances.pred_keypoints.detach().cpu().clone()
        points[:, :, :2] -= 0.5  # continuous coordinates to COCO's pixel indices
        columns["keypoints"] = points.flatten(1).tolist()
    rows = zip(*columns.values(), strict=True)
    return [{"image_id": image_id, **dict(zip(columns, row, strict=True))} for row in rows]
