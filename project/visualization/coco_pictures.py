"""Pictures of any COCO file, without making a subset of it first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from project.data.coco_file import check_file_name
from project.errors import UserError, one_line
from project.visualization.render import render_results

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json


def render_coco_file(
    labels_file: Path, image_dir: Path, results_file: Path | None, output_dir: Path, **choices: Any
) -> list[Path]:
    """Draw images of a COCO instances file, labelled or not, with a results file or without.

    Args:
        labels_file: COCO instances, or a file of ``images`` and ``categories`` alone.
        image_dir: folder of its images.
        results_file: COCO results with the ids of ``labels_file``, made by any program.
        **choices: the rest is that of `project.visualization.render.render_results`.
    """
    with _registered(Path(labels_file), Path(image_dir)) as name:
        return render_results(name, results_file, output_dir, **choices)


@contextmanager
def _registered(labels_file: Path, image_dir: Path) -> Iterator[str]:
    """The file as a registered dataset, for as long as the context lasts."""
    if not labels_file.is_file():
        raise UserError(f"COCO file {labels_file} does not exist")
    if not image_dir.is_dir():
        raise UserError(f"image folder {image_dir} does not exist")
    name = f"coco_file:{labels_file}"
    DatasetCatalog.register(name, partial(_load, labels_file, image_dir, name))
    try:
        yield name
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def _load(labels_file: Path, image_dir: Path, name: str) -> list[dict]:
    try:
        records = load_coco_json(str(labels_file), str(image_dir), name)
    except Exception as error:  # nobody has checked the file
        kind = type(error).__name__
        raise UserError(
            f"{labels_file} can't be read as COCO instances: {kind}: {one_line(error)}; "
            f"`python tools/audit.py` tells more"
        ) from error
    for record in records:
        inside = os.path.relpath(record["file_name"], image_dir)
        check_file_name(inside, f"{labels_file}, image {record['image_id']}")
    return records
