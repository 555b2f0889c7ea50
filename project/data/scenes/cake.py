"""Painter of cakes: one to three round tiers, dripping icing, berries, candles. Width 1."""

from __future__ import annotations

from project.data.scenes.pen import Pen, random_colour

import numpy as np


def paint_cake(pen: Pen, rng: np.random.Generator) -> None:
    """Tiers from the lowest to the highest, which carries berries and candles."""
    icing = random_colour(rng)
    side = pen.part(random_colour(rng), random_colour(rng))
    cream, top = pen.part(icing), pen.part(icing * 1.12 + 10)
    tiers = int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
    tilt = rng.uniform(0.16, 0.26)  # an ellipse's height over its width
    radii = 0.5 * np.cumprod([1, *rng.uniform(0.62, 0.72, tiers - 1)])
    floor = 0.0
    for radius in radii:
        tall = rng.uniform(0.3, 0.42) * (1.25 if tiers == 1 else 0.85) * np.sqrt(radius / 0.5)
        _paint_tier(pen, rng, (radius, floor, tall, tilt), (side, cream, top))
        floor += tall
    berry = pen.part(random_colour(rng))
    for x in np.linspace(-0.8, 0.8, int(rng.integers(4, 7))) * radius:
        pen.blob((x, floor + 0.02 - 0.9 * _rim(x, radius, tilt)), (0.045, 0.042), berry)
    _paint_candles(pen, rng, radius, floor, tilt)


def _rim(x: float, radius: float, tilt: float) -> float:
    """How far the front of a tier's rim lies below its middle, at ``x``."""
    return tilt * float(np.sqrt(radius**2 - x**2))


def _paint_tier(
    pen: Pen,
    rng: np.random.Generator,
    shape: tuple[float, float, float, float],
    labels: tuple[int, int, int],
) -> None:
    """One tier of ``shape`` (radius, floor, height, tilt): side, icing over the rim, top."""
    radius, floor, tall, tilt = shape
    side, cream, top = labels
    roof = floor + tall
    pen.blob((0, floor), (radius, radius * tilt), side)
    pen.fill([(-radius, floor), (radius, floor), (radius, roof), (-radius, roof)], side)
    count = int(rng.integers(6, 10))
    for x in np.linspace(-0.9, 0.9, count) * radius:
        rim, drip = roof - _rim(x, radius, tilt), tall * rng.uniform(0.12, 0.5)
        pen.limb([(x, rim + 0.03), (x, rim - drip)], [radius * 0.95 / count] * 2, cream)
    pen.blob((0, roof - 0.02), (radius, radius * tilt * 1.08), cream)
    pen.blob((0, roof + 0.01), (radius * 0.93, radius * tilt * 0.9), top)


def _paint_candles(
    pen: Pen, rng: np.random.Generator, radius: float, floor: float, tilt: float
) -> None:
    """One to five candles, each with a flame and a thread of smoke."""
    wax, flame = pen.part(random_colour(rng)), pen.part(np.float32([255, 214, 90]))
    for x in np.linspace(-0.6, 0.6, int(rng.integers(1, 6)) + 2)[1:-1] * radius:
        foot = floor + rng.uniform(-0.4, 0.4) * tilt * radius
        tip = foot + rng.uniform(0.2, 0.3)
        pen.fill([(x - 0.022, foot), (x + 0.022, foot), (x + 0.022, tip), (x - 0.022, tip)], wax)
        pen.blob((x, tip + 0.045), (0.024, 0.045), flame)
        smoke = np.array([(x, tip + 0.08)])
        pen.hairs(smoke, smoke + rng.normal((0, 0.06), 0.015, 2), np.zeros(2), flame)
