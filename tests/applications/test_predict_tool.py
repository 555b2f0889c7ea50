"""`tools/predict.py` from files to files: images, folders, patterns, a video, and mistakes."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import project  # noqa: F401 - makes `detectron2` importable

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("tools/predict.py")


@pytest.fixture
def predict(tool, run_dir, tmp_path):
    """``predict("photo.jpg", "--every", "2")`` → exit code; outputs in ``tmp_path/out``."""

    def call(*arguments: object) -> int:
        options = ["--run", run_dir, "--threshold", "0.2", "--output", tmp_path / "out"]
        return tool.main([*map(str, arguments), *map(str, options)])

    return call


@pytest.fixture
def clip(photos, tmp_path) -> Path:
    """Five frames of 160 x 120 pixels, ten a second."""
    file = tmp_path / "clip.mp4"
    video = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 10, (160, 120))
    for photo in photos[:5]:
        video.write(cv2.resize(cv2.imread(str(photo)), (160, 120)))
    video.release()
    return file


def read(file: Path):
    return json.loads(file.read_text("utf-8"))


def names(folder: Path) -> list[str]:
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_equal_names_and_broken_files_in_a_folder(predict, photos, tmp_path, capsys):
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        shutil.copy(photos[0], tmp_path / "in" / folder / "dog.jpg")
    (tmp_path / "in/b/torn.png").write_bytes(b"\x89PNG")
    (tmp_path / "in/b/notes.txt").write_text("no image")
    again = tmp_path / "in/a/dog.jpg"
    assert predict(again, tmp_path / "in", tmp_path / "in/*/d?g.jpg") == 0
    assert names(tmp_path / "out") == [
        "images.json", "overlays/dog-2.png", "overlays/dog.png", "predictions.json"
    ]  # fmt: skip
    printed = capsys.readouterr()
    results = read(tmp_path / "out/predictions.json")
    closing = f"Found {len(results)} objects in 2 images, written to {tmp_path}/out; skipped 1 that"
    assert printed.out.startswith(closing)
    images = read(tmp_path / "out/images.json")
    assert [i["file_name"] for i in images["images"]] == [
        str(tmp_path / "in/a/dog.jpg"), str(tmp_path / "in/b/dog.jpg")
    ]  # fmt: skip
    assert [c["name"] for c in images["categories"]] == ["cake", "car", "dog", "person"]
    assert Counter(r["image_id"] for r in results)[1] == len(results) / 2


def test_coco_reads_the_results(predict, predictor, photos, tmp_path):
    from pycocotools.coco import COCO

    assert predict(*photos[:2], "--save", "coco") == 0
    coco = COCO(str(tmp_path / "out/images.json"))
    loaded = coco.loadRes(str(tmp_path / "out/predictions.json"))
    found = predictor(photos[1])
    entries = loaded.loadAnns(loaded.getAnnIds(imgIds=[2]))
    assert [e["score"] for e in entries] == pytest.approx(found.scores.tolist())
    assert [e["category_id"] - 1 for e in entries] == found.pred_classes.tolist()
    for entry, bitmap in zip(entries, found.pred_masks, strict=True):
        assert np.array_equal(coco_mask.decode(entry["segmentation"]), bitmap)
    x0, y0, x1, y1 = found.pred_boxes.tensor[0].tolist()
    assert entries[0]["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=1e-4)


def test_mask_images_and_cut_outs(predict, predictor, photos, tmp_path):
    assert predict(photos[0], "--save", "masks", "cutouts") == 0
    out, found = tmp_path / "out", predictor(photos[0])
    key = photos[0].stem
    numbers = np.asarray(Image.open(out / f"masks/{key}_objects.png"))
    classes = np.asarray(Image.open(out / f"masks/{key}_classes.png"))
    expected = np.zeros(found.image_size, int)
    for number, bitmap in reversed(list(enumerate(found.pred_masks, 1))):
        expected[bitmap] = number
    assert numbers.max() > 1
    assert np.array_equal(numbers, expected)
    lookup = np.array([0, *(found.pred_classes + 1)])
    assert np.array_equal(classes, lookup[expected])
    rows = list(csv.DictReader((out / "masks/objects.csv").open()))
    assert [row["object"] for row in rows] == [str(i + 1) for i in range(len(found))]
    assert (out / "masks/classes.csv").read_text().split() == [
        "number,class", "1,cake", "2,car", "3,dog", "4,person"
    ]  # fmt: skip

    image = np.asarray(Image.open(photos[0]))
    first = sorted((out / "cutouts" / key).iterdir())[0]
    assert first.stem == f"01_{predictor.class_names[found.pred_classes[0]]}"
    cutout, mask = np.asarray(Image.open(first)), found.pred_masks.crop(0)
    assert np.array_equal(cutout[..., 3] > 0, mask.pixels)
    height, width = mask.pixels.shape
    window = image[mask.y : mask.y + height, mask.x : mask.x + width]
    assert np.array_equal(cutout[..., :3][mask.pixels], window[mask.pixels])


def test_a_video_becomes_a_video(predict, clip, tmp_path, capsys):
    assert predict(clip, "--every", "2", "--save", "overlays", "coco", "masks") == 0
    assert "in 3 images" in capsys.readouterr().out
    video = cv2.VideoCapture(str(tmp_path / "out/overlays/clip.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert video.get(cv2.CAP_PROP_FPS) == 5
    assert video.read()[1].shape == (480, 640, 3)  # small frames are enlarged
    images = read(tmp_path / "out/images.json")["images"]
    assert [i["file_name"] for i in images] == [f"{clip}#{n:06}" for n in (0, 2, 4)]
    assert "masks/clip/000004_classes.png" in names(tmp_path / "out")


def test_two_videos_of_other_sizes_in_batches(predict, clip, tmp_path):
    shutil.copy(clip, tmp_path / "second.mp4")
    arguments = ["--save", "overlays", "--batch-size", "3", "--max-frames", "7"]
    assert predict(clip, tmp_path / "second.mp4", *arguments) == 0
    counts = [
        cv2.VideoCapture(str(tmp_path / f"out/overlays/{name}.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)
        for name in ("clip", "second")
    ]
    assert counts == [5, 2]


def test_no_input_is_replaced(predict, photos, tmp_path, capsys):
    inside = tmp_path / "out/overlays/photo.png"
    inside.parent.mkdir(parents=True)
    cv2.imwrite(str(inside), cv2.imread(str(photos[0])))
    before = inside.read_bytes()
    assert predict(inside) == 2
    assert f"the input {inside} would be replaced" in capsys.readouterr().err
    assert inside.read_bytes() == before
    assert predict(inside, "--save", "coco") == 0


def test_a_call_that_finds_no_image_keeps_older_files(predict, photos, tmp_path):
    assert predict(photos[0], "--save", "coco", "masks") == 0
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names(tmp_path / "out")}
    (tmp_path / "torn.jpg").write_bytes(b"nothing")
    assert predict(tmp_path / "torn.jpg", "--save", "coco", "masks") == 2
    after = {name: (tmp_path / "out" / name).read_bytes() for name in names(tmp_path / "out")}
    assert after == before


def test_names_that_are_not_utf8(predict, photos, clip, tmp_path, capsys):
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    photo, video = (os.path.join(folder, b"dog\xff" + end) for end in (b".jpg", b".mp4"))
    shutil.copy(photos[0], photo)
    shutil.copy(clip, video)  # OpenCV can't open it
    assert predict(tmp_path / "in", "--save", "coco", "masks", "overlays") == 0
    assert "skipped 1 that can't be read" in capsys.readouterr().out
    (image,) = read(tmp_path / "out/images.json")["images"]
    assert image["file_name"] == os.fsdecode(photo)
    assert photo in (tmp_path / "out/masks/objects.csv").read_bytes()


def test_spreadsheets_run_nothing(predict, photos, tmp_path, monkeypatch):
    shutil.copy(photos[0], tmp_path / "=1+1.jpg")
    monkeypatch.chdir(tmp_path)
    assert predict("=1+1.jpg", "--save", "masks") == 0
    rows = list(csv.DictReader((tmp_path / "out/masks/objects.csv").open()))
    assert {row["image"] for row in rows} == {"'=1+1.jpg"}


def test_ctrl_c_keeps_what_was_done(tool, predict, photos, tmp_path, monkeypatch, capsys):
    def stop_at_the_third(self, images, **options):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(images)
        return call(self, images, **options)

    call, done = tool.Predictor.__call__, []
    monkeypatch.setattr(tool.Predictor, "__call__", stop_at_the_third)
    assert predict(*photos[:4]) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")
    ids = {entry["image_id"] for entry in read(tmp_path / "out/predictions.json")}
    assert ids == {1, 2}
    assert len(read(tmp_path / "out/images.json")["images"]) == 2
    assert not list((tmp_path / "out").glob("*.part"))


def test_names_stay_in_the_output_folder(predict, photos, tmp_path):
    (tmp_path / "x").mkdir()
    strange = tmp_path / "x" / "..hi<b>ä %03d.jpg"
    shutil.copy(photos[0], strange)
    assert predict(tmp_path / "x" / ".." / "x" / strange.name) == 0
    assert names(tmp_path / "out/overlays") == ["hi_b_ä_03d.png"]


@pytest.mark.parametrize(
    "inputs, flags, message",
    [
        ([], [], "nothing to predict on"),
        (["gone.jpg"], [], "gone.jpg does not exist"),
        (["none*.jpg"], [], "no file matches none*.jpg"),
        (["{empty}"], [], "holds no image or video"),
        (["{broken}.jpg"], [], "none of the 1 inputs can be used: image"),
        (["{broken}.mp4"], [], "can't be opened; is it a video?"),
        ([], ["--camera", "77"], "camera 77 can't be opened"),
        ([], ["--camera", "-1"], "camera -1: expected its number, from 0"),
        (["{broken}.jpg", "{photo}"], ["--on-broken-image", "fatal"], "broken.jpg can't be read"),
        (["{photo}"], ["--threshold", "cat=0.3"], "unknown class 'cat'"),
        (["{photo}"], ["--every", "0"], "every 0th frame"),
        (["{photo}"], ["--max-frames", "0"], "at most 0 frames"),
        (["{photo}"], ["--output", "{photo}"], "can't be made"),
        (["{photo}"], ["--run", "{empty}"], "is no run folder"),
    ],
)
def test_mistakes_are_one_line(tool, run_dir, photos, tmp_path, capsys, inputs, flags, message):
    for ending in ("jpg", "mp4"):
        (tmp_path / f"broken.{ending}").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    places = {"photo": photos[0], "empty": tmp_path / "empty", "broken": tmp_path / "broken"}
    inputs, flags = ([word.format(**places) for word in words] for words in (inputs, flags))
    usual = ["--run", str(run_dir), "--output", str(tmp_path / "out")]
    assert tool.main([*inputs, *usual, *flags]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.slow
def test_the_unlabelled_real_images(coco_subset_root, run_dir, tmp_path):
    command = [sys.executable, "tools/predict.py", str(coco_subset_root / "test-30"), "--run",
               str(run_dir), "--threshold", "0.2", "--save", "coco", "overlays", "masks", "cutouts",
               "--output", str(tmp_path)]  # fmt: skip
    done = subprocess.run(command, cwd=REPO, env={**os.environ}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert " in 30 images" in done.stdout
    assert len(list((tmp_path / "overlays").iterdir())) == 30
    images = {i["id"]: i for i in read(tmp_path / "images.json")["images"]}
    for entry in read(tmp_path / "predictions.json"):
        image = images[entry["image_id"]]
        assert entry["segmentation"]["size"] == [image["height"], image["width"]]
