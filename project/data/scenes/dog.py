"""Painter of dogs: walking or sitting, thin legs, a tail, fur that stands off. Length about 1."""

from __future__ import annotations

from project.data.scenes.pen import DARK, Pen, random_colour

import numpy as np


def paint_dog(pen: Pen, rng: np.random.Generator) -> None:
    """Far legs, tail, trunk, near legs, head (at +x), fur."""
    fur = random_colour(rng)
    coat, far = pen.part(fur, random_colour(rng)), pen.part(fur * 0.72)
    thick = rng.uniform(0.12, 0.15)
    if rng.random() < 0.2:
        hip, chest = np.array([-0.2, 0.17]), np.array([0.07, 0.46])
        _paint_sitting(pen, rng, hip, chest, thick, (coat, far))
    else:
        hip, chest = np.array([-0.26, 0.44]), np.array([0.14, 0.45])
        _paint_walking(pen, rng, hip, chest, thick, (coat, far))
    _paint_head(pen, rng, chest, coat)
    _paint_fur(pen, rng, hip, chest, thick, coat)


def _paint_sitting(
    pen: Pen,
    rng: np.random.Generator,
    hip: np.ndarray,
    chest: np.ndarray,
    thick: float,
    labels: tuple[int, int],
) -> None:
    coat, far = labels
    pen.limb([chest - (0.02, 0.1), (0.13, 0.03)], [0.05, 0.04], far)
    _paint_tail(pen, rng, hip - (0.1, 0.07), rng.uniform(-0.05, 0.08), coat)
    pen.limb([hip, chest], [thick, thick * 1.12], coat)
    pen.blob((-0.16, 0.15), (0.15, 0.14), coat)
    pen.limb([(-0.12, 0.04), (0.0, 0.035)], [0.045, 0.035], coat)
    pen.limb([chest - (-0.02, 0.1), (0.16, 0.03)], [0.052, 0.042], coat)


def _paint_walking(
    pen: Pen,
    rng: np.random.Generator,
    hip: np.ndarray,
    chest: np.ndarray,
    thick: float,
    labels: tuple[int, int],
) -> None:
    coat, far = labels
    _paint_legs(pen, rng, hip + (0.05, 0), chest + (0.05, 0), far)
    _paint_tail(pen, rng, hip + (-0.1, 0.06), rng.uniform(0.05, 0.28), coat)
    pen.limb([hip, chest], [thick, thick * 1.12], coat)
    _paint_legs(pen, rng, hip, chest, coat)


def _paint_legs(
    pen: Pen, rng: np.random.Generator, hip: np.ndarray, chest: np.ndarray, label: int
) -> None:
    """A hind leg and a front leg of one side; they step against each other."""
    step = rng.uniform(-0.13, 0.13)
    for (x, y), way in ((hip - (0.04, 0), -1), (chest + (0.03, 0), 1)):
        paw = np.array([x + way * step, 0.025])
        knee = ((x + paw[0]) / 2 - 0.035, 0.21)
        pen.limb([(x, y - 0.03), knee, paw], [0.075, 0.045, 0.036], label)
        pen.limb([paw, paw + (0.045, -0.003)], [0.034, 0.028], label)


def _paint_tail(
    pen: Pen, rng: np.random.Generator, rump: np.ndarray, lift: float, label: int
) -> None:
    middle = rump + (-0.12, lift * 0.5)
    tip = middle + (-rng.uniform(0.0, 0.08), lift * 0.8 + 0.04)
    pen.limb([rump + (0.06, -0.02), middle, tip], [0.045, 0.034, 0.018], label)
    roots = middle + (tip - middle) * rng.uniform(0, 1, (14, 1))
    pen.hairs(roots, roots + rng.normal((-0.03, -0.03), 0.02, (14, 2)), np.zeros(2), label)


def _paint_head(pen: Pen, rng: np.random.Generator, chest: np.ndarray, coat: int) -> None:
    dark, ear = pen.part(DARK), pen.part(random_colour(rng) * 0.8)
    head = chest + (rng.uniform(0.14, 0.22), rng.uniform(0.16, 0.26))
    nose = head + (rng.uniform(0.15, 0.21), -rng.uniform(0.02, 0.07))
    pen.limb([chest + (0.03, 0.04), head], [0.11, 0.085], coat)
    pen.blob(head, (0.105, 0.095), coat)
    pen.limb([head + (0.04, -0.02), nose], [0.065, 0.04], coat)
    pen.blob(nose + (0.025, 0.012), (0.026, 0.024), dark)
    pen.blob(head + (0.045, 0.03), (0.017, 0.019), dark)
    if rng.random() < 0.5:
        pen.fill(head + [(-0.06, 0.07), (0.01, 0.08), (-0.03, -0.11), (-0.11, -0.09)], ear)
    else:
        pen.fill(head + [(-0.09, 0.05), (0.0, 0.07), (-0.07, 0.21)], ear)


def _paint_fur(
    pen: Pen,
    rng: np.random.Generator,
    hip: np.ndarray,
    chest: np.ndarray,
    thick: float,
    label: int,
) -> None:
    """Hairs along the back and below the belly."""
    along, reach = rng.uniform(-0.1, 1.1, (40, 1)), rng.uniform(0.01, 0.05, (40, 1))
    spine = (chest - hip) / np.linalg.norm(chest - hip)
    out = np.array([-spine[1], spine[0]]) * np.where(rng.random((40, 1)) < 0.5, -0.95, 1.0)
    roots = hip + (chest - hip) * along + out * thick
    pen.hairs(roots, roots + out * reach + (-0.03, 0), np.zeros(2), label)
