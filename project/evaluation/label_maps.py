"""The labels of a dataset as maps of classes, one image at a time."""

from __future__ import annotations

from collections.abc import Mapping

from project.data.semantic_labels import truth_map
from project.errors import UserError
from project.evaluation.ground_truth import GroundTruth
from project.evaluation.image_masks import pixels

import numpy as np


class LabelMaps:
    """Maps of classes, painted by the rule of `project.data.semantic_labels`.

    Args:
        truth: objects without a mask are left out.
        categories: category id by the model's class number.

    Attributes:
        class_names: in the order of the model's classes.
    """

    def __init__(self, truth: GroundTruth, categories: Mapping[int, int]) -> None:
        self._truth = truth = truth.with_masks
        places = {id_: place for place, id_ in enumerate(truth.category_ids.tolist())}
        self.class_names = [truth.class_names[places[categories[k]]] for k in sorted(categories)]
        self._classes = {places[id_]: k for k, id_ in categories.items()}
        self._images = {id_: place for place, id_ in enumerate(truth.image_ids.tolist())}
        self._order = np.argsort(truth.image, kind="stable")
        self._ends = np.searchsorted(truth.image[self._order], np.arange(len(self._images) + 1))

    def size(self, image_id: int) -> tuple[int, int]:
        """Height and width of an image.

        Raises:
            UserError: if the dataset has no such image.
        """
        if image_id not in self._images:
            raise UserError(f"{self._truth.name} has no image {image_id}, which was predicted")
        return tuple(self._truth.sizes[self._images[image_id]].tolist())

    def read(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """int32 [H, W], 0 to K, background last; and which pixels count, bool [H, W]."""
        truth, place = self._truth, self._images[image_id]
        own = self._order[self._ends[place] : self._ends[place + 1]]
        objects, crowds = own[~truth.crowd[own]], own[truth.crowd[own]]
        return truth_map(
            [pixels(truth.rles[i]) for i in objects],
            [self._classes[k] for k in truth.category[objects].tolist()],
            [pixels(truth.rles[i]) for i in crowds],
            self.size(image_id),
            len(self.class_names),
        )
