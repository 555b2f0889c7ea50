"""Pictures of a dataset's labels, of predictions in a COCO results file, or of both side by side.

Made from files alone, without the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from project.errors import UserError
from project.visualization.agreement import (
    KINDS,
    PixelAgreement,
    draw_agreement,
    pixel_agreement,
)
from project.visualization.files import (
    check_images_stay,
    choose_images,
    load_results,
    make_folder,
    picture_name,
    read_rgb,
    write_png,
)
from project.visualization.overlay import draw_overlay, fit_for_drawing, font_size
from project.visualization.palette import instance_colors
from project.visualization.pdf import write_pdf
from project.visualization.records import (
    DrawnObject,
    objects_from_dataset_dict,
    objects_from_results,
)
from project.visualization.sheet import contact_sheet, draw_legend, present_classes, side_by_side

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog

SHEET_NAME = "contact_sheet.png"
PDF_NAME = "pictures.pdf"


PANELS = ("labels", "predictions", "pixels")


@dataclass(frozen=True)
class Drawn:
    """What is drawn of an image, and how.

    Attributes:
        class_names: by contiguous index.
        contiguous_ids: category id of ``results`` → contiguous index; None: they are contiguous.
        results: entries of a COCO results file by image id; None where nothing was predicted.
        panels: of `PANELS`, beside each other.
        threshold: predictions with a lower score are left out.
        by_instance: another colour for each object instead of each class.
    """

    class_names: Sequence[str]
    contiguous_ids: Mapping[int, int] | None
    results: Mapping[int, list] | None
    panels: Sequence[str] = ("labels", "predictions")
    threshold: float = 0.5
    by_instance: bool = False


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
    panels: Sequence[str] = ("labels", "predictions"),
    by_instance: bool = False,
    pdf: bool = False,
) -> list[Path]:
    """Draw images of a registered dataset, by default labels and predictions side by side.

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
        panels: of `PANELS`; "pixels" compares both (`project.visualization.agreement`).
        by_instance: another colour for each object instead of each class.
        pdf: also write ``pictures.pdf``, a page for each image.

    Returns:
        The files written: a PNG per image, the PDF, then the contact sheet.

    Raises:
        UserError: names the file, image or annotation that can't be drawn, or the image that would
            be replaced.
    """
    check_choices(threshold, columns)
    records = DatasetCatalog.get(dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    drawn = Drawn(
        class_names=metadata.get("thing_classes") or [],
        contiguous_ids=metadata.get("thing_dataset_id_to_contiguous_id"),
        results=None if results_file is None else load_results(results_file, records),
        panels=panels,
        threshold=threshold,
        by_instance=by_instance,
    )
    drawn = _with_possible_panels(drawn, records, f"dataset {dataset_name}")
    chosen = choose_images(records, limit, seed, images)
    names = [record["file_name"] for record in chosen]
    files = picture_files(names, output_dir, (r["file_name"] for r in records), pdf=pdf)
    made = (_draw_record(record, drawn) for record in chosen)
    return write_pictures(files, made, output_dir, columns=columns, pdf=pdf)


def _with_possible_panels(drawn: Drawn, records: Sequence[Mapping], what: str) -> Drawn:
    """``drawn`` without panels that there is nothing for."""
    if not records:
        raise UserError(f"{what} has no images; there is nothing to draw")
    labelled = any(record.get("annotations") for record in records)
    if "pixels" in drawn.panels and not (labelled and drawn.results is not None):
        raise UserError(f"{what}: comparing pixels needs labels and predictions")
    there = {"labels": labelled, "predictions": drawn.results is not None, "pixels": True}
    panels = [panel for panel in PANELS if panel in drawn.panels and there[panel]]
    if not panels:
        raise UserError(
            f"{what} has no labels to draw and no results file was given; draw predictions of a "
            f"run instead"
            if not labelled
            else f"{what}: no results file was given; draw its labels instead"
        )
    return replace(drawn, panels=panels)


def picture_files(
    file_names: Iterable[str], output_dir: Path, images: Iterable[str], *, pdf: bool = False
) -> list[Path]:
    """The PNG in ``output_dir`` for each image that is to be drawn.

    Args:
        file_names: of these images.
        images: files of all images that must stay as they are.
        pdf: whether there will be a PDF.

    Raises:
        UserError: if a picture, the sheet or the PDF would replace one of ``images``.
    """
    output_dir, taken = Path(output_dir), {SHEET_NAME}
    files = [output_dir / picture_name(name, taken) for name in file_names]
    others = [SHEET_NAME, PDF_NAME] if pdf else [SHEET_NAME]
    check_images_stay([*files, *(output_dir / name for name in others)], images)
    return files


def write_pictures(
    files: Sequence[Path],
    made: Iterable[tuple[np.ndarray, set[tuple[int, str]]]],
    output_dir: Path,
    *,
    columns: int | None = None,
    pdf: bool = False,
) -> list[Path]:
    """Write pictures as they are made, then the contact sheet; see `render_results`.

    Args:
        files: of `picture_files`.
        made: for each picture uint8 RGB ``[H, W, 3]``, and the (class index, name) for the legend
            of the sheet.
    """
    output_dir = Path(output_dir)
    make_folder(output_dir)
    written, pictures, classes = [], [], set()
    for file, (picture, shown) in zip(files, made, strict=True):
        write_png(file, picture)
        written.append(file)
        pictures.append(picture)
        classes |= shown
    if pdf:
        write_pdf(output_dir / PDF_NAME, pictures)
        written.append(output_dir / PDF_NAME)
    write_png(output_dir / SHEET_NAME, contact_sheet(pictures, columns, classes))
    return [*written, output_dir / SHEET_NAME]


def check_choices(threshold: float, columns: int | None) -> None:
    """Raise a `UserError` unless both are in their range."""
    if not 0 <= threshold <= 1:
        raise UserError(f"the score threshold is {threshold}; expected a number from 0 to 1")
    if columns is not None and columns < 1:
        raise UserError(f"the contact sheet has {columns} columns; expected 1 or more")


def _draw_record(record: Mapping, drawn: Drawn) -> tuple[np.ndarray, set[tuple[int, str]]]:
    """The picture of one image, and the legend that it needs."""
    image = read_rgb(record)
    truth = objects_from_dataset_dict(record, drawn.class_names)
    predicted = objects_from_results(
        (drawn.results or {}).get(record["image_id"], []),
        record,
        drawn.class_names,
        drawn.contiguous_ids,
        threshold=drawn.threshold,
    )
    panels, legend = [], set()
    for panel in drawn.panels:
        if panel == "pixels":
            agreement = pixel_agreement(truth, predicted, image.shape[:2])
            panels.append((_pixel_title(agreement), _with_kinds(image, truth, agreement)))
            continue
        objects = truth if panel == "labels" else predicted
        title = f"Labels: {_count(objects)}"
        if panel == "predictions":
            title = f"Predictions: {_count(objects)}, score ≥ {drawn.threshold:g}"
        panels.append((title, _overlay(image, objects, drawn.by_instance)))
        legend |= set() if drawn.by_instance else present_classes(objects)
    heading = PurePosixPath(str(record["file_name"]).replace("\\", "/")).name
    return side_by_side(panels, heading, legend), legend


def _overlay(image: np.ndarray, objects: Sequence[DrawnObject], by_instance: bool) -> np.ndarray:
    colors = instance_colors(len(objects)) if by_instance else None
    return draw_overlay(*fit_for_drawing(image, objects), colors=colors)


def _with_kinds(image, truth: Sequence[DrawnObject], agreement: PixelAgreement) -> np.ndarray:
    """The picture of `draw_agreement` over a legend of its own: its colours mean no classes."""
    picture = draw_agreement(image, truth, agreement)
    strip = draw_legend(KINDS, picture.shape[1], font_size(*picture.shape[:2]))
    return np.concatenate([picture, strip])


def _pixel_title(agreement: PixelAgreement) -> str:
    if agreement.iou is None:
        return "Pixels: nothing there, nothing found"
    return f"Pixels: IoU {100 * agreement.iou:.0f} %"


def _count(objects: Sequence[DrawnObject]) -> str:
    crowds = sum(o.iscrowd for o in objects)
    text = count_words(len(objects) - crowds)
    return text + (f", {count_words(crowds, 'crowd')}" if crowds else "")


def count_words(number: int, thing: str = "object") -> str:
    """A number of things in words: "1 object", "2 objects"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
