"""COCOEvaluator against the golden figures, by hand, and on awkward ground truth (13.1)."""

from __future__ import annotations

import itertools
import json
import math
import warnings

import project  # noqa: F401

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, BoxMode, Instances

_numbers = itertools.count()


@pytest.fixture
def register():
    """``register(gt_file)`` → name of a dataset that was also loaded; forgotten afterwards."""
    names = []

    def make(json_file, load=True):
        name = f"coco_evaluator_{next(_numbers)}"
        register_coco_instances(name, {}, str(json_file), "images")
        names.append(name)
        if load:
            DatasetCatalog.get(name)
        return name

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def instances(size, boxes=(), scores=(), classes=(), masks=None):
    fields = Instances(size)
    fields.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    fields.scores = torch.tensor(scores, dtype=torch.float32)
    fields.pred_classes = torch.tensor(classes, dtype=torch.int64)
    if masks is not None:
        fields.pred_masks = masks
    return fields


def same_metrics(results, expected, tolerance=1e-6):
    assert results.keys() == expected.keys()
    for task, metrics in expected.items():
        assert results[task].keys() == metrics.keys()
        for name, value in metrics.items():
            value = math.nan if value is None else value
            assert results[task][name] == pytest.approx(value, abs=tolerance, nan_ok=True), name


# --- the golden figures -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden40(golden):
    """Ground truth file, expected figures, and decoded predictions of 40 real images."""
    from pycocotools import mask as coco_mask

    predictions = []
    for record in golden.json("coco40_predictions"):
        size = (record["height"], record["width"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            masks = [coco_mask.decode(rle) for rle in record["rles"]]
        record["masks"] = torch.from_numpy(np.array(masks).reshape(-1, *size)).bool()
        predictions.append(record)
    figures = golden.json("coco40_results")
    return golden.path("coco40_gt.json"), figures, predictions


def feed(evaluator, predictions, masks=True):
    evaluator.reset()
    for p in predictions:
        fields = (p["boxes"], p["scores"], p["classes"])
        kept = p["masks"] if masks else None
        output = {"instances": instances((p["height"], p["width"]), *fields, kept)}
        evaluator.process([{"image_id": p["image_id"]}], [output])
    return evaluator


@pytest.mark.parametrize(
    "case, tasks, options",
    [
        ("full_fast", None, {}),
        ("full_pycocotools", None, {"use_fast_impl": False}),
        ("bbox_only_task", ("bbox",), {}),
        ("max_dets_20", ["bbox"], {"max_dets_per_image": 20}),
    ],
)
def test_golden_results(golden40, register, capsys, case, tasks, options):
    json_file, figures, predictions = golden40
    evaluator = COCOEvaluator(register(json_file), tasks, False, None, **options)
    results = feed(evaluator, predictions).evaluate()
    same_metrics(results, figures["results"][case])
    assert list(results) == sorted(results)
    if case == "full_fast":  # asked twice, it answers the same
        same_metrics(evaluator.evaluate(), figures["results"][case])


@pytest.mark.bundled
def test_nothing_is_printed_or_warned(golden40, register, capfd, recwarn):
    json_file, _, predictions = golden40
    feed(COCOEvaluator(register(json_file), None, False), predictions[:3]).evaluate()
    printed = capfd.readouterr()
    assert printed.out == ""
    assert not [w for w in recwarn if "pycocotools" in w.filename]


def test_golden_results_without_masks(golden40, register):
    json_file, figures, predictions = golden40
    evaluator = COCOEvaluator(register(json_file), None, False)
    results = feed(evaluator, predictions, masks=False).evaluate()
    same_metrics(results, figures["results"]["no_masks"])


def test_golden_results_of_some_images(golden40, register):
    json_file, figures, predictions = golden40
    evaluator = COCOEvaluator(register(json_file), ("bbox", "segm"), False)
    ids = figures["img_ids_first10"]
    results = feed(evaluator, predictions).evaluate(img_ids=ids)
    same_metrics(results, figures["results"]["img_ids_first10"])


def test_golden_empty_cases(golden40, register):
    json_file, figures, predictions = golden40
    evaluator = COCOEvaluator(register(json_file), None, False)
    evaluator.reset()
    assert evaluator.evaluate() == figures["results"]["nothing_processed"] == {}
    evaluator.process(
        [{"image_id": predictions[0]["image_id"]}], [{"instances": instances((9, 9))}]
    )
    same_metrics(evaluator.evaluate(), figures["results"]["empty_instances_only"])


def test_golden_proposals(golden40, register):
    json_file, figures, predictions = golden40
    evaluator = COCOEvaluator(register(json_file), None, False)
    evaluator.reset()
    for p in predictions:
        proposals = Instances((p["height"], p["width"]))
        proposals.proposal_boxes = Boxes(torch.tensor(p["boxes"]).reshape(-1, 4))
        proposals.objectness_logits = torch.tensor(p["scores"])
        evaluator.process([{"image_id": p["image_id"]}], [{"proposals": proposals}])
    same_metrics(evaluator.evaluate(), figures["results"]["box_proposals"])


def test_golden_files(golden40, register, tmp_path):
    json_file, figures, predictions = golden40
    evaluator = COCOEvaluator(register(json_file), None, False, str(tmp_path / "new"))
    feed(evaluator, predictions).evaluate()
    files = tmp_path / "new"
    assert sorted(file.name for file in files.iterdir()) == figures["output_dir_files"]
    written = json.loads((files / "coco_instances_results.json").read_text())
    assert len(written) == figures["coco_instances_results"]["n"]
    first, want = written[0], figures["coco_instances_results"]["first"]
    assert first.keys() == want.keys()
    for key in ("image_id", "category_id", "segmentation"):
        assert first[key] == want[key]
    assert first["bbox"] == pytest.approx(want["bbox"], abs=1e-4)
    assert first["score"] == pytest.approx(want["score"], abs=1e-6)
    kept = torch.load(files / "instances_predictions.pth", weights_only=False)
    assert len(kept) == len(predictions)
    assert kept[0].keys() == {"image_id", "instances"}


def test_class_that_the_dataset_lacks(golden40, register):
    json_file, figures, predictions = golden40
    assert figures["class_out_of_range"] == "AssertionError"
    evaluator = COCOEvaluator(register(json_file), None, False)
    evaluator.reset()
    wrong = instances((9, 9), [[0, 0, 4, 4]], [1.0], [4])
    evaluator.process([{"image_id": predictions[0]["image_id"]}], [{"instances": wrong}])
    with pytest.raises(AssertionError):
        evaluator.evaluate()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_masks_are_encoded_as_pycocotools_does(tmp_path, register, device):
    """Random small masks: full and empty ones, runs over column ends, touching every border."""
    from pycocotools import mask as coco_mask

    rng = np.random.RandomState(0)
    name = register(write_gt(tmp_path, None), load=False)
    evaluator = COCOEvaluator(name, None, False, str(tmp_path))
    for height, width in itertools.product((1, 2, 5), (1, 3, 6)):
        density = np.linspace(-0.05, 1.05, 12)[:, None, None]
        masks = torch.from_numpy(rng.rand(12, height, width) < density)
        boxes = torch.zeros(12, 4).tolist()
        found = instances((height, width), boxes, [0.5] * 12, [0] * 12, masks.to(device))
        evaluator.reset()
        evaluator.process([{"image_id": 1}], [{"instances": found}])
        evaluator.evaluate()
        written = json.loads((tmp_path / "coco_instances_results.json").read_text())
        for result, mask in zip(written, masks.numpy(), strict=True):
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            assert result["segmentation"] == {**rle, "counts": rle["counts"].decode()}


@pytest.mark.bundled
def test_flips_of_masks_on_a_device_are_those_of_arrays():
    """The way of masks on a GPU, here on the CPU."""
    import detectron2.structures.rle as rle

    rng = np.random.RandomState(0)
    for shape in ((12, 5, 6), (3, 1, 1), (2, 4, 1), (0, 3, 3)):
        masks = torch.from_numpy(
            rng.rand(*shape) < np.linspace(-0.05, 1.05, shape[0])[:, None, None]
        )
        for found, mask in zip(rle._flips_on_device(masks), masks.numpy(), strict=True):
            np.testing.assert_array_equal(found, rle._flips(mask))


# --- small ground truth, by hand --------------------------------------------------------------

SQUARE = [[4.0, 4.0, 24.0, 4.0, 24.0, 24.0, 4.0, 24.0]]


def annotation(number, image=1, category=3, **changes):
    box = {"bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0, "segmentation": SQUARE}
    return {"id": number, "image_id": image, "category_id": category, **box, **changes}


def write_gt(folder, annotations, categories=("thing",), images=2, **more):
    content = {
        "images": [
            {"id": i + 1, "file_name": f"{i}.png", "height": 40, "width": 50} for i in range(images)
        ],
        "categories": [{"id": 3 + i, "name": name} for i, name in enumerate(categories)],
        **more,
    }
    if annotations is not None:
        content["annotations"] = annotations
    file = folder / "gt.json"
    file.write_text(json.dumps(content))
    return file


def square_mask():
    mask = torch.zeros(1, 40, 50, dtype=torch.bool)
    mask[:, 4:24, 4:24] = True
    return mask


def judge(name, images=(1, 2), tasks=None, masks=True, **options):
    """Results of one perfect detection of class 0 in each of the images."""
    evaluator = COCOEvaluator(name, tasks, False, **options)
    evaluator.reset()
    for image in images:
        mask = square_mask() if masks else None
        perfect = instances((40, 50), [[4, 4, 24, 24]], [0.9], [0], mask)
        evaluator.process([{"image_id": image}], [{"instances": perfect}])
    return evaluator.evaluate()


def test_one_class_gets_no_entry_of_its_own(tmp_path, register):
    """`info` and `licenses` are missing, too."""
    file = write_gt(tmp_path, [annotation(1), annotation(2, image=2)])
    results = judge(register(file))
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert {task: list(metrics) for task, metrics in results.items()} == {
        "bbox": names,
        "segm": names,
    }
    for metrics in results.values():
        assert [metrics[n] for n in ("AP", "AP50", "AP75", "APs")] == pytest.approx([100.0] * 4)
        assert math.isnan(metrics["APm"])
        assert math.isnan(metrics["APl"])


def test_half_of_the_objects_found(tmp_path, register):
    """Precision 1 up to recall 0.5: at 51 of COCO's 101 recall points."""
    file = write_gt(tmp_path, [annotation(1), annotation(2, image=2)])
    results = judge(register(file), images=[1])
    assert results["bbox"]["AP"] == pytest.approx(100 * 51 / 101)
    assert results["segm"]["AP50"] == pytest.approx(100 * 51 / 101)


def test_classes_without_ground_truth_are_nan(tmp_path, register):
    file = write_gt(tmp_path, [annotation(1), annotation(2, image=2)], ("thing", "other"))
    results = judge(register(file))
    assert results["bbox"]["AP-thing"] == pytest.approx(100.0)
    assert math.isnan(results["bbox"]["AP-other"])
    assert results["bbox"]["AP"] == pytest.approx(100.0)


@pytest.mark.bundled  # upstream: pycocotools takes id 0 for "not matched"
@pytest.mark.parametrize("ids", [(0, 1), (-1, 0), (5, 5)])
def test_annotation_ids_below_one_or_repeated_do_not_ruin_ap(tmp_path, register, ids):
    annotations = [annotation(ids[0]), annotation(ids[1], image=2)]
    name = register(write_gt(tmp_path, annotations), load=False)
    results = judge(name, tasks=("bbox", "segm"), masks=True)
    assert [results[task]["AP"] for task in ("bbox", "segm")] == pytest.approx([100.0, 100.0])


@pytest.mark.bundled  # upstream: pycocotools crashes
@pytest.mark.parametrize("segmentation", [[], [[1.0, 2.0, 3.0, 4.0]], None])
def test_annotations_without_a_mask_count_for_boxes_only(tmp_path, register, segmentation):
    bare = annotation(2, image=2, segmentation=segmentation)
    if segmentation is None:
        del bare["segmentation"]
    file = write_gt(tmp_path, [annotation(1), bare])
    results = judge(register(file), images=[1])
    assert results["bbox"]["AP"] == pytest.approx(100 * 51 / 101)
    assert results["segm"]["AP"] == pytest.approx(100.0)


@pytest.mark.bundled
@pytest.mark.parametrize("segmentation", [SQUARE, []])
def test_missing_area_and_iscrowd_are_filled_in(tmp_path, register, segmentation):
    bare = annotation(1, segmentation=segmentation)
    del bare["area"], bare["iscrowd"]
    file = write_gt(tmp_path, [bare], images=1)
    results = judge(register(file, load=False), images=[1], tasks=("bbox",))
    assert results["bbox"]["APs"] == pytest.approx(100.0)


def test_crowds_are_not_counted(tmp_path, register):
    run = {"size": [40, 50], "counts": [0, 2000]}
    crowd = annotation(2, image=2, segmentation=run, iscrowd=1, bbox=[0, 0, 50, 40], area=2000)
    file = write_gt(tmp_path, [annotation(1), crowd])
    results = judge(register(file))
    assert results["bbox"]["AP"] == pytest.approx(100.0)  # the second detection is in the crowd
    assert results["segm"]["AP"] == pytest.approx(100.0)


def test_images_without_annotations(tmp_path, register):
    results = judge(register(write_gt(tmp_path, [])), masks=False)
    assert all(math.isnan(value) for value in results["bbox"].values())


def test_ground_truth_without_annotations_gives_files_only(tmp_path, register):
    file = write_gt(tmp_path, None)
    name = register(file, load=False)
    assert judge(name, output_dir=str(tmp_path / "out")) == {}
    written = json.loads((tmp_path / "out/coco_instances_results.json").read_text())
    assert len(written) == 2


@pytest.mark.bundled  # pycocotools 2.0.11 fails on more than 255 masks under NumPy 2.4
def test_more_than_255_masks(tmp_path, register):
    file = write_gt(tmp_path, [annotation(1)], images=1)
    evaluator = COCOEvaluator(register(file), ("segm",), False)
    evaluator.reset()
    count = 300
    boxes = [[4, 4, 24, 24]] * count
    scores = np.linspace(1, 0.1, count).tolist()
    many = instances((40, 50), boxes, scores, [0] * count, square_mask().expand(count, -1, -1))
    evaluator.process([{"image_id": 1}], [{"instances": many}])
    assert evaluator.evaluate()["segm"]["AP"] == pytest.approx(100.0)


def test_fewer_detections_per_image(tmp_path, register):
    """A limit of 15: the perfect detection comes 20th. AP is read at the last of [1, 10, 15]."""
    file = write_gt(tmp_path, [annotation(1)], images=1)
    boxes = [[30, 30, 40, 40]] * 19 + [[4, 4, 24, 24]]
    scores = np.linspace(1, 0.1, 20).tolist()
    for limit, hit in ((15, False), (20, True)):
        evaluator = COCOEvaluator(register(file), ("bbox",), False, max_dets_per_image=limit)
        evaluator.reset()
        output = instances((40, 50), boxes, scores, [0] * 20)
        evaluator.process([{"image_id": 1}], [{"instances": output}])
        assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(5.0 if hit else 0.0)


def test_predictions_for_unknown_images(tmp_path, register):
    file = write_gt(tmp_path, [annotation(1)])
    with pytest.raises(AssertionError):
        judge(register(file), images=[1, 77])


@pytest.mark.bundled
def test_unknown_and_impossible_tasks(tmp_path, register):
    name = register(write_gt(tmp_path, [annotation(1)]))
    with pytest.raises(AssertionError, match="unknown tasks"):
        COCOEvaluator(name, ("boxes",), False)
    with pytest.raises(AssertionError, match="2 of 2 predictions lack 'segmentation'"):
        judge(name, tasks=("bbox", "segm"), masks=False)


def test_no_predictions_of_a_wanted_task_are_nan(tmp_path, register):
    file = write_gt(tmp_path, [annotation(1)])
    evaluator = COCOEvaluator(register(file), ("bbox", "segm"), False)
    evaluator.reset()
    evaluator.process([{"image_id": 1}], [{"instances": instances((40, 50))}])
    results = evaluator.evaluate()
    assert set(results) == {"bbox", "segm"}
    assert all(math.isnan(v) for metrics in results.values() for v in metrics.values())


def test_proposals_are_matched_one_to_one(tmp_path, register):
    """Two objects side by side; the better proposal (IoU 1) is taken first, then IoU 0.8."""
    second = annotation(2, bbox=[30, 4, 10, 20], area=200)
    file = write_gt(tmp_path, [annotation(1), second], images=1)
    evaluator = COCOEvaluator(register(file), None, False)
    evaluator.reset()
    proposals = Instances((40, 50))
    boxes = [[30.0, 4, 38, 24], [4, 4, 24, 24], [5, 4, 24, 24]]
    proposals.proposal_boxes = Boxes(torch.tensor(boxes))
    proposals.objectness_logits = torch.tensor([0.1, 0.3, 0.2])
    evaluator.process([{"image_id": 1}], [{"proposals": proposals}])
    recalls = evaluator.evaluate()["box_proposals"]
    # IoU 1 passes all ten thresholds, IoU 0.8 (just) those up to 0.75: 0.8 in float32 may not.
    assert recalls["AR@100"] in (pytest.approx(80.0, abs=1e-4), pytest.approx(85.0, abs=1e-4))
    assert recalls["ARs@1000"] == recalls["AR@1000"] == recalls["AR@100"]
    assert math.isnan(recalls["ARl@100"])


# --- datasets that aren't COCO files ----------------------------------------------------------


@pytest.fixture
def plain_dataset():
    name = f"coco_evaluator_plain_{next(_numbers)}"
    record = {
        "file_name": "0.png",
        "image_id": 1,
        "height": 40,
        "width": 50,
        "annotations": [
            {
                "bbox": [4.0, 4.0, 24.0, 24.0],
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": 0,
                "segmentation": SQUARE,
            }
        ],
    }
    DatasetCatalog.register(name, lambda: [record])
    MetadataCatalog.get(name).set(thing_classes=["thing"])
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.pop(name, None)


def test_plain_dataset_is_converted(tmp_path, plain_dataset):
    results = judge(plain_dataset, images=[1], output_dir=str(tmp_path))
    assert results["bbox"]["AP"] == pytest.approx(100.0)
    assert results["segm"]["APs"] == pytest.approx(100.0)
    assert (tmp_path / f"{plain_dataset}_coco_format.json").exists()


@pytest.mark.bundled  # upstream takes the class numbers for category ids
def test_dataset_that_nobody_loaded(tmp_path, register):
    file = write_gt(tmp_path, [annotation(1), annotation(2, image=2)], ("thing", "other"))
    results = judge(register(file, load=False))
    assert results["bbox"]["AP-thing"] == pytest.approx(100.0)


def test_plain_dataset_needs_a_folder(plain_dataset):
    with pytest.raises(ValueError, match="output_dir"):
        COCOEvaluator(plain_dataset, None, False)


@pytest.mark.bundled
@pytest.mark.parametrize("cached", [True, False])
def test_converted_file_is_kept_if_allowed(tmp_path, plain_dataset, cached):
    file = tmp_path / f"{plain_dataset}_coco_format.json"
    other = write_gt(tmp_path, [annotation(1, bbox=[30, 4, 20, 20])], images=1)
    other.rename(file)  # the object is elsewhere than in the dataset
    options = {"output_dir": str(tmp_path), "allow_cached_coco": cached}
    results = judge(plain_dataset, images=[1], tasks=("bbox",), **options)
    assert results["bbox"]["AP"] == pytest.approx(0.0 if cached else 100.0)


# --- keypoints --------------------------------------------------------------------------------


def test_keypoints(tmp_path, register):
    points = [10, 10, 2, 20, 20, 2]
    file = write_gt(tmp_path, [annotation(1, keypoints=points, num_keypoints=2)], images=1)
    name = register(file)
    for shift, ap in ((0.0, 100.0), (15.0, 0.0)):
        evaluator = COCOEvaluator(name, None, False, kpt_oks_sigmas=[0.1, 0.1])
        evaluator.reset()
        found = instances((40, 50), [[4, 4, 24, 24]], [0.9], [0])
        # Half a pixel: continuous coordinates against COCO's pixel indices.
        xyv = [[10.5 + shift, 10.5, 1.0], [20.5 + shift, 20.5, 1.0]]
        found.pred_keypoints = torch.tensor([xyv])
        evaluator.process([{"image_id": 1}], [{"instances": found}])
        results = evaluator.evaluate()
        assert list(results) == ["bbox", "keypoints"]
        assert list(results["keypoints"]) == ["AP", "AP50", "AP75", "APm", "APl"]
        assert results["keypoints"]["AP"] == pytest.approx(ap)
    evaluator = COCOEvaluator(name, None, False)  # COCO's 17 sigmas, for two keypoints
    evaluator.reset()
    evaluator.process([{"image_id": 1}], [{"instances": found}])
    with pytest.raises(AssertionError):
        evaluator.evaluate()


def test_a_proposal_recalls_one_object_and_no_crowd(tmp_path, register):
    """Three times the same box, two objects and a crowd: one proposal is perfect, one far off."""
    same = [annotation(1), annotation(2), annotation(3, iscrowd=1)]
    evaluator = COCOEvaluator(register(write_gt(tmp_path, same, images=1)), None, False)
    evaluator.reset()
    boxes = Boxes(torch.tensor([[4.0, 4, 24, 24], [30, 30, 34, 34]]))
    proposals = Instances((40, 50), proposal_boxes=boxes)
    proposals.objectness_logits = torch.tensor([0.5, 0.4])
    evaluator.process([{"image_id": 1}], [{"proposals": proposals}])
    assert evaluator.evaluate()["box_proposals"]["AR@100"] == pytest.approx(50.0)
