"""Every kind of finding: how grave it is, and what to do about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "info"]


class Kind(NamedTuple):
    """How grave a kind is and its repair; ``fixed`` tells whether `repair_copy` carries it out."""

    severity: Severity
    repair: str | None
    fixed: bool = True


def _error(repair: str, fixed: bool = True) -> Kind:
    return Kind("error", repair, fixed)


def _warning(repair: str, fixed: bool = True) -> Kind:
    return Kind("warning", repair, fixed)


_DROP_OBJECT = "leave the annotation out"
_DROP_IMAGE = "leave the image and its annotations out"

# An error breaks training or evaluation, or falsifies them in silence; a warning may.
KINDS: dict[str, Kind] = {
    # records and ids of one file
    "malformed-record": _error("leave the record out"),
    "duplicate-image-id": _error("leave out all images of the id: whose the labels are is unknown"),
    "duplicate-file-name": _error("join the two records into the first"),
    "unsafe-file-name": _error(_DROP_IMAGE),
    "size-below-1": _error("leave the image out"),
    "duplicate-annotation-id": _error("number the later one anew, or drop it if it is the same"),
    "annotation-id-below-1": _error("number it anew: evaluation takes id 0 for 'no match'"),
    "dangling-image": _error(_DROP_OBJECT),
    "dangling-category": _error(_DROP_OBJECT),
    "duplicate-category-id": _error("leave the annotations of the id out: their class is unknown"),
    "duplicate-category-name": _error("join the categories into the first"),
    "category-name-clash": _warning("join or rename the categories by hand", False),
    "unused-category": Kind("info", None, False),
    # across files
    "category-id-differs": _error("match classes by name; number them alike in all files"),
    "category-id-clash": _error("match classes by name; number them alike in all files"),
    "categories-differ": Kind("info", "match classes by name, never by id or position", False),
    "image-ids-collide": Kind("info", "never merge the files by id", False),
    "annotation-ids-collide": Kind("info", "never merge the files by id", False),
    # boxes, areas, crowds
    "missing-box": _warning("take the box from the mask"),
    "box-without-area": _error("take the box from the mask"),
    "box-outside-image": _error("take the box from the mask"),
    "box-out-of-frame": _warning("clip the box to the image"),
    "box-mask-disagree": _warning("take the box from the mask"),
    "missing-area": _warning("take the area from the mask"),
    "area-mask-disagree": _warning("take the area from the mask"),
    "area-is-box-area": _warning("take all areas from the masks"),
    "odd-iscrowd": _warning("make it 0 or 1"),
    "crowd-polygons": _warning("store the crowd region as RLE"),
    "ignored-annotation": _warning(_DROP_OBJECT),
    # masks
    "empty-mask": _error(_DROP_OBJECT),
    "malformed-mask": _error(_DROP_OBJECT),
    "degenerate-mask": _error(_DROP_OBJECT),
    "rle-size": _error(_DROP_OBJECT),
    "damaged-rle": _error(_DROP_OBJECT),
    "degenerate-polygon": _warning("drop the polygons without area"),
    "self-intersecting-polygon": _warning("cut it into simple polygons of the same pixels"),
    "mask-out-of-frame": _warning("clip the polygons to the image"),
    "duplicate-object": _warning("leave the later annotation out"),
    "object-of-two-classes": _warning("decide by hand which class it is", False),
    # images
    "missing-image": _error(_DROP_IMAGE),
    "unreadable-image": _error(_DROP_IMAGE),
    "truncated-image": _error(_DROP_IMAGE),
    "deep-image": _error("scale its values to 8 bits"),
    "palette-image": _warning("store it as RGB"),
    "cmyk-image": _warning("store it as RGB"),
    "alpha-image": Kind("info", "know that readers drop the alpha channel", False),
    "grey-image": Kind("info", None, False),
    "exif-rotated": _warning("store the pixels upright"),
    "size-mismatch": _error("resize the image if its shape agrees with the record, else drop it"),
    "unlisted-images": Kind("info", None, False),
    # copies
    "duplicate-image": _warning("leave the later image and its annotations out"),
    "near-duplicate-image": _warning("keep them in one split, or drop one by hand", False),
    "leak": _error("leave the image out of the larger split"),
    "near-leak": _warning("leave the image out of the larger split"),
}
