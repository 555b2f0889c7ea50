"""What looks on while a run trains; each is left out with ``train.hooks.NAME=null``.

The order matters: what measures stands before what decides.
"""

from project.data.catalog import class_names, subset_dicts
from project.data.mapper import InstanceMapper
from project.engine.hooks.best_checkpoint import BestCheckpoint
from project.engine.hooks.classes_seen import ClassesSeen
from project.engine.hooks.gradient_norms import GradientNorms
from project.engine.hooks.memory import Memory
from project.engine.hooks.prediction_preview import PredictionPreview
from project.engine.hooks.throughput import Throughput
from project.engine.hooks.validation_loss import ValidationLoss

from detectron2.config import LazyCall as L

hooks = dict(
    gradient_norms=L(GradientNorms)(period="${train.log_period}"),
    throughput=L(Throughput)(period="${train.log_period}"),
    memory=L(Memory)(period="${train.log_period}"),
    classes_seen=L(ClassesSeen)(
        classes=L(class_names)(subset="${dataset.name}", root="${dataset.root}"),
        period="${train.eval_period}",
    ),
    validation_loss=L(ValidationLoss)(
        dataset=L(subset_dicts)(
            subset="${dataset.name}",
            split="${dataset.test}",
            root="${dataset.root}",
            filter_empty="${dataloader.train.dataset.filter_empty}",
        ),
        mapper=L(InstanceMapper)(
            is_train=True,
            image_format="${dataloader.train.mapper.image_format}",
            mask_format="${dataloader.train.mapper.mask_format}",
            augmentations="${dataloader.test.mapper.augmentations}",
        ),
        period="${train.eval_period}",
        max_images=100,
        num_workers="${dataloader.test.num_workers}",
    ),
    best_checkpoint=L(BestCheckpoint)(metric="${train.best_metric}", period="${train.eval_period}"),
    early_stopping=None,  # or L(EarlyStopping)(metric="segm/AP", period=..., patience=5)
    prediction_preview=L(PredictionPreview)(
        dataset_name="${dataloader.evaluator.dataset_name}",
        results_file="${dataloader.evaluator.output_dir}/coco_instances_results.json",
        output_dir="${train.output_dir}/previews",
        period="${train.eval_period}",
    ),
)
