"""Painter of cakes: one to three round tiers, dripping icing, berries and candles."""

from __future__ import annotations

from project.data.scenes.pen import Pen, random_colour

import numpy as np


def paint_cake(scale: float, rng: np.random.Generator) -> Pen:
    pen = Pen((-0.55, -0.14, 0.55, 1.5), scale, rng.normal(0, 0.03), bool(rng.random() < 0.5))
    sponge, icing = random_colour(rng), random_colour(rng)
    side = pen.part(sponge, random_colour(rng))
    cream, top = pen.part(icing), pen.part(icing * 1.12 + 10)
    berry = pen.part(random_colour(rng))
    tiers = int(rng.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
    tilt = rng.uniform(0.16, 0.26)  # an ellipse's height over its width
    radius, floor = 0.5, 0.0
    for tier in range(tiers):
        height = rng.uniform(0.3, 0.42) * (1.25 if tiers == 1 else 0.85) * (radius / 0.5) ** 0.5
        _paint_tier(pen, rng, radius, floor, height, tilt, (side, cream, top))
        floor += height
        if tier + 1 < tiers:
            radius *= rng.uniform(0.62, 0.72)
    for x in np.linspace(-0.8, 0.8, int(rng.integers(4, 7))) * radius:
        depth = -tilt * np.sqrt(max(radius**2 - x**2, 0))
        pen.blob((x, floor + depth * 0.9 + 0.02), (0.045, 0.042), berry)
    _paint_candles(pen, rng, radius, floor, tilt)
    return pen


def _paint_tier(pen, rng, radius, floor, height, tilt, labels) -> None:
    """One round tier: its side, icing that drips over the rim, its top."""
    side, cream, top = labels
    pen.blob((0, floor), (radius, radius * tilt), side)
    pen.fill(
        [(-radius, floor), (radius, floor), (radius, floor + height), (-radius, floor + height)],
        side,
    )
    count = int(rng.integers(6, 10))
    for x in np.linspace(-0.9, 0.9, count) * radius:
        rim = floor + height - tilt * np.sqrt(max(radius**2 - x**2, 0))
        drip = height * rng.uniform(0.12, 0.5)
        pen.limb([(x, rim + 0.03), (x, rim - drip)], [radius * 0.95 / count] * 2, cream)
    pen.blob((0, floor + height - 0.02), (radius, radius * tilt * 1.08), cream)
    pen.blob((0, floor + height + 0.01), (radius * 0.93, radius * tilt * 0.9), top)


def _paint_candles(pen, rng, radius, floor, tilt) -> None:
    wax, flame = pen.part(random_colour(rng)), pen.part(np.float32([255, 214, 90]))
    count = int(rng.integers(1, 6))
    for x in np.linspace(-0.6, 0.6, count + 2)[1:-1] * radius:
        foot = floor + rng.uniform(-0.4, 0.4) * tilt * radius
        tip = foot + rng.uniform(0.2, 0.3)
        pen.fill([(x - 0.022, foot), (x + 0.022, foot), (x + 0.022, tip), (x - 0.022, tip)], wax)
        pen.blob((x, tip + 0.045), (0.024, 0.045), flame)
        roots = np.array([(x, tip + 0.08)])
        pen.hairs(roots, roots + rng.normal((0, 0.06), 0.015, (1, 2)), np.zeros(2), flame)
