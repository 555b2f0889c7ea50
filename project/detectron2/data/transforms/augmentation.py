"""What an augmentation is: a policy that looks at an input and chooses a transform for it.

Follows the API of ``detectron2.data.transforms.augmentation``. The choice and the transform are
kept apart, so that whatever was chosen for the image can be applied to its labels afterwards.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence

import numpy as np
from fvcore.transforms.transform import Transform, TransformList

__all__ = ["AugInput", "Augmentation", "AugmentationList"]


class AugInput:
    """An image with the labels that augmentations may look at, and that change with it.

    Attributes:
        image: [H, W] or [H, W, C], uint8 or float in 0..255.
        boxes: [N, 4] float, XYXY in pixels, or None.
        sem_seg: [H, W] integer labels, or None.

    Raises:
        AssertionError: for an image or a ``sem_seg`` that is no such array.
    """

    def __init__(
        self,
        image: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        sem_seg: np.ndarray | None = None,
    ) -> None:
        _check_image(image)
        _check_labels(sem_seg)
        self.image, self.boxes, self.sem_seg = image, boxes, sem_seg

    def transform(self, tfm: Transform) -> None:
        """Apply ``tfm`` to everything that is there; the attributes are replaced."""
        self.image = tfm.apply_image(self.image)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)


def _describe(value) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    return type(value).__name__


def _check_image(image) -> None:
    fine = (
        isinstance(image, np.ndarray)
        and image.ndim in (2, 3)
        and (image.dtype == np.uint8 or np.issubdtype(image.dtype, np.floating))
    )
    assert fine, f"An image is uint8 or float, [H, W] or [H, W, C]; got {_describe(image)}"


def _check_labels(sem_seg) -> None:
    fine = sem_seg is None or (isinstance(sem_seg, np.ndarray) and sem_seg.ndim == 2)
    assert fine, f"sem_seg must be an array [H, W], got {_describe(sem_seg)}"


class Augmentation:
    """Chooses a transform for an input; subclasses write `get_transform`.

    The names of the arguments of ``get_transform`` say what it looks at: ``get_transform(self,
    image, sem_seg)`` is given ``aug_input.image`` and ``aug_input.sem_seg``. Random draws come from
    the global generator of numpy.
    """

    def get_transform(self, image: np.ndarray) -> Transform:
        """The transform for this input, which isn't changed."""
        raise NotImplementedError(f"{type(self).__name__} doesn't say what to look at")

    def __call__(self, aug_input) -> Transform:
        """Choose a transform, apply it to ``aug_input`` in place, and return it.

        Raises:
            AttributeError: if ``aug_input`` lacks what ``get_transform`` asks for.
            TypeError: if ``get_transform`` takes ``*args`` or ``**kwargs``.
        """
        chosen = self.get_transform(*self._looked_at(aug_input))
        assert isinstance(chosen, Transform), (
            f"{type(self).__name__}.get_transform must return a Transform, got {type(chosen)}"
        )
        aug_input.transform(chosen)
        return chosen

    def _looked_at(self, aug_input) -> list:
        names = _argument_names(type(self).get_transform)
        if missing := [name for name in names if not hasattr(aug_input, name)]:
            raise AttributeError(
                f"{type(self).__name__} looks at {', '.join(missing)}, which "
                f"{type(aug_input).__name__} doesn't have"
            )
        return [getattr(aug_input, name) for name in names]

    def __repr__(self) -> str:
        """The constructor call with the arguments that differ from their defaults."""
        parameters = inspect.signature(type(self)).parameters.values()
        state = vars(self)
        if any(
            p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or p.name not in state for p in parameters
        ):
            return super().__repr__()
        shown = [
            f"{p.name}={state[p.name]!r}" for p in parameters if not _is(state[p.name], p.default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


def _is(value, default) -> bool:
    """Equality that also answers for arrays and for "no default"."""
    return default is not inspect.Parameter.empty and repr(value) == repr(default)


@functools.cache
def _argument_names(get_transform) -> list[str]:
    """The arguments of a ``get_transform`` after ``self``; one argument is always the image."""
    parameters = list(inspect.signature(get_transform).parameters.values())[1:]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(
                f"{get_transform.__qualname__} takes *{parameter.name}: arguments of get_transform "
                f"must be named after attributes of the input"
            )
    return ["image"] if len(parameters) == 1 else [parameter.name for parameter in parameters]


class AugmentationList(Augmentation):
    """Several augmentations in order, each looking at the result of those before it.

    Args:
        augs: augmentations; plain transforms stand for themselves.
    """

    def __init__(self, augs: Sequence[Augmentation | Transform]) -> None:
        super().__init__()
        self.augs = [as_augmentation(aug) for aug in augs]

    def __call__(self, aug_input) -> TransformList:
        """Apply all in place; returns the chosen transforms in one flat list."""
        return TransformList([aug(aug_input) for aug in self.augs])

    def __repr__(self) -> str:
        return f"AugmentationList({self.augs!r})"


class _Always(Augmentation):
    """A transform as an augmentation that never chooses another."""

    def __init__(self, tfm: Transform) -> None:
        self.tfm = tfm

    def get_transform(self, image: np.ndarray) -> Transform:
        return self.tfm

    def __repr__(self) -> str:
        return repr(self.tfm)


def as_augmentation(tfm_or_aug: Transform | Augmentation) -> Augmentation:
    """An augmentation as it is, a transform as one that is always chosen.

    Raises:
        AssertionError: for anything else.
    """
    if isinstance(tfm_or_aug, Augmentation):
        return tfm_or_aug
    assert isinstance(tfm_or_aug, Transform), (
        f"Expected an Augmentation or a Transform, got {type(tfm_or_aug)}"
    )
    return _Always(tfm_or_aug)
