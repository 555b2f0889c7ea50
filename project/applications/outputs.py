"""What is kept of predictions: COCO files, mask images, cut-outs, overlays; written as they come.

Each kind is a class with ``add`` and ``close``. After ``close`` the files of all frames added are
complete, also where the work was stopped in between.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from project.applications.drawing import draw_prediction
from project.applications.inputs import Frame
from project.applications.picture_files import PictureFiles
from project.errors import UserError
from project.visualization.files import csv_cell, make_folder, picture_name, write_png
from project.visualization.palette import class_color, instance_colors

import numpy as np
from detectron2.structures import Instances

RESULTS_NAME = "predictions.json"
IMAGES_NAME = "images.json"
OVERLAYS_FOLDER = "overlays"


class _NewFile:
    """A text file that takes its name once it is finished; an older one stays until then."""

    def __init__(self, file: Path) -> None:
        self._file, self._part = file, file.with_name(f"{file.name}.part")
        make_folder(file.parent)
        try:
            # The names of images may hold bytes that aren't UTF-8: those are written as they are.
            self.stream = self._part.open(
                "w", encoding="utf-8", errors="surrogateescape", newline=""
            )
        except OSError as error:
            raise UserError(f"{file} can't be written: {error.strerror}") from error

    def finish(self, *, keep: bool = True) -> None:
        self.stream.close()
        if keep:
            self._part.replace(self._file)
        else:
            self._part.unlink()


class CocoOutput:
    """``predictions.json``: COCO results; ``images.json``: the images and categories they mean.

    Category ids are the model's classes counted from 1, image ids count the frames from 1. Without
    a frame, older files of these names stay.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder, self._class_names = folder, class_names
        self._images: list[dict] = []
        self._empty = True
        self._results = _NewFile(folder / RESULTS_NAME)
        self._results.stream.write("[")

    def add(self, frame: Frame, instances: Instances) -> None:
        height, width = frame.image.shape[:2]
        image = {"id": len(self._images) + 1, "file_name": frame.file_name}
        self._images.append({**image, "height": height, "width": width})
        for entry in coco_results(instances, image["id"]):
            self._results.stream.write(("\n" if self._empty else ",\n") + json.dumps(entry))
            self._empty = False

    def close(self) -> None:
        self._results.stream.write("\n]\n")
        self._results.finish(keep=bool(self._images))
        if self._images:
            names = [{"id": i, "name": name} for i, name in enumerate(self._class_names, 1)]
            images = _NewFile(self._folder / IMAGES_NAME)
            # All ASCII, for JSON itself is UTF-8 and a file name may not be.
            images.stream.write(json.dumps({"images": self._images, "categories": names}))
            images.finish()


def coco_results(instances: Instances, image_id: int) -> list[dict]:
    """Entries of a COCO results file for what a `Predictor` found in one image."""
    boxes = instances.pred_boxes.tensor.double()
    boxes[:, 2:] -= boxes[:, :2]
    scores, classes = instances.scores.tolist(), instances.pred_classes.tolist()
    entries = [
        {"image_id": image_id, "category_id": k + 1, "bbox": box, "score": score}
        for k, box, score in zip(classes, boxes.tolist(), scores, strict=True)
    ]
    if instances.has("pred_masks"):
        for entry, rle in zip(entries, instances.pred_masks.rles(), strict=True):
            entry["segmentation"] = rle
    return entries


class MaskOutput:
    """Two indexed PNGs an image: the number of the object, and of its class, at each pixel.

    0 is background. Objects count from 1, surest first, and where two overlap the surer one has the
    pixel; ``masks/objects.csv`` tells their classes, scores and boxes. Classes count from 1 in the
    model's order; ``masks/classes.csv`` names them. The palettes make them fit to look at; with
    more than 255 objects the numbers are 16-bit greys instead. Without a frame, older tables stay.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder, self._class_names = folder / "masks", class_names
        self._used = False
        self._objects = _NewFile(self._folder / "objects.csv")
        self._rows = csv.writer(self._objects.stream)
        self._rows.writerow(("image", "object", "class", "score", "x0", "y0", "x1", "y1"))

    def add(self, frame: Frame, instances: Instances) -> None:
        _require_masks(instances)
        self._used = True
        numbers = number_objects(instances)
        lookup = np.array([0, *(instances.pred_classes + 1).tolist()], np.uint16)
        colors = instance_colors(len(instances))
        _write_indexed(self._folder / f"{frame.key}_objects.png", numbers, colors)
        colors = [class_color(i) for i in range(len(self._class_names))]
        _write_indexed(self._folder / f"{frame.key}_classes.png", lookup[numbers], colors)
        rows = zip(
            instances.pred_classes.tolist(),
            instances.scores.tolist(),
            instances.pred_boxes.tensor.tolist(),
            strict=True,
        )
        for number, (k, score, box) in enumerate(rows, 1):
            sides = (f"{side:.2f}" for side in box)
            image, name = csv_cell(frame.file_name), csv_cell(self._class_names[k])
            self._rows.writerow((image, number, name, f"{score:.4f}", *sides))

    def close(self) -> None:
        self._objects.finish(keep=self._used)
        if self._used:
            classes = _NewFile(self._folder / "classes.csv")
            names = enumerate(map(csv_cell, self._class_names), 1)
            csv.writer(classes.stream).writerows([("number", "class"), *names])
            classes.finish()


def number_objects(instances: Instances) -> np.ndarray:
    """uint16 ``[H, W]``: 0, or the number from 1 of the surest object at each pixel."""
    numbers = np.zeros(instances.image_size, np.uint16)
    for index in range(len(instances) - 1, -1, -1):  # the surest comes first, so it is drawn last
        mask = instances.pred_masks.crop(index)
        if mask is not None:
            height, width = mask.pixels.shape
            window = numbers[mask.y : mask.y + height, mask.x : mask.x + width]
            window[mask.pixels] = index + 1
    return numbers


class CutoutOutput:
    """A PNG of each object on transparent ground: ``cutouts/<image>/01_<class>.png``, ..."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder = folder / "cutouts"
        self._names = [Path(picture_name(name, set())).stem for name in class_names]

    def add(self, frame: Frame, instances: Instances) -> None:
        _require_masks(instances)
        for number, k in enumerate(instances.pred_classes.tolist(), 1):
            mask = instances.pred_masks.crop(number - 1)
            if mask is None:
                continue
            height, width = mask.pixels.shape
            window = frame.image[mask.y : mask.y + height, mask.x : mask.x + width]
            alpha = mask.pixels[..., None].astype(np.uint8) * 255
            # Hidden pixels are emptied: programs show them, and they would take most of the file.
            picture = np.concatenate([np.where(alpha > 0, window, 0), alpha], axis=2)
            write_png(self._folder / frame.key / f"{number:02}_{self._names[k]}.png", picture)

    def close(self) -> None:
        """Nothing is left to do."""


class OverlayOutput:
    """``overlays/<image>.png`` for each image, ``overlays/<video>.mp4`` for each video."""

    def __init__(
        self, folder: Path, class_names: Sequence[str], *, by_instance: bool = False
    ) -> None:
        self._class_names, self._by_instance = class_names, by_instance
        self._pictures = PictureFiles(folder / OVERLAYS_FOLDER)

    def add(self, frame: Frame, instances: Instances) -> None:
        picture = draw_prediction(
            frame.image, instances, self._class_names, by_instance=self._by_instance
        )
        self._pictures.add(frame, picture)

    def close(self) -> None:
        self._pictures.close()


OUTPUTS = {
    "coco": CocoOutput,
    "overlays": OverlayOutput,
    "masks": MaskOutput,
    "cutouts": CutoutOutput,
}


def _require_masks(instances: Instances) -> None:
    if not instances.has("pred_masks"):
        raise UserError("the model predicts no masks: leave out --save masks and cutouts")


def _write_indexed(file: Path, numbers: np.ndarray, colors: Sequence[tuple[int, int, int]]) -> None:
    """A palette PNG of small numbers; 16-bit grey where they don't fit into a byte."""
    from PIL import Image

    make_folder(file.parent)
    if len(colors) < 256:
        picture = Image.fromarray(numbers.astype(np.uint8))
        picture.putpalette(np.array([(0, 0, 0), *colors], np.uint8).tobytes())
    else:
        picture = Image.fromarray(numbers)
    try:
        picture.save(file, compress_level=1)
    except OSError as error:
        raise UserError(f"{file} can't be written: {error.strerror}") from error
