"""Painter of people: standing or walking, in many poses and clothes. Height 1."""

from __future__ import annotations

from dataclasses import dataclass

from project.data.scenes.pen import DARK, Pen, random_colour

import numpy as np

_SKINS = np.float32([[244, 208, 177], [224, 172, 125], [172, 118, 78], [110, 72, 48], [82, 54, 40]])


@dataclass(frozen=True)
class _Build:
    """What the parts of one person share: labels of skin and shirt, width, gait."""

    skin: int
    shirt: int
    wide: float
    walking: bool


def paint_person(pen: Pen, rng: np.random.Generator) -> None:
    """Legs, torso, arms and head, the farther parts first."""
    build = _Build(
        skin=pen.part(_SKINS[rng.integers(len(_SKINS))] * rng.uniform(0.9, 1.05)),
        shirt=pen.part(random_colour(rng), random_colour(rng)),
        wide=rng.uniform(0.9, 1.2),
        walking=rng.random() < 0.5,
    )
    _paint_legs(pen, rng, build)
    behind = rng.random() < 0.5  # one arm behind the torso
    if behind:
        _paint_arm(pen, rng, build, -1)
    side = np.array([(0.1, 0.48), (0.125, 0.77), (0.09, 0.82)]) * (build.wide, 1)
    pen.fill(np.concatenate([side, side[::-1] * (-1, 1)]), build.shirt)
    for way in (1,) if behind else (-1, 1):
        _paint_arm(pen, rng, build, way)
    _paint_head(pen, rng, build.skin)


def _paint_legs(pen: Pen, rng: np.random.Generator, build: _Build) -> None:
    cloth, shoes = pen.part(random_colour(rng)), pen.part(random_colour(rng) * 0.6)
    stride = rng.uniform(0.06, 0.17) if build.walking else rng.uniform(0.0, 0.05)
    for way in (-1, 1):
        hip = np.array([way * 0.05 * build.wide, 0.5])
        foot = np.array([way * (0.06 + stride), 0.03])
        knee = (hip + foot) / 2 + (rng.uniform(0.0, 0.05) * build.walking, 0.02)
        pen.limb([hip, knee, foot], [0.068 * build.wide, 0.056 * build.wide, 0.043], cloth)
        toe = foot + (0.05 if build.walking else way * 0.03, -0.01)
        pen.limb([foot, toe], [0.04, 0.032], shoes)
    if rng.random() < 0.25:  # a skirt
        hem = rng.uniform(0.24, 0.36)
        pen.fill([(-0.09, 0.54), (0.09, 0.54), (0.17, hem), (-0.17, hem)], cloth)


def _paint_arm(pen: Pen, rng: np.random.Generator, build: _Build, way: int) -> None:
    """The arm on the side ``way`` (-1 or 1); angles are measured outwards from hanging down."""
    pose = rng.choice(3, p=[0.68, 0.14, 0.18])
    if pose == 0:  # hanging, or swinging
        upper = rng.uniform(0.15, 0.5)
        lower = upper + (rng.uniform(0.2, 0.9) if build.walking else -rng.uniform(0, 0.3))
    elif pose == 1:  # raised
        upper = rng.uniform(1.9, 2.6)
        lower = upper + rng.uniform(0, 0.4)
    else:  # hand on the hip: a hole in the silhouette
        upper, lower = rng.uniform(0.75, 1.0), -rng.uniform(0.6, 0.9)
    shoulder = np.array([way * 0.115 * build.wide, 0.775])
    elbow = shoulder + 0.165 * np.array([way * np.sin(upper), -np.cos(upper)])
    hand = elbow + 0.15 * np.array([way * np.sin(lower), -np.cos(lower)])
    pen.limb([shoulder, elbow], [0.048 * build.wide, 0.042], build.shirt)
    pen.limb([elbow, hand], [0.04, 0.034], build.skin if rng.random() < 0.5 else build.shirt)
    pen.blob(hand, (0.038, 0.038), build.skin)


def _paint_head(pen: Pen, rng: np.random.Generator, skin: int) -> None:
    hair = pen.part(random_colour(rng, 0.8) * 0.7)
    centre = np.array([rng.uniform(-0.015, 0.015), 0.905])
    style = str(rng.choice(["short", "long", "curly", "hat"], p=[0.4, 0.3, 0.15, 0.15]))
    if style == "long":
        pen.limb([centre + (0, 0.02), centre - (0, rng.uniform(0.1, 0.18))], [0.098, 0.09], hair)
    pen.limb([centre, centre - (0, 0.1)], [0.035, 0.035], skin)
    pen.blob(centre + (0, 0.025), (0.12, 0.105) if style == "curly" else (0.085, 0.09), hair)
    pen.blob(centre - (0, 0.012), (0.072, 0.078), skin)
    if style == "hat":
        pen.fill(centre + [(-0.13, 0.03), (0.13, 0.03), (0.13, 0.05), (-0.13, 0.05)], hair)
        pen.fill(centre + [(-0.075, 0.05), (0.075, 0.05), (0.06, 0.13), (-0.06, 0.13)], hair)
    else:
        _paint_strands(pen, rng, centre, style, hair)
    eyes = pen.part(DARK)
    for way in (-1, 1):
        pen.blob(centre + (way * 0.028, -0.005), (0.012, 0.014), eyes)


def _paint_strands(
    pen: Pen, rng: np.random.Generator, centre: np.ndarray, style: str, hair: int
) -> None:
    """Single hairs that stand off the head; long hair also falls below it."""
    count = int(rng.integers(25, 45))
    around = rng.uniform(-0.2, np.pi + 0.2, count)
    out = np.stack([np.cos(around), np.sin(around)], axis=1)
    roots = centre + (0, 0.02) + out * ((0.1, 0.09) if style == "curly" else (0.08, 0.085))
    fall = (0, -0.12) if style == "long" else (0, 0.01)
    tips = roots + out * rng.uniform(0.01, 0.04, (count, 1)) + fall
    pen.hairs(roots, tips, rng.normal(0, 0.012, (count, 2)) + out * 0.012, hair)
