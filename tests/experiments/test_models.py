"""Models on one footing: pixels counted by hand, images and classes that differ, seeds, cost."""

import json
import math
import re

import project  # noqa: F401
from project.errors import UserError
from project.experiments.models import compare_models
from project.experiments.models import cost as cost_module
from project.experiments.models.charts import model_charts
from project.experiments.models.compare import difference, seed_noise
from project.experiments.models.cost import Cost, Costs, count_flops, measure_costs
from project.experiments.models.counts import BOUNDARY, DICE, IMAGE_DICE, IOU
from project.experiments.models.files import write_models
from project.experiments.models.groups import group_models
from project.experiments.models.pictures import BEST, MEDIAN, MOST, WORST, choose_images, regions
from project.experiments.models.runs import find_model_runs, read_model_run
from project.experiments.models.words import count_words, listed, sentences, three_digits

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

SIDE = 10


def box(x0, y0, x1, y1, side=SIDE) -> dict:
    """The RLE of a rectangle, ends excluded."""
    pixels = np.zeros((side, side), np.uint8)
    pixels[y0:y1, x0:x1] = 1
    rle = coco_mask.encode(np.asfortranarray(pixels))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def write_subset(root, subset, classes, images, split="val", shade=0):
    """A subset of ``images``: name → [(class, RLE) or (class, RLE, crowd)]."""
    content = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": i, "name": name} for i, name in enumerate(classes, 1)]
    folder = root / subset / "images" / split
    folder.mkdir(parents=True)
    for image_id, (name, objects) in enumerate(images.items(), 7):
        cv2.imwrite(str(folder / name), np.full((SIDE, SIDE, 3), 90 + shade, np.uint8))
        entry = {"id": image_id, "file_name": name, "height": SIDE, "width": SIDE}
        content["images"].append(entry)
        for kind, rle, *crowd in objects:
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image_id,
                    "category_id": classes.index(kind) + 1,
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "area": float(coco_mask.area(rle)),
                    "segmentation": rle,
                    "iscrowd": int(bool(crowd)),
                }
            )
    (root / subset / "annotations").mkdir(exist_ok=True)
    (root / subset / "annotations" / f"{split}.json").write_text(json.dumps(content))


def write_run(root, name, subset, found, *, semantic=False, seed=0, lr=0.1, split="val"):
    """A run folder with predictions: (image file, class, score, RLE)."""
    folder = root / "runs" / name
    labels = json.loads((root / subset / "annotations" / f"{split}.json").read_text())
    ids = {image["file_name"]: image["id"] for image in labels["images"]}
    categories = {category["name"]: category["id"] for category in labels["categories"]}
    place = folder / "inference" / f"{subset}_{split}"
    place.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        f"dataset: {{name: {subset}, test: {split}, root: '{root}'}}\noptimizer: {{lr: {lr}}}\n"
        f"train: {{output_dir: x, seed: {seed}, device: cpu}}\n"
    )
    entries = [
        {"image_id": ids[image], "category_id": categories[kind], "score": score,
         "bbox": coco_mask.toBbox(rle).tolist(), "segmentation": rle}
        for image, kind, score, rle in found
    ]  # fmt: skip
    name = "sem_seg_predictions.json" if semantic else "coco_instances_results.json"
    (place / name).write_text(json.dumps(entries))
    return folder


PEOPLE = {"a.png": [("person", box(2, 2, 6, 6))], "b.png": [("person", box(2, 2, 4, 4))]}
SHIFTED = ("a.png", "person", 0.9, box(4, 2, 8, 6))
EXACT = ("b.png", "person", 0.8, box(2, 2, 4, 4))
PERFECT = ("a.png", "person", 0.9, box(2, 2, 6, 6))


@pytest.fixture
def root(tmp_path):
    write_subset(tmp_path, "people", ["person"], PEOPLE)
    with_car = {**PEOPLE, "a.png": [*PEOPLE["a.png"], ("car", box(3, 3, 4, 4))]}
    write_subset(tmp_path, "street", ["car", "person"], with_car)
    return tmp_path


def two_models(root, **options):
    """Mask R-CNN of cars and persons against a semantic model of persons."""
    sure_car = ("a.png", "car", 0.95, box(5, 3, 8, 6))  # over the person, but not compared
    doubtful = ("b.png", "person", 0.49, box(0, 0, 10, 10))
    write_run(root, "mask_rcnn", "street", [SHIFTED, EXACT, sure_car, doubtful])
    write_run(root, "unet", "people", [PERFECT], semantic=True)
    folders = [root / "runs/mask_rcnn", root / "runs/unet"]
    return compare_models(folders, num_resamples=50, **options)


def test_pixels_counted_by_hand(root):
    found = two_models(root)
    assert (found.class_names, found.footing.image_names) == (("person",), ("a.png", "b.png"))
    rcnn, unet = ({m: model.estimates[m, ""].value for m in (IOU, DICE, BOUNDARY, IMAGE_DICE)}
                  for model in found.models)  # fmt: skip
    # a: 16 pixels each, 8 of them common; b: 4, 4, 4.
    assert rcnn[IOU] == pytest.approx(100 * 12 / 28)
    assert rcnn[DICE] == pytest.approx(100 * 24 / 40)
    assert rcnn[IMAGE_DICE] == pytest.approx((50 + 100) / 2)
    # Rings of 12 pixels that cross in 4; the square of b is all ring.
    assert rcnn[BOUNDARY] == pytest.approx(100 * (4 + 4) / (20 + 4))
    # a is right, b is missed.
    assert unet[IOU] == pytest.approx(100 * 16 / 20)
    assert unet[IMAGE_DICE] == pytest.approx(50)
    assert found.models[0].image_dice.tolist() == pytest.approx([50, 100])
    assert found.footing.left_out == {"car": ["unet"]}


def test_a_difference_is_that_of_the_figures(root):
    found = two_models(root, baseline="unet")
    assert found.baseline.label == "unet"
    item = found.differences["mask_rcnn", IOU, ""]
    assert item.difference == pytest.approx(100 * (12 / 28 - 16 / 20))
    assert math.isnan(item.low)
    assert item.note == "too few images"
    assert "too little to tell them apart" in " ".join(s.text for s in sentences(found, None))


def test_the_runs_thresholds_count(root):
    write_run(root, "one", "people", [SHIFTED, EXACT])
    write_run(root, "two", "people", [SHIFTED, EXACT], lr=0.2)
    (root / "runs/two/thresholds.json").write_text('{"person": 0.85}')
    found = compare_models([root / "runs"], num_resamples=50)
    one, two = (model.counts[0].found[:, 0].tolist() for model in found.models)
    assert (one, two) == ([16, 4], [16, 0])
    text = " ".join(s.text for s in sentences(found, None))
    assert "thresholds of two were chosen on these very images" in text
    (root / "runs/two/thresholds.json").write_text('{"person": null}')  # the usual one
    two = compare_models([root / "runs"], num_resamples=50).models[1]
    assert two.counts[0].found[:, 0].tolist() == [16, 4]
    (root / "runs/two/thresholds.json").write_text('{"person": 2}')
    with pytest.raises(UserError, match="person's is 2; expected a number from 0 to 1"):
        compare_models([root / "runs"])


def test_no_figure_is_no_number_on_the_page(root):
    write_subset(root, "empty", ["person"], {"a.png": [], "b.png": PEOPLE["b.png"]})
    write_subset(root, "part", ["person"], {"a.png": [], "c.png": PEOPLE["b.png"]})
    write_run(root, "one", "empty", [PERFECT])
    write_run(root, "two", "part", [], semantic=True)
    found = compare_models([root / "runs"], num_resamples=50)
    text = write_models(found, None, root / "out", title="x").read_text("utf-8")
    assert "IoU isn&#39;t defined" in text
    assert not re.search(r"\bnan\b", re.sub(r"data:[^\"]*", "", text))


def test_crowds_do_not_count(root):
    images = {"a.png": [("person", box(0, 0, 2, 2)), ("person", box(5, 5, 10, 10), "crowd")]}
    write_subset(root, "crowded", ["person"], images)
    right, in_crowd = (("a.png", "person", 0.9, box(*at)) for at in ((0, 0, 2, 2), (6, 6, 9, 9)))
    write_run(root, "with", "crowded", [right, in_crowd])
    write_run(root, "without", "crowded", [right], semantic=True)
    found = compare_models([root / "runs"], num_resamples=50)
    assert [model.estimates[IOU, ""].value for model in found.models] == [100, 100]


def test_no_predictions_at_all(root):
    write_run(root, "empty", "people", [])
    write_run(root, "unet", "people", [PERFECT, EXACT], semantic=True)
    found = compare_models([root / "runs"], num_resamples=50)
    empty = found.models[0]
    assert [empty.estimates[m, ""].value for m in (IOU, DICE, BOUNDARY, IMAGE_DICE)] == [0] * 4
    assert found.ranked[0].label == "unet"
    assert sentences(found, None)[0].text.startswith("unet finds person pixels best: IoU 100.0")
    assert {chart.name for chart in model_charts(found, None)["figures"]} == {
        "figure-IoU", "figure-boundary-IoU", "figure-image-Dice"
    }  # fmt: skip


def test_seeds_are_one_model(root):
    write_run(root, "unet_seed0", "people", [PERFECT, EXACT], semantic=True, seed=0)
    write_run(root, "unet_seed1", "people", [PERFECT], semantic=True, seed=1)
    write_run(root, "other", "people", [SHIFTED, EXACT])
    folders = [root / "runs" / name for name in ("other", "unet_seed1", "unet_seed0")]
    found = compare_models(folders, num_resamples=50)
    other, unet = found.models
    assert (other.label, unet.label) == ("other", "unet")
    assert [run.seed for run in unet.model.runs] == [0, 1]
    assert unet.seed_values[IOU, "person"].tolist() == [100, 80]
    assert unet.estimates[IOU, ""].value == pytest.approx(90)
    assert unet.sd(IOU) == pytest.approx(np.sqrt(200))
    assert math.isnan(other.sd(IOU))
    assert math.isnan(seed_noise(other, other, IOU))
    assert seed_noise(other, unet, IOU) == pytest.approx(2 * np.sqrt(200 + 200 / 2))
    assert seed_noise(unet, unet, IOU) == pytest.approx(2 * np.sqrt(200 / 2 * 2))
    assert difference(other, unet)[IOU, ""].difference == pytest.approx(90 - 100 * 12 / 28)
    text = sentences(found, None)[0].text
    assert "IoU 90.0 (too few images) (mean of 2 seeds, sd 14.1)" in text


def test_one_setting_and_seed_twice(root):
    for name in ("a", "b"):
        write_run(root, name, "people", [EXACT], seed=3)
    with pytest.raises(UserError, match="the same config and the same seed 3"):
        compare_models([root / "runs"])
    write_run(root, "c", "people", [EXACT], seed="null")
    with pytest.raises(UserError, match="c/config.yaml: train.seed is None; expected a whole"):
        compare_models([root / "runs"])


def test_folders_of_one_name_are_told_apart(root):
    folders = [write_run(root, f"{x}/run", "people", [EXACT], lr=i) for i, x in enumerate("xy")]
    models = group_models([read_model_run(folder) for folder in folders])
    assert [model.label for model in models] == ["x/run", "y/run"]
    folders = [write_run(root, f"{x}/z/run", "people", [EXACT], lr=i) for i, x in enumerate("abc")]
    models = group_models([read_model_run(folder) for folder in folders])
    assert [model.label for model in models] == ["z/run (1)", "z/run (2)", "z/run (3)"]


@pytest.mark.parametrize(
    "names, label",
    [
        (["unet_R34", "unet_R34_seed1"], "unet_R34"),  # digits of the model's name stay
        (["unet_seed1", "unet_seed10"], "unet"),
        (["unet-s0", "unet-s1"], "unet"),
        (["unet10", "unet11"], "unet"),
        (["classes_a", "classes_b"], "classes"),
        (["run1", "run2"], "run1"),
        (["one", "two"], "one"),
    ],
)
def test_the_name_that_runs_share(root, names, label):
    folders = [write_run(root, n, "people", [EXACT], seed=i) for i, n in enumerate(names)]
    (model,) = group_models([read_model_run(folder) for folder in folders])
    assert model.label == label


def test_only_common_images_count(root):
    write_subset(root, "part", ["person"], {"b.png": PEOPLE["b.png"], "c.png": []})
    write_run(root, "all", "people", [SHIFTED, EXACT])
    write_run(root, "part", "part", [EXACT], semantic=True)
    found = compare_models([root / "runs/all", root / "runs/part"], num_resamples=50)
    assert found.footing.image_names == ("b.png",)
    assert [model.estimates[IOU, ""].value for model in found.models] == [100, 100]
    text = " ".join(s.text for s in sentences(found, None))
    assert "people_val has 2 images; the 1 that all runs were evaluated on are compared." in text


def test_images_of_one_name_that_differ(root):
    write_subset(root, "people2", ["person"], PEOPLE)
    cv2.imwrite(
        str(root / "people2/images/val/b.png"),
        np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8),
    )
    write_run(root, "one", "people", [EXACT])
    write_run(root, "two", "people2", [EXACT])
    with pytest.raises(UserError, match="have different images of the name b.png"):
        compare_models([root / "runs"])


def test_labels_that_differ(root):
    other = {"a.png": [("person", box(0, 0, 5, 5))], "b.png": PEOPLE["b.png"]}
    write_subset(root, "relabelled", ["person"], other)
    write_run(root, "one", "people", [EXACT])
    write_run(root, "two", "relabelled", [EXACT])
    with pytest.raises(UserError, match="image a.png has 16 of class 'person' in the first run"):
        compare_models([root / "runs"])


def test_nothing_in_common(root):
    write_subset(root, "dogs", ["dog"], {"a.png": [("dog", box(0, 0, 5, 5))]})
    write_subset(root, "elsewhere", ["person"], {"z.png": [("person", box(0, 0, 5, 5))]})
    write_run(root, "people", "people", [])
    write_run(root, "dogs", "dogs", [])
    write_run(root, "elsewhere", "elsewhere", [])
    runs = root / "runs"
    with pytest.raises(UserError, match="no class in common: people_val has person; dogs_val has"):
        compare_models([runs / "people", runs / "dogs"])
    with pytest.raises(UserError, match="no image in common by file name: .* such as z.png"):
        compare_models([runs / "people", runs / "elsewhere"])


def test_which_runs(root):
    write_run(root, "unet", "people", [EXACT])
    with pytest.raises(UserError, match="unknown run 'unett'; did you mean 'unet'"):
        find_model_runs([root / "runs/unett"])
    with pytest.raises(UserError, match="one model; give runs of at least two"):
        compare_models([root / "runs"])
    assert find_model_runs([root / "runs", root / "runs/unet"]) == [root / "runs/unet"]
    with pytest.raises(UserError, match="labels of people_test aren't there"):
        read_model_run(root / "runs/unet", split="test")
    write_subset(root, "people", ["person"], PEOPLE, split="test")
    with pytest.raises(UserError, match=r"no predictions for people_test \(it has: people_val\)"):
        read_model_run(root / "runs/unet", split="test")


# -- pictures and words ---------------------------------------------------------------------------


class FakeModel:
    def __init__(self, dice):
        self.image_dice = np.array(dice)


class FakeComparison:
    def __init__(self, *dice):
        self.models = [FakeModel(row) for row in dice]


def test_which_images_are_shown():
    #                          0    1   2   3   4   5
    found = FakeComparison([100, 80, 50, 10, 60, np.nan], [90, 70, 0, 12, 30, 5])
    chosen = choose_images(found, 1)
    assert chosen == {MOST: [2], WORST: [3], BEST: [0], MEDIAN: [1]}
    assert choose_images(found, 0) == {}


def test_regions_of_a_label_map():
    labels = np.full((4, 5), 2)
    labels[1:3, 2:4] = 1
    (only,) = regions(labels, ["cake", "dog"])
    assert (only.class_index, only.class_name, only.box_xyxy) == (1, "dog", (2, 1, 4, 3))
    assert only.mask.pixels.all()


def test_counts_in_words():
    assert [count_words(n) for n in (44_010_000, 1_130_000, 999_999, 830, 2_500)] == [
        "44 M", "1.13 M", "1 M", "830", "2.5 k"
    ]  # fmt: skip
    assert [three_digits(x) for x in (0.7748, 36.29, 999.4, 999.6, 1464.87)] == [
        "0.775", "36.3", "999", "1,000", "1,465"
    ]  # fmt: skip
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(list("abcdefghij")).endswith("h and 2 more")


def test_what_to_use_when(root):
    found = two_models(root)
    cheap, dear = Cost(10, 1e9, [10.0], (8, 8)), Cost(20, 9e9, [40.0], (8, 8))
    costs = Costs({"mask_rcnn": cheap, "unet": dear}, {}, "a machine", 1)
    text = " ".join(s.text for s in sentences(found, costs))
    assert "An image takes on a machine: mask_rcnn 10 ms" in text
    assert "mask_rcnn is 4.0 times as fast as unet." in text
    assert "unet where masks matter most; mask_rcnn where time does: 4.0 times as fast" in text
    assert "To count objects or to cut out single ones, use mask_rcnn" in text
    costs = Costs({"mask_rcnn": dear, "unet": cheap}, {}, "a machine", 1)
    text = " ".join(s.text for s in sentences(found, costs))
    assert "Which to use: unet, for none of the others is faster" in text


# -- cost -----------------------------------------------------------------------------------------


def conv_model():
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, items):
            return [self.conv(item["image"][None]) for item in items]

    return Model().eval()


def image_of(size):
    import torch

    return {"image": torch.zeros(3, *size)}


def test_arithmetic_by_hand():
    # 4 filters of 3 x 3 x 3 at 8 x 6 places, a multiplication and an addition each.
    assert count_flops(conv_model(), image_of((8, 6))) == 2 * 27 * 4 * 48


def test_costs_and_what_cannot_be_measured(root, monkeypatch):
    found = two_models(root)

    def load(run, device):
        if run.name == "unet":
            raise UserError("no checkpoint")
        return conv_model()

    monkeypatch.setattr(cost_module, "load_model", load)
    monkeypatch.setattr(cost_module, "model_inputs", lambda *_: [image_of((8, 8))] * 2)
    costs = measure_costs(found.models, found.footing, device="cpu", num_rounds=3)
    cost = costs.models["mask_rcnn"]
    assert (cost.parameters, cost.flops, cost.input_size) == (112, 2 * 27 * 4 * 64, (8, 8))
    assert len(cost.milliseconds) == 2 * 3
    assert 0 < cost.quartiles[0] <= cost.median <= cost.quartiles[1]
    assert costs.problems == {"unet": "no checkpoint"}
    assert "thread" in costs.device
    text = " ".join(s.text for s in sentences(found, costs))
    assert "unet couldn't be measured: no checkpoint." in text


def test_the_same_figures_as_the_evaluation_gives(root):
    """Both runs know all classes: what is common is everything, so nothing may be different."""
    from project.evaluation.image_masks import image_masks
    from project.evaluation.overlap import PixelOverlap

    rng = np.random.default_rng(0)
    images = {}
    for i in range(6):
        corners = rng.integers(0, 6, (3, 2))
        made = [box(x, y, x + 4, y + 3) for x, y in corners.tolist()]
        images[f"{i}.png"] = list(zip(("car", "person", "person"), made, strict=True))
    write_subset(root, "mixed", ["car", "person"], images)
    found = [
        (name, ("car", "person")[int(rng.integers(2))], float(rng.random()),
         box(x, y, x + 4, y + 4))
        for name in images for x, y in rng.integers(0, 6, (4, 2)).tolist()
    ]  # fmt: skip
    folder = write_run(root, "rcnn", "mixed", found)
    write_run(root, "other", "mixed", [], lr=0.2)
    ours = compare_models([folder, root / "runs/other"], num_resamples=50).models[0]
    counter = PixelOverlap(2)
    results = folder / "inference/mixed_val/coco_instances_results.json"
    for image in image_masks(root / "mixed/annotations/val.json", results):
        counter.update(image)
    expected = counter.result(["car", "person"])
    keys = {IOU: "iou", DICE: "dice", BOUNDARY: "boundary_iou"}
    for metric, key in keys.items():
        assert ours.estimates[metric, ""].value == pytest.approx(expected["mean"][key])
        for name, figures in expected["classes"].items():
            assert ours.estimates[metric, name].value == pytest.approx(figures[key])
