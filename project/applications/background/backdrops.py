"""What may stand behind the objects: a picture, a colour, or the image's own background blurred."""

from __future__ import annotations

from pathlib import Path

from project.applications.predictor import UnreadableImage, read_rgb
from project.errors import UserError, unknown_name

import numpy as np

FITS = ("cover", "contain", "crop")


class ImageBackdrop:
    """A picture, fitted to each image.

    Args:
        picture: a file, turned upright as its EXIF orientation says, or uint8 RGB ``[H, W, 3]``.
        fit: see `fit_picture`.
        border: RGB, around a picture that is "contained".

    Attributes:
        file: of the picture; None for an array.

    Raises:
        UserError: if the file can't be read, or for an unknown fit.
    """

    takes_light = True  # objects may be given the light of it

    def __init__(
        self,
        picture: str | Path | np.ndarray,
        fit: str = "cover",
        border: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        if fit not in FITS:
            raise UserError(unknown_name("fit of the background", fit, FITS))
        self.file = None if isinstance(picture, np.ndarray) else picture
        if not isinstance(picture, np.ndarray):
            try:
                picture = read_rgb(picture)
            except UnreadableImage as error:
                raise UserError(f"background: {error}") from error
        self._picture, self._fit, self._border = picture, fit, border
        self._fitted = np.zeros((0, 0, 3), np.uint8)

    def __call__(self, image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """The backdrop of an image, uint8 RGB of its size; not to be changed."""
        if self._fitted.shape != image.shape:  # the frames of a video share one
            self._fitted = fit_picture(self._picture, image.shape[:2], self._fit, self._border)
        return self._fitted


class ColorBackdrop:
    """One colour, uint8 RGB."""

    takes_light = True

    def __init__(self, color: tuple[int, int, int]) -> None:
        self._color = color

    def __call__(self, image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """The backdrop of an image, uint8 RGB of its size."""
        return np.full_like(image, self._color)


class BlurBackdrop:
    """The image's own background out of focus, without the objects' colours in it.

    Args:
        percent: standard deviation of the Gaussian, in percent of the image's diagonal.

    Raises:
        UserError: unless above 0 and at most 20.
    """

    takes_light = False

    def __init__(self, percent: float = 2.0) -> None:
        if not 0 < percent <= 20:
            raise UserError(f"the blur is {percent:g} % of the diagonal; expected 0 to 20, above 0")
        self._percent = percent

    def __call__(self, image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """The backdrop of an image, uint8 RGB of its size.

        Each pixel is a mean of the background around it: objects have no weight, and mixed pixels
        at their edges little, so that no glow of their colour stays around them.
        """
        sigma = self._percent / 100 * float(np.hypot(*alpha.shape))
        # Deep inside of an object nothing else is near; what stands there is never seen.
        weight = np.maximum((1 - alpha) ** 4, np.float32(1e-4)).astype(np.float32)
        colors = _blurred(image * weight[..., None], sigma)
        return np.rint(colors / _blurred(weight, sigma)[..., None]).clip(0, 255).astype(np.uint8)


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """Float32 ``[H, W]`` or ``[H, W, 3]`` through a Gaussian; a wide one on a smaller copy."""
    import cv2

    height, width = values.shape[:2]
    shrink = max(sigma / 6, 1.0)
    small = max(round(width / shrink), 1), max(round(height / shrink), 1)
    values = cv2.resize(values.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    sigma_x, sigma_y = sigma * small[0] / width, sigma * small[1] / height
    values = cv2.GaussianBlur(
        values, (0, 0), sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REFLECT
    )
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)


def fit_picture(
    picture: np.ndarray,
    size: tuple[int, int],
    fit: str = "cover",
    border: tuple[int, int, int] = (0, 0, 0),
) -> np.ndarray:
    """``picture`` as uint8 RGB ``[*size, 3]``, in its own proportions, its middle in the middle.

    Args:
        size: (height, width).
        fit: "cover": as large as it must be to leave no gap, what sticks out is cut off;
            "contain": as large as it can be to be seen whole, the rest is ``border``; "crop": the
            middle of it as it is.

    Raises:
        UserError: if a picture to be cropped is smaller than the image.
    """
    import cv2

    height, width = size
    rows, columns = picture.shape[:2]
    if fit == "crop":
        if rows < height or columns < width:
            raise UserError(
                f"the background is {rows} x {columns} pixels (height x width) and an image "
                f"{height} x {width}: too small to crop; take --fit cover or contain"
            )
        return _middle(picture, size)
    ratios = height / rows, width / columns
    scale = max(ratios) if fit == "cover" else min(ratios)
    if fit == "cover":  # what is cut off anyway isn't enlarged: of a panorama that is nearly all
        picture = _without_sides(picture, (height / scale, width / scale))
        rows, columns = picture.shape[:2]
    new = max(round(columns * scale), 1), max(round(rows * scale), 1)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(picture, new, interpolation=way)
    if fit == "cover":
        return _middle(picture, size)
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = border
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def _without_sides(picture: np.ndarray, needed: tuple[float, float]) -> np.ndarray:
    """``picture`` without as much at both opposite sides, but for what the resampling sees."""
    cuts = (max(int((has - n) / 2) - 4, 0) for has, n in zip(picture.shape, needed, strict=False))
    return picture[
        tuple(slice(cut, has - cut) for cut, has in zip(cuts, picture.shape, strict=False))
    ]


def _middle(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    top, left = ((has - wants) // 2 for has, wants in zip(picture.shape, size, strict=False))
    return np.ascontiguousarray(picture[top : top + size[0], left : left + size[1]])


def parse_color(text: str) -> tuple[int, int, int]:
    """RGB, 0-255, of ``#00b140``, ``0,177,64`` or a name such as ``white``.

    Raises:
        UserError: for anything else.
    """
    from PIL import ImageColor

    try:
        if text.count(",") == 2 and "(" not in text:
            color = tuple(int(part) for part in text.split(","))
        else:
            color = ImageColor.getrgb(text)
    except ValueError:
        color = ()
    if len(color) != 3 or not all(0 <= value <= 255 for value in color):
        raise UserError(f"unknown color {text!r}: expected '#00b140', '0,177,64' or 'white'")
    return color
