"""The built-in scenes: how hard they are, that their truth is true, and their files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from project.data.manifest import read_manifest
from project.data.scenes import (
    DEFAULT_SIZES,
    FIRST_INDEX,
    MIN_VISIBLE,
    SCENES_CLASSES,
    Scene,
    draw_scene,
    make_scenes,
    scene_record,
    scenes_version,
)
from project.errors import UserError

import numpy as np
import pytest

REPO = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Sample:
    """The default validation split, without its files."""

    annotations: list[dict]  # crowds too
    per_image: list[int]  # annotations
    colours: np.ndarray  # (N, 3): mean colour of each visible object that is no crowd
    scenes: list[Scene]  # the first 32 pictures
    records: list[list[dict]]  # their annotations

    @property
    def instances(self) -> list[dict]:
        return [a for a in self.annotations if not a["iscrowd"]]


@pytest.fixture(scope="module")
def val() -> Sample:
    sample = Sample([], [], colours := [], [], [])
    for i in range(DEFAULT_SIZES["val"]):
        scene = draw_scene(0, FIRST_INDEX["val"] + i)
        _, annotations = scene_record(scene, i + 1, len(sample.annotations) + 1)
        sample.annotations.extend(annotations)
        sample.per_image.append(len(annotations))
        colours += [scene.image[o.visible].mean(0) for o in scene.objects if not o.crowd]
        if i < 32:
            sample.scenes.append(scene)
            sample.records.append(annotations)
    return Sample(
        sample.annotations, sample.per_image, np.array(colours), sample.scenes, sample.records
    )


def share(values) -> float:
    return float(np.mean(list(values)))


def test_classes_stand_in_their_shares(val):
    classes = np.array([a["category_id"] for a in val.instances])
    percent = [100 * share(classes == i) for i in (1, 2, 3, 4)]
    assert percent == pytest.approx([5, 35, 10, 50], abs=3)
    assert SCENES_CLASSES == ("cake", "car", "dog", "person")


def test_cakes_are_rare_by_image_but_enough_to_measure(val):
    cakes = [a["image_id"] for a in val.annotations if a["category_id"] == 1]
    assert len(val.per_image) >= 100
    assert len(cakes) >= 30
    assert len(set(cakes)) <= 0.08 * len(val.per_image)


def test_enough_objects_are_small_and_none_is_invisible(val):
    areas = np.array([a["area"] for a in val.instances])
    assert 0.20 <= share(areas < 32**2) <= 0.30
    assert min(a["area"] for a in val.annotations) >= MIN_VISIBLE


def test_enough_objects_are_occluded(val):
    assert 0.15 <= share(a["occlusion"] > 0.3 for a in val.instances) <= 0.25
    assert all(0 <= a["occlusion"] < 1 for a in val.annotations)


def test_images_hold_several_objects_some_none_some_a_crowd(val):
    assert np.median(val.per_image) >= 3
    assert share(count == 0 for count in val.per_image) >= 0.05
    assert sum(a["iscrowd"] for a in val.annotations) >= 5


def test_colour_alone_does_not_tell_the_class(val):
    classes = np.array([a["category_id"] for a in val.instances])
    means = np.stack([val.colours[classes == i].mean(0) for i in (1, 2, 3, 4)])
    nearest = np.linalg.norm(val.colours[:, None] - means, axis=2).argmin(1) + 1
    assert share(nearest == classes) < 0.5


@pytest.mark.parametrize("seed", (1, 2))
def test_shares_do_not_hang_on_the_seed(seed):
    scenes = [draw_scene(seed, index) for index in range(48)]
    names = [[o.name for o in scene.objects if not o.crowd] for scene in scenes]
    assert sum("cake" in n for n in names) == 3
    assert sum(not n for n in names) == 3
    assert sum(o.crowd for scene in scenes for o in scene.objects) == 3
    flat = np.concatenate(names)
    percent = [100 * share(flat == name) for name in SCENES_CLASSES]
    assert percent == pytest.approx([5, 35, 10, 50], abs=6)


def test_masks_are_visible_within_amodal_and_disjoint(val):
    for scene in val.scenes:
        shape = scene.image.shape[:2]
        owners = np.zeros(shape, int)
        for item in scene.objects:
            assert item.visible.shape == item.amodal.shape == item.alpha.shape == shape
            assert item.visible.dtype == item.amodal.dtype == bool
            assert not (item.visible & ~item.amodal).any()
            assert (item.amodal == (item.alpha > 0.5)).all()
            owners += item.visible
        assert owners.max(initial=0) <= 1


def test_visible_is_what_nearer_alphas_leave(val):
    """Exactly so, except below the unlabelled things that stand in some of the scenes."""
    exact = []
    for scene in val.scenes:
        clear = np.ones(scene.image.shape[:2])
        left_over = []
        for item in reversed(scene.objects):
            expected = item.alpha * clear > 0.5
            assert not (item.visible & ~expected).any()
            left_over.append((expected & ~item.visible).any())
            clear *= 1 - item.alpha
        exact.append(not any(left_over))
    assert 0.5 < share(exact) < 1


def test_alpha_is_soft_with_hairs_outside_of_the_mask(val):
    people = [o for s in val.scenes for o in s.objects if o.name == "person" and not o.crowd]
    for item in people:
        assert item.alpha.dtype == np.float32
        assert item.alpha.min() >= 0
        assert item.alpha.max() <= 1
        assert ((item.alpha > 0) & (item.alpha < 1)).sum() > 0.05 * item.amodal.sum()
        assert ((item.alpha > 0.02) & ~item.amodal).any()


def test_image_differs_from_background_only_below_an_alpha(val):
    for scene in val.scenes:
        cover = np.max([o.alpha for o in scene.objects], axis=0, initial=0)
        changed = (scene.image != scene.background).any(2)
        assert not (changed & np.broadcast_to(cover == 0, changed.shape)).any()
        for item in scene.objects:
            assert share(changed[item.visible]) > 0.8
    assert any(s.objects == () and (s.image == s.background).all() for s in val.scenes)


def test_pictures_vary_in_size_both_orientations_allowed(val):
    shapes = {scene.image.shape for scene in val.scenes}
    assert len(shapes) > 10
    assert {h > w for h, w, _ in shapes} == {True, False}
    assert all(132 <= side <= 188 for h, w, _ in shapes for side in (h, w))


def test_segmentations_tell_the_visible_mask(val):
    from pycocotools import mask as coco_mask

    kinds = set()
    for scene, records in zip(val.scenes, val.records, strict=True):
        for item, record in zip(scene.objects, records, strict=True):
            segmentation = record["segmentation"]
            kinds.add((type(segmentation), record["iscrowd"]))
            if isinstance(segmentation, dict):
                assert isinstance(segmentation["counts"], str)
                assert (coco_mask.decode(segmentation) == item.visible).all()
                continue
            rles = coco_mask.frPyObjects(segmentation, *item.visible.shape)
            drawn = coco_mask.decode(coco_mask.merge(rles)).astype(bool)
            union = (drawn | item.visible).sum()
            assert (drawn & item.visible).sum() / union >= 0.95
    assert kinds == {(list, 0), (dict, 0), (dict, 1)}


def test_boxes_and_areas_are_those_of_the_visible_mask(val):
    for scene, records in zip(val.scenes, val.records, strict=True):
        for item, record in zip(scene.objects, records, strict=True):
            rows, columns = np.nonzero(item.visible)
            x, y, width, height = record["bbox"]
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())
            assert record["area"] == item.visible.sum()


def test_a_scene_is_the_same_whenever_it_is_drawn():
    first = draw_scene(3, 7)
    draw_scene(3, 8)
    again = draw_scene(3, 7)
    assert (first.image == again.image).all()
    assert scene_record(first, 1, 1) == scene_record(again, 1, 1)
    assert not np.array_equal(first.image, draw_scene(4, 7).image)


def test_generator_is_the_one_of_its_version():
    """Raise GENERATOR_VERSION together with these numbers: old folders must not pass as new."""
    scenes = [draw_scene(0, index) for index in (0, 7)]
    seen = [[(o.name, int(o.visible.sum())) for o in scene.objects] for scene in scenes]
    assert [[name for name, _ in objects] for objects in seen] == PINNED_NAMES
    # a few pixels of room for another OpenCV
    np.testing.assert_allclose(
        [area for objects in seen for _, area in objects], PINNED_AREAS, rtol=0.02
    )
    means = [scene.image.mean() for scene in scenes]
    np.testing.assert_allclose(means, PINNED_MEANS, atol=0.5)


PINNED_NAMES = [["cake", "cake"], ["person", "person", "person", "person"]]
PINNED_AREAS = [1655, 2985, 911, 1370, 995, 3441]
PINNED_MEANS = [131.34, 153.79]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_scenes(tmp_path_factory.mktemp("root"), {"train": 8, "val": 3, "test": 2})


def read_split(folder: Path, split: str) -> dict:
    return json.loads((folder / "annotations" / f"{split}.json").read_text())


def test_files_are_coco_with_ids_from_one(folder):
    for split, size in (("train", 8), ("val", 3), ("test", 2)):
        coco = read_split(folder, split)
        assert [c["id"] for c in coco["categories"]] == [1, 2, 3, 4]
        assert tuple(c["name"] for c in coco["categories"]) == SCENES_CLASSES
        assert [i["id"] for i in coco["images"]] == list(range(1, size + 1))
        assert [a["id"] for a in coco["annotations"]] == list(
            range(1, len(coco["annotations"]) + 1)
        )
        assert {a["image_id"] for a in coco["annotations"]} <= set(range(1, size + 1))
        files = sorted(p.name for p in (folder / "images" / split).iterdir())
        assert files == [i["file_name"] for i in coco["images"]]


def test_a_stored_picture_leads_back_to_its_scene(folder):
    import cv2

    coco = read_split(folder, "val")
    image = coco["images"][1]
    scene = draw_scene(image["scene_seed"], image["scene_index"])
    assert scene.image.shape == (image["height"], image["width"], 3)
    stored = cv2.imread(str(folder / "images/val" / image["file_name"]))[..., ::-1]
    assert np.abs(stored.astype(int) - scene.image).mean() < 6  # JPEG
    mine = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
    assert scene_record(scene, image["id"], mine[0]["id"]) == (image, mine)


def test_splits_share_no_scene(folder):
    used = [i["scene_index"] for s in FIRST_INDEX for i in read_split(folder, s)["images"]]
    assert len(set(used)) == len(used)


def test_manifest_counts_what_is_there(folder):
    manifest = read_manifest(folder / "manifest.json")
    assert manifest.name == "scenes"
    assert tuple(manifest.classes) == SCENES_CLASSES
    for split, record in manifest.splits.items():
        coco = read_split(folder, split)
        assert record.num_images == len(coco["images"])
        counts = record.class_counts.values()
        assert sum(c.annotations for c in counts) == len(coco["annotations"])
        assert sum(c.crowds for c in counts) == sum(a["iscrowd"] for a in coco["annotations"])


def test_annotations_have_the_same_bytes_every_time(folder, tmp_path):
    again = make_scenes(tmp_path, {"test": 2, "val": 3, "train": 8})
    assert again.name == folder.name
    for split in FIRST_INDEX:
        file = Path("annotations", f"{split}.json")
        assert (again / file).read_bytes() == (folder / file).read_bytes()


def test_a_made_folder_is_not_made_again(folder, monkeypatch):
    monkeypatch.setattr("project.data.scenes.dataset.draw_scene", None)
    assert make_scenes(folder.parents[1], {"train": 8, "val": 3, "test": 2}) == folder


def test_another_generator_seed_or_size_is_another_folder(monkeypatch):
    sizes = {"train": 8, "val": 3}
    names = {scenes_version(sizes, 0), scenes_version(sizes, 1), scenes_version({"train": 8}, 0)}
    monkeypatch.setattr("project.data.scenes.dataset.GENERATOR_VERSION", 99)
    names.add(scenes_version(sizes, 0))
    assert len(names) == 4
    assert scenes_version(sizes, 0) == scenes_version({"val": 3, "train": 8}, 0)


def test_a_failure_leaves_no_half_folder(tmp_path, monkeypatch):
    def fails_at_the_third(seed: int, index: int) -> Scene:
        if index == 2:
            raise RuntimeError("the disk is full")
        return draw_scene(seed, index)

    with monkeypatch.context() as patch:
        patch.setattr("project.data.scenes.dataset.draw_scene", fails_at_the_third)
        with pytest.raises(RuntimeError, match="disk is full"):
            make_scenes(tmp_path, {"train": 4})
    assert not [p for p in (tmp_path / "scenes").iterdir() if p.is_dir()]
    assert len(list((make_scenes(tmp_path, {"train": 4}) / "images/train").iterdir())) == 4


CHILD = """
import sys
from project.data.scenes import dataset

drawn, draw = [], dataset.draw_scene
dataset.draw_scene = lambda *which: drawn.append(which) or draw(*which)
folder = dataset.make_scenes(sys.argv[1], {"train": 16})
assert len(list((folder / "images/train").iterdir())) == 16
print(len(drawn))
"""


def test_of_two_processes_one_draws_and_the_other_waits(tmp_path):
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPO) for _ in range(2)
    ]
    drawn = sorted(int(child.communicate(timeout=60)[0]) for child in children)
    assert [child.returncode for child in children] == [0, 0]
    assert drawn == [0, 16]


@pytest.mark.parametrize(
    "sizes, seed, message",
    [
        ({"training": 3}, 0, "unknown split of the scenes 'training'; did you mean 'train'"),
        ({"train": 0}, 0, "size of the scenes' split 'train' is 0"),
        ({}, 0, "no split of the scenes"),
        ({"train": 1}, -1, "seed is -1"),
    ],
)
def test_wrong_arguments_are_told(tmp_path, sizes, seed, message):
    with pytest.raises(UserError, match=message):
        make_scenes(tmp_path, sizes, seed)
    assert not list(tmp_path.iterdir())


def test_a_root_that_is_a_file_is_told(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(UserError, match="can't write"):
        make_scenes(tmp_path / "root", {"train": 1})
