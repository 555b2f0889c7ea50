"""What soft-NMS changes for a trained Mask R-CNN: AP, and AP of the crowded and the occluded."""

from __future__ import annotations

import pydoc
from pathlib import Path

from project.benchmarks.machine import describe_machine
from project.data.catalog import register_subset
from project.engine.config import load_run, require, select
from project.engine.evaluate import newest_checkpoint, predict_dataset
from project.errors import UserError
from project.evaluation.average_precision import AveragePrecision
from project.evaluation.evaluate import match
from project.evaluation.ground_truth import load_ground_truth
from project.evaluation.image_masks import MAX_DETECTIONS, image_masks
from project.evaluation.matches import Matches
from project.evaluation.paired import compare
from project.evaluation.results import load_results
from project.evaluation.slices import (
    SLICINGS,
    InstanceMeasures,
    Instances,
    slice_matches,
    slice_summary,
)
from project.modeling.heads import BalancedOutputLayers
from project.modeling.postprocess.soft_nms import METHODS, SoftNMSOutputLayers

import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import FastRCNNOutputLayers
from omegaconf import DictConfig

QUESTIONS = ("crowding", "occlusion")
_PREDICTOR = "model.roi_heads.box_predictor"


def measure_soft_nms(
    run_dir: Path, work_dir: Path, *, weights: str = "", sigma: float = 0.5, threshold: float = 0.3
) -> dict:
    """Mask AP of a run's weights on its own test split, with each suppression.

    Args:
        run_dir: of a Mask R-CNN whose box predictor is Detectron2's or one of ours.
        work_dir: gets each suppression's predictions.
        weights: a checkpoint; "" takes the run's newest.
        sigma, threshold: of the Gaussian and the linear form.

    Returns:
        ``rows``: "all" and each slice of crowding and occlusion → its ``objects`` and for each
        suppression ``AP``, ``AP50``, ``recall``, percent, and for the soft ones ``AP - hard``, the
        difference with its 95 % interval over images; of an empty slice ``objects`` only.
        ``detections``: their number.

    Raises:
        UserError: if the run has no such predictor, or its files can't be read.
    """
    weights = str(weights or newest_checkpoint(run_dir))
    found: dict[str, tuple[Matches, Instances]] = {}
    for method in METHODS:
        cfg = with_suppression(load_run(run_dir), method, sigma, threshold)
        cfg.train.output_dir = str(work_dir / method)
        name = register_subset(
            select(cfg, "dataset.name"), select(cfg, "dataset.test"), select(cfg, "dataset.root")
        )
        results = predict_dataset(cfg, weights, name)
        found[method] = judged(MetadataCatalog.get(name).json_file, results)
    return {
        "machine": describe_machine(),
        "run": str(run_dir),
        "weights": weights,
        "dataset": name,
        "sigma": sigma,
        "threshold": threshold,
        "detections": {method: len(x.score) for method, (x, _) in found.items()},
        "rows": compare_suppressions(found),
    }


def with_suppression(cfg: DictConfig, method: str, sigma: float, threshold: float) -> DictConfig:
    """The run's config with a box predictor of the same parameters and another suppression."""
    require(cfg, f"{_PREDICTOR}._target_")
    target = select(cfg, f"{_PREDICTOR}._target_")
    known = (FastRCNNOutputLayers, BalancedOutputLayers, SoftNMSOutputLayers)
    if (pydoc.locate(target) if isinstance(target, str) else target) not in known:
        raise UserError(
            f"{_PREDICTOR} is {target}; soft-NMS takes the place of FastRCNNOutputLayers or "
            f"BalancedOutputLayers"
        )
    node = cfg.model.roi_heads.box_predictor
    node._target_ = f"{SoftNMSOutputLayers.__module__}.{SoftNMSOutputLayers.__qualname__}"
    node.soft_nms, node.soft_nms_sigma, node.soft_nms_threshold = method, sigma, threshold
    cfg.train.device = "cuda" if torch.cuda.is_available() else "cpu"
    return cfg


def judged(annotations: str | Path | dict, results: str | Path | list) -> tuple[Matches, Instances]:
    """Detections matched with the objects, and what slices are cut by."""
    truth = load_ground_truth(annotations).with_masks
    detections = load_results(results, truth)
    measures = InstanceMeasures()
    for image in image_masks(truth, detections, MAX_DETECTIONS, "hotcoco"):
        measures.update(image)
    matches = match(truth, detections, max_detections=MAX_DETECTIONS)
    return matches, measures.instances()


def compare_suppressions(found: dict[str, tuple[Matches, Instances]]) -> dict[str, dict]:
    """``rows`` of `measure_soft_nms`, of each suppression's judged detections."""
    rows = {"all": _row({method: matches for method, (matches, _) in found.items()})}
    for question in QUESTIONS:
        cuts = {method: SLICINGS[question](x) for method, (_, x) in found.items()}
        for s, name in enumerate(cuts["hard"].names):
            rows[f"{question}: {name}"] = _row(
                {
                    method: slice_matches(matches, instances, cuts[method], s)
                    for method, (matches, instances) in found.items()
                }
            )
    return rows


def _row(matches: dict[str, Matches]) -> dict:
    row: dict = {"objects": int(matches["hard"].num_objects.sum())}
    for method, mine in matches.items() if row["objects"] else ():
        figures = slice_summary(mine)
        row[method] = {
            name: round(figures[key], 2)
            for name, key in (("AP", "ap"), ("AP50", "ap50"), ("recall", "recall"))
        }
        if method != "hard":
            pair = AveragePrecision(matches["hard"]), AveragePrecision(mine)
            row[method]["AP - hard"] = str(compare(*pair)[0])
    return row
