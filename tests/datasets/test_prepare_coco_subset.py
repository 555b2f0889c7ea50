"""The command line of the subset builder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TOOL = Path(__file__).resolve().parents[2] / "datasets/prepare_coco_subset.py"


@pytest.fixture
def source(tmp_path):
    """Folder with labels.json and ten images of a cup; every second one shows a wine glass."""
    from PIL import Image

    folder = tmp_path / "source"
    (folder / "pics").mkdir(parents=True)
    polygon = [[2, 2, 8, 2, 8, 9]]
    document = {
        "categories": [{"id": 3, "name": "wine glass"}, {"id": 0, "name": "cup"}],
        "images": [],
        "annotations": [],
    }
    for i in range(10):
        Image.fromarray(np.zeros((12, 10, 3), np.uint8)).save(folder / f"pics/{i}.png")
        document["images"].append({"id": i, "file_name": f"{i}.png", "height": 12, "width": 10})
        for category in (0, 3)[: 1 + i % 2]:
            number = len(document["annotations"])
            document["annotations"].append(
                {"id": number, "image_id": i, "category_id": category, "area": 21, "iscrowd": 0}
                | {"bbox": [2, 2, 6, 7], "segmentation": polygon}
            )
    (folder / "labels.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def tool(load_tool, source, tmp_path, capsys):
    """``tool("--train", 3)`` → exit code, stdout, stderr; the root is ``tmp_path / "root"``."""
    module = load_tool("datasets/prepare_coco_subset.py")

    def run(*args):
        code = module.main([*map(str, args), "--root", str(tmp_path / "root")])
        return code, *capsys.readouterr()

    return run


def from_one_file(source):
    return "--coco", source / "labels.json", "--images", source / "pics"


def test_one_file_is_split(tool, source, tmp_path):
    code, out, _ = tool(
        *from_one_file(source), "--classes", "wine glass", "cup", "--train", 6, "--val", 2
    )
    assert code == 0
    assert "train: 6 images (0 negative)" in out
    assert out.endswith(f"Wrote subset 'wine_glass_cup' to {tmp_path}/root/wine_glass_cup\n")
    document = json.loads((tmp_path / "root/wine_glass_cup/annotations/val.json").read_text())
    assert [c["name"] for c in document["categories"]] == ["wine glass", "cup"]


def test_split_files_and_unlabelled_tests(tool, source, tmp_path):
    code, out, _ = tool(
        *("--split", "train", source / "labels.json", source / "pics", "--train", 4),
        *("--test-images", source / "pics", "--classes", "cup", "--name", "cups"),
    )
    assert code == 0
    assert "test: 6 images, unlabelled" in out  # the other four are training images
    assert (tmp_path / "root/cups/images/test").is_dir()


def test_all_images_and_negatives(tool, source):
    classes = ("--classes", "wine glass", "--negatives", 0.5)
    code, out, _ = tool(*from_one_file(source), *classes, "--train", "all")
    assert code == 0
    assert "train: 10 images (5 negative), 5 annotations (0 of them crowd regions)" in out


def test_a_manifest_makes_it_again(tool, source, tmp_path):
    tool(*from_one_file(source), "--classes", "cup", "--train", 3)
    made = tmp_path / "root/cup"
    before = (made / "annotations/train.json").read_bytes()
    manifest = made / "manifest.json"
    assert tool("--from-manifest", manifest)[0] == 2
    assert tool("--from-manifest", manifest, "--overwrite")[0] == 0
    assert (made / "annotations/train.json").read_bytes() == before


@pytest.mark.parametrize(
    "args, message",
    [
        (["--classes", "cupp", "--train", "1"], "unknown class 'cupp'; did you mean 'cup'"),
        (["--train", "1"], "--classes is missing"),
        (["--classes", "cup"], "no split"),
        (["--classes", "cup", "--train", "11"], "too few images for 'train' with cup: 11 asked"),
        (["--classes", "cup", "--train", "1", "--relocate", "a", "b"], "--relocate goes with"),
        (["--classes", "cup", "--split", "train", "a", "b"], "can't go with --split"),
        (["--from-manifest", "m.json", "--train", "1"], "can't go with --from-manifest"),
    ],
)
def test_mistakes_give_one_line_and_exit_two(tool, source, args, message):
    code, out, err = tool(*from_one_file(source), *args)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    if "--from-manifest" not in args:
        assert message in err
    assert err.startswith("error: ")


@pytest.mark.parametrize(
    "args, message",
    [
        (["--split", "valid", "a", "b"], "--split valid: expected each of train, val, test"),
        (["--val", "3", "--test-images", "pics"], "--val 3: no source"),
        (["--coco", "a.json"], "--coco needs --images DIR"),
        (["--split", "test", "a", "b", "--test-images", "c"], "can't go with --split test"),
        (["--split", "train", "a.json", "nowhere"], "image folder nowhere doesn't exist"),
    ],
)
def test_sources_that_do_not_fit(tool, args, message):
    code, _, err = tool("--classes", "cup", *args)
    assert code == 2
    assert message in err


def test_truncated_json_as_a_real_process(source, tmp_path):
    file = source / "labels.json"
    file.write_bytes(file.read_bytes()[:100])
    done = subprocess.run(
        [sys.executable, TOOL, *from_one_file(source), "--classes", "cup", "--train", "1"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr == f"error: {file} is no readable COCO instances file: " + (
        "Input data was truncated\n"
    )
    assert not (tmp_path / "datasets").exists()
