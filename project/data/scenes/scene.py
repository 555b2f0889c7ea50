"""One scene from its seed and index: who is in it, where they stand, what of them can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from project.data.scenes.backdrop import draw_backdrop, draw_occluder, draw_shadow, light_field
from project.data.scenes.objects import draw_crowd, draw_object
from project.data.scenes.pen import Sprite

import numpy as np

SCENES_CLASSES = ("cake", "car", "dog", "person")
MIN_VISIBLE = 60  # pixels; an object of which less can be seen isn't drawn at all

# Each run of 16 images holds each of these once, in random order, so that the shares of classes and
# of empty images hold in any split: per 16 images about 30 persons, 21 cars, 6 dogs and 3 cakes.
_KINDS = (
    {},
    {"cake": (2, 4), "person": (0, 1)},
    *[{"dog": (1, 2), "person": (1, 3), "car": (0, 1)}] * 4,
    *[{"car": (1, 3), "person": (1, 3)}] * 6,
    {"person": (3, 5), "car": (0, 1)},
    {"person": (3, 5), "car": (0, 1), "crowd": (1, 1)},
    *[{"car": (2, 4), "person": (0, 1)}] * 2,
)
_AREAS = (880, 4800)  # pixels of a whole object, log-uniform: the same for every class
_CLOSE = 0.16  # share of the objects that are meant to stand in front of another one


@dataclass(frozen=True)
class SceneObject:
    """One labelled object; masks are bool (H, W) of the picture's size.

    Attributes:
        name: one of `SCENES_CLASSES`.
        visible: where more than half of the pixel shows this object; disjoint between objects.
        amodal: where the object would be seen if nothing stood before it; contains ``visible``.
        alpha: the whole object's coverage, float32 (H, W), 0-1, soft at edges and hairs.
        crowd: the object is a group of people that nobody can tell apart.
    """

    name: str
    visible: np.ndarray
    amodal: np.ndarray
    alpha: np.ndarray
    crowd: bool

    @property
    def occlusion(self) -> float:
        """Share (0-1) of the amodal mask that others hide; what the frame cuts off isn't counted."""
        return 1.0 - float(self.visible.sum()) / float(self.amodal.sum())


@dataclass(frozen=True)
class Scene:
    """A drawn picture with its truth.

    Attributes:
        image: RGB uint8 (H, W, 3).
        background: the same picture without its objects (their shadows stay), RGB uint8
            (H, W, 3); equal to ``image`` wherever every object's alpha is 0.
        objects: from the farthest to the nearest.
        seed, index: what `draw_scene` made it from.
    """

    image: np.ndarray
    background: np.ndarray
    objects: tuple[SceneObject, ...]
    seed: int
    index: int


@dataclass(frozen=True)
class _Layer:
    """A sprite in the picture: its alpha there, and the window that it touches."""

    name: str | None  # None: an unlabelled occluder
    crowd: bool
    alpha: np.ndarray  # (H, W)
    window: tuple[slice, slice]
    colour: np.ndarray  # premultiplied, (h, w, 3), of the window
    foot: tuple[int, int]


def draw_scene(seed: int, index: int) -> Scene:
    """The scene number ``index`` of the world ``seed``: always the same one, in whatever order.

    Args:
        seed: 0 or more.
        index: 0 or more.
    """
    rng = np.random.default_rng([seed, index])
    size = _picture_size(rng)
    horizon = int(size[0] * rng.uniform(0.3, 0.55))
    plate = draw_backdrop(size, horizon, rng)
    layers = _drop_hidden(_place(_cast(_kind(seed, index), size, horizon, rng), size, rng))
    light = light_field(size, rng)
    grain = rng.uniform(1, 6) * rng.standard_normal((*size, 1), dtype=np.float32)
    for layer in layers:
        draw_shadow(plate, layer.foot, layer.colour.shape[1])
    image = _lay_over(plate, layers)
    background = _lay_over(plate, [layer for layer in layers if layer.name is None])
    objects = tuple(
        SceneObject(layer.name, seen, layer.alpha > 0.5, layer.alpha, layer.crowd)
        for layer, seen in zip(layers, _visible(layers), strict=True)
        if layer.name is not None
    )
    image, background = (
        np.rint(np.clip(x * light + grain, 0, 255)).astype(np.uint8) for x in (image, background)
    )
    return Scene(image, background, objects, seed, index)


def _kind(seed: int, index: int) -> dict[str, tuple[int, int]]:
    block, place = divmod(index, len(_KINDS))
    order = np.random.default_rng([seed, block, 1]).permutation(len(_KINDS))
    return _KINDS[order[place]]


def _picture_size(rng: np.random.Generator) -> tuple[int, int]:
    height, width = 144 + int(rng.integers(-12, 13)), 176 + int(rng.integers(-12, 13))
    return (width, height) if rng.random() < 0.15 else (height, width)


def _cast(kind, size, horizon, rng) -> list[tuple[str | None, bool, Sprite, int]]:
    """Who appears: (name, crowd, sprite, row of the foot), the farthest first."""
    blur = rng.uniform(0, 0.75)
    deep = size[0] - horizon
    cast = []
    for name, (low, high) in kind.items():
        for _ in range(int(rng.integers(low, high + 1))):
            if name == "crowd":
                sprite = draw_crowd(rng.uniform(20, 28), int(rng.integers(7, 13)), rng, blur)
                cast.append(("person", True, sprite, horizon + int(0.15 * deep)))
                continue
            near = rng.uniform()
            sprite = draw_object(name, _AREAS[0] * (_AREAS[1] / _AREAS[0]) ** near, rng, blur)
            down = np.clip(0.2 + 0.75 * near + rng.normal(0, 0.08), 0.1, 1.02)
            cast.append((name, False, sprite, horizon + int(down * deep)))
    if rng.random() < 0.3:
        sprite = draw_occluder(rng.uniform(35, 90), rng, blur)
        cast.append((None, False, sprite, horizon + int(rng.uniform(0.5, 1.0) * deep)))
    return sorted(cast, key=lambda entry: entry[3])


def _place(cast, size, rng) -> list[_Layer]:
    """Choose columns, from the farthest to the nearest, so that nothing disappears."""
    layers: list[_Layer] = []
    seen = np.zeros((0, *size), bool)  # what is left of each layer
    whole = np.zeros(0)  # pixels of each layer if nothing stood before it
    for name, crowd, sprite, row in cast:
        close = rng.random() < _CLOSE
        best, best_score = None, np.inf
        for column in rng.uniform(0.02, 0.98, 10) * size[1]:
            layer = _put(sprite, int(column), row, size, name, crowd)
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


def _put(sprite: Sprite, column: int, row: int, size, name, crowd) -> _Layer | None:
    """The sprite with its foot at (column, row); None where the frame cuts off over a third."""
    top, left = row - sprite.foot[1], column - sprite.foot[0]
    height, width = sprite.alpha.shape
    y0, y1 = max(top, 0), min(top + height, size[0])
    x0, x1 = max(left, 0), min(left + width, size[1])
    inner = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    if y0 >= y1 or x0 >= x1 or sprite.alpha[inner].sum() < 0.67 * sprite.alpha.sum():
        return None
    window = (slice(y0, y1), slice(x0, x1))
    alpha = np.zeros(size, np.float32)
    alpha[window] = sprite.alpha[inner]
    return _Layer(name, crowd, alpha, window, sprite.colour[inner], (column, row))


def _drop_hidden(layers: list[_Layer]) -> list[_Layer]:
    """Without the objects that can hardly be seen; those that they hid come into sight."""
    while True:
        kept = [
            layer
            for layer, seen in zip(layers, _visible(layers), strict=True)
            if layer.name is None or seen.sum() >= MIN_VISIBLE
        ]
        if len(kept) == len(layers):
            return kept
        layers = kept


def _visible(layers: list[_Layer]) -> Iterator[np.ndarray]:
    """Per layer, where it gives more than half of the pixel: bool (H, W), disjoint."""
    masks = []
    clear = np.float32(1)  # share of each pixel that the nearer layers leave
    for layer in reversed(layers):
        masks.append(layer.alpha * clear > 0.5)
        clear = clear * (1 - layer.alpha)
    return reversed(masks)


def _lay_over(plate: np.ndarray, layers: list[_Layer]) -> np.ndarray:
    image = plate.copy()
    for layer in layers:
        patch = image[layer.window]
        patch *= 1 - layer.alpha[layer.window][..., None]
        patch += layer.colour
    return image
