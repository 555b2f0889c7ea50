"""The COCO document of one split, and its record in the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from project.data.manifest import ClassCount, SplitRecord
from project.data.selection import Pool
from project.errors import UserError

import msgspec

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def labelled_split(pool: Pool, ids: list[int], classes: Sequence[str]) -> tuple[dict, SplitRecord]:
    """The COCO document of a split and its line in the manifest."""
    wanted = set(ids)
    sources = [image for image in pool.file.images if image.id in wanted]
    images, annotations = [], []
    for number, image in enumerate(sources, 1):  # ids from 1: pycocotools misreads 0
        extra = {"license": image.license, "coco_url": image.coco_url}
        extra["flickr_url"] = image.flickr_url
        images.append(
            {
                "id": number,
                "file_name": image.file_name,
                "height": image.height,
                "width": image.width,
                "source_id": image.id,
                **{key: value for key, value in extra.items() if value is not None},
            }
        )
        for record in pool.labels.annotations.get(image.id, ()):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **record})
    document = {
        "licenses": pool.file.licenses or [],
        "categories": _categories(classes),
        "images": images,
        "annotations": annotations,
    }
    record = SplitRecord(
        images=str(pool.images_dir),
        annotations=str(pool.file.path.resolve()),
        sha256=pool.file.sha256,
        num_images=len(images),
        num_negatives=len(wanted - pool.labels.touched),
        category_ids=pool.labels.category_ids,
        image_ids=[image.id for image in sources],
        class_counts=_count(classes, annotations),
        repaired=pool.labels.repaired,
        left_out=pool.labels.left_out,
    )
    return document, record


def unlabelled_split(
    folder: Path, names: list[str], classes: Sequence[str]
) -> tuple[dict, SplitRecord]:
    """The same for images without labels; their sizes are read from the files ``names``."""
    images = []
    for number, name in enumerate(names, 1):
        height, width = image_size(folder / name)
        images.append({"id": number, "file_name": name, "height": height, "width": width})
    # No "annotations" key, as in COCO's image_info files: evaluators then know to skip scores.
    document = {"categories": _categories(classes), "images": images}
    record = SplitRecord(images=str(folder.resolve()), num_images=len(images), file_names=names)
    return document, record


def write_document(document: dict, file: Path) -> None:
    """Write a COCO document as JSON, its annotations one by one: as one text it is half a gigabyte
    for all of COCO, and takes three times that while it grows."""
    encode = msgspec.json.Encoder().encode
    head = {key: value for key, value in document.items() if key != "annotations"}
    with file.open("wb") as stream:
        stream.write(encode(head)[:-1])
        if "annotations" in document:
            stream.write(b',"annotations":[')
            for number, annotation in enumerate(document["annotations"]):
                stream.write(b"," * (number > 0) + encode(annotation))
            stream.write(b"]")
        stream.write(b"}")


def _categories(classes: Sequence[str]) -> list[dict]:
    return [{"id": number, "name": name} for number, name in enumerate(classes, 1)]


def _count(classes: Sequence[str], annotations: list[dict]) -> dict[str, ClassCount]:
    images = [set() for _ in classes]
    counts = [ClassCount() for _ in classes]
    for annotation in annotations:
        position = annotation["category_id"] - 1
        counts[position].annotations += 1
        counts[position].crowds += annotation["iscrowd"]
        images[position].add(annotation["image_id"])
    for count, seen in zip(counts, images, strict=True):
        count.images = len(seen)
    return dict(zip(classes, counts, strict=True))


def image_size(path: Path) -> tuple[int, int]:
    """Height and width of an image file as it is shown, that is after its EXIF orientation."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(274, 1) >= 5  # tag "Orientation": 5-8 turn by 90 degrees
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"image {path} can't be read: {error}") from None
    return (width, height) if turned else (height, width)
