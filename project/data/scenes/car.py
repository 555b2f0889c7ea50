"""Painter of cars: four bodies, seen from the side and a little from above and ahead. Length 1."""

from __future__ import annotations

from project.data.scenes.pen import DARK, Pen, random_colour

import numpy as np

# Body: (the near side from the rear sill over the roof to the front sill, front at +x; windows).
_BODIES = {
    "sedan": (
        [(-0.5, 0.09), (-0.5, 0.25), (-0.35, 0.28), (-0.22, 0.42), (0.08, 0.43), (0.23, 0.28)]
        + [(0.45, 0.24), (0.5, 0.18), (0.5, 0.09)],
        [
            [(-0.29, 0.29), (-0.19, 0.39), (-0.08, 0.395), (-0.08, 0.29)],
            [(-0.05, 0.29), (-0.05, 0.395), (0.06, 0.4), (0.17, 0.29)],
        ],
    ),
    "hatchback": (
        [(-0.48, 0.09), (-0.49, 0.29), (-0.4, 0.44), (0.05, 0.46), (0.22, 0.3), (0.45, 0.25)]
        + [(0.5, 0.19), (0.5, 0.09)],
        [
            [(-0.42, 0.31), (-0.36, 0.41), (-0.12, 0.42), (-0.12, 0.31)],
            [(-0.09, 0.31), (-0.09, 0.42), (0.03, 0.43), (0.15, 0.31)],
        ],
    ),
    "van": (
        [(-0.5, 0.09), (-0.5, 0.5), (0.22, 0.52), (0.38, 0.31), (0.48, 0.27), (0.5, 0.09)],
        [
            [(-0.42, 0.31), (-0.42, 0.45), (-0.12, 0.45), (-0.12, 0.31)],
            [(-0.06, 0.31), (-0.06, 0.46), (0.19, 0.47), (0.3, 0.31)],
        ],
    ),
    "pickup": (
        [(-0.5, 0.09), (-0.5, 0.27), (-0.12, 0.27), (-0.08, 0.45), (0.14, 0.45), (0.26, 0.29)]
        + [(0.46, 0.26), (0.5, 0.09)],
        [[(-0.06, 0.29), (-0.04, 0.42), (0.11, 0.42), (0.2, 0.29)]],
    ),
}
_AXLES = (-0.29, 0.3)


def paint_car(pen: Pen, rng: np.random.Generator) -> None:
    """The far side and the top, then the near side with windows, lamps and wheels."""
    profile, windows = _BODIES[str(rng.choice(list(_BODIES)))]
    tall = np.array([1, rng.uniform(0.92, 1.12)])
    profile = profile * tall
    paint = random_colour(rng)
    glass = pen.part(np.float32([70, 92, 110]) * rng.uniform(0.6, 1.7))
    tyre, rim = pen.part(DARK), pen.part(np.full(3, rng.uniform(120, 220)))
    radius = rng.uniform(0.085, 0.105)
    back = np.array([rng.uniform(0.03, 0.14), rng.uniform(0.02, 0.09)])  # towards the far side
    for x in _AXLES:
        pen.blob((x + back[0], radius + back[1]), (radius, radius), tyre)
    _paint_top(pen, profile, back, paint, glass)
    pen.fill(profile, pen.part(paint, random_colour(rng) if rng.random() < 0.35 else None))
    for window in windows:
        pen.fill(window * tall, glass)
    lamp = pen.part(random_colour(rng) * 0.3 + 175)
    pen.blob((0.475, 0.2), (0.03, 0.022), lamp)
    pen.blob((-0.485, 0.22), (0.018, 0.026), lamp)
    for x in _AXLES:
        pen.blob((x, radius), (radius, radius), tyre)
        pen.blob((x, radius), (radius * 0.55, radius * 0.55), rim)
    if rng.random() < 0.5:  # an aerial
        foot = np.array([(-0.06, profile[:, 1].max() - 0.02)])
        pen.hairs(foot, foot + (-0.06, 0.12), np.zeros(2), tyre)


def _paint_top(
    pen: Pen, profile: np.ndarray, back: np.ndarray, paint: np.ndarray, glass: int
) -> None:
    """The strips between near and far side: bonnet, windscreen, roof, front."""
    top, front = pen.part(paint * 1.18 + 12), pen.part(paint * 0.82)
    pen.fill(profile + back, front)
    for first, second in zip(profile[:-1], profile[1:], strict=True):
        face = front if second[1] < first[1] - 0.1 else top
        pen.fill([first, second, second + back, first + back], face)
    drops = np.where(profile[:-1, 1] > 0.35, profile[:-1, 1] - profile[1:, 1], -1)
    at = int(drops.argmax())  # the windscreen's edge: it falls steepest from the roof
    edge = profile[at : at + 2]
    pen.fill(np.concatenate([edge + back * 0.15, (edge + back * 0.85)[::-1]]), glass)
