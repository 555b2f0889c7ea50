"""`Visualizer`: sizes, what changes and what doesn't, labels' sources, misuse."""

import project  # noqa: F401

import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks
from detectron2.utils.visualizer import ColorMode, Visualizer

HEIGHT, WIDTH = 90, 120
BOX = (30.0, 20.0, 80.0, 60.0)
MARGIN = 4  # outlines are centred on the edge and antialiased


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(60, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def metadata():
    return Metadata(thing_classes=["cake", "dog"], thing_colors=[(255, 0, 0), (0, 0, 255)])


def box_mask(box=BOX) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    x0, y0, x1, y1 = (int(v) for v in box)
    mask[y0:y1, x0:x1] = True
    return mask


def predictions(**fields) -> Instances:
    return Instances((HEIGHT, WIDTH), **fields)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(-1)


def assert_only_inside(before, after, box=BOX):
    where = changed(before, after)
    assert where.any()
    x0, y0, x1, y1 = (int(v) for v in box)
    where[y0 - MARGIN : y1 + MARGIN, x0 - MARGIN : x1 + MARGIN] = False
    assert not where.any()


@pytest.mark.parametrize("scale, size", [(1.0, (90, 120)), (2.0, (180, 240)), (0.3, (27, 36))])
def test_size_and_type_follow_the_scale(image, scale, size):
    visualizer = Visualizer(image, scale=scale)
    out = visualizer.overlay_instances(boxes=[BOX], labels=["x"], masks=[box_mask()])
    assert out.get_image().shape == (*size, 3)
    assert out.get_image().dtype == np.uint8


def test_the_given_image_is_left_alone(image):
    before = image.copy()
    Visualizer(image).overlay_instances(boxes=[BOX], masks=[box_mask()])
    assert (image == before).all()


@pytest.mark.parametrize(
    "masks",
    [
        [box_mask()],
        [[[30, 20, 80, 20, 80, 60, 30, 60]]],
        [{"size": [HEIGHT, WIDTH], "counts": [30 * HEIGHT + 20, *[40, 50] * 49, 40, 3630]}],
        torch.from_numpy(box_mask())[None],
        BitMasks(torch.from_numpy(box_mask())[None]),
        PolygonMasks([[[30, 20, 80, 20, 80, 60, 30, 60]]]),
    ],
    ids=["array", "polygon", "rle", "tensor", "BitMasks", "PolygonMasks"],
)
def test_masks_of_every_kind_change_pixels_inside_their_box_only(image, masks):
    after = Visualizer(image).overlay_instances(masks=masks).get_image()
    assert_only_inside(image, after)
    assert changed(image, after)[25:55, 35:75].mean() > 0.9


def test_a_mask_is_blended_by_alpha():
    grey = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    out = Visualizer(grey).draw_binary_mask(box_mask(), color=(1.0, 0.0, 0.5), alpha=0.25)
    # 0.75 * 100 + 0.25 * (255, 0, 127.5)
    assert np.abs(out.get_image()[40, 55].astype(float) - [138.75, 75, 106.875]).max() <= 1


def test_small_regions_are_left_out(image):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[5:7, 5:7] = True
    out = Visualizer(image).draw_binary_mask(mask, color="r", area_threshold=10)
    assert not changed(image, out.get_image()).any()


def test_predictions_are_drawn_with_name_and_score(image, metadata):
    fields = {
        "pred_boxes": Boxes(torch.tensor([BOX])),
        "scores": torch.tensor([0.971]),
        "pred_classes": torch.tensor([1]),
        "pred_masks": torch.from_numpy(box_mask())[None],
    }
    visualizer = Visualizer(image, metadata)
    seen = []
    visualizer.overlay_instances = lambda **kwargs: seen.append(kwargs)
    visualizer.draw_instance_predictions(predictions(**fields))
    assert seen[0]["labels"] == ["dog 97%"]
    after = Visualizer(image, metadata).draw_instance_predictions(predictions(**fields)).get_image()
    assert changed(image, after)[25:55, 35:75].mean() > 0.9


def test_segmentation_mode_takes_the_class_colours(image, metadata):
    visualizer = Visualizer(image, metadata, instance_mode=ColorMode.SEGMENTATION)
    fields = {
        "pred_classes": torch.tensor([1]),
        "pred_masks": torch.from_numpy(box_mask())[None],
    }
    out = visualizer.draw_instance_predictions(predictions(**fields), jittering=False)
    # Alpha 0.8 of blue over pixels of 60-199, away from the label at the top.
    patch = out.get_image()[50:56, 60:75].astype(int)
    assert (patch[..., 2] > 200).all()
    assert (patch[..., :2] < 60).all()


def test_black_and_white_mode_is_grey_outside_the_masks(image, metadata):
    visualizer = Visualizer(image, metadata, instance_mode=ColorMode.IMAGE_BW)
    masks = torch.from_numpy(box_mask())[None]
    after = visualizer.draw_instance_predictions(predictions(pred_masks=masks)).get_image()
    outside = after[:10].astype(int)
    assert (outside.max(-1) - outside.min(-1) == 0).all()
    inside = after[30:50, 40:70].astype(int)
    assert (inside.max(-1) - inside.min(-1)).mean() > 5


def test_dataset_dicts_mark_crowds(image, metadata):
    record = {
        "annotations": [
            {"bbox": [30, 20, 50, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
            | {"segmentation": [[30, 20, 80, 20, 80, 60]], "iscrowd": crowd}
            for crowd in (0, 1)
        ]
    }
    visualizer = Visualizer(image, metadata)
    seen = []
    visualizer.overlay_instances = lambda **kwargs: seen.append(kwargs)
    visualizer.draw_dataset_dict(record)
    assert seen[0]["labels"] == ["cake", "cake|crowd"]
    assert np.allclose(seen[0]["boxes"][0], BOX)
    after = Visualizer(image, metadata).draw_dataset_dict(record).get_image()
    assert changed(image, after).any()


def test_label_maps_are_drawn_where_they_have_a_name(image):
    labels = np.full((HEIGHT, WIDTH), 255)
    labels[20:60, 30:80] = 1
    metadata = Metadata(stuff_classes=["grass", "sky"], stuff_colors=[(0, 255, 0), (0, 0, 255)])
    after = Visualizer(image, metadata).draw_sem_seg(torch.from_numpy(labels)).get_image()
    assert_only_inside(image, after)


def test_keypoints_are_drawn_where_they_are_seen(image):
    points = np.array([[[40.5, 30.5, 2], [100.5, 80.5, 0]]])
    after = Visualizer(image).overlay_instances(keypoints=points).get_image()
    where = changed(image, after)
    assert where[30, 40]
    assert not where[70:, 90:].any()


def test_nothing_to_draw_changes_nothing(image, metadata):
    empty = predictions(
        pred_boxes=Boxes(torch.zeros(0, 4)),
        scores=torch.zeros(0),
        pred_classes=torch.zeros(0, dtype=torch.int64),
        pred_masks=torch.zeros(0, HEIGHT, WIDTH, dtype=torch.bool),
    )
    assert (Visualizer(image, metadata).draw_instance_predictions(empty).get_image() == image).all()
    assert (Visualizer(image, metadata).draw_dataset_dict({}).get_image() == image).all()


def test_differing_counts_are_refused(image):
    with pytest.raises(AssertionError):
        Visualizer(image).overlay_instances(boxes=[BOX], labels=["a", "b"])


def test_primitives_return_the_picture_and_can_be_saved(image, tmp_path):
    visualizer = Visualizer(image)
    output = visualizer.get_output()
    assert visualizer.draw_box(BOX, edge_color="r", line_style="--") is output
    assert visualizer.draw_line([5, 50], [5, 5], color="b") is output
    assert visualizer.draw_circle((20, 70), color="y", radius=4) is output
    assert visualizer.draw_text("naïve", (60, 70), color="w") is output
    assert visualizer.draw_polygon(np.array([[90, 10], [110, 10], [100, 30]]), color="g") is output
    where = changed(image, output.get_image())
    assert where[70, 20]
    assert where[5, 30]
    assert where[15, 100]
    output.save(str(tmp_path / "out.png"))
    assert (tmp_path / "out.png").stat().st_size > 0


@pytest.mark.bundled
def test_drawing_repeats_exactly_and_leaves_the_global_generator_alone(image):
    np.random.seed(1)
    expected = np.random.RandomState(1).rand()
    boxes = [BOX, (5, 5, 20, 20)]
    first, second = (Visualizer(image).overlay_instances(boxes=boxes).get_image() for _ in "ab")
    assert (first == second).all()
    assert np.random.rand() == expected


@pytest.mark.bundled
@pytest.mark.parametrize("box", [(-500, -500, 1e6, 1e6), (200, 200, 300, 300), (5, 5, 5, 5)])
def test_boxes_far_outside_cost_no_memory_and_no_error(image, box):
    assert Visualizer(image).draw_box(box).get_image().shape == image.shape


@pytest.mark.bundled
def test_holes_of_masks_stay_clear():
    grey = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    mask = box_mask()
    mask[30:50, 45:65] = False
    out = Visualizer(grey).overlay_instances(masks=[mask]).get_image()
    assert (out[36:44, 51:59] == 100).all()
