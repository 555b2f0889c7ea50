"""Groups of images that show the same picture, so that no two splits share one."""

from __future__ import annotations

from pathlib import Path

from project.errors import UserError

import numpy as np


def near_duplicate_groups(file: Path, images_dir: Path, *, progress: bool = True) -> np.ndarray:
    """int64 [images of the file]: group of each image; a group is numbered by its first image.

    Exact copies and near-duplicates, as the audit finds them (`project.data.audit`), are one group.

    Raises:
        UserError: if an image of the file is missing or can't be read.
    """
    from project.data.audit.copies import copy_groups
    from project.data.audit.images import inspect_splits, num_cores
    from project.data.audit.source import read_split

    split = read_split("source", file, images_dir)
    pictures = inspect_splits([split], num_cores(), progress)
    for picture in pictures:
        if picture.facts.fault in ("missing-image", "unreadable-image"):
            raise UserError(
                f"{picture.facts.path}: {picture.facts.detail}; finding near-duplicates needs "
                f"every image of {file}"
            )
    position = {image.id: index for index, image in enumerate(split.images)}
    groups = np.arange(len(split.images))
    for group in copy_groups(pictures):
        members = [position[picture.image_id] for picture in group]
        groups[members] = min(members)
    return groups
