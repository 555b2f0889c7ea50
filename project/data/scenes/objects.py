"""The four classes as sprites of a wanted area, and crowds.

What tells the classes apart is silhouette and parts. Colours come from one source for all of them;
only skin, tyres, glass and flames have colours of their own.
"""

from __future__ import annotations

from project.data.scenes.cake import paint_cake
from project.data.scenes.car import paint_car
from project.data.scenes.dog import paint_dog
from project.data.scenes.pen import Pen, Sprite
from project.data.scenes.person import paint_person, paint_person_at

import numpy as np

_PAINTERS = {  # with the mean area of an object of scale 1
    "cake": (paint_cake, 0.69),
    "car": (paint_car, 0.41),
    "dog": (paint_dog, 0.356),
    "person": (paint_person, 0.29),
}


def draw_object(name: str, area: float, rng: np.random.Generator, blur: float = 0.0) -> Sprite:
    """A sprite of class ``name`` that covers about ``area`` pixels.

    Args:
        blur: standard deviation of a Gaussian blur, pixels, at most 1.
    """
    painter, unit_area = _PAINTERS[name]
    return painter(float(np.sqrt(area / unit_area)), rng).finish(rng, blur)


def draw_crowd(height: float, count: int, rng: np.random.Generator, blur: float = 0.0) -> Sprite:
    """``count`` people (20 at most) of about ``height`` pixels, close together, as one sprite."""
    width = 0.22 * count
    pen = Pen((-width / 2 - 0.4, -0.1, width / 2 + 0.4, 1.4), height)
    depths = np.sort(rng.uniform(0, 0.2, count))[::-1]
    places = rng.permutation(np.linspace(-width / 2, width / 2, count))
    for x, y in zip(places, depths, strict=True):
        paint_person_at(pen, rng, (float(x), float(y)))
    return pen.finish(rng, blur)
