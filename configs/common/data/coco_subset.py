"""One COCO subset: its training loader, its evaluation loader, its evaluator.

``dataset`` says which; everything else follows it by interpolation, the model's number of classes
too. Import both names: ``from .common.data.coco_subset import dataloader, dataset``.
"""

from project.data.catalog import register_subset, subset_dicts
from project.data.loader import build_train_loader
from project.data.mapper import InstanceMapper
from project.evaluation.coco import InstanceEvaluator

from detectron2.config import LazyCall as L
from detectron2.data import build_detection_test_loader
from detectron2.data import transforms as T

dataset = dict(
    name="cake_car_dog_person",  # the folder below the root
    root=None,  # None: the environment's DETECTRON2_DATASETS, or datasets/
    train="train",  # the splits to train and to evaluate on
    test="val",
    num_images=None,  # of the training split, drawn by train.seed; smaller draws lie in larger ones
)

dataloader = dict(
    train=L(build_train_loader)(
        dataset=L(subset_dicts)(
            subset="${dataset.name}",
            split="${dataset.train}",
            root="${dataset.root}",
            filter_empty=True,
            num_images="${dataset.num_images}",
            seed="${train.seed}",
        ),
        mapper=L(InstanceMapper)(
            is_train=True,
            image_format="BGR",
            mask_format="polygon",  # at 800 pixels a bit mask for each sampled region is heavy
            augmentations=[
                L(T.ResizeShortestEdge)(
                    short_edge_length=[640, 672, 704, 736, 768, 800],
                    sample_style="choice",
                    max_size=1333,
                ),
                L(T.RandomFlip)(horizontal=True),
            ],
        ),
        sampling=None,  # or a scheme of project.data.sampler
        on_broken_image="skip",  # counted and replaced by the next image; or "fatal"
        total_batch_size=16,
        num_workers=4,
        seed="${train.seed}",
    ),
    test=L(build_detection_test_loader)(
        dataset=L(subset_dicts)(
            subset="${dataset.name}", split="${dataset.test}", root="${dataset.root}"
        ),
        mapper=L(InstanceMapper)(
            is_train=False,
            image_format="${...train.mapper.image_format}",
            augmentations=[L(T.ResizeShortestEdge)(short_edge_length=800, max_size=1333)],
        ),
        num_workers=4,
    ),
    evaluator=L(InstanceEvaluator)(
        dataset_name=L(register_subset)(
            subset="${dataset.name}", split="${dataset.test}", root="${dataset.root}"
        ),
        output_dir="${train.output_dir}/inference/${dataset.name}_${dataset.test}",
    ),
)
