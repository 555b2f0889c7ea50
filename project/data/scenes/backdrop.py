"""What stands around the objects: textured backgrounds, unlabelled things, light and grain."""

from __future__ import annotations

from project.data.scenes.pen import Pen, Sprite, random_colour, smooth_noise

import numpy as np


def draw_backdrop(size: tuple[int, int], horizon: int, rng: np.random.Generator) -> np.ndarray:
    """A textured wall or sky above ``horizon`` and a textured ground below; float32 (H, W, 3)."""
    height, width = size
    image = np.empty((height, width, 3), np.float32)
    steps = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    image[:] = random_colour(rng, 0.55) * (1 - steps) + random_colour(rng, 0.45) * steps
    _draw_things_behind(image, horizon, rng)
    ground = image[horizon:]
    ground[:] = random_colour(rng, 0.5) * rng.uniform(0.8, 1.05)
    _draw_ground_pattern(ground, rng)
    for cells, strength in ((4, 0.14), (14, 0.1), (50, 0.07)):
        image *= 1 + strength * smooth_noise(rng, size, cells)[..., None]
    return image


def _draw_things_behind(image: np.ndarray, horizon: int, rng: np.random.Generator) -> None:
    """Houses, trees and far blobs at the horizon, on ``image`` in place."""
    import cv2

    width = image.shape[1]
    for _ in range(int(rng.integers(0, 5))):
        x, kind = int(rng.integers(0, width)), rng.integers(3)
        colour = tuple(map(float, random_colour(rng, 0.6)))
        tall = int(rng.integers(15, 60))
        if kind == 0:
            wide = int(rng.integers(20, 60))
            cv2.rectangle(image, (x, horizon - tall), (x + wide, horizon), colour, -1)
            pane = tuple(0.6 * c for c in colour)
            for u in range(x + 4, x + wide - 6, 10):
                for v in range(horizon - tall + 4, horizon - 6, 12):
                    cv2.rectangle(image, (u, v), (u + 4, v + 6), pane, -1)
        elif kind == 1:
            trunk = (70.0, 55.0, 45.0)
            cv2.line(image, (x, horizon), (x, horizon - tall), trunk, 3, cv2.LINE_AA)
            for _ in range(5):
                at = (x + int(rng.integers(-9, 10)), horizon - tall + int(rng.integers(-8, 9)))
                cv2.circle(image, at, int(rng.integers(6, 12)), colour, -1, cv2.LINE_AA)
        else:
            axes = (int(rng.integers(15, 50)), int(rng.integers(6, 30)))
            cv2.ellipse(image, (x, horizon), axes, 0, 180, 360, colour, -1, cv2.LINE_AA)


def _draw_ground_pattern(ground: np.ndarray, rng: np.random.Generator) -> None:
    """Rows, tiles, joints or patches on ``ground``, larger towards the viewer; in place."""
    kind = rng.integers(4)
    height, width = ground.shape[:2]
    near = np.linspace(0.35, 1, height, dtype=np.float32)[:, None]
    x = (np.arange(width, dtype=np.float32)[None] - width * rng.uniform(0.2, 0.8)) / near
    depth = np.log(near) * rng.uniform(4, 8)
    pitch = rng.uniform(14, 40)
    if kind == 0:
        mark = np.broadcast_to(depth % 1 < 0.15, ground.shape[:2])
    elif kind == 1:
        mark = ((x / pitch) % 1 < 0.5) ^ (depth % 1 < 0.5)
    elif kind == 2:
        mark = (x / pitch) % 1 < 0.1
    else:
        mark = smooth_noise(rng, (height, width), 9) > 0.2
    ground[mark] *= rng.uniform(0.8, 1.2)


def draw_shadow(image: np.ndarray, foot: tuple[int, int], width: float) -> None:
    """Darken the ground below an object, softly and in place."""
    x, y = foot
    radii = np.array([max(width * 0.55, 3), max(width * 0.12, 2)])
    x0, x1 = max(int(x - 2 * radii[0]), 0), min(int(x + 2 * radii[0]) + 1, image.shape[1])
    y0, y1 = max(int(y - 2 * radii[1]), 0), min(int(y + 2 * radii[1]) + 1, image.shape[0])
    v, u = np.ogrid[y0:y1, x0:x1]
    reach = ((u - x) / radii[0]) ** 2 + ((v - y) / radii[1]) ** 2
    image[y0:y1, x0:x1] *= (1 - 0.4 * np.exp(-1.5 * reach))[..., None].astype(np.float32)


def draw_occluder(height: float, rng: np.random.Generator, blur: float = 0.0) -> Sprite:
    """An unlabelled thing of about ``height`` pixels that may stand before objects."""
    pen = Pen((-0.3, -0.05, 0.3, 1.1), height, rng.normal(0, 0.03))
    colour = pen.part(random_colour(rng, 0.8), random_colour(rng, 0.8))
    kind = rng.integers(3)
    if kind == 0:  # a pole with a sign
        pen.limb([(0, 0), (0, 1.0)], [0.022, 0.018], colour)
        sign = pen.part(random_colour(rng))
        pen.fill([(-0.12, 0.8), (0.12, 0.8), (0.12, 1.02), (-0.12, 1.02)], sign)
    elif kind == 1:  # a bush
        for _ in range(9):
            at = (float(rng.uniform(-0.15, 0.15)), float(rng.uniform(0.08, 0.35)))
            pen.blob(at, (0.11, 0.1), colour)
        roots = rng.uniform((-0.22, 0.1), (0.22, 0.42), (50, 2))
        pen.hairs(roots, roots + rng.normal((0, 0.05), 0.03, (50, 2)), np.zeros(2), colour)
    else:  # a box
        lid = pen.part(random_colour(rng, 0.8))
        pen.fill([(-0.18, 0), (0.18, 0), (0.18, 0.32), (-0.18, 0.32)], colour)
        pen.fill([(-0.18, 0.32), (0.18, 0.32), (0.25, 0.4), (-0.11, 0.4)], lid)
    return pen.finish(rng, blur)


def light_field(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Brightness that falls off across the picture, tinted; factors, float32 (H, W, 3)."""
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None]
    turn, fall = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25)
    field = rng.uniform(0.8, 1.12) + fall * (np.cos(turn) * x + np.sin(turn) * y)
    return field[..., None].astype(np.float32) * rng.uniform(0.88, 1.12, 3).astype(np.float32)
