"""Pictures of registered datasets, on four drawn images with known labels."""

import json
import os
import time
from functools import partial
from pathlib import Path

from project.errors import UserError
from project.visualization.files import choose_images, picture_name
from project.visualization.palette import class_color
from project.visualization.render import SHEET_NAME, render_results

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image


def make_records(folder: Path, labelled: bool = True) -> list[dict]:
    records = []
    for number in range(4):
        file = folder / f"im{number}.png"
        cv2.imwrite(str(file), np.full((60, 80, 3), 90, np.uint8))
        record = {"file_name": str(file), "image_id": number + 1, "height": 60, "width": 80}
        if labelled:
            label = {"bbox": [10, 10, 30, 20], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
            label["segmentation"] = [[10, 10, 40, 10, 40, 30, 10, 30]]
            record["annotations"] = [label] if number else []
        records.append(record)
    return records


@pytest.fixture
def dataset(tmp_path, request):
    """Registers records under the test's name, and forgets them after it."""
    names = []

    def register(records) -> str:
        name = f"{request.node.name}_{len(names)}"
        DatasetCatalog.register(name, partial(list, records))
        MetadataCatalog.get(name).set(
            thing_classes=["chien", "кот"], thing_dataset_id_to_contiguous_id={16: 0, 17: 1}
        )
        names.append(name)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)


@pytest.fixture
def results_file(tmp_path):
    entries = [
        {"image_id": 2, "category_id": 17, "bbox": [10, 10, 30, 20], "score": score}
        for score in (0.9, 0.2)
    ]
    file = tmp_path / "coco_instances_results.json"
    file.write_text(json.dumps(entries))
    return file


def read(file: Path) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def shows(picture: np.ndarray, index: int) -> bool:
    return bool((picture == np.array(class_color(index))).all(-1).any())


def test_labels_and_predictions_stand_side_by_side(tmp_path, dataset, results_file):
    name = dataset(make_records(tmp_path))
    written = render_results(name, results_file, tmp_path / "out")
    assert [f.name for f in written] == [*(f"im{i}.png" for i in range(4)), SHEET_NAME]
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == sorted(f.name for f in written)
    picture = read(tmp_path / "out/im1.png")
    middle = picture.shape[1] // 2
    body = picture[:-40]  # without the legend
    assert shows(body[:, :middle], 0)
    assert not shows(body[:, :middle], 1)
    assert shows(body[:, middle:], 1)
    assert not shows(body[:, middle:], 0)
    assert picture.shape[1] > 2 * 640


def test_labels_only_without_results(tmp_path, dataset):
    written = render_results(dataset(make_records(tmp_path)), None, tmp_path / "out")
    assert read(written[1]).shape[1] == 640
    assert shows(read(written[1]), 0)
    assert not shows(read(written[0]), 0)


def test_predictions_only_where_there_are_no_labels(tmp_path, dataset, results_file):
    name = dataset(make_records(tmp_path, labelled=False))
    written = render_results(name, results_file, tmp_path / "out")
    assert read(written[1]).shape[1] == 640
    assert shows(read(written[1]), 1)


def test_labels_can_be_left_out(tmp_path, dataset, results_file):
    name = dataset(make_records(tmp_path))
    written = render_results(name, results_file, tmp_path / "out", panels=["predictions"])
    assert not shows(read(written[1]), 0)


def test_the_threshold_leaves_predictions_out(tmp_path, dataset, results_file):
    name = dataset(make_records(tmp_path, labelled=False))
    written = render_results(name, results_file, tmp_path / "out", threshold=0.95)
    assert not shows(read(written[1]), 1)


def test_empty_results_are_pictures_without_predictions(tmp_path, dataset):
    (tmp_path / "r.json").write_text("[]")
    name = dataset(make_records(tmp_path, labelled=False))
    written = render_results(name, tmp_path / "r.json", tmp_path / "out", limit=2)
    assert len(written) == 3


def test_nothing_to_draw_is_told(tmp_path, dataset):
    with pytest.raises(UserError, match="has no labels to draw"):
        render_results(dataset(make_records(tmp_path, labelled=False)), None, tmp_path / "out")
    with pytest.raises(UserError, match="has no images"):
        render_results(dataset([]), None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "isn't valid JSON"),
        ('{"a": 1}', "should hold a list"),
        ("[1]", "should hold a list"),
        ('[{"image_id": 99}]', "image id 99, which the dataset lacks"),
        ('[{"image_id": [2]}]', "image id"),
        (None, "can't be read"),
    ],
)
def test_broken_results_files_are_named(tmp_path, dataset, content, message):
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        render_results(dataset(make_records(tmp_path)), file, tmp_path / "out")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    "option, message",
    [
        ({"threshold": 50}, "from 0 to 1"),
        ({"columns": 0}, "1 or more"),
        ({"limit": 0}, "at least 1 image"),
        ({"images": ["im9"]}, "unknown image 'im9'; did you mean 'im"),
    ],
)
def test_impossible_choices_are_told(tmp_path, dataset, option, message):
    with pytest.raises(UserError, match=message):
        render_results(dataset(make_records(tmp_path)), None, tmp_path / "out", **option)


def test_broken_images_are_named(tmp_path, dataset):
    records = make_records(tmp_path)
    name = dataset(records)
    Path(records[2]["file_name"]).write_bytes(b"no image")
    with pytest.raises(UserError, match="im2.png can't be read"):
        render_results(name, None, tmp_path / "out")
    Path(records[2]["file_name"]).unlink()
    with pytest.raises(UserError, match="im2.png does not exist"):
        render_results(name, None, tmp_path / "out")
    cv2.imwrite(records[2]["file_name"], np.zeros((60, 81, 3), np.uint8))
    with pytest.raises(UserError, match="is 60x81 .* says 60x80"):
        render_results(name, None, tmp_path / "out")


def test_images_too_large_for_pillow_are_named(tmp_path, dataset, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="im0.png can't be read: Image size"):
        render_results(dataset(make_records(tmp_path)), None, tmp_path / "out")


@pytest.mark.parametrize(
    "options, link",
    [({}, None), ({"images": ["im1"]}, os.link), ({"images": ["im1"]}, os.symlink)],
)
def test_no_image_is_replaced(tmp_path, dataset, options, link):
    records, out = make_records(tmp_path), tmp_path
    if link is not None:  # an image that isn't drawn, where the sheet would be
        out = tmp_path / "out"
        out.mkdir()
        link(records[3]["file_name"], out / SHEET_NAME)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.png")}
    with pytest.raises(UserError, match="png would be replaced by .*png; take another --output"):
        render_results(dataset(records), None, out, **options)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.png")} == before


def test_an_output_folder_that_is_a_file_is_named(tmp_path, dataset):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="out can't be made"):
        render_results(dataset(make_records(tmp_path)), None, tmp_path / "out")


def test_the_sample_is_seeded_and_in_order():
    records = [{"file_name": f"{i}.jpg", "image_id": i} for i in range(100)]
    ids = [r["image_id"] for r in choose_images(records, 10, seed=3)]
    assert ids == sorted(ids)
    assert ids == [r["image_id"] for r in choose_images(records, 10, seed=3)]
    assert ids != [r["image_id"] for r in choose_images(records, 10, seed=4)]
    assert choose_images(records, 200) == records


@pytest.mark.parametrize("wanted", ["b", "b.jpg", "a/b.jpg", "12"])
def test_images_are_found_by_name_or_id(wanted):
    records = [{"file_name": "a/c.jpg", "image_id": 3}, {"file_name": "a/b.jpg", "image_id": 12}]
    assert choose_images(records, 1, images=[wanted]) == records[1:]


@pytest.mark.parametrize(
    "file_name, expected",
    [
        ("a/b.jpg", "b.png"),
        ("../../etc/passwd", "passwd.png"),
        ("..\\..\\boot.ini", "boot.png"),
        ("..", "image.png"),
        ("a/.hidden", "hidden.png"),
        ("x y;z*.jpg", "x_y_z_.png"),
        ("žluť 犬.jpg", "žluť_犬.png"),
        ("a\x00b\n.jpg", "a_b_.png"),
        ("\ud800.jpg", "image.png"),
        ("contact_sheet.jpg", "contact_sheet-2.png"),
        ("v1.2.jpg", "v1.2.png"),
    ],
)
def test_picture_names_stay_in_the_folder(file_name, expected):
    assert picture_name(file_name, {SHEET_NAME}) == expected


def test_picture_names_never_meet_and_are_short_enough():
    taken = set()
    names = [picture_name(n, taken) for n in ("a/1.jpg", "b/1.jpg", "c/1.JPG", "A.png", "a.png")]
    assert names == ["1.png", "1-2.png", "1-3.png", "A.png", "a-2.png"]
    assert len(picture_name("é" * 900 + ".jpg", taken).encode()) < 140


def test_the_names_of_all_of_coco_take_a_moment():
    taken = set()
    start = time.process_time()
    names = {picture_name(f"{number:012}.jpg", taken) for number in range(20_000)}
    assert len(names) == 20_000
    assert time.process_time() - start < 10  # 80 s where each name looks at all others
