"""Layers of a picture: where sprites stand, what of each can be seen, how they make the picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from project.data.scenes.pen import Sprite

import numpy as np

MIN_VISIBLE = 60  # pixels; an object of which less can be seen isn't drawn at all
_CLOSE = 0.16  # share of the things that are meant to hide a good part of another one


@dataclass(frozen=True)
class Actor:
    """A sprite that is to appear in a picture.

    Attributes:
        name: its class; None for an unlabelled occluder.
        crowd: it is a group of people.
        row: where its foot stands; a larger row is nearer.
    """

    name: str | None
    crowd: bool
    sprite: Sprite
    row: int


@dataclass(frozen=True)
class Layer:
    """An actor at its place.

    Attributes:
        alpha: float32 (H, W) of the picture's size, 0-1; 0 outside of ``window``.
        window: rows and columns that the sprite covers.
        colour: premultiplied RGB of the window, float32 (h, w, 3).
        foot: (x, y) of the point on the ground.
    """

    name: str | None
    crowd: bool
    alpha: np.ndarray
    window: tuple[slice, slice]
    colour: np.ndarray
    foot: tuple[int, int]


def place(cast: Sequence[Actor], size: tuple[int, int], rng: np.random.Generator) -> list[Layer]:
    """A layer per actor, the farthest first, in columns where no actor hides over 70 % of another.

    An actor without such a column among ten random ones stays away.
    """
    layers: list[Layer] = []
    seen = np.zeros((0, *size), bool)  # what is left of each layer
    whole = np.zeros(0)  # pixels of each layer if nothing stood before it
    for actor in sorted(cast, key=lambda actor: actor.row):
        close = rng.random() < _CLOSE
        best, best_score = None, np.inf
        for column in rng.uniform(0.02, 0.98, 10) * size[1]:
            layer = _put(actor, int(column), size)
            if layer is None:
                continue
            rest = seen[(slice(None), *layer.window)] & ~(layer.alpha[layer.window] > 0.5)
            lost = seen[(slice(None), *layer.window)].sum((1, 2)) - rest.sum((1, 2))
            hidden = 1 - (seen.sum((1, 2)) - lost) / whole
            worst = hidden.max(initial=0)
            score = abs(worst - 0.45) if close else hidden.sum()
            if worst < 0.7 and score < best_score:
                best, best_score = layer, score
        if best is not None:
            solid = best.alpha > 0.5
            seen = np.concatenate([seen & ~solid, solid[None]])
            whole = np.append(whole, solid.sum())
            layers.append(best)
    return layers


def _put(actor: Actor, column: int, size: tuple[int, int]) -> Layer | None:
    """The actor with its foot in ``column``; None where the frame cuts off over a third of it."""
    sprite = actor.sprite
    top, left = actor.row - sprite.foot[1], column - sprite.foot[0]
    height, width = sprite.alpha.shape
    y0, y1 = max(top, 0), min(top + height, size[0])
    x0, x1 = max(left, 0), min(left + width, size[1])
    inner = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    if y0 >= y1 or x0 >= x1 or sprite.alpha[inner].sum() < 0.67 * sprite.alpha.sum():
        return None
    window = (slice(y0, y1), slice(x0, x1))
    alpha = np.zeros(size, np.float32)
    alpha[window] = sprite.alpha[inner]
    foot = (column, actor.row)
    return Layer(actor.name, actor.crowd, alpha, window, sprite.colour[inner], foot)


def drop_hidden(layers: list[Layer]) -> list[Layer]:
    """Without the objects that can hardly be seen; those that they hid come into sight."""
    while True:
        kept = [
            layer
            for layer, seen in zip(layers, visible_masks(layers), strict=True)
            if layer.name is None or seen.sum() >= MIN_VISIBLE
        ]
        if len(kept) == len(layers):
            return kept
        layers = kept


def visible_masks(layers: list[Layer]) -> Iterator[np.ndarray]:
    """Per layer, where it gives more than half of the pixel: bool (H, W), disjoint."""
    masks = []
    clear = np.float32(1)  # share of each pixel that the nearer layers leave
    for layer in reversed(layers):
        masks.append(layer.alpha * clear > 0.5)
        clear = clear * (1 - layer.alpha)
    return reversed(masks)


def lay_over(plate: np.ndarray, layers: list[Layer]) -> np.ndarray:
    """``plate`` (H, W, 3), float32, with ``layers`` over it."""
    image = plate.copy()
    for layer in layers:
        patch = image[layer.window]
        patch *= 1 - layer.alpha[layer.window][..., None]
        patch += layer.colour
    return image
