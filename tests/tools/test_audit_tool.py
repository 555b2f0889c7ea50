"""The command line of the audit."""

from __future__ import annotations

import json
import os

import pytest


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("tools/audit.py")


@pytest.fixture
def splits(tiny_root):
    return [
        [
            "--split",
            s,
            *(str(tiny_root / "tiny" / p) for p in (f"annotations/{s}.json", f"images/{s}")),
        ]
        for s in ("train", "val")
    ]


def test_a_clean_subset_ends_with_zero(tool, datasets_root, tmp_path, capsys):
    output = tmp_path / "audit.json"
    assert tool.main(["--dataset", "tiny", "--output", str(output)]) == 0
    assert "0 errors, 0 warnings in 21 images" in capsys.readouterr().out
    assert set(json.loads(output.read_text())["splits"]) == {"train", "val", "test"}


def test_errors_and_repairs(tool, splits, tmp_path, capsys):
    file = tmp_path / "labels.json"
    with open(splits[0][2]) as source:
        document = json.load(source)
    document["annotations"][0]["segmentation"] = []
    file.write_text(json.dumps(document))
    argv = ["--split", "train", str(file), splits[0][3], "--output", str(tmp_path / "a.json")]
    assert tool.main([*argv, "--fix", str(tmp_path / "fixed")]) == 1
    out = capsys.readouterr().out
    assert "empty-mask" in out
    assert "Wrote a copy with 1 changes" in out
    fixed = ["--split", "train", str(tmp_path / "fixed/annotations/train.json"), "-"]
    assert tool.main([*fixed, "--output", str(tmp_path / "b.json")]) == 0


def test_warnings_have_their_own_code(tool, splits, tmp_path):
    file = tmp_path / "labels.json"
    with open(splits[0][2]) as source:
        document = json.load(source)
    document["annotations"][0]["ignore"] = 1
    file.write_text(json.dumps(document))
    assert tool.main(["--split", "a", str(file), "-", "--output", str(tmp_path / "a.json")]) == 3


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "nothing to audit: give --dataset SUBSET or --split NAME FILE DIR"),
        (["--split", "a", "-", "-"], "a: give an annotation file"),
        (["--split", "a", "x.json", "-", "--split", "a", "y.json", "-"], "'a' is given twice"),
        (["--dataset", "nowhere"], "subset 'nowhere': no annotations in"),
        (["--split", "a", "x.json", "-", "--examples", "-1"], "--examples is -1; expected 0"),
        (["--split", "a/b", "x.json", "-", "--fix", "y"], "split 'a/b': a repaired copy has files"),
        (["--split", "../a", "x.json", "-", "--fix", "y"], "split '../a': a repaired copy has"),
        (["--split", "", "x.json", "-", "--fix", "y"], "split '': a repaired copy has files"),
    ],
)
def test_mistakes_end_with_two(tool, argv, message, capsys):
    assert tool.main(argv) == 2
    assert message in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_told_in_one_line(tool, splits, tmp_path, capsys):
    assert tool.main([*splits[1], "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: can't write {tmp_path}: Is a directory"
    )


def test_names_that_are_not_utf8(tool, tmp_path, capsys):
    folder, output = tmp_path / "in", tmp_path / "a.json"
    folder.mkdir()
    file = os.path.join(os.fsencode(folder), b"a\xff.png")
    with open(file, "wb") as stream:
        stream.write(b"no image")
    argv = ["--split", "test", "-", str(folder), "--output", str(output)]
    assert tool.main([*argv, "--fix", str(tmp_path / "fixed")]) == 1
    assert "a\\udcff.png" in capsys.readouterr().out
    assert json.loads(output.read_text())["findings"][0]["file"] == os.fsdecode(file)
    (change,) = json.loads((tmp_path / "fixed/changes.json").read_text())
    assert change["what"].startswith("left out")
