"""Painter of dogs: walking or sitting, with thin legs, a tail and fur that stands off."""

from __future__ import annotations

from project.data.scenes.pen import DARK, Pen, random_colour

import numpy as np


def paint_dog(scale: float, rng: np.random.Generator) -> Pen:
    pen = Pen((-0.66, -0.05, 0.66, 1.0), scale, rng.normal(0, 0.05), bool(rng.random() < 0.5))
    fur = random_colour(rng)
    coat = pen.part(fur, random_colour(rng))
    far, ear = pen.part(fur * 0.72), pen.part(random_colour(rng) * 0.8)
    dark = pen.part(DARK)
    sitting = rng.random() < 0.2
    if sitting:
        hip, chest, rump = np.array([-0.2, 0.17]), np.array([0.07, 0.46]), (-0.3, 0.1)
        pen.limb([chest - (0.02, 0.1), (0.13, 0.03)], [0.05, 0.04], far)
    else:
        hip, chest, rump = np.array([-0.26, 0.44]), np.array([0.14, 0.45]), (-0.36, 0.5)
        _paint_dog_legs(pen, rng, hip, chest, far, 0.05)
    _paint_tail(pen, rng, np.array(rump), sitting, coat)
    thick = rng.uniform(0.12, 0.15)
    pen.limb([hip, chest], [thick, thick * 1.12], coat)
    if sitting:
        pen.blob((-0.16, 0.15), (0.15, 0.14), coat)
        pen.limb([(-0.12, 0.04), (0.0, 0.035)], [0.045, 0.035], coat)
        pen.limb([chest - (-0.02, 0.1), (0.16, 0.03)], [0.052, 0.042], coat)
    else:
        _paint_dog_legs(pen, rng, hip, chest, coat, 0.0)
    head = chest + (rng.uniform(0.14, 0.22), rng.uniform(0.16, 0.26))
    pen.limb([chest + (0.03, 0.04), head], [0.11, 0.085], coat)
    nose = head + (rng.uniform(0.15, 0.21), -rng.uniform(0.02, 0.07))
    pen.blob(tuple(head), (0.105, 0.095), coat)
    pen.limb([head + (0.04, -0.02), nose], [0.065, 0.04], coat)
    pen.blob(tuple(nose + (0.025, 0.012)), (0.026, 0.024), dark)
    pen.blob(tuple(head + (0.045, 0.03)), (0.017, 0.019), dark)
    if rng.random() < 0.5:
        flap = [(-0.06, 0.07), (0.01, 0.08), (-0.03, -0.11), (-0.11, -0.09)]
    else:
        flap = [(-0.09, 0.05), (0.0, 0.07), (-0.07, 0.21)]
    pen.fill(np.array(flap) + head, ear)
    _paint_fur(pen, rng, hip, chest, thick, coat)
    return pen


def _paint_dog_legs(pen, rng, hip, chest, label, shift) -> None:
    step = rng.uniform(-0.13, 0.13)
    for top, way in ((hip - (0.04, 0.0), -1), (chest + (0.03, 0.0), 1)):
        x = top[0] + shift
        paw = (x + way * step, 0.025)
        knee = ((x + paw[0]) / 2 - 0.035, 0.21)
        pen.limb([(x, top[1] - 0.03), knee, paw], [0.075, 0.045, 0.036], label)
        pen.limb([paw, (paw[0] + 0.045, 0.022)], [0.034, 0.028], label)


def _paint_tail(pen, rng, rump, sitting, label) -> None:
    lift = rng.uniform(-0.05, 0.08) if sitting else rng.uniform(0.05, 0.28)
    middle = rump + (-0.12, lift * 0.5)
    tip = middle + (-rng.uniform(0.0, 0.08), lift * 0.8 + 0.04)
    pen.limb([rump + (0.06, -0.02), middle, tip], [0.045, 0.034, 0.018], label)
    count = 14
    along = rng.uniform(0, 1, (count, 1))
    roots = middle * (1 - along) + tip * along
    pen.hairs(roots, roots + rng.normal((-0.03, -0.03), 0.02, (count, 2)), np.zeros(2), label)


def _paint_fur(pen, rng, hip, chest, thick, label) -> None:
    """Hairs along the back and below the belly."""
    count = 40
    along = rng.uniform(-0.1, 1.1, (count, 1))
    side = np.where(rng.random((count, 1)) < 0.5, -0.95, 1.0)
    spine = (chest - hip) / np.linalg.norm(chest - hip)
    normal = np.array([-spine[1], spine[0]])
    roots = hip * (1 - along) + chest * along + normal * side * thick
    tips = roots + normal * side * rng.uniform(0.01, 0.05, (count, 1)) + (-0.03, 0)
    pen.hairs(roots, tips, np.zeros(2), label)
