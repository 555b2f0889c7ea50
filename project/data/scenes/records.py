"""A scene as COCO records: polygons where they tell the truth, run lengths elsewhere."""

from __future__ import annotations

from project.data.scenes.scene import SCENES_CLASSES, Scene, SceneObject

import numpy as np

_MIN_POLYGON_IOU = 0.95  # with the visible mask; below it the mask is kept as run lengths
_TRACE = 4  # outlines are traced on a mask so many times as fine


def scene_record(scene: Scene, image_id: int, first_annotation_id: int) -> tuple[dict, list[dict]]:
    """The COCO ``images`` entry of a scene and its ``annotations``, numbered from the given ids.

    Beside COCO's keys, the image has ``scene_seed`` and ``scene_index`` (what `draw_scene` needs to
    give its masks and alphas back) and each annotation has ``occlusion`` (see `SceneObject`).
    """
    height, width = scene.image.shape[:2]
    image = {
        "id": image_id,
        "file_name": f"{image_id:06d}.jpg",
        "height": height,
        "width": width,
        "scene_seed": scene.seed,
        "scene_index": scene.index,
    }
    annotations = [
        {"id": first_annotation_id + i, "image_id": image_id, **_annotation(item)}
        for i, item in enumerate(scene.objects)
    ]
    return image, annotations


def _annotation(item: SceneObject) -> dict:
    import cv2

    return {
        "category_id": SCENES_CLASSES.index(item.name) + 1,
        "bbox": list(cv2.boundingRect(item.visible.view(np.uint8))),
        "area": int(item.visible.sum()),
        "segmentation": _segmentation(item),
        "iscrowd": int(item.crowd),
        "occlusion": round(item.occlusion, 4),
    }


def _segmentation(item: SceneObject) -> list[list[float]] | dict:
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(item.visible.view(np.uint8)))
    polygons = None if item.crowd else _polygons(item.visible)
    if polygons:
        drawn = coco_mask.merge(coco_mask.frPyObjects(polygons, *item.visible.shape))
        if coco_mask.iou([drawn], [rle], [False])[0, 0] >= _MIN_POLYGON_IOU:
            return polygons
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("utf-8")}


def _polygons(mask: np.ndarray) -> list[list[float]] | None:
    """Outlines of ``mask`` (x0, y0, x1, y1, ... in pixels); None where it has a hole.

    OpenCV traces the centres of border pixels, which lie half a pixel inside of the border. On a
    mask four times as fine that is an eighth of a picture pixel.
    """
    import cv2

    fine = cv2.resize(
        mask.view(np.uint8), None, fx=_TRACE, fy=_TRACE, interpolation=cv2.INTER_NEAREST
    )
    outlines, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if (tree[0, :, 3] >= 0).any():  # an outline with a parent is a hole's
        return None
    thinned = [cv2.approxPolyDP(outline, 2.2, closed=True)[:, 0] for outline in outlines]
    # 3 points are the least that pycocotools takes for a polygon
    return [
        ((points + 0.5) / _TRACE).round(2).ravel().tolist()
        for points in thinned
        if len(points) >= 3
    ]
