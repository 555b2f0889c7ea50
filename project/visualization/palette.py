"""Class colours: one colour per contiguous class index, the same in every picture and chart.

The first seven are Okabe and Ito's colours for all kinds of colour vision (2008, without their
black); each further one is the vivid colour that is farthest from all before it, where distance is
the smallest one over normal vision and simulated protanopia, deuteranopia and tritanopia.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np

RGB = tuple[int, int, int]

# The order keeps the first ones (most runs have few classes) far apart under every colour vision.
OKABE_ITO: tuple[RGB, ...] = (
    (213, 94, 0),  # vermilion
    (0, 114, 178),  # blue
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (86, 180, 233),  # sky blue
    (230, 159, 0),  # orange
    (0, 158, 115),  # bluish green
)
NUM_COLORS = 96  # colours before they repeat; COCO has 80 classes

# Machado, Oliveira and Fernandes (2009), severity 1, applied to linear RGB.
DEFICIENCIES: dict[str, np.ndarray] = {
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def class_color(index: int) -> RGB:
    """The colour of contiguous class ``index`` as RGB, 0-255; repeats after `NUM_COLORS`."""
    return _palette()[index % NUM_COLORS]


def instance_colors(number: int) -> list[RGB]:
    """One colour for each of ``number`` objects: neighbours in the list are far apart."""
    return [class_color(index) for index in range(number)]


def text_color(background: RGB) -> RGB:
    """Near-black or white, whichever has more contrast on ``background`` (WCAG 2 luminance)."""
    luminance = float(_linear(np.array(background)) @ [0.2126, 0.7152, 0.0722])
    # Contrast is (lighter + 0.05) / (darker + 0.05): both are equal at luminance 0.179.
    return (16, 16, 16) if luminance > 0.179 else (255, 255, 255)


def color_distance(a, b, deficiency: str | None = None) -> np.ndarray:
    """CIE 1976 colour difference of RGB colours ``[..., 3]``, 0-255; about 2 is just noticeable.

    ``deficiency`` (a key of `DEFICIENCIES`) gives the difference for such an observer.
    """
    return np.linalg.norm(
        _lab(np.asarray(a), deficiency) - _lab(np.asarray(b), deficiency), axis=-1
    )


def _linear(rgb: np.ndarray) -> np.ndarray:
    share = np.asarray(rgb, float) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _lab(rgb: np.ndarray, deficiency: str | None) -> np.ndarray:
    linear = _linear(rgb)
    if deficiency is not None:
        linear = np.clip(linear @ DEFICIENCIES[deficiency].T, 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ to_xyz.T / to_xyz.sum(1)  # white is (1, 1, 1)
    cut = (6 / 29) ** 3
    x, y, z = np.moveaxis(
        np.where(xyz > cut, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29), -1, 0
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@functools.cache
def _palette() -> tuple[RGB, ...]:
    """`NUM_COLORS` colours; the first ones don't depend on how many there are."""
    levels = range(0, 256, 32)
    candidates = np.array(list(itertools.product([*levels, 255], repeat=3)))
    # Greys, near-blacks and near-whites get lost on photographs.
    vivid = (np.ptp(candidates, axis=1) >= 96) & (candidates.max(1) >= 128)
    candidates = candidates[vivid]
    chosen = list(OKABE_ITO)
    visions = (None, *DEFICIENCIES)
    spaces = np.stack([_lab(candidates, vision) for vision in visions], axis=1)
    nearest = np.full(len(candidates), np.inf)
    for number in range(NUM_COLORS):
        if number == len(chosen):
            chosen.append(tuple(candidates[nearest.argmax()].tolist()))
        newest = np.stack([_lab(np.array(chosen[number]), vision) for vision in visions])
        nearest = np.minimum(nearest, np.linalg.norm(spaces - newest, axis=-1).min(1))
    return tuple(chosen)
