"""InstanceEvaluator beside Detectron2's COCOEvaluator; files, processes, mistakes."""

from __future__ import annotations

import itertools
import json
import math

from project.errors import UserError
from project.evaluation.coco import RESULTS_FILE, InstanceEvaluator
from project.evaluation.evaluate import evaluate_and_match, evaluate_results, match
from project.evaluation.ground_truth import load_ground_truth
from project.evaluation.image_masks import image_masks
from project.evaluation.unpasted import UnpastedDetector, at_size

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.structures import Boxes, Instances

_numbers = itertools.count()
HEIGHT, WIDTH = 40, 50
SQUARE = [[4.0, 4, 24, 4, 24, 24, 4, 24]]


def annotation(id_, image=1, category=1, **changes):
    row = {"id": id_, "image_id": image, "category_id": category, "bbox": [4, 4, 20, 20]}
    return {**row, "area": 400, "iscrowd": 0, "segmentation": SQUARE, **changes}


def truth(annotations, images=2, names=("cake", "dog")):
    return {
        "images": [
            {"id": i, "height": HEIGHT, "width": WIDTH, "file_name": f"{i}.jpg"}
            for i in range(1, images + 1)
        ],
        "categories": [{"id": 3 * k + 1, "name": name} for k, name in enumerate(names)],
        **({} if annotations is None else {"annotations": annotations}),
    }


def result(image=1, category=1, score=0.5, **changes):
    row = {"image_id": image, "category_id": category, "score": score, "bbox": [4, 4, 20, 20]}
    rle = {"size": [HEIGHT, WIDTH], "counts": [164, *[20, 20] * 19, 20, 1056]}
    return {**row, "segmentation": rle, **changes}


@pytest.fixture
def register(tmp_path):
    names = []

    def make(document):
        name = f"instance_evaluator_{next(_numbers)}"
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(document))
        register_coco_instances(name, {}, str(file), "images")
        names.append(name)
        return name

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def random_outputs(seed: int, images=(1, 2, 3), masks=True):
    rng = np.random.default_rng(seed)
    for image in images:
        n = int(rng.integers(0, 6))
        low = rng.uniform(0, 12, (n, 2))
        boxes = torch.tensor(np.concatenate([low, low + rng.uniform(8, 25, (n, 2))], 1)).float()
        found = Instances((HEIGHT, WIDTH), pred_boxes=Boxes(boxes))
        found.scores = torch.tensor(rng.random(n)).float()
        found.pred_classes = torch.tensor(rng.integers(0, 2, n))
        if masks:
            found.pred_masks = torch.zeros(n, HEIGHT, WIDTH, dtype=torch.bool)
            for mask, (x0, y0, x1, y1) in zip(found.pred_masks, boxes.int().tolist(), strict=True):
                mask[y0:y1, x0:x1] = True
        yield {"image_id": image}, {"instances": found}


def feed(evaluator, outputs):
    evaluator.reset()
    for image, output in outputs:
        evaluator.process([image], [output])
    return evaluator


OBJECTS = [
    annotation(1),
    annotation(2, bbox=[10, 5, 20, 20]),
    annotation(3, image=2, category=4),
    annotation(4, image=3, iscrowd=1),
]


def test_the_figures_and_the_file_are_those_of_detectron2(tmp_path, register):
    name = register(truth(OBJECTS, images=3))
    DatasetCatalog.get(name)
    folders = tmp_path / "theirs", tmp_path / "ours"
    theirs = COCOEvaluator(name, None, False, str(folders[0]))
    ours = InstanceEvaluator(name, None, False, str(folders[1]))
    expected, found = (feed(e, random_outputs(5)).evaluate() for e in (theirs, ours))
    assert list(found) == list(expected) == ["bbox", "segm"]
    for task, metrics in expected.items():
        assert metrics["AP50"] > 0
        assert found[task].keys() > metrics.keys()
        for metric, value in metrics.items():
            assert found[task][metric] == pytest.approx(value, abs=1e-12, nan_ok=True), metric
    written = [json.loads((folder / RESULTS_FILE).read_text()) for folder in folders]
    assert written[0] == written[1]
    assert [f.name for f in folders[1].iterdir()] == [RESULTS_FILE]


def test_a_second_round_forgets_the_first(tmp_path, register):
    name = register(truth(OBJECTS, images=3))
    for output_dir in (None, str(tmp_path / "out")):
        evaluator = InstanceEvaluator(name, ("bbox",), False, output_dir)
        first = json.dumps(feed(evaluator, random_outputs(5)).evaluate())
        assert json.dumps(feed(evaluator, random_outputs(6)).evaluate()) != first
        evaluator.reset()
        assert json.dumps(feed(evaluator, random_outputs(5)).evaluate()) == first


def test_tasks_and_rules(register):
    name = register(truth(OBJECTS, images=3))
    tasks = ("segm", "boundary")
    for backend in ("hotcoco", "pycocotools"):
        rules = {"iou_thresholds": [0.5], "sizes": {"all": (0, 1e9)}, "backend": backend}
        evaluator = InstanceEvaluator(name, tasks, False, max_dets_per_image=2, **rules)
        found = feed(evaluator, random_outputs(5)).evaluate(img_ids=[1, 2])
        assert tuple(found) == tasks
        names = ["AP", "AP50", "AP75", "APall", "AR@1", "AR@2", "AR@10", "ARall"]
        assert list(found["segm"])[:8] == names


def test_nothing_detected_is_zero_and_nothing_processed_is_empty(register):
    evaluator = InstanceEvaluator(register(truth([annotation(1)])), None, False)
    empty = [next(iter(random_outputs(2, masks=False)))]
    empty[0][1]["instances"] = empty[0][1]["instances"][:0]
    metrics = feed(evaluator, empty).evaluate()["bbox"]
    assert (metrics["AP"], metrics["AR@100"], metrics["AP-cake"]) == (0, 0, 0)
    assert math.isnan(metrics["AP-dog"])
    assert math.isnan(metrics["APl"])
    assert feed(evaluator, []).evaluate() == {}


def test_a_single_class_has_no_rows_of_its_own(register, caplog):
    name = register(truth([annotation(1)], names=("cake",)))
    [(image, output)] = random_outputs(5, images=(1,))
    output["instances"].pred_classes[:] = 0
    with caplog.at_level("INFO", "project.evaluation.coco"):
        metrics = feed(InstanceEvaluator(name, None, False), [(image, output)]).evaluate()
    assert not [key for key in metrics["segm"] if "-" in key]
    assert metrics["segm"]["AP50"] > 0
    assert "Results of segm" in caplog.text
    assert "Per class" not in caplog.text


def test_unlabelled_images_give_the_file_only(tmp_path, register):
    evaluator = InstanceEvaluator(register(truth(None, images=3)), None, False, str(tmp_path))
    assert feed(evaluator, random_outputs(5)).evaluate() == {}
    assert len(json.loads((tmp_path / RESULTS_FILE).read_text())) > 3


@pytest.mark.parametrize("num_parts", [2, 3])
def test_parts_of_several_processes_are_joined_in_order(tmp_path, register, num_parts, monkeypatch):
    """Each process writes a part; the main one joins them without reading them."""
    from detectron2.utils import comm

    name = register(truth(OBJECTS, images=3))
    outputs = list(random_outputs(5))
    expected = feed(InstanceEvaluator(name, None, False), outputs).evaluate()
    evaluators = [InstanceEvaluator(name, None, True, str(tmp_path)) for _ in range(num_parts)]
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    told = []
    for rank, evaluator in reversed(list(enumerate(evaluators))):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(comm, "is_main_process", lambda rank=rank: rank == 0)
        monkeypatch.setattr(comm, "gather", lambda data: told.append(data) or told)
        share = outputs[rank : len(outputs) : num_parts] if rank < 2 else []
        found = feed(evaluator, share).evaluate()
        assert (found == {}) == (rank > 0)
    if num_parts == 2:
        assert found.keys() == expected.keys()
    written = json.loads((tmp_path / RESULTS_FILE).read_text())
    images = [r["image_id"] for r in written]
    ranks = [(i - 1) % num_parts for i in images]
    assert ranks == sorted(ranks)
    assert [f.name for f in tmp_path.glob(f"{RESULTS_FILE}*")] == [RESULTS_FILE]


def test_a_missing_part_is_told(tmp_path, register, monkeypatch):
    from detectron2.utils import comm

    evaluator = InstanceEvaluator(register(truth(OBJECTS, images=3)), None, True, str(tmp_path))
    feed(evaluator, random_outputs(5))
    monkeypatch.setattr(comm, "gather", lambda data: [data, data])
    with pytest.raises(UserError, match="part1 isn't there: all processes must write"):
        evaluator.evaluate()


class SoftDetector(torch.nn.Module):
    """One box of a 20 x 25 input with a soft 3 x 3 mask, and an empty box."""

    def inference(self, batched_inputs, do_postprocess):
        assert not do_postprocess
        boxes = Boxes(torch.tensor([[2.0, 2, 12, 12], [30, 3, 40, 9]]))
        masks = torch.full((2, 1, 3, 3), 0.9)
        found = Instances((20, 25), pred_boxes=boxes, pred_masks=masks)
        found.scores, found.pred_classes = torch.tensor([0.9, 0.8]), torch.tensor([0, 1])
        return [found for _ in batched_inputs]


def test_unpasted_masks_are_judged_as_pasted_ones(tmp_path, register):
    from detectron2.modeling.postprocessing import detector_postprocess

    name = register(truth([annotation(1), annotation(2, image=2)]))
    inputs = [{"image_id": i, "height": HEIGHT, "width": WIDTH} for i in (1, 2)]
    model = UnpastedDetector(SoftDetector())
    evaluator = InstanceEvaluator(name, None, False, str(tmp_path / "small"))
    found = inference_on_dataset(model, [inputs], evaluator)
    assert found["bbox"]["AP"] == pytest.approx(100)
    pasted = [
        {"instances": detector_postprocess(x, HEIGHT, WIDTH)}
        for x in model.model.inference(inputs, do_postprocess=False)
    ]
    evaluator = InstanceEvaluator(name, None, False, str(tmp_path / "large"))
    pairs = [([i], [o]) for i, o in zip(inputs, pasted, strict=True)]
    evaluator.reset()
    for image, output in pairs:
        evaluator.process(image, output)
    assert evaluator.evaluate().keys() == found.keys()
    files = [(tmp_path / f / RESULTS_FILE).read_text() for f in ("small", "large")]
    assert files[0] == files[1]
    kept = at_size(model.model.inference(inputs, do_postprocess=False)[0], HEIGHT, WIDTH)
    assert len(kept) == 1  # the second box lies outside
    assert kept.pred_masks.shape == (1, 1, 3, 3)


def test_wrong_tasks_models_and_datasets(register):
    name = register(truth(OBJECTS, images=3))
    with pytest.raises(UserError, match="unknown task 'boundry'; did you mean 'boundary'"):
        InstanceEvaluator(name, ("boundry",), False)
    with pytest.raises(UserError, match="unknown backend 'coco'"):
        InstanceEvaluator(name, None, False, backend="coco")
    evaluator = InstanceEvaluator(name, None, False)
    evaluator.reset()
    with pytest.raises(UserError, match=r"gives \['proposals'\] and no instances"):
        evaluator.process([{"image_id": 1}], [{"proposals": None}])
    image, output = next(iter(random_outputs(5)))
    output["instances"].pred_classes[:] = 2
    with pytest.raises(UserError, match="image 1: predictions have the class 2, but .* 0 to 1"):
        evaluator.process([image], [output])
    bare = f"instance_evaluator_{next(_numbers)}"
    with pytest.raises(UserError, match="has no json_file"):
        InstanceEvaluator(bare, None, False)
    MetadataCatalog.pop(bare, None)


# --- records and mistakes in files ------------------------------------------------------------


def test_records_by_hand():
    """Two objects and a crowd; a hit, a second hit of the same object, one in the crowd, a miss."""
    crowd = annotation(8, bbox=[28, 0, 20, 30], area=600, iscrowd=1)
    document = truth([annotation(5), annotation(6, image=2), crowd])
    found = [
        result(score=0.4),
        result(score=0.9, bbox=[4, 4, 20, 16]),
        result(score=0.3, bbox=[30, 2, 10, 10]),
        result(image=2, category=4, score=0.8),
    ]
    records = match(document, found, iou_type="bbox")
    assert records.class_names == ("cake", "dog")
    assert records.image_ids.tolist() == [1, 2]
    assert records.image.tolist() == [0, 0, 0, 1]
    assert records.category.tolist() == [0, 0, 0, 1]
    assert records.score.tolist() == [0.9, 0.4, 0.3, 0.8]
    assert records.matched.sum(axis=0).tolist() == [7, 3, 0, 0]  # IoU 0.8: up to 0.8
    assert records.ignored.sum(axis=0).tolist() == [0, 0, 10, 0]
    assert records.object_id[0].tolist() == [5, 0, 8, 0]
    assert records.object_id[9].tolist() == [0, 5, 8, 0]
    assert records.iou.tolist() == [0.8, 0.0, 1.0, 0.0]
    assert records.num_objects.tolist() == [[1, 0], [1, 0]]


def test_records_of_nothing():
    for objects in ([], [annotation(1)]):
        for iou_type in ("bbox", "segm", "boundary"):
            metrics, records = evaluate_and_match(truth(objects), [], iou_type)
            assert records.matched.shape == records.object_id.shape == (10, 0)
            assert records.num_objects.sum() == len(objects)
            assert metrics["AP"] == 0 if objects else math.isnan(metrics["AP"])


def test_annotation_ids_below_one_do_not_ruin_ap(caplog):
    document = truth([annotation(0), annotation(1, image=2)])
    for backend in ("hotcoco", "pycocotools"):
        metrics = evaluate_results(document, [result(), result(2)], backend=backend)
        assert metrics["AP"] == pytest.approx(100)
    assert "numbered anew" in caplog.text


@pytest.mark.parametrize(
    "change, words",
    [
        ({"image_id": 7}, "entry 1: annotations has no image with the id 7"),
        ({"image_id": 10**20}, r"`int` <= 9223372036854775807 - at `\$\[1\].image_id`"),
        ({"category_id": -(10**20)}, r"\$\[1\].category_id"),
        ({"segmentation": {"size": [10**20, 50], "counts": "abc"}}, r"\$\[1\].segmentation.size"),
        ({"category_id": 2}, "entry 1: annotations has no category with the id 2"),
        ({"score": "high"}, r"\$\[1\]\.score"),
        ({"score": math.nan}, "entry 1: score nan"),
        ({"bbox": [1, 2, 3]}, r"length 4.*\$\[1\]\.bbox"),
        ({"segmentation": None}, "entry 1 has no segmentation"),
        (
            {"segmentation": {"size": [50, 40], "counts": [2000]}},
            r"entry 1: mask of \[50, 40\] pixels \(height, width\), but image 1 has \[40, 50\]",
        ),
        ({"segmentation": {"size": [40, 50], "counts": "abc"}}, "entry 1: invalid RLE"),
        ({"segmentation": {"size": [40, 50], "counts": [-1]}}, "entry 1: damaged RLE"),
    ],
)
def test_results_that_cannot_be_judged(change, words):
    with pytest.raises(UserError, match=words):
        evaluate_results(truth(OBJECTS, images=3), [result(), result(**change)])


def rle(counts, size=(HEIGHT, WIDTH)):
    return {"segmentation": {"size": list(size), "counts": counts}}


@pytest.mark.parametrize(
    "change, words",
    [
        (rle([20], (4, 5)), r"its RLE mask has the size \[4, 5\], but the image has \[40, 50\]"),
        ({"segmentation": {"counts": [2000]}}, "its RLE mask has the size None"),
        ({"segmentation": {"size": 2000, "counts": [2000]}}, "its RLE mask has the size 2000"),
        ({"segmentation": {"size": [HEIGHT, WIDTH]}}, "the counts of its RLE mask are None"),
        (rle({}), "the counts of its RLE mask are {}"),
        (rle([164, 20, 1817]), "damaged RLE: .*total counts 2001"),
        (rle([-1, 2001]), "damaged RLE"),
        (rle(["many"]), "damaged RLE"),
        (rle("abc"), "damaged RLE: its counts are no compressed runs"),  # goes on, but ends
        (rle("P;tso"), "damaged RLE: its counts are no compressed runs"),  # beyond 6 bits
        (rle("`oo"), "damaged RLE"),
        (rle("0O"), "damaged RLE: .*negative"),
        ({"segmentation": [[0, 0, 1e9, 0, 5, 5]]}, r"coordinate 1e\+09, more than 10 sides away"),
        ({"segmentation": [SQUARE[0], [0, 0, 5, 0, 5, math.nan]]}, "coordinate nan"),
    ],
)
def test_labels_with_masks_that_cannot_be_judged(change, words):
    document = truth([annotation(1), annotation(4, **change), annotation(5, **rle("T3:"))])
    with pytest.raises(UserError, match=f"annotations: annotation 4 of image 1: .*{words}"):
        evaluate_results(document, [])


@pytest.mark.parametrize(
    "key, change, words",
    [
        ("images", {"id": 10**20}, r"images\[0\].id"),
        ("images", {"height": 2**40}, r"images\[0\].height"),
        ("images", {"width": -5}, r"images\[0\].width"),
        ("categories", {"id": -(10**20)}, r"categories\[0\].id"),
        ("annotations", {"id": 10**20}, r"annotations\[0\].id"),
        ("annotations", {"image_id": 10**20}, r"annotations\[0\].image_id"),
        ("annotations", {"category_id": 10**20}, r"annotations\[0\].category_id"),
        ("annotations", {"iscrowd": 10**20}, r"annotations\[0\].iscrowd"),
    ],
)
def test_numbers_that_no_array_holds(tmp_path, key, change, words):
    document = truth([annotation(1)])
    document[key][0] |= change
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match=f"labels.json is no readable COCO .*{words}"):
        evaluate_results(file, [])


def test_a_list_of_runs_is_text_where_masks_are_compared():
    """COCO's crowd regions are lists, which pycocotools' overlaps don't take."""
    runs = result()["segmentation"]
    document = truth([annotation(1, segmentation=runs), annotation(2, iscrowd=1, **rle([0, 2000]))])
    truth_rles = load_ground_truth(document).rles
    assert all(isinstance(mask["counts"], str) for mask in truth_rles)
    for backend in ("hotcoco", "pycocotools"):
        (image, _) = image_masks(document, [result()], backend=backend)
        assert (image.iou.tolist(), image.crowd_cover.tolist()) == ([[1.0]], [[1.0]])


def test_files_that_cannot_be_judged(tmp_path):
    document = truth(OBJECTS, images=3)
    file = tmp_path / "results.json"
    with pytest.raises(UserError, match=r"results file .*results.json doesn't exist"):
        evaluate_results(document, file)
    file.write_text('[{"image_id": 1, "category_id": 1}]')
    with pytest.raises(UserError, match=r"results.json is no readable list.*score.*\$\[0\]"):
        evaluate_results(document, file)
    boxless = [result()]
    del boxless[0]["bbox"]
    with pytest.raises(UserError, match="entry 0 has no bbox"):
        evaluate_results(document, boxless, "bbox")
    with pytest.raises(UserError, match="annotation 4 has category_id 9"):
        evaluate_results(truth([*OBJECTS[:3], annotation(4, category=9)]), [])
    with pytest.raises(UserError, match="no image with the id 12"):
        evaluate_results(document, [], image_ids=[1, 12])


@pytest.mark.parametrize(
    "rules, words",
    [
        ({"iou_type": "mask"}, "unknown IoU type 'mask'"),
        ({"iou_thresholds": [0.7, 0.5]}, "ascending"),
        ({"iou_thresholds": [0.0, 0.5]}, "above 0"),
        ({"max_detections": [0, 5]}, "from 1 on"),
        ({"sizes": {"x": (5, 1)}}, "area range 'x'"),
        ({"backend": "numpy"}, "unknown backend"),
    ],
)
def test_wrong_rules(rules, words):
    with pytest.raises(UserError, match=words):
        evaluate_results(truth([]), [], **rules)
