"""True, false and missed pixels, worked by hand on ten by ten of them."""

from project.visualization.agreement import (
    FALSE,
    MISSED,
    TRUE,
    WRONG_CLASS,
    draw_agreement,
    pixel_agreement,
)
from project.visualization.records import BoxMask, DrawnObject

import numpy as np

SIZE = (10, 10)


def thing(x0, y0, x1, y1, index=0, **more) -> DrawnObject:
    mask = BoxMask(np.ones((y1 - y0, x1 - x0), bool), x0, y0)
    return DrawnObject(index, f"class {index}", (x0, y0, x1, y1), mask, **more)


def counts(agreement) -> dict[int, int]:
    values, numbers = np.unique(agreement.kinds, return_counts=True)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


def test_a_shifted_prediction():
    agreement = pixel_agreement([thing(0, 0, 4, 5)], [thing(2, 0, 6, 5, score=0.9)], SIZE)
    assert agreement.kinds[0].tolist() == [MISSED] * 2 + [TRUE] * 2 + [FALSE] * 2 + [0] * 4
    assert counts(agreement) == {0: 70, TRUE: 10, FALSE: 10, MISSED: 10}
    assert agreement.iou == 10 / 30


def test_the_wrong_class():
    agreement = pixel_agreement([thing(0, 0, 4, 4, 0)], [thing(0, 0, 4, 4, 1)], SIZE)
    assert counts(agreement) == {0: 84, WRONG_CLASS: 16}
    assert agreement.iou == 0


def test_one_class_more_than_there_is_is_false():
    found = [thing(0, 0, 4, 4, 0), thing(0, 0, 2, 4, 1)]
    agreement = pixel_agreement([thing(0, 0, 4, 4, 0)], found, SIZE)
    assert counts(agreement) == {0: 84, TRUE: 8, FALSE: 8}


def test_two_objects_of_a_class_are_one_area():
    truth = [thing(0, 0, 4, 4), thing(4, 0, 8, 4)]
    assert pixel_agreement(truth, [thing(0, 0, 8, 4)], SIZE).iou == 1


def test_crowds_count_neither_way():
    crowd = [thing(0, 0, 6, 4, iscrowd=True)]
    assert counts(pixel_agreement(crowd, [thing(2, 0, 8, 4)], SIZE)) == {0: 92, FALSE: 8}
    assert counts(pixel_agreement(crowd, [], SIZE)) == {0: 100}
    assert counts(pixel_agreement(crowd, [thing(0, 0, 6, 4, 1)], SIZE)) == {0: 76, FALSE: 24}


def test_nothing():
    agreement = pixel_agreement([], [DrawnObject(0, "no mask", (0, 0, 5, 5), score=1.0)], SIZE)
    assert agreement.iou is None
    assert not agreement.kinds.any()


def test_the_picture_is_grey_but_for_the_objects():
    image = np.random.default_rng(0).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    truth = [thing(0, 0, 4, 5), thing(6, 6, 10, 10, iscrowd=True)]
    agreement = pixel_agreement(truth, [thing(2, 0, 6, 5, score=0.9)], SIZE)
    picture = draw_agreement(image, truth, agreement)
    assert picture.shape == (80, 80, 3)
    grey = (np.ptp(picture.astype(int), axis=2) == 0)[4::8, 4::8]
    assert np.array_equal(~grey, agreement.kinds > 0)
    plain = draw_agreement(image, [], agreement)
    changed = (plain != picture).any(2)
    assert changed[46:].any()
    assert not changed[:44].any()
    kinds = [picture[20, x] for x in (8, 24, 40)]  # missed: blue; true: green; false: red
    assert [int(color.argmax()) for color in kinds] == [2, 1, 0]
