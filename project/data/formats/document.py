"""A COCO document in the making, and where its images lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from project.data.coco_file import check_file_name
from project.data.documents import IMAGE_SUFFIXES, image_size
from project.errors import UserError


class CocoDocument:
    """Collects images and objects; ids count from 1, in the order they come in.

    Attributes:
        document: the COCO dictionary.
        images_dir: ``file_name`` is relative to it.
        notes: what the reader left out or found odd, a sentence each.
    """

    def __init__(self, classes: Sequence[str], images_dir: Path) -> None:
        categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
        self.document = {"categories": categories, "images": [], "annotations": []}
        self.images_dir = images_dir
        self.notes: list[str] = []
        self._ids = {name: number for number, name in enumerate(classes, 1)}

    def add_image(self, file_name: str, expected: tuple[int, int] | None = None) -> tuple[int, int]:
        """Append the image; returns its height and width, read from the file.

        Raises:
            UserError: if it is missing, can't be read, or isn't of the ``expected`` size.
        """
        path = self.images_dir / check_file_name(file_name, str(self.images_dir))
        if not path.is_file():
            raise UserError(f"image {path} doesn't exist")
        size = image_size(path)
        if expected is not None and size != expected:
            raise UserError(
                f"image {path} is {size[0]} by {size[1]} pixels (height, width), its labels are "
                f"for {expected[0]} by {expected[1]}"
            )
        number = len(self.document["images"]) + 1
        self.document["images"].append(
            {"id": number, "file_name": file_name, "height": size[0], "width": size[1]}
        )
        return size

    def add_object(self, class_name: str, geometry: dict, *, iscrowd: int = 0, **extra) -> None:
        """Append an object of the last image; ``geometry``: segmentation, bbox and area."""
        annotations = self.document["annotations"]
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": len(self.document["images"]),
                "category_id": self._ids[class_name],
                "iscrowd": iscrowd,
                **geometry,
                **extra,
            }
        )


def listed_images(folder: Path) -> list[Path]:
    """The image files of a folder, sorted by name.

    Raises:
        UserError: if the folder doesn't exist or holds none.
    """
    if not folder.is_dir():
        raise UserError(f"image folder {folder} doesn't exist")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserError(f"image folder {folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return files
