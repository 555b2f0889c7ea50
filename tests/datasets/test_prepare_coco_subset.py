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


def images_of(root, name, split):
    document = json.loads((root / name / "annotations" / f"{split}.json").read_text())
    return {image["source_id"] for image in document["images"]}


def test_by_ratio_with_rare_classes_in_every_split(tool, source, tmp_path):
    classes = ("--classes", "cup", "wine glass", "--name", "parts")
    ratio = ("--ratio", 60, 20, 20, "--stratified", "--seed", 3)
    code, out, _ = tool(*from_one_file(source), *classes, *ratio)
    assert code == 0
    sizes = [len(images_of(tmp_path / "root", "parts", s)) for s in ("train", "val", "test")]
    assert sizes == [6, 2, 2]
    assert out.count("wine glass             1 annotations,    0 crowds,      1 images") == 2
    manifest = json.loads((tmp_path / "root/parts/manifest.json").read_text())
    ratios = {"train": 60.0, "val": 20.0, "test": 20.0}
    assert manifest["splitting"] == {"ratios": ratios, "stratified": True}


def test_folds_are_subsets_of_their_own(tool, source, tmp_path):
    args = (*from_one_file(source), "--classes", "cup", "--kfold", 3, "--total", 9)
    code, out, _ = tool(*args)
    assert code == 0
    root = tmp_path / "root"
    folds = [f"cup_fold{number}of3" for number in (1, 2, 3)]
    assert [line.split("'")[1] for line in out.splitlines() if line.startswith("Wrote")] == folds
    val = [images_of(root, name, "val") for name in folds]
    assert len(val[0] | val[1] | val[2]) == sum(map(len, val)) == 9
    assert images_of(root, folds[0], "train") == val[1] | val[2]
    assert tool(*args, "--fold", 2, "--overwrite")[0] == 0


def test_person_alone(tool, source, tmp_path):
    file = source / "labels.json"
    file.write_text(file.read_text().replace("wine glass", "person"))
    code, out, _ = tool(*from_one_file(source), "--person", "--train", 4)
    assert code == 0
    assert "person                 4 annotations" in out
    assert images_of(tmp_path / "root", "person", "train") <= {1, 3, 5, 7, 9}


def test_the_audit_of_the_source_is_told(tool, source):
    document = json.loads((source / "labels.json").read_text())
    document["annotations"][4]["segmentation"] = []
    (source / "labels.json").write_text(json.dumps(document))
    args = (*from_one_file(source), "--classes", "cup", "--train", 3, "--val", 2)
    code, out, _ = tool(*args)
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.startswith("audit: ")]
    assert "empty-mask 1" in line
    assert "leak" not in line  # one file in two splits
    assert "audit: " not in tool(*args, "--no-audit", "--overwrite")[1]


@pytest.mark.parametrize(
    "args, message",
    [
        (["--ratio", "100"], "--ratio has 1 numbers; expected train val [test]"),
        (["--ratio", "50", "20"], "ratios 50 + 20 are 70 percent; expected 100"),
        (["--ratio", "80", "20", "--val", "3"], "--val can't go with --ratio or --kfold"),
        (["--ratio", "80", "20", "--kfold", "3"], "--ratio can't go with --kfold"),
        (["--ratio", "50", "25", "25", "--test-images", "."], "--split test or a third ratio"),
        (["--kfold", "-1"], "--kfold -1: expected 2 folds or more"),
        (["--kfold", "3", "--fold", "0"], "fold 0 of 3"),
        (["--kfold", "20"], "gets none of 10 images"),
        (["--fold", "1", "--train", "2"], "--fold goes with --kfold only"),
        (["--total", "5", "--train", "2"], "--total goes with --ratio or --kfold only"),
        (["--person", "--train", "2"], "--person stands for --classes person"),
        (["--keep-empty", "--negatives", "0.5", "--train", "2"], "where all of them are kept"),
    ],
)
def test_choices_that_do_not_go_together(tool, source, args, message):
    code, out, err = tool(*from_one_file(source), "--classes", "cup", *args)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


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


@pytest.mark.parametrize("flag", ["--seed", "--negatives", "--total", "--train", "--fold"])
def test_zero_is_a_choice_too(tool, flag):
    code, _, err = tool("--from-manifest", "m.json", flag, 0)
    assert code == 2
    assert f"{flag} can't go with --from-manifest" in err


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
