"""Pictures of a dataset's labels, of predictions in a COCO results file, or of both side by side.

Made from files alone, without the model.
"""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from project.errors import UserError, unknown_name
from project.visualization.overlay import draw_overlay, fit_for_drawing
from project.visualization.records import (
    DrawnObject,
    objects_from_dataset_dict,
    objects_from_results,
)
from project.visualization.sheet import contact_sheet, present_classes, side_by_side

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import read_image

SHEET_NAME = "contact_sheet.png"
_MAX_NAME_BYTES = 120  # file systems take 255; leaves room for numbers and endings


@dataclass(frozen=True)
class _Source:
    """Where the objects of an image come from; None: that side isn't drawn."""

    class_names: Sequence[str]
    contiguous_ids: Mapping[int, int] | None
    labelled: bool
    results: Mapping[int, list] | None
    threshold: float


def render_results(
    dataset_name: str,
    results_file: Path | None,
    output_dir: Path,
    *,
    limit: int = 16,
    threshold: float = 0.5,
    seed: int = 0,
    images: Sequence[str] = (),
    columns: int | None = None,
    labels: bool = True,
) -> list[Path]:
    """Draw images of a registered dataset, each with labels and predictions side by side.

    Without ``results_file`` only the labels are drawn; where the dataset has no labels, only the
    predictions.

    Args:
        dataset_name: in `DatasetCatalog`.
        results_file: ``coco_instances_results.json`` as `COCOEvaluator` writes it.
        output_dir: made if missing; pictures of the same name are replaced.
        limit: at most this many images, drawn at random with ``seed``, in the dataset's order.
        threshold: predictions with a lower score are left out.
        images: file names (with or without folder and ending) or image ids to draw instead.
        columns: of the contact sheet; None chooses.
        labels: False leaves the labels out.

    Returns:
        The PNG files written: one per image, then the contact sheet.

    Raises:
        UserError: names the file, image or annotation that can't be drawn.
    """
    _check_choices(threshold, columns)
    records = DatasetCatalog.get(dataset_name)
    if not records:
        raise UserError(f"dataset {dataset_name} has no images; there is nothing to draw")
    metadata = MetadataCatalog.get(dataset_name)
    results = None if results_file is None else load_results(results_file, records)
    source = _Source(
        class_names=metadata.get("thing_classes") or [],
        contiguous_ids=metadata.get("thing_dataset_id_to_contiguous_id"),
        labelled=labels and any(r.get("annotations") for r in records),
        results=results,
        threshold=threshold,
    )
    if not source.labelled and results is None:
        raise UserError(
            f"dataset {dataset_name} has no labels to draw and no results file was given; "
            f"draw predictions of a run instead"
        )
    chosen = choose_images(records, limit, seed, images)
    output_dir = Path(output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output folder {output_dir} can't be made: {error.strerror}") from error
    taken = {SHEET_NAME}
    written, pictures, classes = [], [], set()
    for record in chosen:
        picture, shown = _draw_record(record, source)
        file = output_dir / picture_name(record["file_name"], taken)
        _write_png(file, picture)
        written.append(file)
        pictures.append(picture)
        classes |= shown
    _write_png(output_dir / SHEET_NAME, contact_sheet(pictures, columns, classes))
    return [*written, output_dir / SHEET_NAME]


def _check_choices(threshold: float, columns: int | None) -> None:
    if not 0 <= threshold <= 1:
        raise UserError(f"the score threshold is {threshold}; expected a number from 0 to 1")
    if columns is not None and columns < 1:
        raise UserError(f"the contact sheet has {columns} columns; expected 1 or more")


def load_results(results_file: Path, records: Sequence[Mapping]) -> dict[int, list[dict]]:
    """Entries of a COCO results file by image id.

    Raises:
        UserError: if the file is missing, isn't a results list, or is of other images.
    """
    try:
        entries = json.loads(Path(results_file).read_bytes())
    except OSError as error:
        raise UserError(f"results file {results_file} can't be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(
            f"results file {results_file} isn't valid JSON ({error}); evaluate the run again"
        ) from error
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise UserError(f"results file {results_file} should hold a list of detections")
    known = {r["image_id"] for r in records}
    by_image: dict[int, list[dict]] = defaultdict(list)
    for entry in entries:
        image_id = entry.get("image_id")
        if not isinstance(image_id, (int, str)) or image_id not in known:
            raise UserError(
                f"results file {results_file} has image id {image_id!r}, which the dataset lacks; "
                f"was it made on another dataset?"
            )
        by_image[image_id].append(entry)
    return dict(by_image)


def choose_images(
    records: Sequence[Mapping], limit: int, seed: int = 0, images: Sequence[str] = ()
) -> list[Mapping]:
    """The records named by ``images``, or a seeded sample of ``limit`` in the dataset's order.

    Raises:
        UserError: for a name that no image has, or a limit below 1.
    """
    if images:
        return [_find_image(records, str(name)) for name in images]
    if limit < 1:
        raise UserError(f"the limit must be at least 1 image, got {limit}")
    if limit >= len(records):
        return list(records)
    picked = random.Random(seed).sample(range(len(records)), limit)
    return [records[i] for i in sorted(picked)]


def _find_image(records: Sequence[Mapping], name: str) -> Mapping:
    for record in records:
        path = PurePosixPath(str(record["file_name"]).replace("\\", "/"))
        if name in (str(record["file_name"]), path.name, path.stem, str(record["image_id"])):
            return record
    paths = (PurePosixPath(str(r["file_name"]).replace("\\", "/")) for r in records)
    known = [p.name if "." in name else p.stem for p in paths]
    raise UserError(unknown_name("image", name, known))


def picture_name(file_name: str, taken: set[str]) -> str:
    """A name for the PNG of ``file_name``: no folder, no special signs, unlike all in ``taken``.

    The name is added to ``taken``. Annotation files come from anywhere, so nothing in a name may
    lead out of the output folder.
    """
    base = PurePosixPath(str(file_name).replace("\\", "/")).stem
    base = unicodedata.normalize("NFC", base.encode("utf-8", "replace").decode())
    base = re.sub(r"[^\w.-]+", "_", base).lstrip("._-").encode()[:_MAX_NAME_BYTES]
    stem = base.decode(errors="ignore") or "image"
    name, number = f"{stem}.png", 2
    lower = {t.lower() for t in taken}  # some file systems take A.png and a.png for one file
    while name.lower() in lower:
        name, number = f"{stem}-{number}.png", number + 1
    taken.add(name)
    return name


def _draw_record(record: Mapping, source: _Source) -> tuple[np.ndarray, set[tuple[int, str]]]:
    """The picture of one image, and the classes that it shows."""
    image = _read_rgb(record)
    panels, classes = [], set()
    if source.labelled:
        objects = objects_from_dataset_dict(record, source.class_names)
        panels.append((f"Labels: {_count(objects)}", _overlay(image, objects)))
        classes |= present_classes(objects)
    if source.results is not None:
        objects = objects_from_results(
            source.results.get(record["image_id"], []),
            record,
            source.class_names,
            source.contiguous_ids,
            threshold=source.threshold,
        )
        title = f"Predictions: {_count(objects)}, score ≥ {source.threshold:g}"
        panels.append((title, _overlay(image, objects)))
        classes |= present_classes(objects)
    heading = PurePosixPath(str(record["file_name"]).replace("\\", "/")).name
    return side_by_side(panels, heading, classes), classes


def _overlay(image: np.ndarray, objects: Sequence[DrawnObject]) -> np.ndarray:
    return draw_overlay(*fit_for_drawing(image, objects))


def _count(objects: Sequence[DrawnObject]) -> str:
    crowds = sum(o.iscrowd for o in objects)
    number = len(objects) - crowds
    text = f"{number} object{'' if number == 1 else 's'}"
    return text + (f", {crowds} crowd{'' if crowds == 1 else 's'}" if crowds else "")


def _read_rgb(record: Mapping) -> np.ndarray:
    file = record["file_name"]
    try:
        image = np.ascontiguousarray(read_image(file, format="RGB"))
    except FileNotFoundError as error:
        raise UserError(f"image {file} does not exist") from error
    except (OSError, SyntaxError) as error:  # Pillow raises either on broken files
        raise UserError(f"image {file} can't be read: {' '.join(str(error).split())}") from error
    expected = int(record["height"]), int(record["width"])
    if image.shape[:2] != expected:
        raise UserError(
            f"image {file} is {image.shape[0]}x{image.shape[1]} (height x width), but its "
            f"annotation file says {expected[0]}x{expected[1]}; correct the annotation file"
        )
    return image


def _write_png(file: Path, picture: np.ndarray) -> None:
    import cv2

    # cv2.imwrite can't take every Unicode path; level 1 is nearly as small on photographs.
    encoded = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    try:
        file.write_bytes(encoded.tobytes())
    except OSError as error:
        raise UserError(f"{file} can't be written: {error.strerror}") from error
