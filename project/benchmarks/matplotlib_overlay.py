"""Objects drawn with matplotlib, as Detectron2's own Visualizer and most notebooks do it."""

from __future__ import annotations

from collections.abc import Sequence

from project.visualization.overlay import font_size, label_text
from project.visualization.palette import class_color, text_color
from project.visualization.records import DrawnObject

import numpy as np


def draw_with_matplotlib(image: np.ndarray, objects: Sequence[DrawnObject]) -> np.ndarray:
    """A picture like that of `project.visualization.draw_overlay`, uint8 RGB ``[H, W, 3]``.

    Masks are polygons with an edge, boxes are rectangles, labels texts on a plate; the figure has
    the size of the image.
    """
    import matplotlib.backends.backend_agg
    from matplotlib.figure import Figure

    height, width = image.shape[:2]
    dpi = 100
    # A hundredth more than whole pixels, which Figure would round down.
    figure = Figure(figsize=((width + 0.01) / dpi, (height + 0.01) / dpi), dpi=dpi, frameon=False)
    canvas = matplotlib.backends.backend_agg.FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.imshow(image, extent=(0, width, height, 0), interpolation="nearest")
    for obj in sorted(objects, key=lambda o: -o.area):
        _add_object(axes, obj, size=font_size(height, width) * 72 / dpi)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _add_object(axes, obj: DrawnObject, size: float) -> None:
    import cv2
    from matplotlib.patches import Polygon, Rectangle

    color = np.array(class_color(obj.class_index)) / 255
    x0, y0, x1, y1 = obj.box_xyxy
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color))
    if obj.mask is not None:
        pixels = obj.mask.pixels.astype(np.uint8)
        contours, _ = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        for contour in contours:
            points = contour.reshape(-1, 2) + [obj.mask.x + 0.5, obj.mask.y + 0.5]
            axes.add_patch(Polygon(points, facecolor=(*color, 0.45), edgecolor=(*color, 1)))
    axes.text(
        x0,
        y0,
        label_text(obj),
        size=size,
        color=np.array(text_color(class_color(obj.class_index))) / 255,
        verticalalignment="bottom",
        bbox={"facecolor": color, "edgecolor": "none", "pad": 1},
    )
