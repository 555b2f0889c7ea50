"""Pictures of COCO files that nobody made a subset of, as pages of a PDF too."""

import json
import re

from project.errors import UserError
from project.visualization.coco_pictures import render_coco_file
from project.visualization.pdf import write_pdf

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog


@pytest.fixture
def coco(tmp_path):
    """An instances file with category ids from 16, its images, and a results file."""
    images, labels = [], []
    for number in (1, 2):
        name = f"{number}.png"
        cv2.imwrite(str(tmp_path / name), np.full((60, 80, 3), 90, np.uint8))
        images.append({"id": number, "file_name": name, "height": 60, "width": 80})
        part = [10, 10, 40, 10, 40, 30, 10, 30]
        labels.append(
            {"id": number, "image_id": number, "category_id": 16, "iscrowd": 0, "area": 600}
            | {"bbox": [10, 10, 30, 20], "segmentation": [part]}
        )
    categories = [{"id": 16, "name": "dog"}, {"id": 18, "name": "cake"}]
    content = {"images": images, "annotations": labels, "categories": categories}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    entry = {"image_id": 1, "category_id": 18, "bbox": [10, 10, 30, 20], "score": 0.9}
    (tmp_path / "results.json").write_text(json.dumps([entry]))
    return tmp_path


def draw(coco, results=None, **choices):
    return render_coco_file(coco / "labels.json", coco, results, coco / "out", **choices)


def width(file) -> int:
    return cv2.imread(str(file)).shape[1]


def test_labels_with_and_without_results(coco):
    before = DatasetCatalog.list()
    assert [f.name for f in draw(coco)] == ["1.png", "2.png", "contact_sheet.png"]
    assert width(coco / "out/1.png") == 640
    draw(coco, coco / "results.json")
    assert width(coco / "out/1.png") == 2 * 640 + 8
    draw(coco, coco / "results.json", panels=["labels", "predictions", "pixels"])
    assert width(coco / "out/1.png") == 3 * 640 + 16
    assert DatasetCatalog.list() == before


def test_pixels_need_both_sides(coco):
    with pytest.raises(UserError, match="comparing pixels needs labels and predictions"):
        draw(coco, panels=["pixels"])
    with pytest.raises(UserError, match="no results file was given"):
        draw(coco, panels=["predictions"])


def test_instances_have_colours_of_their_own(coco):
    content = json.loads((coco / "labels.json").read_text())
    second = content["annotations"][0] | {"id": 7, "bbox": [50, 30, 20, 20]}
    second["segmentation"] = [[50, 30, 70, 30, 70, 50, 50, 50]]
    content["annotations"].append(second)
    (coco / "labels.json").write_text(json.dumps(content))

    def colors() -> tuple:
        picture = cv2.imread(str(coco / "out/1.png"))
        top = picture.shape[0] - 8 * 60  # no legend below where colours mean no class
        return tuple(picture[top + 8 * 20, 8 * 20]), tuple(picture[top + 8 * 40, 8 * 60])

    draw(coco, by_instance=True)
    first, other = colors()
    assert first != other


def test_a_pdf_has_a_page_for_each_image(coco):
    written = draw(coco, pdf=True)
    assert [f.name for f in written][2:] == ["pictures.pdf", "contact_sheet.png"]
    content = written[2].read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", content)) == 2


def test_pages_have_the_shapes_of_their_pictures(tmp_path):
    shapes = [(100, 200, 3), (300, 150, 3)]
    write_pdf(tmp_path / "a.pdf", [np.zeros(shape, np.uint8) for shape in shapes])
    boxes = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", (tmp_path / "a.pdf").read_bytes())
    sizes = [tuple(map(float, box)) for box in boxes]
    # The longest side, 300 pixels, has 10.5 inches of 72 points.
    assert sizes == [pytest.approx((504, 252)), pytest.approx((378, 756))]
    with pytest.raises(UserError, match="can't be written"):
        write_pdf(tmp_path / "gone/a.pdf", [np.zeros((5, 5, 3), np.uint8)])


@pytest.mark.parametrize(
    "content, message",
    [("{", "can't be read as COCO"), ('{"images": []}', "can't be read as COCO"), (None, "exist")],
)
def test_files_that_are_none(coco, content, message):
    before = DatasetCatalog.list()
    (coco / "labels.json").unlink()
    if content is not None:
        (coco / "labels.json").write_text(content)
    with pytest.raises(UserError, match=message):
        draw(coco)
    assert DatasetCatalog.list() == before


@pytest.mark.parametrize("file_name", ["../secret.png", "/secret.png", "..\\secret.png", ""])
def test_images_outside_of_the_folder_are_not_drawn(coco, file_name):
    content = json.loads((coco / "labels.json").read_text())
    content["images"][1]["file_name"] = file_name
    (coco / "labels.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"labels.json, image 2: .* leaves the image folder"):
        draw(coco)
    assert not (coco / "out").exists()


def test_no_image_folder(coco):
    with pytest.raises(UserError, match="image folder nowhere does not exist"):
        render_coco_file(coco / "labels.json", "nowhere", None, coco / "out")
