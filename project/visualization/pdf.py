"""Pictures as the pages of a PDF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from project.errors import UserError

import numpy as np

PAGE_INCHES = 10.5  # the long side: with a printer's margins, A4


def write_pdf(file: Path, pictures: Sequence[np.ndarray]) -> None:
    """Write uint8 RGB ``[H, W, 3]`` pictures, each on a page of its shape, as good JPEGs.

    Pillow writes them: a page is nothing but a picture, which matplotlib would store losslessly,
    at five times the size.

    Raises:
        UserError: if the file can't be written.
    """
    from PIL import Image

    first, *others = (Image.fromarray(np.ascontiguousarray(picture)) for picture in pictures)
    resolution = max(max(page.size) for page in (first, *others)) / PAGE_INCHES
    options = {"resolution": resolution, "quality": 92, "subsampling": 0}  # thin coloured lines
    try:
        first.save(file, "PDF", save_all=True, append_images=others, **options)
    except OSError as error:
        raise UserError(f"{file} can't be written: {error.strerror or error}") from error
