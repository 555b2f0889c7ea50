"""What training sees, as pictures."""

from __future__ import annotations

from project.data.augmentation import CopyPaste
from project.data.catalog import SubsetDicts
from project.data.mapper import InstanceMapper
from project.data.seeding import sample_randomness
from project.data.semantic_mapper import SemanticMapper
from project.errors import UserError
from project.visualization.augmented import (
    objects_from_instances,
    objects_from_labels,
    render_augmented,
)
from project.visualization.palette import class_color

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from PIL import Image

POLYGON = [[4.0, 2.0, 10.0, 2.0, 10.0, 8.0, 4.0, 8.0]]


@pytest.fixture
def dataset(tmp_path):
    records = []
    for i in range(3):
        file = str(tmp_path / f"{i}.png")
        Image.fromarray(np.full((16, 20, 3), 40 * i, np.uint8)).save(file)
        records.append({"file_name": file, "image_id": i, "height": 16, "width": 20})
        common = {"bbox": [4, 2, 6, 6], "bbox_mode": BoxMode.XYWH_ABS, "iscrowd": 0}
        objects = [{**common, "category_id": 1, "segmentation": POLYGON}] * i
        records[i]["annotations"] = objects
    return SubsetDicts(records, ["ant", "bee"])


def mapper_of(**options):
    return InstanceMapper(True, augmentations=[T.RandomFlip()], **options)


@pytest.mark.parametrize("mask_format", ["bitmask", "polygon"])
def test_objects_are_those_of_the_sample(dataset, mask_format):
    mapper = InstanceMapper(
        True, augmentations=[T.HFlipTransform(20)], mask_format=mask_format, image_format="RGB"
    )
    instances = mapper(dataset[1])["instances"]
    (drawn,) = objects_from_instances(instances, ["ant", "bee"])
    assert (drawn.class_index, drawn.class_name) == (1, "bee")
    assert drawn.box_xyxy == (10, 2, 16, 8)
    assert (drawn.mask.x, drawn.mask.y, drawn.mask.pixels.shape) == (10, 2, (6, 6))
    instances.remove("gt_masks")
    assert objects_from_instances(instances, ["ant", "bee"])[0].mask is None


def test_one_file_for_each_image_and_a_sheet(dataset, tmp_path):
    out = tmp_path / "new" / "out"
    written = render_augmented(dataset, mapper_of(), out, draws=3, limit=2)
    assert [f.name for f in written][-1] == "contact_sheet.png"
    assert len(written) == 3
    assert all(cv2.imread(str(file)) is not None for file in written)
    one = render_augmented(dataset, mapper_of(), tmp_path / "one", draws=1, images=["2"])
    assert [f.name for f in one] == ["2.png", "contact_sheet.png"]
    assert cv2.imread(str(one[0])).shape[1] < cv2.imread(str(written[0])).shape[1]


def test_draws_are_those_of_the_run(dataset, tmp_path):
    seen = []

    class Recorder(InstanceMapper):
        def __call__(self, record):
            seen.append((record["image_id"], record["position"], float(np.random.uniform())))
            return super().__call__(record)

    mapper = Recorder(True, augmentations=[])
    render_augmented(dataset, mapper, tmp_path / "out", seed=5, start=7, draws=2, limit=3)
    assert [(i, p) for i, p, _ in seen] == [(0, 7), (0, 8), (1, 9), (1, 10), (2, 11), (2, 12)]
    for _, position, drawn in seen:
        with sample_randomness(5, position):
            assert drawn == np.random.uniform()


def test_it_gives_copy_paste_its_dataset(dataset, tmp_path):
    mapper = mapper_of(copy_paste=CopyPaste(probability=1))
    written = render_augmented(dataset, mapper, tmp_path / "out", draws=2, limit=3)
    assert len(written) == 4


def test_detectron2s_own_mapper_is_drawn_too(dataset, tmp_path):
    mapper = DatasetMapper(True, augmentations=[], image_format="BGR", use_instance_mask=True)
    assert len(render_augmented(dataset, mapper, tmp_path / "out", draws=1)) == 4


def test_the_classes_of_a_map():
    labels = np.full((16, 20), 2)  # the background
    labels[2:8, 4:10] = 1
    labels[0, :5] = 255
    bee, ignored = objects_from_labels(labels, ["ant", "bee"])
    assert (bee.class_index, bee.class_name, bee.iscrowd) == (1, "bee", False)
    assert bee.box_xyxy == (4, 2, 10, 8)
    assert bee.mask.pixels.all()
    assert (ignored.class_name, ignored.iscrowd) == ("ignored", True)
    assert ignored.box_xyxy == (0, 0, 5, 1)
    assert objects_from_labels(np.full((4, 4), 2), ["ant", "bee"]) == []


def test_what_a_semantic_model_sees(dataset, tmp_path):
    mapper = SemanticMapper(
        True, augmentations=[T.HFlipTransform(20)], num_classes=2, image_format="RGB"
    )
    written = render_augmented(dataset, mapper, tmp_path / "out", draws=1, images=["1"])
    picture = cv2.imread(str(written[0]))[..., ::-1]
    blended = np.rint(40 * 0.55 + np.array(class_color(1)) * 0.45)  # over the grey of image 1
    rows, columns = np.nonzero((picture == blended).all(-1))
    # Columns 10 to 15 after the flip, eight times enlarged, beside a gap of 8.
    assert 8 + 80 <= columns.min() < columns.max() < 8 + 128
    assert len(rows) > 0.7 * (8 * 6) ** 2  # the rest is contour


def test_no_image_is_replaced(dataset, tmp_path):
    before = (tmp_path / "1.png").read_bytes()
    with pytest.raises(UserError, match="1.png would be replaced"):
        render_augmented(dataset, mapper_of(), tmp_path, images=["1"])
    assert (tmp_path / "1.png").read_bytes() == before


@pytest.mark.parametrize(
    "options, message",
    [
        ({"draws": 0}, "number of draws must be at least 1"),
        ({"start": -1}, "at least 0, got 0 and -1"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"images": ["nine"]}, "unknown image 'nine'"),
        ({"seed": None}, "at least 0, got None and 0"),
        ({"columns": 0}, "0 columns; expected 1 or more"),
    ],
)
def test_what_can_not_be_drawn(dataset, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        render_augmented(dataset, mapper_of(), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "mapper",
    [
        InstanceMapper(False, augmentations=[]),
        SemanticMapper(False, augmentations=[], num_classes=2),
    ],
)
def test_a_mapper_without_labels_is_named(dataset, tmp_path, mapper):
    with pytest.raises(UserError, match="gives no labels to draw; set its is_train=True"):
        render_augmented(dataset, mapper, tmp_path / "out")
