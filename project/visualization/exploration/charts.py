"""All charts of an exploration, by section of its page."""

from __future__ import annotations

from project.data.exploration.explore import Exploration
from project.visualization.charts import Chart
from project.visualization.exploration.label_charts import (
    aspects,
    channels,
    class_shares,
    companions,
    crowding,
    image_sizes,
    light_and_sharpness,
    object_sizes,
    objects_by_image,
    positions,
    sizes_by_class,
)
from project.visualization.exploration.mask_charts import (
    covered,
    mean_masks,
    outline_coarseness,
    pixels_by_class,
)
from project.visualization.exploration.model_charts import (
    anchor_iou,
    drawn_images,
    drawn_objects,
    levels,
    recall_by_class,
    repeats,
)

import numpy as np


def exploration_charts(found: Exploration) -> dict[str, list[Chart]]:
    """Charts by section; a chart without anything to show is left out."""
    if not len(found.objects.rows):
        return {"classes": [], "images": _image_charts(found), "objects": [], "masks": []} | {
            "occlusion": [],
            "fit": [],
            "sampling": [],
        }
    return {
        "classes": [class_shares(found), objects_by_image(found), *companions(found)],
        "images": _image_charts(found),
        "objects": [object_sizes(found), sizes_by_class(found), aspects(found)],
        "masks": [*mean_masks(found), pixels_by_class(found), *outline_coarseness(found)],
        "occlusion": [*covered(found), crowding(found), positions(found)],
        "fit": [anchor_iou(found), recall_by_class(found), levels(found)],
        "sampling": [drawn_images(found), drawn_objects(found), repeats(found)],
    }


def _image_charts(found: Exploration) -> list[Chart]:
    charts = [image_sizes(found)]
    if np.isfinite(found.measures.brightness).any():
        charts += [channels(found), light_and_sharpness(found)]
    return charts
