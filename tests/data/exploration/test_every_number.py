"""Every number of an exploration, all files of it, against one worked out another way.

Four images of rectangles. What each object measures stands below, worked out by hand; everything
else is computed here from those lines and the pixels, with loops and without `project.data`.
"""

import csv
import json
import math
import statistics
from itertools import product

from project.data.exploration.explore import explore
from project.data.exploration.files import flat, write_numbers
from project.data.exploration.fit import AnchorGrid, Detector, InputSize
from project.data.exploration.labels import read_labels

import numpy as np
import pytest

NAN = math.nan
NAMES = ("plate", "fork", "cup", "ghost")
SIZES = {11: (80, 160), 12: (160, 80), 13: (64, 64), 14: (80, 160)}  # height, width; 14: no file


def rectangle(x0, y0, x1, y1):
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def runs(height, width, *boxes):
    """Column by column, zeros first: pixels that an odd number of boxes hold."""
    bitmap = np.zeros((height, width), bool)
    for x0, y0, x1, y1 in boxes:
        bitmap[y0:y1, x0:x1] ^= True
    column_order = bitmap.ravel(order="F")
    edges = [0, *(np.flatnonzero(np.diff(column_order)) + 1).tolist(), bitmap.size]
    lengths = [b - a for a, b in zip(edges, edges[1:], strict=False)]
    return {"size": [height, width], "counts": ([0] if column_order[0] else []) + lengths}


# 1 and 2 share a strip of 8 by 16 pixels. 3 is a frame 10 thick around a hole that 4 fills. 5 is in
# two pieces at the left edge of the image, 6 is large, 7 is 2 by 2 in the corner, and the outline
# of 8 goes there and back: no pixel is inside, so its area is the file's. 9 is a crowd of 20 rows,
# 10 of which lie under 6.
# id: image, class, box (x, y, w, h), segmentation, area in the file
OBJECTS = {
    1: (11, 0, (16, 16, 32, 32), [rectangle(16, 16, 48, 48)], 1),
    2: (11, 1, (40, 24, 32, 16), [rectangle(40, 24, 72, 40)], 1),
    3: (11, 0, (96, 16, 40, 40), runs(80, 160, (96, 16, 136, 56), (106, 26, 126, 46)), 1),
    4: (11, 1, (106, 26, 20, 20), [rectangle(106, 26, 126, 46)], 1),
    5: (12, 1, (0, 0, 4, 24), [rectangle(0, 0, 4, 8), rectangle(0, 16, 4, 24)], 1),
    6: (12, 2, (4, 4, 72, 146), [rectangle(4, 4, 76, 150)], 1),
    7: (12, 2, (78, 158, 2, 2), [rectangle(78, 158, 80, 160)], 1),
    8: (14, 0, (10, 10, 20, 1), [[10, 10, 30, 10, 10, 10]], 5),
}
CROWD = (12, 1, (0, 140, 80, 20), runs(160, 80, (0, 140, 80, 160)), 1600)
# id: pixels, parts, holes, vertices (0: run lengths), boundary, percent of its own box, percent
# shared with others, percent of the box under others alone; sides of the frame (l, t, r, b)
MASKS = {
    1: (1024, 1, 0, 4, 128, 100, 12.5, 0, "----"),
    2: (512, 1, 0, 4, 96, 100, 25, 0, "----"),
    3: (1200, 1, 1, 0, (160 + 80) * math.pi / 4, 75, 0, 25, "----"),
    4: (400, 1, 0, 4, 80, 100, 0, 0, "----"),
    5: (64, 2, 0, 8, 48, 100 * 64 / 96, 0, 0, "lt--"),
    6: (10512, 1, 0, 4, 436, 100, 0, 0, "----"),
    7: (4, 1, 0, 4, 8, 100, 0, 0, "--rb"),
    8: (NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, "----"),
}
MEASURES = ("mask_pixels", "parts", "holes", "vertices", "boundary", "fill", "overlap", "cover")
AREAS = {i: 5 if i == 8 else MASKS[i][0] for i in MASKS}
SIZE_OF = dict.fromkeys(MASKS, "small") | {1: "medium", 3: "medium", 6: "large"}  # 1024 is 32²
SHORT, LONG, ANCHOR_SIDES, STRIDES = 160, 240, (16, 32), (8, 16)


@pytest.fixture(scope="module")
def pictures():
    """RGB: two colours side by side, grey noise about as bright, and one nearly white."""
    rng = np.random.default_rng(0)
    one = np.zeros((80, 160, 3), np.uint8)
    one[:, :80], one[:, 80:] = (200, 100, 50), (10, 20, 30)
    noise = rng.integers(0, 140, (160, 80, 1), dtype=np.uint8).repeat(3, 2)
    return {11: one, 12: noise, 13: np.full((64, 64, 3), 250, np.uint8)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pictures):
    import cv2

    folder = tmp_path_factory.mktemp("every")
    for number, picture in pictures.items():
        cv2.imwrite(str(folder / f"{number}.png"), picture[..., ::-1])
    annotations = [
        {"id": i, "image_id": image, "category_id": k + 5, "bbox": box, "area": area}
        | {"segmentation": mask, "iscrowd": int(i == 9)}
        for i, (image, k, box, mask, area) in {**OBJECTS, 9: CROWD}.items()
    ]
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": h, "width": w}
            for i, (h, w) in SIZES.items()
        ],
        "categories": [{"id": k + 5, "name": name} for k, name in enumerate(NAMES)],
    }
    (folder / "train.json").write_text(json.dumps(content | {"annotations": annotations}))
    content["images"] = content["images"][:2]
    kept = [a for a in annotations if a["image_id"] == 12]
    (folder / "val.json").write_text(json.dumps(content | {"annotations": kept}))
    square = [np.array([[-s, -s, s, s]]) / 2 for s in ANCHOR_SIDES]
    detector = Detector(
        "d.py", InputSize(SHORT, LONG), AnchorGrid(tuple(square), STRIDES, 0.5), (2, 3)
    )
    other = read_labels(folder / "val.json")
    table = read_labels(folder / "train.json")
    found = explore(table, folder, detector, other=other, workers=1, progress=False)
    write_numbers(found, folder)
    return folder


def near(value):
    return pytest.approx(value, rel=1e-9, abs=1e-9)


def quantiles(values):
    """By hand: between the two values around each place."""
    values = sorted(v for v in values if not math.isnan(v))

    def at(share):
        place = share * (len(values) - 1)
        low = min(int(place), len(values) - 2) if len(values) > 1 else 0
        high = min(low + 1, len(values) - 1)
        return values[low] + (place - low) * (values[high] - values[low])

    shares = {"min": 0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1}
    return {name: at(share) if values else None for name, share in shares.items()}


def median(values):
    values = [v for v in values if not math.isnan(v)]
    return statistics.median(values) if values else None


def percent(flags):
    flags = list(flags)
    return 100 * sum(flags) / len(flags) if flags else None


def of(name, ids=MASKS):
    return [MASKS[i][MEASURES.index(name)] for i in ids]


def measured(ids=MASKS):
    return [i for i in ids if i != 8]


def aspect(i):
    _, _, (_, _, width, height), *_ = OBJECTS[i]
    return width / height


def complexity(i):
    pixels, boundary = MASKS[i][0], MASKS[i][4]
    return boundary**2 / (4 * math.pi * pixels)


def per_vertex(ids=MASKS):
    return [MASKS[i][4] / MASKS[i][3] for i in ids if i not in (3, 8)]


def share_of_image(i):
    height, width = SIZES[OBJECTS[i][0]]
    return 100 * AREAS[i] / (height * width)


def at_input(i):
    """Box x0, y0, x1, y1 at the model's input; images grow 1.5 times, that of 64 by 64 2.5."""
    x, y, width, height = OBJECTS[i][2]
    return [1.5 * v for v in (x, y, x + width, y + height)]


def best_anchor(i):
    """IoU and stride of the best of all anchors on the padded image."""
    height, width = SIZES[OBJECTS[i][0]]
    x0, y0, x1, y1 = at_input(i)
    best = (0, None)
    for side, stride in zip(ANCHOR_SIDES, STRIDES, strict=True):
        rows, columns = (math.ceil(1.5 * v / 32) * 32 // stride for v in (height, width))
        for row, column in product(range(rows), range(columns)):
            x, y = ((c + 0.5) * stride - side / 2 for c in (column, row))
            w, h = min(x1, x + side) - max(x0, x), min(y1, y + side) - max(y0, y)
            common = max(w, 0) * max(h, 0)
            union = (x1 - x0) * (y1 - y0) + side**2 - common
            best = max(best, (common / union, stride), key=lambda b: b[0])
    return best


ANCHORS = {i: best_anchor(i) for i in OBJECTS}
LEVELS = {i: 3 if i == 6 else 2 for i in OBJECTS}  # from 112 on, 6 has 1.5 * 102.5
PIXELS = sum(h * w for h, w in SIZES.values())
CLASS_PIXELS = {"plate": 1024 + 1200, "fork": 512 + 400 + 64, "cup": 10512 + 4, "ghost": 0}
CROWD_PIXELS = 20 * 80 - 10 * 72 - 4  # less what lies under 6 and 7


def luma(picture):
    return picture.mean((0, 1)) @ (0.299, 0.587, 0.114)


def sharpness(picture):
    """Variance of the sum of the four neighbours less four times the value, mirrored at the rim."""
    grey = np.rint(picture @ np.array([0.299, 0.587, 0.114]))
    wide = np.pad(grey, 1, "reflect")
    around = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:]
    return float((around - 4 * grey).var())


def class_numbers(k):
    ids = [i for i, o in OBJECTS.items() if o[1] == k]
    images, known = {OBJECTS[i][0] for i in ids}, measured(ids)
    return {
        "instances": len(ids),
        "images": len(images),
        "crowds": int(k == 1),
        "share": 100 * len(ids) / 8,
        "image_share": 100 * len(images) / 4,
        "median_area": median([AREAS[i] for i in ids]),
        "median_share": median([share_of_image(i) for i in ids]),
        "median_aspect": median([aspect(i) for i in ids]),
        **{name: percent(SIZE_OF[i] == name for i in ids) for name in ("small", "medium", "large")},
        "at_the_frame": percent(MASKS[i][-1] != "----" for i in ids),
        "pixels": 100 * CLASS_PIXELS[NAMES[k]] / PIXELS,
        "several_parts": percent(p >= 2 for p in of("parts", known)),
        "holes": percent(h >= 1 for h in of("holes", known)),
        "median_complexity": median([complexity(i) for i in known]),
        "median_fill": median(of("fill", known)),
        "median_vertices": median([v for v in of("vertices", known) if v]),
        "pixels_per_vertex": median(per_vertex(ids)),
        "overlapping": percent(o >= 1 for o in of("overlap", known)),
        "occluded": percent(c >= 25 for c in of("cover", known)),
        "anchor_recall": percent(ANCHORS[i][0] >= 0.5 for i in ids),
        "vanishing": sum(i == 7 for i in ids) if ids else None,
    }


# Objects by image: 11 has two plates and two forks, 12 a fork and two cups, 14 a plate.
SHOWN = {11: {"plate": 2, "fork": 2}, 12: {"fork": 1, "cup": 2}, 13: {}, 14: {"plate": 1}}
TOTALS = {"plate": 3, "fork": 3, "cup": 2}


def plan(weights):
    """``weights`` of the images, up to a factor."""
    weights = dict(zip(SHOWN, weights, strict=True))
    total = sum(weights.values())
    drawn = {n: sum(w * SHOWN[i].get(n, 0) for i, w in weights.items()) for n in NAMES}
    return {
        "percent_of_images": {
            n: 100 * sum(w for i, w in weights.items() if n in SHOWN[i]) / total for n in NAMES
        },
        "percent_of_objects": {n: 100 * v / sum(drawn.values()) for n, v in drawn.items()},
        "most_repeated_image": max(weights.values()) * len(weights) / total,
    }


def plans():
    def by_class(rule):
        weight = {n: rule(TOTALS[n]) for n in TOTALS}
        lightest = min(weight.values())
        return plan([max([weight[n] for n in shown], default=lightest) for shown in SHOWN.values()])

    return {
        "plain": plan([1, 1, 1, 1]),
        "repeat factors": plan([1, 1, 1, 1]),  # no class is in fewer than a tenth of the images
        "square root": by_class(lambda n: n**-0.5),
        "effective number": by_class(lambda n: (1 - 0.999) / (1 - 0.999**n)),
        "inverse": by_class(lambda n: 1 / n),
    }


def position_map():
    """Each image twice as large, so that a cell is 5 or 10 pixels, painted box by box."""
    total = np.zeros((32, 32))
    for image, _, (x, y, width, height), *_ in OBJECTS.values():
        rows, columns = SIZES[image]
        canvas = np.zeros((2 * rows, 2 * columns))
        canvas[2 * y : 2 * (y + height), 2 * x : 2 * (x + width)] = 1
        total += canvas.reshape(32, rows // 16, 32, columns // 16).mean((1, 3))
    return (total / 8).tolist()


def mean_masks():
    """Each mask in its box 28 times as large, and cut into 28 by 28 again."""
    frame = np.ones((40, 40))
    frame[10:30, 10:30] = 0
    parts = np.ones((24, 4))
    parts[8:16] = 0
    boxes = {"plate": [np.ones((32, 32)), frame], "fork": [np.ones((3, 3))] * 2 + [parts]}
    boxes |= {"cup": [np.ones((5, 5))], "ghost": [np.zeros((1, 1))]}

    def small(mask):
        height, width = mask.shape
        return np.kron(mask, np.ones((28, 28))).reshape(28, height, 28, width).mean((1, 3))

    return {name: np.mean([small(m) for m in masks], 0).tolist() for name, masks in boxes.items()}


def expected_pixels(pictures):
    every = np.concatenate([p.reshape(-1, 3) for p in pictures.values()]).astype(float)
    counts = [
        [100 * ((every[:, c] // 4) == b).mean() for b in range(64)] for c in range(3)
    ]  # fmt: skip
    return {
        "measured": 3,
        "unreadable": 1,
        "mean_rgb": every.mean(0).tolist(),
        "std_rgb": every.std(0).tolist(),
        "histogram_rgb": counts,
        "brightness": quantiles([luma(p) for p in pictures.values()]),
        "sharpness": quantiles([sharpness(p) for p in pictures.values()]),
        "unusually_dark": 0,
        "unusually_bright": 1,  # 70, 69.5 and 250: the usual distance to the median is half a level
        "unusually_blurred": 0,
        "unusually_sharp": 0,
    }


def expected_masks():
    return {
        "measured": 7,
        "images_looked_at": 4,
        "several_parts": 1,
        "with_holes": 1,
        "complexity": quantiles([complexity(i) for i in measured()]),
        **{n: quantiles(of(n)) for n in ("mask_pixels", "parts", "holes", "boundary", "fill")},
        "vertices": quantiles([v for v in of("vertices") if v]),
        "pixels_per_vertex": quantiles(per_vertex()),
        "percent_of_pixels": {
            "background": 100
            * (PIXELS - sum(CLASS_PIXELS.values()) + 8 * 16 - CROWD_PIXELS)
            / PIXELS,
            "crowd": 100 * CROWD_PIXELS / PIXELS,
            "shared": 100 * 8 * 16 / PIXELS,
        },
        "crowd_share_of_annotations": 100 / 9,
        "mean_masks": mean_masks(),
    }


def expected_fit():
    ious = {i: iou for i, (iou, _) in ANCHORS.items()}
    sizes = ("small", "medium", "large")
    return {
        "config": "d.py",
        "shortest_side": SHORT,
        "longest_side": LONG,
        "median_scale": 1.5,
        "recall": percent(v >= 0.5 for v in ious.values()),
        "recall_by_size": {
            n: percent(v >= 0.5 for i, v in ious.items() if SIZE_OF[i] == n) for n in sizes
        },
        "best_iou": quantiles(ious.values()),
        "best_anchors_by_stride": {
            str(s): sum(stride == s for _, stride in ANCHORS.values()) for s in STRIDES
        },
        "objects_by_level": {"p2": 7, "p3": 1},
        "vanishing": 1,  # 7: 3 by 3 pixels on cells of 4
    }


def expected(pictures):
    bins = ("0", "1", "2", "3-5", "6-10", "11+")
    by_count = {"plate": (2, 1, 1), "fork": (2, 1, 1), "cup": (3, 0, 1), "ghost": (4,)}
    by_count["(any)"] = (1, 1, 0, 2)
    together = {"plate": (100, 50, 0, 0), "fork": (50, 100, 50, 0), "cup": (0, 100, 100, 0)}
    heights, widths = zip(*SIZES.values(), strict=True)
    return {
        "split": "train",
        "images": 4,
        "objects": 8,
        "crowd_regions": 1,
        "negatives": 1,
        "imbalance": 1.5,
        "classes": {name: class_numbers(k) for k, name in enumerate(NAMES)},
        "images_by_count": {
            name: dict(zip(bins, counts + (0,) * (6 - len(counts)), strict=True))
            for name, counts in by_count.items()
        },
        "company": {
            name: dict(zip(NAMES, together.get(name, (None,) * 4), strict=True)) for name in NAMES
        },
        "image_sizes": {
            "height": quantiles(heights),
            "width": quantiles(widths),
            "aspect_ratio": quantiles([2, 0.5, 1, 2]),
            **{"landscape": 50, "portrait": 25, "square": 25, "different": 3},
        },
        "pixels": expected_pixels(pictures),
        "object_sizes": {"small": 5, "medium": 2, "large": 1},
        "object_share": quantiles([share_of_image(i) for i in OBJECTS]),
        "aspect_ratio": quantiles([aspect(i) for i in OBJECTS]),
        "at_the_frame": {"objects": 2, "left": 1, "top": 1, "right": 1, "bottom": 1},
        "position_map": position_map(),
        "masks": expected_masks(),
        "occlusion": {
            "cover": quantiles(of("cover")),
            "overlap": quantiles(of("overlap")),
            "occluded_objects": 1,
            "objects_per_image": quantiles([4, 3, 0, 1]),
        },
        "fit": expected_fit(),
        "sampling": plans(),
        "compared_with": {
            "split": "val",
            "images": 2,
            "classes": {
                name: dict(zip(("instances", "images", "crowds"), counts, strict=True))
                | {"share": 100 * counts[0] / 3, "image_share": 50 * counts[1]}
                for name, counts in {
                    "plate": (0, 0, 0), "fork": (1, 1, 1), "cup": (2, 1, 0), "ghost": (0, 0, 0),
                }.items()
            },
        },
    }  # fmt: skip


def test_every_number_of_the_json_file(folder, pictures):
    wanted = dict(flat(expected(pictures)))
    found = dict(flat(json.loads((folder / "numbers.json").read_text())))
    assert found.keys() == wanted.keys()
    wrong = {
        name: (found[name], value)
        for name, value in wanted.items()
        if found[name] != (near(value) if isinstance(value, int | float) else value)
    }
    assert wrong == {}


def rows_of(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def same(row, wanted):
    assert row.keys() == wanted.keys()
    for name, text in row.items():
        value = wanted[name]
        if isinstance(value, str):
            assert text == value, name
        elif value is None or math.isnan(value):
            assert text == "", name
        else:
            assert float(text) == near(value), name
    return True


def test_the_table_of_numbers_is_the_json_file(folder):
    content = list(flat(json.loads((folder / "numbers.json").read_text())))
    rows = rows_of(folder / "numbers.csv")
    assert [(r["name"], r["value"]) for r in rows] == [
        (name, "" if value is None else str(value)) for name, value in content
    ]


def test_every_number_of_the_classes(folder):
    rows = rows_of(folder / "classes.csv")
    assert len(rows) == 4
    for k, row in enumerate(rows):
        assert same(row, {"class": NAMES[k], **class_numbers(k)})


def test_every_number_of_the_images(folder, pictures):
    rows = rows_of(folder / "images.csv")
    assert [int(row["image_id"]) for row in rows] == list(SIZES)
    shared, crowd = {11: 8 * 16}, {12: CROWD_PIXELS}
    claimed = {11: 1024 + 512 + 1200 + 400 - 128, 12: 64 + 10512 + 4}
    for row, (number, (height, width)) in zip(rows, SIZES.items(), strict=True):
        picture = pictures.get(number)
        free = height * width - claimed.get(number, 0) - crowd.get(number, 0)
        wanted = {"image_id": number, "file_name": f"{number}.png"}
        wanted |= {"height": height, "width": width, "objects": sum(SHOWN[number].values())}
        wanted |= {
            "brightness": NAN if picture is None else luma(picture),
            "sharpness": NAN if picture is None else sharpness(picture),
            "brightness_outlier": int(number == 13),
            "sharpness_outlier": 0,
            "unreadable": int(number == 14),
            "background_pixels": free,
            "crowd_pixels": crowd.get(number, 0),
            "shared_pixels": shared.get(number, 0),
        }
        assert same(row, wanted)


def test_every_number_of_the_objects(folder):
    rows = rows_of(folder / "objects.csv")
    assert [int(row["annotation_id"]) for row in rows] == list(OBJECTS)
    for row, (i, (image, k, box, *_)) in zip(rows, OBJECTS.items(), strict=True):
        wanted = {"annotation_id": i, "image_id": image, "class": NAMES[k]}
        wanted |= dict(zip(("x", "y", "width", "height"), box, strict=True))
        wanted |= {"area": AREAS[i], "size": SIZE_OF[i], "percent_of_image": share_of_image(i)}
        wanted |= {"at_the_frame": int(MASKS[i][-1] != "----")}
        wanted |= dict(zip(MEASURES, MASKS[i], strict=False)) | {"complexity": complexity(i)}
        wanted |= {"best_anchor_iou": ANCHORS[i][0], "pyramid_level": LEVELS[i]}
        assert same(row, wanted | {"vanishes": int(i == 7)})
