"""The four classes as sprites of a wanted area, and crowds.

What tells the classes apart is silhouette and parts. Colours come from one source for all of them;
only skin, tyres, glass and flames have colours of their own.
"""

from __future__ import annotations

from project.data.scenes.cake import paint_cake
from project.data.scenes.car import paint_car
from project.data.scenes.dog import paint_dog
from project.data.scenes.pen import Pen, Sprite
from project.data.scenes.person import paint_person

import numpy as np

_PAINTERS = {  # painter, box that holds what it paints, mean area at scale 1, spread of its turn
    "cake": (paint_cake, (-0.55, -0.14, 0.55, 1.5), 0.69, 0.03),
    "car": (paint_car, (-0.56, -0.04, 0.66, 0.68), 0.41, 0.03),
    "dog": (paint_dog, (-0.66, -0.05, 0.66, 1.0), 0.356, 0.05),
    "person": (paint_person, (-0.45, -0.05, 0.45, 1.16), 0.29, 0.05),
}


def draw_object(name: str, area: float, rng: np.random.Generator, blur: float = 0.0) -> Sprite:
    """A sprite of class ``name`` that covers about ``area`` pixels.

    Args:
        blur: standard deviation of a Gaussian blur, pixels, at most 1.
    """
    painter, box, unit_area, spread = _PAINTERS[name]
    pen = Pen(box, float(np.sqrt(area / unit_area)), rng.normal(0, spread), rng.random() < 0.5)
    painter(pen, rng)
    return pen.finish(rng, blur)


def draw_crowd(height: float, count: int, rng: np.random.Generator, blur: float = 0.0) -> Sprite:
    """``count`` people (20 at most) of about ``height`` pixels, close together, as one sprite."""
    half = 0.11 * count
    pen = Pen((-half - 0.4, -0.1, half + 0.4, 1.4), height)
    depths = np.sort(rng.uniform(0, 0.2, count))[::-1]
    for x, y in zip(rng.permutation(np.linspace(-half, half, count)), depths, strict=True):
        pen.origin = (x, y)
        paint_person(pen, rng)
    return pen.finish(rng, blur)
