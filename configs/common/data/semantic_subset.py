"""One COCO subset for semantic models: as ``coco_subset``, with the class of each pixel as labels.

Images without objects are trained on too: all of their pixels are background.
"""

from project.data.augmentation import ColorJitter
from project.data.catalog import num_classes
from project.data.semantic_mapper import SemanticMapper
from project.evaluation.semantic import SemanticEvaluator

from detectron2.config import LazyCall as L
from detectron2.data import transforms as T

from .coco_subset import dataloader, dataset

classes = L(num_classes)(subset="${dataset.name}", root="${dataset.root}")

dataloader.train.dataset.filter_empty = False
dataloader.train.mapper = L(SemanticMapper)(
    is_train=True,
    num_classes=classes,
    image_format="${model.input_format}",
    augmentations=[
        L(T.Resize)(shape=[320, 320]),
        L(T.RandomFlip)(horizontal=True),
        L(ColorJitter)(
            brightness=0.2, contrast=0.2, saturation=0.2, image_format="${model.input_format}"
        ),
    ],
)
dataloader.train.aspect_ratio_grouping = False  # all images have one size
dataloader.test.mapper = L(SemanticMapper)(
    is_train=False,
    num_classes=classes,
    image_format="${model.input_format}",
    augmentations=[L(T.Resize)(shape=[320, 320])],
)
dataloader.evaluator._target_ = SemanticEvaluator
