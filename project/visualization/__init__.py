"""Pictures of labels and predictions: class colours, overlays, sheets."""

from project.visualization.overlay import OverlayStyle, draw_overlay, fit_for_drawing
from project.visualization.palette import class_color
from project.visualization.records import (
    BoxMask,
    DrawnObject,
    objects_from_dataset_dict,
    objects_from_results,
)
from project.visualization.render import render_results
from project.visualization.sheet import contact_sheet, draw_legend, side_by_side

__all__ = [
    "BoxMask",
    "DrawnObject",
    "OverlayStyle",
    "class_color",
    "contact_sheet",
    "draw_legend",
    "draw_overlay",
    "fit_for_drawing",
    "objects_from_dataset_dict",
    "objects_from_results",
    "render_results",
    "side_by_side",
]
