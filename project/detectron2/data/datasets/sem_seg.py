"""Pairs of images and label maps.

Follows the API of ``detectron2.data.datasets.load_sem_seg``.
"""

from __future__ import annotations

import logging
import os

from ...utils.file_io import PathManager

__all__ = ["load_sem_seg"]

logger = logging.getLogger(__name__)


def load_sem_seg(
    gt_root: str, image_root: str, gt_ext: str = "png", image_ext: str = "jpg"
) -> list[dict]:
    """A record for each image that has a label map.

    Both folders are sorted by file name without extension. If they hold equally many files, these
    are paired in order, whatever their names; else those with equal names are.

    Args:
        gt_root: folder of label maps.
        image_root: folder of images.
        gt_ext: extension of the label maps.
        image_ext: extension of the images.

    Returns:
        Dicts with ``file_name`` and ``sem_seg_file_name``.

    Raises:
        AssertionError: if there is no label map.
    """
    labels, images = _by_name(gt_root, gt_ext), _by_name(image_root, image_ext)
    assert labels, f"No .{gt_ext} file with labels in {gt_root}"
    if len(labels) != len(images):
        logger.warning(
            "%s has %d images, %s has %d label maps; using only those with equal names",
            image_root,
            len(images),
            gt_root,
            len(labels),
        )
        shared = labels.keys() & images.keys()
        labels = {name: labels[name] for name in sorted(shared)}
        images = {name: images[name] for name in sorted(shared)}
    return [
        {"file_name": image, "sem_seg_file_name": label}
        for image, label in zip(images.values(), labels.values(), strict=True)
    ]


def _by_name(folder: str, extension: str) -> dict[str, str]:
    """Name without extension → path of the files with ``extension``, sorted by name."""
    files = [file for file in PathManager.ls(folder) if file.endswith(extension)]
    return {
        name: os.path.join(folder, file)
        for name, file in sorted((os.path.splitext(file)[0], file) for file in files)
    }
