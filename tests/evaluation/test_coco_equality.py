"""Both backends against pycocotools as it comes, on random and on real cases."""

from __future__ import annotations

import contextlib
import io
import json
import math
import warnings

from project.evaluation.evaluate import evaluate_results, match

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

HEIGHT, WIDTH = 60, 80
METRICS = {  # as pycocotools prints them
    "AP": (1, None, 0, -1),
    "AP50": (1, 0.5, 0, -1),
    "AP75": (1, 0.75, 0, -1),
    "APs": (1, None, 1, -1),
    "APm": (1, None, 2, -1),
    "APl": (1, None, 3, -1),
    "AR@1": (0, None, 0, 0),
    "AR@10": (0, None, 0, 1),
    "AR@100": (0, None, 0, 2),
    "ARs": (0, None, 1, 2),
    "ARm": (0, None, 2, 2),
    "ARl": (0, None, 3, 2),
}


@contextlib.contextmanager
def quiet():
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def plain_pycocotools(truth: dict, results: list[dict], iou_type: str):
    """COCOeval on the plain dicts; areas of masks are those of the masks, as in Detectron2."""
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with quiet():
        sides = COCO(), COCO()
        sides[0].dataset = json.loads(json.dumps(truth))
        detections = [dict(r, id=i, iscrowd=0) for i, r in enumerate(results, 1)]
        for d in detections:
            box_area = d["bbox"][2] * d["bbox"][3]
            segm = iou_type == "segm"
            d["area"] = float(coco_mask.area(d["segmentation"])) if segm else box_area
        sides[1].dataset = {**truth, "annotations": detections}
        for side in sides:
            side.createIndex()
        evaluation = COCOeval(*sides, iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def expected_metrics(evaluation) -> dict[str, float]:
    expected = {}
    for name, (is_precision, threshold, area, limit) in METRICS.items():
        values = evaluation.eval["precision" if is_precision else "recall"][..., area, limit]
        if threshold:
            values = values[np.isclose(evaluation.params.iouThrs, threshold)]
        values = values[values > -1]
        expected[name] = 100 * values.mean() if values.size else math.nan
    return expected


def same(ours: dict, expected: dict) -> None:
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-12, rel=0, nan_ok=True), name


def rle(box, rng=None):
    from pycocotools import mask as coco_mask

    x, y, w, h = box
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    if rng is not None:
        mask &= rng.random(mask.shape) < 0.8
    encoded = coco_mask.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def random_case(seed: int, images: int, objects: int, detections: int, levels: int):
    """Few classes, places and scores, so that ties, repetitions and empty images are frequent."""
    rng = np.random.default_rng(seed)
    truth = {
        "images": [{"id": 3 * i + 1, "height": HEIGHT, "width": WIDTH} for i in range(images)],
        "categories": [{"id": k, "name": f"class {k}"} for k in (2, 5, 9)],
        "annotations": [],
    }
    where = [3 * int(i) + 1 for i in rng.integers(images, size=objects + detections)]
    boxes = [
        [int(rng.integers(8)) * 5, int(rng.integers(6)) * 5, *rng.integers(1, 40, 2).tolist()]
        for _ in range(objects)
    ]
    for number in range(objects):
        x, y, w, h = boxes[number]
        polygon = [x, y, x + w, y, x + w, y + h / 2, x + w / 2, y + h, x, y + h]
        crowd = int(rng.random() < 0.2)
        truth["annotations"].append(
            {
                "id": number + 1,
                "image_id": where[number],
                "category_id": int(rng.choice([2, 5])),
                "bbox": boxes[number],
                # some areas lie on the bounds of the size classes
                "area": float(rng.choice([w * h, 32**2, 96**2, 10_000.5])),
                "iscrowd": crowd,
                "segmentation": rle(boxes[number]) if crowd else [polygon],
            }
        )
    results = []
    for number in range(detections):
        x, y, w, h = boxes[int(rng.integers(objects))] if objects else (3, 4, 20, 20)
        x, y = x + int(rng.integers(3)), y + int(rng.integers(3))
        results.append(
            {
                "image_id": where[objects + number],
                "category_id": int(rng.choice([2, 5, 9])),
                "bbox": [x + 0.25, y, w, h],
                "score": int(rng.integers(1, levels + 1)) / levels,
                "segmentation": rle([x, y, w, h], rng if rng.random() < 0.5 else None),
            }
        )
    return truth, results


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(1, 6),
    objects=st.integers(0, 12),
    detections=st.sampled_from([0, 1, 7, 40]),
    levels=st.sampled_from([1, 3, 1000]),
    iou_type=st.sampled_from(["bbox", "segm"]),
)
def test_both_backends_equal_pycocotools(seed, images, objects, detections, levels, iou_type):
    truth, results = random_case(seed, images, objects, detections, levels)
    expected = expected_metrics(plain_pycocotools(truth, results, iou_type))
    for backend in ("hotcoco", "pycocotools"):
        same(evaluate_results(truth, results, iou_type, backend=backend), expected)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    objects=st.integers(0, 12),
    detections=st.sampled_from([0, 5, 40]),
    iou_type=st.sampled_from(["bbox", "segm", "boundary"]),
    limit=st.sampled_from([1, 3, 100]),
    area_range=st.sampled_from([(0, np.inf), (0, 400), (200.0, 1024.0)]),
)
def test_records_of_both_backends_are_equal(seed, objects, detections, iou_type, limit, area_range):
    truth, results = random_case(seed, 4, objects, detections, 3)
    options = {"iou_type": iou_type, "max_detections": limit, "area_range": area_range}
    ours, reference = (
        match(truth, results, backend=b, **options) for b in ("hotcoco", "pycocotools")
    )
    for name in ours.__dataclass_fields__:
        one, other = getattr(ours, name), getattr(reference, name)
        assert np.array_equal(one, other), name
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None), name


def test_thousands_of_detections_of_few_objects():
    truth, results = random_case(7, 5, 30, 3000, 50)
    for iou_type in ("bbox", "segm"):
        expected = expected_metrics(plain_pycocotools(truth, results, iou_type))
        assert expected["AP50"] > 0
        same(evaluate_results(truth, results, iou_type), expected)


def test_custom_rules_in_both_backends():
    truth, results = random_case(3, 4, 20, 300, 10)
    rules = {
        "iou_thresholds": [0.3, 0.5, 1.0],
        "sizes": {"tiny": (0, 100), "big": (100, 1e9)},
        "max_detections": [2, 7],
        "image_ids": [1, 4, 10],
    }
    for iou_type in ("bbox", "segm", "boundary"):
        ours, reference = (
            evaluate_results(truth, results, iou_type, backend=b, **rules)
            for b in ("hotcoco", "pycocotools")
        )
        names = ["AP", "AP50", "AP75", "APtiny", "APbig", "AR@2", "AR@7", "ARtiny", "ARbig"]
        assert list(ours)[:9] == names
        assert ours["AP50"] > 0
        assert math.isnan(ours["AP75"])  # no such threshold
        same(ours, reference)
        assert ours.keys() == reference.keys()


def test_golden_case(golden):
    """40 real images: Detectron2's own figures."""
    truth = golden.path("coco40_gt.json")
    results = []
    categories = sorted(c["id"] for c in json.loads(truth.read_text())["categories"])
    for record in golden.json("coco40_predictions"):
        rows = zip(
            record["boxes"], record["scores"], record["classes"], record["rles"], strict=True
        )
        for (x0, y0, x1, y1), score, k, mask in rows:
            single = np.float32(score).item()
            corners = np.array([x0, y0, x1, y1], dtype=np.float32)
            box = [*corners[:2].tolist(), *(corners[2:] - corners[:2]).tolist()]
            results.append(
                {
                    "image_id": record["image_id"],
                    "category_id": categories[k],
                    "bbox": box,
                    "score": single,
                    "segmentation": mask,
                }
            )
    expected = golden.json("coco40_results")["results"]["full_pycocotools"]
    for task in ("bbox", "segm"):
        for backend in ("hotcoco", "pycocotools"):
            figures = {k: math.nan if v is None else v for k, v in expected[task].items()}
            ours = evaluate_results(truth, results, task, backend=backend)
            assert ours.keys() >= figures.keys()
            for name, value in figures.items():
                assert ours[name] == pytest.approx(value, abs=1e-12, rel=0, nan_ok=True), name


def test_real_validation_file_with_perturbed_predictions(coco_subset_root):
    """Objects of real images, shifted and sometimes of another class; crowds and empty masks."""
    from pycocotools import mask as coco_mask

    file = coco_subset_root / "validation-300/labels.json"
    truth = json.loads(file.read_text())
    sizes = {i["id"]: (i["height"], i["width"]) for i in truth["images"]}
    # pycocotools fails on empty segmentations, and takes id 0 for "no match"
    usable = [a for a in truth["annotations"] if a["segmentation"]]
    clean = {**truth, "annotations": [dict(a, id=i) for i, a in enumerate(usable, 1)]}
    rng = np.random.default_rng(0)
    ids = [c["id"] for c in truth["categories"]]
    results = []
    for a in usable[::3]:
        size = sizes[a["image_id"]]
        encoded = coco_mask.frPyObjects(a["segmentation"], *size)
        encoded = coco_mask.merge(encoded) if isinstance(encoded, list) else encoded
        with quiet():
            mask = np.roll(coco_mask.decode(encoded), rng.integers(-6, 7, 2), axis=(0, 1))
        encoded = coco_mask.encode(np.asfortranarray(mask))
        category = a["category_id"] if rng.random() < 0.9 else int(rng.choice(ids))
        results.append(
            {
                "image_id": a["image_id"],
                "category_id": category,
                "bbox": coco_mask.toBbox(encoded).tolist(),
                "score": round(float(rng.random()), 2),
                "segmentation": {"size": list(size), "counts": encoded["counts"].decode()},
            }
        )
    for task in ("bbox", "segm"):
        expected = expected_metrics(plain_pycocotools(clean, results, task))
        assert 5 < expected["AP"] < 60
        same(evaluate_results(clean, results, task), expected)
        if task == "segm":  # left out by itself
            same(evaluate_results(file, results, task), expected)
