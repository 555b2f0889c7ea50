"""The same evaluation by pycocotools itself: slower, and the one that everything is tested against.

Matching, counting and mask overlaps are pycocotools'; only boundaries are ours.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from project.evaluation.boundary import boundary_rles
from project.evaluation.curves import Curves
from project.evaluation.ground_truth import GroundTruth
from project.evaluation.matching import Outcome
from project.evaluation.overlaps import Ranked
from project.evaluation.protocol import Protocol
from project.evaluation.results import Results

import numpy as np

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What pycocotools prints goes to the log (DEBUG), its NumPy warnings go nowhere."""
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("ignore")
        yield
    for line in filter(str.strip, printed.getvalue().splitlines()):
        logger.debug("pycocotools: %s", line)


def evaluate_by_pycocotools(
    ground_truth: GroundTruth,
    results: Results,
    detection_areas: np.ndarray,
    protocol: Protocol,
    areas: np.ndarray,
):
    """A ``COCOeval`` that has evaluated and accumulated.

    Args:
        detection_areas: float64 [D], by which detections fall into area ranges.
        areas: float64 [A, 2], area ranges.
    """
    with quiet():
        evaluation = _evaluation_class(protocol.iou_type)(
            _index(ground_truth, _objects(ground_truth, protocol.iou_type)),
            _index(ground_truth, _detections(ground_truth, results, detection_areas)),
            "bbox" if protocol.iou_type == "bbox" else "segm",
        )
        evaluation.params.iouThrs = protocol.thresholds
        evaluation.params.maxDets = list(protocol.max_detections)
        evaluation.params.areaRng = areas.tolist()
        evaluation.params.areaRngLbl = [str(number) for number in range(len(areas))]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def curves_of(evaluation) -> Curves:
    """AP and recall of an accumulated ``COCOeval``."""
    found = evaluation.eval["precision"][..., -1].mean(axis=1), evaluation.eval["recall"]
    return Curves(*(np.where(values < 0, np.nan, values) for values in found))


def outcome_of(evaluation, ground_truth: GroundTruth, ranked: Ranked) -> Outcome:
    """The records of a ``COCOeval`` for its first area range, in the order of ``ranked``.

    ``true``, ``ignored`` and ``num_objects`` hold that range only.
    """
    num_results = len(evaluation.cocoDt.anns)
    num_images = len(ground_truth.image_ids)
    shape = len(evaluation.params.iouThrs), num_results
    objects = np.full(shape, -1, dtype=np.int64)
    true, ignored = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    iou = np.zeros(num_results)
    counts = np.zeros((num_images, len(ground_truth.category_ids)), dtype=np.int32)
    place_of = {id_: place for place, id_ in enumerate(ground_truth.ids.tolist())}
    place_of[0] = -1
    stride = len(evaluation.params.areaRng) * num_images
    for k, i in np.ndindex(len(ground_truth.category_ids), num_images):
        record = evaluation.evalImgs[k * stride + i]
        if record is None:
            continue
        rows = np.array(record["dtIds"], dtype=np.int64) - 1
        skipped = np.asarray(record["gtIgnore"], dtype=bool)
        counts[i, k] = (~skipped).sum()
        met = record["dtMatches"] > 0
        objects[:, rows] = np.vectorize(place_of.get, otypes=[np.int64])(record["dtMatches"])
        ignored[:, rows] = record["dtIgnore"].astype(bool)
        true[:, rows] = met & ~ignored[:, rows]
        names = [o["id"] for o in evaluation._gts[record["image_id"], record["category_id"]]]
        for d in np.flatnonzero(met[0]):
            overlaps = evaluation.ious[record["image_id"], record["category_id"]]
            iou[rows[d]] = overlaps[d, names.index(int(record["dtMatches"][0, d]))]
    order = ranked.row
    return Outcome(
        true[None][..., order],
        ignored[None][..., order],
        objects[:, order],
        iou[order],
        counts[None],
    )


def _index(ground_truth: GroundTruth, annotations: list[dict]):
    from pycocotools.coco import COCO

    images = zip(ground_truth.image_ids.tolist(), ground_truth.sizes.tolist(), strict=True)
    categories = zip(ground_truth.category_ids.tolist(), ground_truth.class_names, strict=True)
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i, "height": size[0], "width": size[1]} for i, size in images],
        "categories": [{"id": i, "name": name} for i, name in categories],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _objects(ground_truth: GroundTruth, iou_type: str) -> list[dict]:
    annotations = _annotations(ground_truth, ground_truth, ground_truth.ids, ground_truth.areas)
    for annotation, crowd, segmentation in zip(
        annotations, ground_truth.crowd.tolist(), ground_truth.segmentations, strict=True
    ):
        annotation["iscrowd"] = int(crowd)
        if iou_type != "bbox":
            annotation["segmentation"] = segmentation
    return annotations


def _detections(ground_truth: GroundTruth, results: Results, areas: np.ndarray) -> list[dict]:
    annotations = _annotations(ground_truth, results, np.arange(1, len(results) + 1), areas)
    for annotation, score, rle in zip(
        annotations, results.score.tolist(), results.rles, strict=True
    ):
        annotation.update(score=score, segmentation=rle, iscrowd=0)
    return annotations


def _annotations(ground_truth: GroundTruth, rows, ids: np.ndarray, areas: np.ndarray) -> list[dict]:
    columns = {
        "id": ids,
        "image_id": ground_truth.image_ids[rows.image],
        "category_id": ground_truth.category_ids[rows.category],
        "bbox": rows.boxes,
        "area": areas,
    }
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]


def _evaluation_class(iou_type: str):
    from pycocotools import mask as coco_mask
    from pycocotools.cocoeval import COCOeval

    class BoundaryEval(COCOeval):
        def computeIoU(self, imgId, catId):  # noqa: N802, N803 - pycocotools' names
            masks = super().computeIoU(imgId, catId)
            if not len(masks):
                return masks
            objects = self._gts[imgId, catId]
            found = self._dts[imgId, catId]
            best = np.argsort([-d["score"] for d in found], kind="mergesort")
            best = best[: self.params.maxDets[-1]]
            outlines = coco_mask.iou(
                boundary_rles([found[i]["segmentation"] for i in best]),
                boundary_rles([o["segmentation"] for o in objects]),
                [int(o["iscrowd"]) for o in objects],
            )
            return np.minimum(masks, outlines)

    return BoundaryEval if iou_type == "boundary" else COCOeval
