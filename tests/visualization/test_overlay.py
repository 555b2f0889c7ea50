"""What an overlay changes and what it leaves alone, with values worked by hand."""

from project.visualization.overlay import OverlayStyle, draw_overlay, fit_for_drawing, label_text
from project.visualization.palette import class_color
from project.visualization.records import BoxMask, DrawnObject

import numpy as np
import pytest

BARE = OverlayStyle(contours=False, boxes=False, labels=False)


def thing(box, index=0, mask=True, **more) -> DrawnObject:
    x0, y0, x1, y1 = box
    crop = BoxMask(np.ones((y1 - y0, x1 - x0), bool), x0, y0) if mask else None
    return DrawnObject(index, f"class {index}", tuple(map(float, box)), crop, **more)


def noise(height=60, width=80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_masks_are_blended_by_alpha():
    image = np.full((20, 20, 3), (100, 200, 50), np.uint8)
    style = OverlayStyle(alpha=0.25, contours=False, boxes=False, labels=False)
    drawn = draw_overlay(image, [thing((5, 5, 9, 9))], style)
    # 0.75 * (100, 200, 50) + 0.25 * (213, 94, 0) = (128.25, 173.5, 37.5), halves to even
    assert drawn[6, 6].tolist() == [128, 174, 38]
    assert drawn[4, 4].tolist() == [100, 200, 50]


def test_pixels_outside_of_the_boxes_stay_as_they_are():
    image = noise()
    before = image.copy()
    boxes = [(3, 4, 30, 40), (50, 20, 80, 60)]
    drawn = draw_overlay(
        image, [thing(b, i) for i, b in enumerate(boxes)], OverlayStyle(labels=False)
    )
    outside = np.ones((60, 80), bool)
    for x0, y0, x1, y1 in boxes:
        outside[y0:y1, x0:x1] = False
    assert (drawn[outside] == image[outside]).all()
    assert (drawn != image).any()
    assert (image == before).all()


def test_small_objects_are_drawn_over_large_ones():
    objects = [thing((20, 20, 30, 30), 1), thing((0, 0, 60, 60), 0)]
    image = np.zeros((60, 80, 3), np.uint8)
    drawn = draw_overlay(image, objects, OverlayStyle(alpha=1, boxes=False, labels=False))
    assert tuple(drawn[25, 25]) == class_color(1)
    assert tuple(drawn[40, 40]) == class_color(0)


def test_the_contour_follows_the_mask_and_its_holes():
    pixels = np.ones((20, 20), bool)
    pixels[8:12, 8:12] = False
    obj = DrawnObject(2, "ring", (10, 10, 30, 30), BoxMask(pixels, 10, 10))
    image = np.zeros((60, 80, 3), np.uint8)
    style = OverlayStyle(masks=False, boxes=False, labels=False)
    drawn = draw_overlay(image, [obj], style)
    assert (drawn[10, 20] > 0.7 * np.array(class_color(2))).all()  # antialiased
    assert (drawn[17, 20] > 0.7 * np.array(class_color(2))).all()  # above the hole
    assert not drawn[14, 14].any()
    assert not drawn[20, 20].any()


def test_crowds_are_hatched():
    image = np.zeros((60, 80, 3), np.uint8)
    solid = draw_overlay(image, [thing((10, 10, 50, 50))], BARE)
    hatched = draw_overlay(image, [thing((10, 10, 50, 50), iscrowd=True)], BARE)
    share = hatched[10:50, 10:50].any(-1).mean()
    assert solid[10:50, 10:50].any(-1).all()
    assert 0.15 < share < 0.5
    assert hatched.max() > solid.max()


def test_crowd_boxes_are_dashed():
    style = OverlayStyle(masks=False, contours=False, labels=False)
    image = np.zeros((60, 80, 3), np.uint8)
    box = (10, 10, 60, 50)
    solid = draw_overlay(image, [thing(box)], style)
    dashed = draw_overlay(image, [thing(box, iscrowd=True)], style)
    assert solid[10, 10:60].any(-1).all()
    assert 0.4 < dashed[10, 10:60].any(-1).mean() < 0.8


def test_colours_can_be_given_per_object():
    image = np.zeros((20, 20, 3), np.uint8)
    style = OverlayStyle(alpha=1, contours=False, boxes=False, labels=False)
    drawn = draw_overlay(image, [thing((5, 5, 9, 9))], style, colors=[(1, 2, 3)])
    assert drawn[6, 6].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "box", [(-10, -10, 5, 5), (70, 50, 100, 90), (-20, -20, 200, 200), (90, 70, 99, 80)]
)
def test_objects_may_reach_over_the_border(box):
    image = noise()
    drawn = draw_overlay(image, [thing(box), thing(box, iscrowd=True)])
    assert drawn.shape == image.shape
    x0, y0, x1, y1 = np.clip(box, 0, [80, 60, 80, 60])
    assert (drawn[y0:y1, x0:x1] != image[y0:y1, x0:x1]).any() == (x1 > x0 and y1 > y0)


def test_no_objects_and_no_masks():
    image = noise()
    assert (draw_overlay(image, []) == image).all()
    drawn = draw_overlay(image, [thing((10, 10, 40, 40), mask=False)], OverlayStyle(labels=False))
    assert (drawn[14:36, 14:36] == image[14:36, 14:36]).all()
    assert tuple(drawn[10, 20]) == class_color(0)


def test_read_only_and_reversed_images_are_taken():
    image = noise()[..., ::-1]
    image.flags.writeable = False
    assert draw_overlay(image, [thing((10, 10, 40, 40))]).shape == image.shape


def test_label_texts():
    box = (0, 0, 5, 5)
    assert label_text(thing(box)) == "class 0"
    assert label_text(thing(box, score=0.968)) == "class 0 0.97"
    assert label_text(thing(box, iscrowd=True)) == "class 0 crowd"


def test_any_name_can_be_drawn():
    names = ["кот\n", "\ud800", "", "x" * 500, "犬🐕"]
    objects = [DrawnObject(i, n, (5.0, 5.0, 40.0, 40.0)) for i, n in enumerate(names)]
    assert draw_overlay(noise(), objects).shape == (60, 80, 3)


@pytest.mark.parametrize(
    "size, drawn",
    [
        ((144, 176), (576, 704)),
        ((480, 640), (480, 640)),
        ((1200, 1600), (1200, 1600)),
        ((2000, 4000), (800, 1600)),
        ((20, 10), (160, 80)),
    ],
)
def test_images_are_brought_to_a_readable_size(size, drawn):
    image = np.zeros((*size, 3), np.uint8)
    box = (0.0, 0.0, float(size[1]), float(size[0]))
    fitted, (obj,) = fit_for_drawing(image, [DrawnObject(0, "a", box)])
    assert fitted.shape[:2] == drawn
    assert obj.box_xyxy == pytest.approx((0, 0, drawn[1], drawn[0]))
