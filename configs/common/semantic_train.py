"""As ``train``, for semantic models: the best checkpoint has the smallest validation loss."""

from project.data.semantic_mapper import SemanticMapper

from detectron2.config import LazyCall as L

from .train import train

train.best_metric = "validation/total_loss"
train.hooks.best_checkpoint.mode = "min"
train.hooks.classes_seen = None  # it counts objects, and there are only pixels
train.hooks.validation_loss.max_images = 1000
train.hooks.validation_loss.mapper = L(SemanticMapper)(
    is_train=True,
    num_classes="${dataloader.train.mapper.num_classes}",
    image_format="${dataloader.train.mapper.image_format}",
    augmentations="${dataloader.test.mapper.augmentations}",
)
train.hooks.prediction_preview.results_file = (
    "${dataloader.evaluator.output_dir}/sem_seg_predictions.json"
)
train.hooks.prediction_preview.threshold = 0.0  # a region of a map has been decided on already
