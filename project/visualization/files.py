"""Files around pictures: results read, images chosen and read, safe names and outputs, PNGs."""

from __future__ import annotations

import json
import os
import random
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from project.errors import UserError, one_line, unknown_name

import numpy as np
from detectron2.data.detection_utils import read_image

_MAX_NAME_BYTES = 120  # file systems take 255; leaves room for numbers and endings


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

    The name is added to ``taken``, in lower case: some file systems take A.png and a.png for one
    file. Annotation files come from anywhere, so nothing in a name may lead out of the output
    folder.
    """
    base = PurePosixPath(str(file_name).replace("\\", "/")).stem
    base = unicodedata.normalize("NFC", base.encode("utf-8", "replace").decode())
    base = re.sub(r"[^\w.-]+", "_", base).lstrip("._-").encode()[:_MAX_NAME_BYTES]
    stem = base.decode(errors="ignore") or "image"
    name, number = f"{stem}.png", 2
    while name.lower() in taken:
        name, number = f"{stem}-{number}.png", number + 1
    taken.add(name.lower())
    return name


def read_rgb(record: Mapping) -> np.ndarray:
    """The image of a dataset dict, uint8 RGB ``[H, W, 3]``.

    Raises:
        UserError: if it is missing, damaged, too large for Pillow, or of another size than the
            record says.
    """
    file = record["file_name"]
    try:
        image = np.ascontiguousarray(read_image(file, format="RGB"))
    except FileNotFoundError as error:
        raise UserError(f"image {file} does not exist") from error
    except Exception as error:  # decoders of damaged files raise anything
        raise UserError(f"image {file} can't be read: {one_line(error)}") from error
    expected = int(record["height"]), int(record["width"])
    if image.shape[:2] != expected:
        raise UserError(
            f"image {file} is {image.shape[0]}x{image.shape[1]} (height x width), but its "
            f"annotation file says {expected[0]}x{expected[1]}; correct the annotation file"
        )
    return image


def write_png(file: Path, picture: np.ndarray) -> None:
    """Write uint8 RGB ``[H, W, 3]`` or RGBA ``[H, W, 4]``; folders are made.

    Raises:
        UserError: if the file can't be written.
    """
    import cv2

    order = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    # cv2.imwrite can't take every Unicode path; level 1 is nearly as small on photographs.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    encoded = cv2.imencode(".png", cv2.cvtColor(picture, order), options)[1]
    make_folder(file.parent)
    try:
        file.write_bytes(encoded.tobytes())
    except OSError as error:
        raise UserError(f"{file} can't be written: {error.strerror}") from error


def check_images_stay(outputs: Iterable[Path], images: Iterable[str | Path]) -> None:
    """Raise a `UserError` if one of the files to be written is one of ``images``.

    Files are compared, not names: links of either kind give one file several names.
    """
    there = {found: file for file in outputs if (found := _identity(file)) is not None}
    if not there:  # a new folder: none of perhaps 100,000 images needs a look
        return
    for image in images:
        if (file := there.get(_identity(image))) is not None:
            raise UserError(f"the image {image} would be replaced by {file}; take another --output")


def _identity(file: str | Path) -> tuple[int, int] | None:
    """What all names of an existing file have in common."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):  # the latter for names that no file can have
        return None
    return found.st_dev, found.st_ino


def check_output_folder(folder: Path) -> None:
    """Raise a `UserError` if ``folder`` is that of a run or a sweep.

    Their files are called as those of reports and comparisons are: results.json, runs.csv, ...
    """
    for name in ("config.yaml", "sweep.json"):
        if (folder / name).is_file():
            raise UserError(
                f"output folder {folder} holds {name}: files of that run or sweep would be "
                f"replaced; take another --output"
            )


def csv_cell(text: str) -> str:
    """``text`` for a CSV file; what a spreadsheet would run as a formula is quoted."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def make_folder(folder: Path) -> None:
    """Make a folder for output, and those above it.

    Raises:
        UserError: if it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output folder {folder} can't be made: {error.strerror}") from error
