"""Painter of people: standing or walking, in many poses and clothes."""

from __future__ import annotations

from project.data.scenes.pen import DARK, Pen, random_colour

import numpy as np

_SKINS = np.float32([[244, 208, 177], [224, 172, 125], [172, 118, 78], [110, 72, 48], [82, 54, 40]])


def paint_person(scale: float, rng: np.random.Generator) -> Pen:
    turn = rng.normal(0, 0.05)
    pen = Pen((-0.45, -0.05, 0.45, 1.16), scale, turn, bool(rng.random() < 0.5))
    paint_person_at(pen, rng, (0.0, 0.0))
    return pen


def paint_person_at(pen: Pen, rng: np.random.Generator, at: tuple[float, float]) -> None:
    """Legs, torso, arms, head and hair of one person who stands at ``at``."""
    at = np.array(at)
    wide = rng.uniform(0.9, 1.2)
    skin = pen.part(_SKINS[rng.integers(len(_SKINS))] * rng.uniform(0.9, 1.05))
    shirt = pen.part(random_colour(rng), random_colour(rng))
    cloth = pen.part(random_colour(rng))
    shoes = pen.part(random_colour(rng) * 0.6)
    walking = rng.random() < 0.5
    stride = rng.uniform(0.06, 0.17) if walking else rng.uniform(0.0, 0.05)
    for side in (-1, 1):
        hip, foot = np.array([side * 0.05 * wide, 0.5]), np.array([side * (0.06 + stride), 0.03])
        knee = (hip + foot) / 2 + (rng.uniform(0.0, 0.05) if walking else 0.0, 0.02)
        pen.limb([hip + at, knee + at, foot + at], [0.068 * wide, 0.056 * wide, 0.043], cloth)
        pen.limb(
            [foot + at, foot + at + (0.05 if walking else side * 0.03, -0.01)], [0.04, 0.032], shoes
        )
    if rng.random() < 0.25:  # a skirt or a dress
        hem = rng.uniform(0.24, 0.36)
        pen.fill(np.array([(-0.09, 0.54), (0.09, 0.54), (0.17, hem), (-0.17, hem)]) + at, cloth)
    behind = rng.random() < 0.5
    if behind:
        _paint_arm(pen, rng, at, -1, wide, walking, shirt, skin)
    shoulders = np.array([(-0.125, 0.77), (-0.09, 0.82), (0.09, 0.82), (0.125, 0.77)])
    torso = np.concatenate([shoulders, [(0.1, 0.48), (-0.1, 0.48)]]) * (wide, 1)
    pen.fill(torso + at, shirt)
    for side in (1,) if behind else (-1, 1):
        _paint_arm(pen, rng, at, side, wide, walking, shirt, skin)
    _paint_head(pen, rng, at, skin)


def _paint_arm(pen, rng, at, side, wide, walking, shirt, skin) -> None:
    pose = rng.choice(3, p=[0.68, 0.14, 0.18])  # hanging, raised, hand on the hip
    upper = (rng.uniform(0.15, 0.5), rng.uniform(1.9, 2.6), rng.uniform(0.75, 1.0))[pose]
    lower = (upper - rng.uniform(0, 0.3), upper + rng.uniform(0, 0.4), -rng.uniform(0.6, 0.9))[pose]
    if walking and pose == 0:
        lower = upper + rng.uniform(0.2, 0.9)
    shoulder = np.array([side * 0.115 * wide, 0.775]) + at
    elbow = shoulder + 0.165 * np.array([side * np.sin(upper), -np.cos(upper)])
    hand = elbow + 0.15 * np.array([side * np.sin(lower), -np.cos(lower)])
    pen.limb([shoulder, elbow], [0.048 * wide, 0.042], shirt)
    pen.limb([elbow, hand], [0.04, 0.034], skin if rng.random() < 0.5 else shirt)
    pen.blob(tuple(hand), (0.038, 0.038), skin)


def _paint_head(pen, rng, at, skin) -> None:
    hair = pen.part(random_colour(rng, 0.8) * 0.7)
    centre = at + (rng.uniform(-0.015, 0.015), 0.905)
    style = rng.choice(4, p=[0.4, 0.3, 0.15, 0.15])  # short, long, curly, hat
    if style == 1:
        pen.limb([centre + (0, 0.02), centre - (0, rng.uniform(0.1, 0.18))], [0.098, 0.09], hair)
    pen.limb([centre, centre - (0, 0.1)], [0.035, 0.035], skin)
    if style == 2:
        pen.blob(tuple(centre + (0, 0.03)), (0.12, 0.105), hair)
    else:
        pen.blob(tuple(centre + (0, 0.022)), (0.085, 0.09), hair)
    pen.blob(tuple(centre - (0, 0.012)), (0.072, 0.078), skin)
    if style == 3:
        pen.fill(
            centre + np.array([(-0.13, 0.03), (0.13, 0.03), (0.13, 0.05), (-0.13, 0.05)]), hair
        )
        pen.fill(
            centre + np.array([(-0.075, 0.05), (0.075, 0.05), (0.06, 0.13), (-0.06, 0.13)]), hair
        )
    else:
        _paint_strands(pen, rng, centre, style, hair)
    eyes = pen.part(DARK)
    for side in (-1, 1):
        pen.blob((centre[0] + side * 0.028, centre[1] - 0.005), (0.012, 0.014), eyes)


def _paint_strands(pen, rng, centre, style, hair) -> None:
    """Single hairs that stand off the head; long hair also falls below it."""
    count = int(rng.integers(25, 45))
    around = rng.uniform(-0.2, np.pi + 0.2, count)
    out = np.stack([np.cos(around), np.sin(around)], axis=1)
    roots = centre + (0, 0.02) + out * ((0.1, 0.09) if style == 2 else (0.08, 0.085))
    reach = rng.uniform(0.01, 0.04, (count, 1))
    fall = (0, -0.12) if style == 1 else (0, 0.01)
    bend = rng.normal(0, 0.012, (count, 2)) + out * 0.012
    pen.hairs(roots, roots + out * reach + fall, bend, hair)
