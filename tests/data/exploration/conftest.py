"""Three small images whose every number can be worked out by hand."""

import json

from project.data.exploration.explore import explore
from project.data.exploration.fit import AnchorGrid, Detector, InputSize
from project.data.exploration.labels import read_labels

import numpy as np
import pytest


def rectangle(x0, y0, x1, y1):
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def annotation(number, image, category, box, segmentation, area, crowd=0):
    content = {"id": number, "image_id": image, "category_id": category, "iscrowd": crowd}
    return content | {"bbox": box, "segmentation": segmentation, "area": area}


# Image 1, 100 high and 200 wide: a cup and a ball that share a strip of 10 by 40 pixels, and a
# crowd region of 200 pixels in the lower left corner (column by column: 10 columns, last 20 rows).
# Image 2, the same size: a ball in two parts that touches the frame, a cup whose outline encloses
# nothing, another ball. Image 3, 50 by 50: empty. The class "ghost" has no object.
CROWD = {"size": [100, 200], "counts": [80, 20] * 10 + [19000]}
ANNOTATIONS = [
    annotation(1, 1, 5, [10, 20, 20, 40], [rectangle(10, 20, 30, 60)], 800),
    annotation(2, 1, 2, [20, 20, 40, 40], [rectangle(20, 20, 60, 60)], 1600),
    annotation(3, 1, 2, [0, 80, 10, 20], CROWD, 200, crowd=1),
    annotation(
        4, 2, 2, [0, 0, 104, 54], [rectangle(0, 0, 4, 4), rectangle(100, 50, 104, 54)], 9999
    ),
    annotation(5, 2, 5, [150, 10, 1, 10], [[150, 10, 150, 20, 150, 10]], 5),
    annotation(6, 2, 2, [150, 60, 10, 10], [rectangle(150, 60, 160, 70)], 100),
]


def write_labels(file, annotations=ANNOTATIONS, names=("ball", "cup", "ghost")):
    content = {
        "images": [
            {"id": 1, "file_name": "one.png", "height": 100, "width": 200},
            {"id": 2, "file_name": "two.png", "height": 100, "width": 200},
            {"id": 3, "file_name": "three.png", "height": 50, "width": 50},
        ],
        "categories": [{"id": i, "name": n} for i, n in zip((2, 5, 9), names, strict=True)],
        "annotations": annotations,
    }
    file.write_text(json.dumps(content))
    return file


@pytest.fixture(scope="session")
def detector() -> Detector:
    """One square anchor of 16 pixels at stride 8, images as they are, levels p3 and p4."""
    square = np.array([[-8.0, -8.0, 8.0, 8.0]])
    return Detector("hand.py", InputSize(0, 0), AnchorGrid((square,), (8,)), (3, 4))


@pytest.fixture(scope="session")
def labels_file(tmp_path_factory):
    return write_labels(tmp_path_factory.mktemp("hand") / "train.json")


@pytest.fixture(scope="session")
def table(labels_file):
    return read_labels(labels_file)


@pytest.fixture(scope="session")
def image_dir(tmp_path_factory):
    """Images 1 and 2 in one colour each, image 3 missing."""
    import cv2

    folder = tmp_path_factory.mktemp("images")
    for name, value in (("one.png", 100), ("two.png", 40)):
        cv2.imwrite(str(folder / name), np.full((100, 200, 3), value, np.uint8))
    return folder


@pytest.fixture(scope="session")
def found(table, image_dir, detector):
    return explore(table, image_dir, detector, workers=1, progress=False)
