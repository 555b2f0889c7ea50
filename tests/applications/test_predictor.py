"""What a predictor gives for files and arrays, against the model and its usual post-processing."""

import json
import shutil
from pathlib import Path

from project.applications import Predictor, UnreadableImage
from project.applications.predictor import read_rgb
from project.applications.thresholds import class_thresholds, parse_thresholds
from project.engine.config import build, load_run
from project.errors import UserError

import cv2
import numpy as np
import pytest
import torch
import yaml
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.structures import Instances
from PIL import Image


def same(a: Instances, b: Instances) -> bool:
    fields = ("scores", "pred_classes")
    return (
        a.image_size == b.image_size
        and all(torch.equal(a.get(f), b.get(f)) for f in fields)
        and torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
        and np.array_equal(np.asarray(a.pred_masks), np.asarray(b.pred_masks))
    )


def test_it_gives_what_the_model_gives(run_dir, predictor, photos):
    cfg = load_run(run_dir)
    cfg.model.roi_heads.num_classes = 4
    model = build(cfg.model, "model").eval()
    DetectionCheckpointer(model).load(str(run_dir / "model_final.pth"))
    mapper = build(cfg.dataloader.test.mapper, "mapper")
    height, width = cv2.imread(str(photos[0])).shape[:2]
    with torch.no_grad():
        record = {"file_name": str(photos[0]), "height": height, "width": width}
        expected = model([mapper(record)])[0]["instances"]
    expected = expected[expected.scores >= 0.2]
    found = predictor(photos[0])
    assert len(found) > 3
    assert found.image_size == (height, width)
    assert same(found, expected)


def test_files_and_arrays_of_either_order_are_the_same(predictor, photos):
    image = cv2.imread(str(photos[0]))
    found = predictor(str(photos[0]))
    assert same(found, predictor(image))
    assert same(found, predictor(image[..., ::-1], channels="RGB"))
    assert not same(found, predictor(image, channels="RGB"))


def test_several_images_are_a_list(run_dir, predictor, photos):
    image = cv2.resize(cv2.imread(str(photos[0])), (160, 120))
    images = [image, image[:, ::-1], image[::-1]]
    singles = [predictor(i) for i in images]
    assert all(map(same, predictor(images), singles))
    batched = Predictor(run_dir, thresholds=0.2, batch_size=2)(images)
    for one, other in zip(batched, singles, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)
    assert predictor([]) == []


def test_a_stream_asks_for_images_as_it_goes(predictor, photos):
    asked = []

    def images():
        for photo in photos:
            asked.append(photo)
            yield photo

    stream = predictor.stream(images())
    next(stream)
    assert asked == photos[:1]
    next(stream)
    assert asked == photos[:2]


def test_the_exif_orientation_is_applied(predictor, photos, tmp_path):
    upright = cv2.resize(cv2.imread(str(photos[0])), (160, 120))
    lying = Image.fromarray(np.rot90(upright)[..., ::-1])  # a quarter turn to the left
    exif = Image.Exif()
    exif[274] = 6  # to be turned a quarter to the right
    lying.save(tmp_path / "lying.png", exif=exif)
    assert read_rgb(tmp_path / "lying.png").shape == (120, 160, 3)
    assert same(predictor(tmp_path / "lying.png"), predictor(upright))


def test_masks_of_a_large_image_stay_small(predictor):
    image = np.full((3000, 4000, 3), 90, np.uint8)
    image[500:2500, 1000:3000] = 200
    found = predictor(image)
    assert found.image_size == (3000, 4000)
    assert len(found) > 3
    assert found.pred_masks.soft[0].numel() < 1000
    assert found.pred_boxes.tensor[:, 2].max() > 2000
    assert max(c for i in range(3) for c in found.pred_masks.crop(i).pixels.shape) > 300


def test_a_model_without_masks(run_dir, photos):
    predictor = Predictor(run_dir, thresholds=0.2)
    predictor._model.roi_heads.mask_on = False
    found = predictor(photos[0])
    assert len(found) > 3
    assert not found.has("pred_masks")


def test_a_higher_threshold_leaves_the_others_as_they_are(run_dir, predictor, photos):
    found = predictor(photos[0])
    kept = found.pred_classes[0]
    lowest = found.scores[found.pred_classes == kept].median().item()
    thresholds = dict.fromkeys(predictor.class_names, 0.99)
    thresholds[predictor.class_names[kept]] = lowest
    chosen = found[(found.pred_classes == kept) & (found.scores >= lowest)]
    assert 0 < len(chosen) < len(found)
    assert same(Predictor(run_dir, thresholds=thresholds)(photos[0]), chosen)


def test_no_objects(run_dir, photos):
    found = Predictor(run_dir, thresholds=0.99)(photos[0])
    assert len(found) == len(found.pred_masks) == 0
    assert list(found.pred_masks) == found.pred_masks.rles() == []
    assert np.asarray(found.pred_masks).shape == (0, *found.image_size)


def test_thresholds_of_the_run_folder(tmp_path):
    classes = ["cake", "dog"]
    assert class_thresholds(classes, None, tmp_path).tolist() == [0.5, 0.5]
    (tmp_path / "thresholds.json").write_text(json.dumps({"dog": 0.31, "cake": None}))
    assert class_thresholds(classes, None, tmp_path).tolist() == [0.5, 0.31]
    assert class_thresholds(classes, 0.7, tmp_path).tolist() == [0.7, 0.7]
    assert class_thresholds(classes, {"cake": 0.1}, tmp_path).tolist() == [0.1, 0.5]


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"cat": 0.3}', "thresholds.json: unknown class 'cat'"),
        ('{"dog": 1.3}', "thresholds.json: dog's is 1.3; expected a number from 0 to 1"),
        ('{"dog": true}', "dog's is True"),
        ("[0.5]", "one threshold for each class"),
        ("{", "thresholds.json can't be read"),
    ],
)
def test_wrong_thresholds_of_a_run_folder(tmp_path, content, message):
    (tmp_path / "thresholds.json").write_text(content)
    with pytest.raises(UserError, match=message):
        class_thresholds(["cake", "dog"], None, tmp_path)


def test_thresholds_of_a_command_line():
    assert parse_thresholds([]) is None
    assert parse_thresholds(["0.6"]) == 0.6
    assert parse_thresholds(["cake=0.3", "a=b=1"]) == {"cake": 0.3, "a=b": 1.0}
    for words in (["0.6", "0.7"], ["cake=high"], ["high"]):
        with pytest.raises(UserError, match="expected"):
            parse_thresholds(words)


@pytest.mark.parametrize(
    "image, options, message",
    [
        (np.zeros((5, 5), np.uint8), {}, r"shape \(5, 5\)"),
        (np.zeros((5, 5, 4), np.uint8), {}, r"expected uint8 \(height, width, 3\)"),
        (np.zeros((5, 5, 3), np.float32), {}, "type float32"),
        (np.zeros((0, 5, 3), np.uint8), {}, r"shape \(0, 5, 3\)"),
        (np.zeros((5, 5, 3), np.uint8), {"channels": "GBR"}, "expected 'BGR' or 'RGB'"),
    ],
)
def test_what_is_no_image(predictor, image, options, message):
    with pytest.raises(UserError, match=message):
        predictor(image, **options)


def test_files_that_can_not_be_read(predictor, tmp_path):
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UnreadableImage, match=r"torn\.jpg can't be read"):
        predictor(tmp_path / "torn.jpg")
    with pytest.raises(UnreadableImage, match="gone.jpg does not exist"):
        predictor("gone.jpg")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"weights": "best"}, r"model_best\.pth does not exist; .* holds model_final\.pth"),
        ({"weights": "gone.pth"}, "checkpoint gone.pth does not exist"),
        ({"thresholds": {"cat": 0.5}}, "unknown class 'cat'"),
        ({"batch_size": 0}, "the batch size is 0"),
        ({"device": "tpu"}, "expected 'cuda' or 'cpu'"),
    ],
)
def test_wrong_options(run_dir, options, message):
    with pytest.raises(UserError, match=message):
        Predictor(run_dir, **options)


def test_folders_that_are_no_run(run_dir, tmp_path):
    with pytest.raises(UserError, match="is no run folder"):
        Predictor(tmp_path)
    shutil.copy(run_dir / "config.yaml", tmp_path)
    with pytest.raises(UserError, match="holds no checkpoint; train first"):
        Predictor(tmp_path)
    shutil.copy(run_dir / "model_final.pth", tmp_path)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    config["model"]["_target_"] = "os.system"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="would build 'os.system'"):
        Predictor(tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": None}, "the config has no 'model.num_classes'"),
        ({"model": [1]}, "the config has no 'model.num_classes'"),
        ({"dataloader": {"test": {"mapper": None}}}, "'dataloader.test.mapper' is None; expected"),
        ({"dataset": {"name": "tiny", "root": 5}}, "dataset.root is 5; expected a folder"),
    ],
)
def test_configs_of_the_wrong_shape(run_dir, tmp_path, change, message):
    run = shutil.copytree(run_dir, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text()) | change
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=message):
        Predictor(run)


@pytest.mark.parametrize("named", [{}, {"classes": 4}, {"classes": "cake"}, {"classes": [1, 2]}])
def test_without_class_names_in_the_checkpoint_the_dataset_tells(
    run_dir, tiny_root, tmp_path, named
):
    content = torch.load(run_dir / "model_final.pth", weights_only=True)
    file = tmp_path / "bare.pth"
    torch.save({"model": content["model"], **named}, file)
    with pytest.raises(UserError, match="unknown subset 'tiny'"):
        Predictor(run_dir, weights=file)
    shutil.copytree(run_dir, tmp_path / "run")
    config = Path(tmp_path / "run/config.yaml")
    config.write_text(config.read_text().replace("nowhere", str(tiny_root)))
    assert Predictor(tmp_path / "run", weights=file).class_names == ["cake", "car", "dog", "person"]
