"""Images as the models see them: the image, the truth, and each model's pixels beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from project.errors import UserError
from project.experiments.models.compare import JudgedModel, ModelComparison
from project.experiments.models.footing import ImageMaps
from project.visualization.files import read_rgb
from project.visualization.overlay import OverlayStyle, draw_overlay, fit_for_drawing
from project.visualization.page import Picture, jpeg_picture
from project.visualization.records import DrawnObject, crop_mask
from project.visualization.sheet import side_by_side

import numpy as np

BEST, WORST = "Best on average", "Worst on average"
MOST, MEDIAN = "Where the models disagree most", "Where they disagree as usual"
_FILLED = OverlayStyle(boxes=False, labels=False)
_OUTLINE = OverlayStyle(masks=False, boxes=False, labels=False)
WHITE = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class Row:
    """One image.

    Attributes:
        name: of its file.
        pictures: for the page: image, truth, then each model.
        drawn: all of them in one picture, uint8 RGB.
    """

    name: str
    pictures: Sequence[Picture]
    drawn: np.ndarray


def choose_images(found: ModelComparison, number: int) -> dict[str, list[int]]:
    """Title → places of ``number`` images, by the Dice of the models; none comes twice.

    Left out are images with nothing to find in which a model found nothing: it has no Dice there,
    and against it every stray pixel of another model would be the largest disagreement of all.
    """
    dice = np.stack([model.image_dice for model in found.models])
    shown = np.flatnonzero(np.isfinite(dice).all(0))
    mean, gap = dice.mean(0), np.ptp(dice, axis=0)
    by_mean = shown[np.argsort(-mean[shown], kind="stable")]
    by_gap = shown[np.argsort(-gap[shown], kind="stable")]
    from_usual = np.abs(gap[shown] - np.median(gap[shown])) if len(shown) else gap[shown]
    by_usual = shown[np.argsort(from_usual, kind="stable")]
    orders = {MOST: by_gap, WORST: by_mean[::-1], BEST: by_mean, MEDIAN: by_usual}
    taken: set[int] = set()
    chosen = {}
    for title, order in orders.items():
        chosen[title] = [i for i in order.tolist() if i not in taken][:number]
        taken.update(chosen[title])
    return {title: places for title, places in chosen.items() if places}


def draw_rows(found: ModelComparison, places: Sequence[int]) -> tuple[list[Row], list[str]]:
    """The rows of the images at ``places``, and the names of those that can't be read.

    Of a model with several seeds the first is drawn.
    """
    names = [found.footing.image_names[i] for i in places]
    maps = {
        model.label: {m.name: m for m in model.predictions[0].maps(names)} for model in found.models
    }
    rows, unreadable = [], []
    for place, name in zip(places, names, strict=True):
        own = {label: made[name] for label, made in maps.items()}
        try:
            rows.append(_row(found, place, name, own))
        except UserError:
            unreadable.append(name)
    return rows, unreadable


def _row(found: ModelComparison, place: int, name: str, maps: Mapping[str, ImageMaps]) -> Row:
    run = found.models[0].model.runs[0]
    truth = next(iter(maps.values())).truth
    height, width = truth.shape
    file = run.image_dir / name
    image = read_rgb({"file_name": str(file), "height": height, "width": width})
    labelled = regions(truth, found.class_names)
    classes = ", ".join(sorted({o.class_name for o in labelled})) or "nothing"
    panels = [
        ("Image", *_panel(image), f"Image {name}"),
        ("Labels", *_panel(image, labelled), f"Labels of {name}: {classes}"),
    ]
    for model in found.models:
        predicted = regions(maps[model.label].found, found.class_names)
        title = f"{model.label}: {_dice(model, place)}"
        panels.append((title, *_panel(image, predicted, labelled), f"{title}, on {name}"))
    legend = {(k, found.class_names[k]) for _, _, own, _ in panels for k in own}
    pictures = [jpeg_picture(drawn, alt, title, width=400) for title, drawn, _, alt in panels]
    parts = [(title, drawn) for title, drawn, _, _ in panels]
    return Row(name, pictures, side_by_side(parts, name, legend))


def _dice(model: JudgedModel, place: int) -> str:
    """The Dice of what is drawn: the first run's."""
    values = model.counts[0].image_dice[place]
    known = values[np.isfinite(values)]
    return f"Dice {100 * known.mean():.0f}" if len(known) else "nothing found, nothing there"


def regions(labels: np.ndarray, class_names: Sequence[str]) -> list[DrawnObject]:
    """One object for each class that a label map holds."""
    made = []
    for k, name in enumerate(class_names):
        if (mask := crop_mask(labels == k)) is not None:
            height, width = mask.pixels.shape
            box = (mask.x, mask.y, mask.x + width, mask.y + height)
            made.append(DrawnObject(k, name, tuple(map(float, box)), mask))
    return made


def _panel(
    image: np.ndarray, filled: Sequence[DrawnObject] = (), outlined: Sequence[DrawnObject] = ()
) -> tuple[np.ndarray, set[int]]:
    """The image with regions, those of the truth as white outlines; and which classes it shows."""
    picture, drawn = fit_for_drawing(image, [*filled, *outlined])
    picture = draw_overlay(picture, drawn[: len(filled)], _FILLED)
    outlines = drawn[len(filled) :]
    picture = draw_overlay(picture, outlines, _OUTLINE, [WHITE] * len(outlines))
    return picture, {o.class_index for o in filled}
