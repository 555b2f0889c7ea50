"""Previews: the same images at each evaluation, from the predictions on disk."""

import json

from project.data.catalog import register_subset
from project.engine.hooks import PredictionPreview
from project.errors import UserError

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import read_image
from detectron2.utils import comm


@pytest.fixture
def dataset(datasets_root):
    return register_subset("tiny", "val", datasets_root)


@pytest.fixture
def predictions(dataset, tmp_path):
    """Writes one box-shaped prediction on every image; returns the file."""
    from pycocotools import mask as rle

    def write(left):
        entries = []
        records = DatasetCatalog.get(dataset)  # fills in the metadata
        category = min(MetadataCatalog.get(dataset).thing_dataset_id_to_contiguous_id)
        for record in records:
            mask = np.zeros((record["height"], record["width"]), np.uint8, order="F")
            mask[10:50, left : left + 30] = 1
            code = rle.encode(mask)
            entry = {"image_id": record["image_id"], "category_id": category, "score": 0.9}
            entry["bbox"] = [left, 10, 30, 40]
            entry["segmentation"] = {"size": code["size"], "counts": code["counts"].decode()}
            entries.append(entry)
        file = tmp_path / "coco_instances_results.json"
        file.write_text(json.dumps(entries))
        return file

    return write


def previews(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_picture_for_each_evaluation(make_loop, dataset, predictions, tmp_path):
    folder = tmp_path / "previews"
    hook = PredictionPreview(dataset, predictions(20), folder, period=2, num_images=2)
    make_loop([hook]).train(0, 4)
    assert previews(folder) == ["iter_0000001.png", "iter_0000004.png"]
    first, last = (read_image(folder / name, "RGB") for name in previews(folder))
    assert (first == last).all()  # the same images and predictions
    predictions(60)
    make_loop([hook]).train(4, 5)
    moved = read_image(folder / "iter_0000005.png", "RGB")
    assert moved.shape == first.shape
    assert (moved != first).any()


def test_what_cannot_be_drawn_is_told(make_loop, dataset, tmp_path, caplog):
    folder = tmp_path / "previews"
    missing = tmp_path / "nothing.json"
    make_loop([PredictionPreview(dataset, missing, folder, period=0)]).train(0, 1)
    assert "iter_0000001.png was not drawn: results file" in caplog.text
    assert previews(folder) == []


def test_a_folder_that_cannot_be_made_ends_nothing(
    make_loop, dataset, predictions, tmp_path, caplog
):
    file = tmp_path / "file"
    file.touch()
    make_loop([PredictionPreview(dataset, predictions(20), file, period=0)]).train(0, 1)
    assert "was not drawn: [Errno 17]" in caplog.text


def test_only_the_main_process_draws(make_loop, dataset, predictions, tmp_path, monkeypatch):
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    hook = PredictionPreview(dataset, predictions(20), tmp_path / "previews", period=1)
    hook.trainer = make_loop([])
    hook.trainer.iter, hook.trainer.max_iter = 1, 10
    hook.after_step()
    assert not (tmp_path / "previews").exists()


def test_refuses_no_images():
    with pytest.raises(UserError, match="num_images=0: expected a whole number of at least 1"):
        PredictionPreview("tiny_val", "results.json", "previews", period=1, num_images=0)
