"""One scene from its seed and index: who is in it, where they stand, what of them can be seen."""

from __future__ import annotations

from dataclasses import dataclass

from project.data.scenes.backdrop import draw_backdrop, draw_occluder, draw_shadow, light_field
from project.data.scenes.layers import Actor, drop_hidden, lay_over, place, visible_masks
from project.data.scenes.objects import draw_crowd, draw_object

import numpy as np

SCENES_CLASSES = ("cake", "car", "dog", "person")

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
        """Share (0-1) of the amodal mask that other things, labelled or not, hide.

        What the frame cuts off isn't counted.
        """
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
    layers = drop_hidden(place(_cast(_kind(seed, index), size, horizon, rng), size, rng))
    light = light_field(size, rng)
    grain = rng.uniform(1, 6) * rng.standard_normal((*size, 1), dtype=np.float32)
    for layer in layers:
        draw_shadow(plate, layer.foot, layer.colour.shape[1])
    image = lay_over(plate, layers)
    background = lay_over(plate, [layer for layer in layers if layer.name is None])
    objects = tuple(
        SceneObject(layer.name, seen, layer.alpha > 0.5, layer.alpha, layer.crowd)
        for layer, seen in zip(layers, visible_masks(layers), strict=True)
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


def _cast(
    kind: dict[str, tuple[int, int]],
    size: tuple[int, int],
    horizon: int,
    rng: np.random.Generator,
) -> list[Actor]:
    """Who appears: larger ones stand nearer, as in a photograph; some scenes have an occluder."""
    blur = rng.uniform(0, 0.75)
    deep = size[0] - horizon
    cast = []
    for name, (low, high) in kind.items():
        for _ in range(int(rng.integers(low, high + 1))):
            if name == "crowd":
                sprite = draw_crowd(rng.uniform(20, 28), int(rng.integers(7, 13)), rng, blur)
                cast.append(Actor("person", True, sprite, horizon + int(0.15 * deep)))
                continue
            near = rng.uniform()
            sprite = draw_object(name, _AREAS[0] * (_AREAS[1] / _AREAS[0]) ** near, rng, blur)
            down = np.clip(0.2 + 0.75 * near + rng.normal(0, 0.08), 0.1, 1.02)
            cast.append(Actor(name, False, sprite, horizon + int(down * deep)))
    if rng.random() < 0.3:
        sprite = draw_occluder(rng.uniform(35, 90), rng, blur)
        cast.append(Actor(None, False, sprite, horizon + int(rng.uniform(0.5, 1.0) * deep)))
    return cast
