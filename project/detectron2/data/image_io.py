"""Image files → arrays, and arrays of any supported format → RGB.

Follows ``read_image`` and ``convert_image_to_rgb`` of ``detectron2.data.detection_utils``. What is
better here: JPEGs are decoded by OpenCV (the same pixels as Pillow's, faster), and arrays are
contiguous.
"""

from __future__ import annotations

import io

import numpy as np

from ..utils.file_io import PathManager

__all__ = ["convert_image_to_rgb", "read_image"]

_ORIENTATION_TAG = 274  # of EXIF; values 1..8
# ITU-R BT.601, full range: rows are Y, U, V of R, G, B, and the other way round.
_YUV_FROM_RGB = np.array(
    [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]]
)
_RGB_FROM_YUV = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.58060], [1.0, 2.03211, 0.0]])


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """The image of a file, turned upright as its EXIF orientation says.

    Args:
        file_name: anything that `PathManager` opens.
        format: a mode of Pillow ("RGB", "L", …), or "BGR", or "YUV-BT.601", or None for the mode it
            is stored in. "L" keeps a channel axis.

    Returns:
        uint8 [H, W, C] (modes of Pillow without channels: [H, W] with None); "YUV-BT.601" is
        float64 [H, W, 3], Y in 0..1.

    Raises:
        OSError: if the file is missing, cut off, or no image.
    """
    from PIL import Image

    with PathManager.open(file_name, "rb") as file:
        data = file.read()
    with Image.open(io.BytesIO(data)) as image:
        pixels = _decoded_by_opencv(image, data) if format in ("BGR", "RGB") else None
        if pixels is None:
            pixels = _converted(image, format)
        elif format == "RGB":
            pixels = pixels[:, :, ::-1]
        return np.ascontiguousarray(_upright(pixels, _orientation(image)))


def _decoded_by_opencv(image, data: bytes) -> np.ndarray | None:
    """BGR pixels of a complete JPEG in colour or grey, else None.

    Pillow raises for files that are cut off, where OpenCV 4 would fill the image with grey.
    """
    complete = data.rstrip(b"\0").endswith(b"\xff\xd9")
    if image.format != "JPEG" or image.mode not in ("RGB", "L") or not complete:
        return None
    import cv2

    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)


def _converted(image, format: str | None) -> np.ndarray:
    if format is None:
        return np.array(image)
    if format == "BGR":
        return np.array(image.convert("RGB"))[:, :, ::-1]
    if format == "YUV-BT.601":
        return np.array(image.convert("RGB")) / 255.0 @ _YUV_FROM_RGB.T
    pixels = np.array(image.convert(format))
    return pixels[:, :, np.newaxis] if format == "L" else pixels


def _orientation(image) -> int:
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # Pillow raises many types for broken metadata; the pixels are fine
        return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """A view of ``pixels`` with the EXIF ``orientation`` undone; unknown values change nothing."""
    if orientation == 2:
        return pixels[:, ::-1]
    if orientation == 3:
        return pixels[::-1, ::-1]
    if orientation == 4:
        return pixels[::-1]
    if orientation == 5:
        return pixels.swapaxes(0, 1)
    if orientation == 6:
        return np.rot90(pixels, -1)
    if orientation == 7:
        return pixels[::-1, ::-1].swapaxes(0, 1)
    if orientation == 8:
        return np.rot90(pixels)
    return pixels


def convert_image_to_rgb(image, format: str | None) -> np.ndarray:
    """An image of ``format``, as `read_image` or a mapper gives it, in RGB for drawing.

    Args:
        image: array or tensor, [H, W, C].
        format: see `read_image`; None is taken for RGB.

    Returns:
        [H, W, 3]: uint8 0..255; for "YUV-BT.601" float 0..255.
    """
    if hasattr(image, "cpu"):
        image = image.cpu().numpy()
    if format == "BGR":
        return image[:, :, ::-1]
    if format == "YUV-BT.601":
        return image @ _RGB_FROM_YUV.T * 255.0
    image = np.asarray(image).astype(np.uint8)
    if format in (None, "RGB"):
        return image
    if format == "L":
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return _rgb_of_mode(image, format)


def _rgb_of_mode(image: np.ndarray, mode: str) -> np.ndarray:
    from PIL import Image

    image = np.ascontiguousarray(image)
    pil_image = Image.frombytes(mode, image.shape[1::-1], image.tobytes())
    return np.array(pil_image.convert("RGB"))
