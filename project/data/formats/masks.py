"""A folder of images and a folder of masks that bear their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from project.data.documents import IMAGE_SUFFIXES
from project.data.formats.document import CocoDocument, listed_images
from project.data.formats.pixels import pixel_objects, read_label_map
from project.errors import UserError

import numpy as np

VALUES = ("binary", "classes", "objects")
_LOSSY = (".jpg", ".jpeg", ".webp")


def read_masks(
    images_dir: str | Path,
    masks_dir: str | Path,
    classes: Mapping[int, str],
    *,
    values: str = "binary",
    suffix: str = "",
    void: int | None = None,
    whole: bool = False,
    min_pixels: int = 1,
) -> CocoDocument:
    """The objects that the masks show, pixel-exact.

    The mask of ``dog.jpg`` is ``dog<suffix>.png`` (any image format), or every mask in a folder
    ``dog<suffix>/``, one object each.

    Args:
        classes: value → class name; one class, of any value, for "binary" and "objects".
        values: what a pixel says. "binary": 0 or object; "classes": 0 or a class; "objects": 0 or
            the number of an object.
        void: a value that counts as 0.
        whole: one object for each class of a mask; else each connected part of a "binary" or
            "classes" mask is one (pixels that touch at a corner are connected).
        min_pixels: smaller objects are left out and noted.

    Raises:
        UserError: if masks are missing, of another size, or hold other values.
    """
    images_dir, masks_dir = Path(images_dir), Path(masks_dir)
    if values != "classes" and len(classes) != 1:
        raise UserError(f"{values!r} masks have one class; {len(classes)} were named")
    masks = _masks_of(listed_images(images_dir), masks_dir, suffix)
    result = CocoDocument(list(dict.fromkeys(classes.values())), images_dir)
    for image, files in masks.items():
        size = result.add_image(image.name)
        for file in files:
            label_map = _checked_map(file, size, values, classes, void)
            # In a folder of masks, each is one object, however many parts it has.
            parts = (
                not whole and values != "objects" and len(files) == 1 and file.parent == masks_dir
            )
            _add_objects(result, label_map, classes, values, parts, min_pixels)
    return result


def _masks_of(images: list[Path], folder: Path, suffix: str) -> dict[Path, list[Path]]:
    """Image → its mask files, one or more."""
    if not folder.is_dir():
        raise UserError(f"mask folder {folder} doesn't exist")
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            by_stem.setdefault(path.name, []).extend(
                sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            )
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            by_stem.setdefault(path.stem, []).append(path)
    found = {image: by_stem.get(image.stem + suffix, []) for image in images}
    if missing := [image for image, files in found.items() if not files]:
        raise UserError(
            f"{len(missing)} of {len(images)} images have no mask in {folder}: the first is "
            f"{missing[0].name}, expected {missing[0].stem}{suffix}.png (an image without objects "
            f"has a mask of zeros)"
        )
    return found


def _checked_map(
    file: Path, size: tuple[int, int], values: str, classes: Mapping[int, str], void: int | None
) -> np.ndarray:
    if values != "binary" and file.suffix.lower() in (".jpg", ".jpeg"):
        raise UserError(
            f"mask {file} is a JPEG, whose losses make up {values} that aren't there; expected PNG"
        )
    label_map = read_label_map(file)
    if label_map.shape != size:
        raise UserError(
            f"mask {file} is {label_map.shape[0]} by {label_map.shape[1]} pixels (height, width), "
            f"its image {size[0]} by {size[1]}"
        )
    if void is not None:
        label_map[label_map == void] = 0
    if file.suffix.lower() in _LOSSY and values == "binary":
        return (label_map >= 128).astype(np.int32)  # its compression blurs the values
    present = np.unique(label_map)
    if values == "binary":
        if (present > 0).sum() > 1:
            raise UserError(
                f"mask {file} holds {len(present)} values ({_some(present)}); a binary mask has 0 "
                f"and another one: are the values classes or objects?"
            )
        return (label_map > 0).astype(np.int32)
    if values == "classes" and (unknown := np.setdiff1d(present, [0, *classes])).size:
        raise UserError(
            f"mask {file} holds the value {unknown[0]}, which has no class; known are "
            f"{', '.join(f'{v}={name}' for v, name in classes.items())}"
        )
    return label_map


def _some(values: np.ndarray) -> str:
    return ", ".join(map(str, values[:4].tolist())) + (", ..." if len(values) > 4 else "")


def _add_objects(
    result: CocoDocument,
    label_map: np.ndarray,
    classes: Mapping[int, str],
    values: str,
    parts: bool,
    min_pixels: int,
) -> None:
    only = next(iter(classes.values()))
    by_class = {value: classes[value] for value in classes} if values == "classes" else None
    maps = [(None, label_map)]
    if parts:
        maps = [(int(v), _parts(label_map == v)) for v in np.unique(label_map) if v]
    for value, pixels in maps:
        for item in pixel_objects(pixels):
            name = only if by_class is None else by_class[item.value if value is None else value]
            if item.area < min_pixels:
                image = result.document["images"][-1]["file_name"]
                result.notes.append(f"{image}: {name} of {item.area:g} pixels left out")
            else:
                result.add_object(name, item.geometry)


def _parts(mask: np.ndarray) -> np.ndarray:
    """Connected parts of a mask, numbered from 1."""
    import cv2

    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1]
