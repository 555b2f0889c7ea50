"""All of it together on the three images: measures, numbers, words, samples."""

import csv
import json

from project.data.exploration.explore import explore, per_class
from project.data.exploration.files import flat, write_numbers
from project.data.exploration.labels import read_labels
from project.data.exploration.measure import measure
from project.data.exploration.numbers import class_rows, count_labels, numbers, plain
from project.data.exploration.plan import sampling_plan
from project.data.exploration.samples import choose_samples
from project.data.exploration.summary import (
    count,
    headline,
    listing,
    percent,
    ratio,
    split_adjective,
    summary,
)
from project.data.sampler import InverseFrequency
from project.data.statistics import ClassStatistics
from project.errors import UserError

import numpy as np
import pytest


def test_measures_by_hand(found):
    measures = found.measures
    assert measures.class_pixels.tolist() == [[1600, 800, 0], [132, 0, 0], [0, 0, 0]]
    assert measures.crowd_pixels.tolist() == [200, 0, 0]
    assert measures.shared.tolist() == [400, 0, 0]
    assert measures.background.tolist() == [20000 - 2000 - 200, 20000 - 132, 2500]
    assert measures.unreadable.tolist() == [False, False, True]
    assert measures.looked_at.all()
    assert measures.brightness[:2] == pytest.approx([100, 40])
    assert np.isnan(measures.brightness[2])


def test_objects_by_hand(found):
    measures, rows = found.measures, found.objects.rows
    assert rows.tolist() == [0, 1, 3, 4, 5]
    columns = {name: measures.column(name)[rows] for name in ("mask_pixels", "parts", "overlap")}
    nan = np.nan  # of the outline that encloses nothing
    assert columns["mask_pixels"] == pytest.approx([800, 1600, 32, nan, 100], nan_ok=True)
    assert columns["parts"] == pytest.approx([1, 1, 2, nan, 1], nan_ok=True)
    assert columns["overlap"] == pytest.approx([50, 25, 0, nan, 0], nan_ok=True)
    assert measures.column("boundary")[rows][:3].tolist() == [120, 160, 32]
    assert measures.column("vertices")[rows][:3].tolist() == [4, 4, 8]
    assert measures.column("fill")[3] == pytest.approx(100 * 32 / (104 * 54))
    assert np.isnan(measures.objects[2]).all()  # the crowd region


def test_areas_are_those_of_the_masks(found):
    # The file says 9999 for annotation 4; annotation 5 has no pixel, so the file's 5 stands.
    assert found.objects.areas.tolist() == [800, 1600, 32, 5, 100]
    assert found.objects.size.tolist() == [0, 1, 0, 0, 0]
    assert found.objects.share.tolist() == pytest.approx([4, 8, 0.16, 0.025, 0.5])
    assert found.objects.frame.any(1).tolist() == [False, False, True, False, False]


def test_mean_masks(found):
    assert found.measures.mask_totals.tolist() == [3, 1, 0]
    assert found.measures.mean_masks[1] == pytest.approx(np.ones((28, 28)))
    corner = found.measures.mean_masks[0][0, 0]  # covered in all three balls' boxes
    assert corner == pytest.approx(1)
    assert found.measures.mean_masks[0].mean() == pytest.approx((2 + 32 / (104 * 54)) / 3)
    assert not found.measures.mean_masks[2].any()


def test_workers_and_one_process_agree(tmp_path, table, monkeypatch):
    import project.data.exploration.measure as module

    alone = measure(table, None, workers=1, progress=False)
    monkeypatch.setattr(module, "_SMALL_JOB", 0)
    together = measure(table, None, workers=2, progress=False)
    for name in ("objects", "class_pixels", "background", "mean_masks", "looked_at"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(together, name))


def test_a_limit_looks_at_some_images_only(table):
    some = measure(table, None, limit=2, seed=3, progress=False)
    assert some.looked_at.sum() == 2
    again = measure(table, None, limit=2, seed=3, progress=False)
    assert (some.looked_at == again.looked_at).all()
    unseen = ~some.looked_at[table.image_index]
    assert np.isnan(some.column("parts")[unseen]).all()


def test_numbers_by_hand(found):
    content = numbers(found)
    assert content["images"] == 3
    assert content["objects"] == 5
    assert content["crowd_regions"] == 1
    ball = content["classes"]["ball"]
    assert ball["instances"] == 3
    assert ball["median_area"] == 100
    assert ball["small"] == pytest.approx(200 / 3)
    assert ball["pixels"] == pytest.approx(100 * 1732 / 42500)
    assert ball["several_parts"] == pytest.approx(100 / 3)
    assert ball["overlapping"] == pytest.approx(100 / 3)
    assert content["classes"]["cup"]["median_area"] == pytest.approx((800 + 5) / 2)
    assert content["classes"]["ghost"]["median_area"] is None
    assert content["images_by_count"]["(any)"] == dict(
        zip(count_labels(), [1, 0, 1, 1, 0, 0], strict=True)
    )
    assert content["company"]["ball"]["cup"] == 100
    assert content["object_sizes"] == {"small": 4, "medium": 1, "large": 0}
    rest = content["masks"]["percent_of_pixels"]
    assert rest["shared"] == pytest.approx(100 * 400 / 42500)
    assert rest["crowd"] == pytest.approx(100 * 200 / 42500)
    assert rest["background"] == pytest.approx(100 * (17800 + 19868 + 2500) / 42500)
    assert content["masks"]["crowd_share_of_annotations"] == pytest.approx(100 / 6)
    assert content["masks"]["pixels_per_vertex"]["median"] == pytest.approx(20)  # 30 40 4 10
    assert content["at_the_frame"] == {"objects": 1, "left": 1, "top": 1, "right": 0, "bottom": 0}
    assert content["pixels"]["mean_rgb"] == pytest.approx([70, 70, 70])
    assert content["pixels"]["std_rgb"] == pytest.approx([30, 30, 30])
    assert content["image_sizes"]["landscape"] == pytest.approx(200 / 3)
    assert sum(content["fit"]["objects_by_level"].values()) == 5
    # Annotation 6 is 10 x 10 around (155, 65): the cell at (152, 64) covers it whole, 100 / 256.
    assert content["classes"]["ball"]["anchor_recall"] == 0
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_every_number_reaches_the_csv(found, tmp_path):
    files = write_numbers(found, tmp_path)
    assert [f.name for f in files] == [
        "numbers.json", "numbers.csv", "classes.csv", "images.csv", "objects.csv",
    ]  # fmt: skip
    content = json.loads(files[0].read_text())
    rows = list(csv.DictReader(files[1].open()))
    assert len(rows) == len(list(flat(content)))
    assert {"name": "classes/ball/instances", "value": "3"} in rows
    classes = list(csv.DictReader(files[2].open()))
    assert [row["class"] for row in classes] == ["ball", "cup", "ghost"]
    assert len(classes) == len(class_rows(found))
    images = list(csv.DictReader(files[3].open()))
    assert [row["objects"] for row in images] == ["2", "3", "0"]
    assert images[2]["unreadable"] == "1"
    objects = list(csv.DictReader(files[4].open()))
    assert [row["annotation_id"] for row in objects] == ["1", "2", "4", "5", "6"]
    assert objects[3]["parts"] == ""


def test_plain_data():
    content = plain({1: np.array([1.5, np.nan]), "a": (np.int64(2), np.True_, float("inf"))})
    assert content == {"1": [1.5, None], "a": [2, True, None]}


def test_medians_of_a_class_skip_what_is_unknown():
    values, classes = np.array([1.0, 5, np.nan, 7]), np.array([0, 0, 0, 2])
    assert per_class(values, classes, 3) == pytest.approx([3, np.nan, 7], nan_ok=True)


def test_the_plan_by_hand():
    # Objects 3 and 1: weights 1/3 and 1, so the images weigh 0.6, 0.6 and 1.8 at a mean of 1.
    statistics = ClassStatistics(np.array([[1, 0], [1, 0], [1, 1]]), ("common", "rare"))
    plan = sampling_plan(statistics, {"plain": None, "inverse": InverseFrequency(1.0)})
    assert plan.schemes == ("plain", "inverse")
    assert plan.images == pytest.approx(np.array([[100, 100 / 3], [100, 60]]))
    assert plan.instances == pytest.approx(np.array([[75, 25], [62.5, 37.5]]))
    assert plan.most_repeated == pytest.approx([1, 1.8])


def test_the_summary_says_what_is_so(found):
    text = " ".join(sentence.text for sentence in summary(found))
    assert "ball stands in 2 of 3 training images (3 objects); cup in 2." in text
    assert "ghost has no object at all." in text
    assert "1 image file is missing or broken: three.png." in text
    assert "1 object has no mask, or one that encloses no pixel at all." in text
    assert "of all objects are" not in text  # 1.5 to 1 is no imbalance
    assert "the fullest, two.png, 3. 1 image holds none." in text
    levels = [sentence.level for sentence in summary(found)]
    assert levels == sorted(levels, key=lambda level: level != "warning")
    assert headline(found) == "3 images with 5 objects of 2 classes, and 1 crowd region."


def test_two_splits_are_compared_by_name(tmp_path, labels_file, detector):
    other_file = tmp_path / "val.json"
    content = json.loads(labels_file.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 2]
    content["categories"] = [{"id": 7, "name": "ghost"}, {"id": 2, "name": "ball"}]
    content["annotations"].append(content["annotations"][0] | {"id": 9, "category_id": 7})
    other_file.write_text(json.dumps(content))
    table = read_labels(labels_file)
    other = read_labels(other_file, first_classes=table.class_names)
    found = explore(table, None, detector, other=other, progress=False)
    assert found.other_counts.instances.tolist() == [3, 0, 1]
    text = " ".join(sentence.text for sentence in summary(found))
    assert "cup has objects in train but none in val." in text
    assert "ghost has objects in val but none in train." in text
    assert numbers(found)["compared_with"]["classes"]["ghost"]["instances"] == 1
    with pytest.raises(UserError, match="other classes"):
        explore(table, None, detector, other=read_labels(other_file), progress=False)


def test_a_split_without_objects_or_images(tmp_path, labels_file, detector):
    content = json.loads(labels_file.read_text())
    content["annotations"] = []
    file = tmp_path / "empty.json"
    file.write_text(json.dumps(content))
    found = explore(read_labels(file), None, detector, progress=False)
    assert numbers(found)["object_share"]["median"] is None
    assert [s.text for s in summary(found)] == ["ball, cup and ghost have no object at all."]
    assert set(choose_samples(found)) == {"Drawn at random"}
    content["images"] = []
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="empty has no images"):
        explore(read_labels(file), None, detector, progress=False)


def test_samples(found):
    sheets = choose_samples(found, [(1, "bad box", 3), (0, "bad mask", None), (1, "bad box", 5)])
    assert [s.image for s in sheets["Drawn at random"]] == [0, 1, 2]
    crowded = [(s.image, s.why) for s in sheets["The most crowded"]]
    assert crowded == [(1, "3 objects"), (0, "2 objects")]
    assert [(s.image, s.why) for s in sheets["The rarest classes"]] == [
        (1, "2 × ball"),
        (0, "1 × cup"),
    ]
    smallest = [(s.object, s.why) for s in sheets["The smallest objects"]]
    assert smallest == [(4, "cup of 5 square pixels"), (0, "cup of 800 square pixels")]
    assert [(s.image, s.object) for s in sheets["Flagged by the audit"]] == [(1, 3), (0, None)]
    assert "The most hidden objects" not in sheets
    assert len(choose_samples(found, size=1)["Drawn at random"]) == 1


@pytest.mark.parametrize(
    "share, text",
    [(0, "0 %"), (0.01, "under 0.1 %"), (0.333, "0.3 %"), (12.4, "12 %"), (99.7, "99.7 %"),
     (99.97, "over 99.9 %"), (100, "100 %")],
)  # fmt: skip
def test_percent(share, text):
    assert percent(share) == text.replace(" %", "\u00a0%")


def test_crowds_alone_are_all_of_the_annotations(tmp_path, labels_file, detector):
    content = json.loads(labels_file.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["iscrowd"]]
    file = tmp_path / "crowds.json"
    file.write_text(json.dumps(content))
    found = explore(read_labels(file), None, detector, progress=False)
    assert numbers(found)["masks"]["crowd_share_of_annotations"] == 100


def test_ratios_keep_what_matters():
    assert [ratio(n) for n in (1, 1.5, 2.54, 9.94, 9.96, 1250.4)] == [
        "1", "1.5", "2.5", "9.9", "10", "1,250",
    ]  # fmt: skip


def test_words():
    assert count(1, "image") == "1 image"
    assert count(1250, "class", "classes") == "1,250 classes"
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing("abcdef") == "a, b, c, d and 2 more"
    names = ["train", "train-300", "val", "validation_2", "trains", "valley", "test"]
    assert [split_adjective(name) for name in names] == [
        "training", "training", "validation", "validation", "trains", "valley", "test",
    ]  # fmt: skip
